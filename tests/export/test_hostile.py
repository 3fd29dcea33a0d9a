"""Files that somebody broke, or wrote to break us: one short line within a second and 500 MB."""

import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile import Case, attempt, cases, make_case, real_cfgs, run_case
from tests.mutations import MUTATIONS
from tests.mutations.lines import VALUES
from tests.support import random_darknet, shared_dir
from yolo_edge.export.load import load_model
from yolo_edge.ondevice.errors import InputError

CASES = 250  # of our own networks, and as many of real ones and ours
BATCH = 25
SECONDS = 1.0
MEGABYTES = 500

NET = "[net]\nwidth=64\nheight=64\n"
CONV = "[convolutional]\nfilters=12\nsize=3\nstride=2\npad=1\n"
HEAD = "[yolo]\nclasses=1\nanchors=4,5,6,7\nnum=2\n"


def check(numbers: range, folder: Path, cfgs: list[bytes]) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in numbers:
        case = make_case(0, number, cfgs)
        try:
            # the second time alone: a busy machine is slow too
            if run_case(case, folder).seconds > SECONDS:
                seconds = run_case(case, folder).seconds
                assert seconds <= SECONDS, f"{seconds:.1f} s"
        except Exception as error:
            raise AssertionError(
                f"case {number} of seed 0, {case.mutations}, other size {case.size}: {error}"
            ) from error
    # of the whole process, in KiB: it can only grow
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEGABYTES << 10


@pytest.mark.parametrize("start", range(0, CASES, BATCH))
def test_hostile_networks_of_our_own(tmp_path: Path, start: int) -> None:
    check(range(start, start + BATCH), tmp_path, [])


@pytest.fixture(scope="module")
def cfgs() -> list[bytes]:
    found = real_cfgs(shared_dir() / "assets" / "cfgs")
    assert len(found) == 140
    return found


@pytest.mark.parametrize("start", range(CASES, 2 * CASES, BATCH))
def test_hostile_real_networks(tmp_path: Path, cfgs: list[bytes], start: int) -> None:
    check(range(start, start + BATCH), tmp_path, cfgs)


def test_cases_follow_from_their_numbers() -> None:
    first = list(cases(7, 3))
    assert first == list(cases(7, 3)) == [make_case(7, number) for number in range(3)]
    assert first != list(cases(8, 3))
    assert len({case.mutations[0] for case in cases(0, len(MUTATIONS))}) == len(MUTATIONS)


def test_findings_are_seen(tmp_path: Path) -> None:
    case = Case(0, 0, (), (NET + CONV + HEAD).encode(), None, (32, 32))
    assert run_case(case, tmp_path).accepted
    for error, expected in [
        (InputError("x" * 501), "501 characters"),
        (InputError("a\nb"), "control characters"),
        (InputError("\x1b[2J"), "control characters"),
        (KeyError("x"), "x"),
        (MemoryError("much"), "much"),
    ]:
        with pytest.raises((AssertionError, KeyError, MemoryError), match=expected):
            attempt(lambda error=error: (_ for _ in ()).throw(error), export=False)


def import_text(folder: Path, text: str) -> str | None:
    """The message of the refusal, if it is refused."""
    path = folder / "net.cfg"
    path.write_text(text, encoding="utf-8", newline="")
    message, seconds = attempt(lambda: load_model(path, shapes_only=True), export=False)
    if seconds > SECONDS:
        message, seconds = attempt(lambda: load_model(path, shapes_only=True), export=False)
    assert seconds <= SECONDS
    return message


_key = st.sampled_from(
    ["activation", "anchors", "classes", "filters", "from", "group_id", "groups", "layers", "mask", "num", "pad",
     "padding", "scale_x_y", "size", "stride"]
)  # fmt: skip
_kind = st.sampled_from(
    [
        "avgpool",
        "convolutional",
        "dropout",
        "maxpool",
        "region",
        "route",
        "scale_channels",
        "shortcut",
        "upsample",
        "yolo",
    ]
)
_value = st.one_of(
    st.sampled_from([value for value in VALUES if len(value) < 100]),
    st.integers().map(str),
    st.floats().map(str),
    st.lists(st.integers(-5, 5), max_size=6).map(lambda numbers: ",".join(map(str, numbers))),
    st.sampled_from(["1", "2", "3", "-1", "6", "12", "leaky", "linear"]),
)
_options = st.dictionaries(_key, _value, max_size=5)
_section = st.tuples(_kind, _options).map(
    lambda section: "\n".join([f"[{section[0]}]", *(f"{key}={value}" for key, value in section[1].items()), ""])
)
_settings = settings(max_examples=150, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(st.lists(_section | st.sampled_from([CONV, HEAD]), min_size=1, max_size=8))
@_settings
def test_any_sections_make_a_network_or_an_error(tmp_path: Path, sections: list[str]) -> None:
    import_text(tmp_path, NET + "".join(sections))


@given(st.integers(1, 6), st.lists(st.tuples(st.integers(0, 400), st.text(max_size=8)), max_size=4))
@_settings
def test_any_text_within_a_network(tmp_path: Path, layers: int, inserted: list[tuple[int, str]]) -> None:
    text = NET + CONV * layers + HEAD
    for place, new in inserted:
        text = text[:place] + new + text[place:]
    import_text(tmp_path, text)


@given(st.sampled_from([CONV, "[maxpool]\n", "[upsample]\n"]), _key, st.integers(-2, 2**21) | st.integers())
@_settings
def test_any_whole_number_in_a_layer(tmp_path: Path, layer: str, key: str, number: int) -> None:
    import_text(tmp_path, NET + layer + f"{key}={number}\n" + CONV + HEAD)


@given(st.binary(max_size=300), st.booleans())
@_settings
def test_any_weights(tmp_path: Path, data: bytes, right_length: bool) -> None:
    path = tmp_path / "net.cfg"
    path.write_text(
        "[net]\nwidth=8\nheight=8\n[convolutional]\nfilters=6\nbatch_normalize=1\n[yolo]\nclasses=1\nanchors=1,2\n"
    )
    header = np.array([0, 2, 0, 0, 0], "<i4").tobytes()
    length = 4 * (6 * 4 + 18)
    path.with_suffix(".weights").write_bytes(
        header + (data * length)[:length].ljust(length, b"\1") if right_length else data
    )
    attempt(lambda: load_model(path), export=True)


@pytest.mark.parametrize("value", ["1e9", "10" * 18, "1048577", "9" * 5000, "-1", "0", "nan", "inf", "1e308"])
def test_huge_filters(tmp_path: Path, value: str) -> None:
    message = import_text(tmp_path, NET + CONV.replace("filters=12", f"filters={value}") + HEAD)
    assert message
    assert "net.cfg:5: [convolutional] (layer 0): filters: expected" in message


def test_huge_filters_everywhere(tmp_path: Path) -> None:
    many = "[convolutional]\nfilters=1048576\nstride=64\nsize=1\n"
    assert "12 channels" in (
        import_text(tmp_path, NET + many + many.replace("size=1", "size=1024\npad=1") * 9 + HEAD) or ""
    )


@pytest.mark.parametrize("target", ["2", "3", "1", "-2", "-3", "999999999", "-999999999", "1e308", "-1e308"])
@pytest.mark.parametrize("kind", ["route", "shortcut", "scale_channels"])
def test_routes_to_the_future(tmp_path: Path, kind: str, target: str) -> None:
    key = "layers" if kind == "route" else "from"
    message = import_text(tmp_path, NET + CONV + f"[{kind}]\n{key}={target}\n" + CONV + HEAD)
    assert message
    assert f"net.cfg:10: [{kind}] (layer 1): {key}: " in message


def test_cycles(tmp_path: Path) -> None:
    """Two routes that read each other, and one that reads itself: one of them looks ahead."""
    message = import_text(tmp_path, NET + CONV + "[route]\nlayers=2\n[route]\nlayers=1\n" + HEAD)
    assert message
    assert "(layer 1): layers: layer 2 is not before this one" in message
    message = import_text(tmp_path, NET + CONV + "[route]\nlayers=0,1\n" + HEAD)
    assert message
    assert "(layer 1): layers: layer 1 is not before this one" in message


@pytest.mark.parametrize("kind", ["convolutional", "maxpool", "upsample", "reorg", "local_avgpool"])
def test_zero_strides(tmp_path: Path, kind: str) -> None:
    for value in ("0", "-1", "0.0"):
        message = import_text(tmp_path, NET + f"[{kind}]\nfilters=12\nsize=2\nstride={value}\n" + CONV + HEAD)
        assert message
        assert f"[{kind}] (layer 0): stride: expected 1.." in message
        # of one axis: darknet takes what is below 1 as not stated
        import_text(tmp_path, NET + f"[{kind}]\nfilters=12\nsize=2\nstride_x={value}\nstride_y={value}\n" + CONV + HEAD)


@pytest.mark.parametrize("place", [0, 0.5, -1])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_weights(tmp_path: Path, value: float, place: float) -> None:
    cfg = random_darknet(tmp_path, 5)
    path = cfg.with_suffix(".weights")
    data = bytearray(path.read_bytes())
    count = (len(data) - 20) // 4
    start = len(data) - 4 if place < 0 else 20 + 4 * int(place * count)
    data[start : start + 4] = np.array([value], "<f4").tobytes()
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"layer \d+ \[convolutional\] \w+: NaN or infinity; the file is damaged"):
        load_model(cfg)


@pytest.mark.parametrize("value", [3e38, -3e38, 1e30, 1e20])
def test_weights_that_overflow_when_they_are_folded(tmp_path: Path, value: float) -> None:
    cfg = random_darknet(tmp_path, 5)
    path = cfg.with_suffix(".weights")
    data = path.read_bytes()
    path.write_bytes(data[:20] + np.full((len(data) - 20) // 4, value, "<f4").tobytes())

    # warnings are errors here
    attempt(lambda: load_model(cfg), export=True)


@pytest.mark.parametrize("head", ["yolo", "region"])
def test_a_billion_anchors(tmp_path: Path, head: str) -> None:
    for num in ("1000000000", "1e9", str(10**18)):
        message = import_text(tmp_path, NET + CONV + f"[{head}]\nclasses=1\nanchors=1,1\nnum={num}\n")
        assert message
        assert f"[{head}] (layer 1): num: expected 1..1000, got {num}" in message
    # as long as a file may be
    assert import_text(tmp_path, NET + CONV + f"[{head}]\nclasses=1\nnum=1000\nanchors=" + "1,1," * 500_000)
    assert import_text(tmp_path, NET + CONV + "[yolo]\nclasses=1\nnum=9\nanchors=1,1\nmask=" + "0," * 1_000_000)


@pytest.mark.parametrize("anchor", ["1e308", "1e40", "1e-320", "1e-46"])
@pytest.mark.parametrize("head", ["yolo", "region"])
def test_anchors_that_no_float_holds(tmp_path: Path, head: str, anchor: str) -> None:
    """In the spec as they are or refused; region's are multiplied by the stride."""
    import_text(tmp_path, NET + CONV + f"[{head}]\nclasses=1\nnum=2\nanchors={anchor},{anchor},1,1\n")


@pytest.mark.parametrize(
    "middle",
    [
        "\n" * 4_000_000,
        "#\n" * 2_000_000,
        "a=\n" * 1_300_000,
        "".join(f"{i:x}=\n" for i in range(500_000)),
        "[conv]\n" * 500_000,
        "[max]\n" * 20_000,
        "[route]\nlayers=" + "0," * 2_000_000,
        "[route]\nlayers=" + "0," * 200_000 + "\ngroups=2\n",
        "[route]\nlayers=-1,-1\n" * 1000,
        "[route]\nlayers=" + ",".join(["0"] * 60_000) + "\n",
    ],
    ids=["lines", "comments", "same key", "keys", "layers", "pools", "route", "groups", "doubled", "wide"],
)
def test_size_alone(tmp_path: Path, middle: str) -> None:
    """Megabytes of what is right by itself; the first layer is small, so that maps stay below their limit."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    import_text(tmp_path, NET + "[convolutional]\nfilters=2\nstride=64\n" + middle + CONV + HEAD)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEGABYTES << 10


@pytest.mark.parametrize(
    "section",
    [
        "[{}]",
        "[conv]\nactivation={}",
        "[conv]\nfilters={}",
        "[route]\nlayers={}",
        "[shortcut]\nfrom=-1\nactivation={}",
        "[shortcut]\nfrom=-1\nweights_type={}",
        "[yolo]\nanchors={}",
        "[yolo]\nmask={}",
        "[yolo]\nnum={}",
        "{}",
        "[{}",
    ],
)
@pytest.mark.parametrize(
    "text", ["y" * 100_000, "[" * 10_000, "\x1b[2J", "a\u2028b", "a\x85b", "a\x0cb", "\u202eb", "9" * 40]
)
def test_messages_are_short_and_cannot_steer_a_terminal(tmp_path: Path, section: str, text: str) -> None:
    assert import_text(tmp_path, NET + CONV + section.format(text) + "\n")


def test_joined_maps_of_many_sizes(tmp_path: Path) -> None:
    """The message does not list them all."""
    message = import_text(tmp_path, NET + CONV + CONV + "[route]\nlayers=" + "0,1," * 300 + "\n" + HEAD)
    assert message
    assert "layers: " in message


@pytest.mark.parametrize("normalization", ["none", "relu", "softmax"])
@pytest.mark.parametrize(("filters", "count"), [(2**20, 60), (2**20, 100_000), (4, 100_000), (2**14, 1000)])
def test_weights_of_shortcuts_cost_no_memory(tmp_path: Path, filters: int, count: int, normalization: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    options = f"weights_type=per_channel\nweights_normalization={normalization}\nfrom=" + "-1," * count
    import_text(tmp_path, NET + f"[conv]\nfilters={filters}\nstride=64\n[shortcut]\n{options}\n" + CONV + HEAD)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEGABYTES << 10


@pytest.mark.parametrize("scale", ["1e38", "1e39", "1e308", "-1e308", "1e-320", "0"])
def test_factors_of_upsample(tmp_path: Path, scale: str) -> None:
    import_text(tmp_path, NET + CONV + f"[upsample]\nscale={scale}\n" + CONV + HEAD)


@pytest.mark.parametrize(
    "name",
    [
        "a" * 300,
        "a/" * 200,
        "é" * 200,
        "\x1b[2J",
        "a\u2028b",
        "missing",
        ".",
        "/",
        "/dev/zero",
        "net.cfg",
        "/etc/passwd",
    ],
)
@pytest.mark.parametrize("key", ["tree", "map"])
def test_names_of_files_in_a_cfg(tmp_path: Path, key: str, name: str) -> None:
    (tmp_path / "right.tree").write_text("a -1\n")
    tree = "tree=right.tree\n" if key == "map" else ""
    head = "[region]\nclasses=1\nanchors=1,1,1,1\nnum=2\n"
    assert import_text(tmp_path, NET + CONV + head + tree + f"{key}={name}\n")
