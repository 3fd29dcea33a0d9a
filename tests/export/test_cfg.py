from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yolo_edge.export.importers.darknet.cfg import Section, read_cfg
from yolo_edge.ondevice.errors import InputError


def parse(folder: Path, text: str | bytes) -> list[Section]:
    path = folder / "net.cfg"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_cfg(path)


def test_the_dialect(tmp_path: Path) -> None:
    text = (
        b"\xef\xbb\xbf# a comment\r\n[net]\r\nwidth=64 # inline\r\n height = 32\r\n; another\r\n\r\n"
        b"[conv]\r\nfilters=8\r\nfilters=16\r\nalpha=.5\r\nlist = 1, -2,3,\r\nempty=\r\n[max]\r\n"
    )
    net, conv, pool = parse(tmp_path, text)
    assert (net.kind, net.index, net.line) == ("net", -1, 2)
    assert net.integer("width", 0) == 64
    assert net.integer("height", 0) == 32
    assert (conv.kind, conv.index, conv.line) == ("convolutional", 0, 7)
    assert conv.integer("filters", 1) == 8  # the first of duplicate keys, as in darknet
    assert conv.number("alpha", 0) == 0.5
    assert conv.integers("list") == [1, -2, 3]
    assert conv.integer("missing", 7) == conv.integer("empty", 7) == 7
    assert (pool.kind, pool.index, pool.options) == ("maxpool", 1, {})


def test_old_mac_line_ends_and_odd_comments(tmp_path: Path) -> None:
    net, _ = parse(tmp_path, b"[net]\rwidth=8\r# caf\xe9\r[conv]\r")
    assert net.options == {"width": ("8", 2)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("width=3\n", "net.cfg:1: not a darknet cfg (expected [net], got 'width=3')"),
        ("[conv]\n[net]\n", "net.cfg:1: the first section is [net], got '[conv]'"),
        ("[net]\n[conv]\n[net]\n", "net.cfg:3: a second [net]"),
        ("[net\n", "net.cfg:1: expected a section in brackets, got '[net'"),
        ("[net]\nwidth 3\n", "net.cfg:2: not a darknet cfg (expected key=value, got 'width 3')"),
        ("[net]\nwidth=3\n", "net.cfg: not a darknet cfg (it has no layers)"),
        ("# nothing\n", "net.cfg: not a darknet cfg (it has no layers)"),
        ("[net]\n\0\n", "net.cfg: not a darknet cfg (it is a binary file)"),
        ("", "net.cfg: the file is empty"),
        (b"\x7fELF\x02" + b"\xff" * 50, "net.cfg:1: not a darknet cfg"),
    ],
)
def test_what_is_no_cfg(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse(tmp_path, text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("eight", "expected a whole number, got 'eight'"),
        ("8.5", "expected a whole number, got '8.5'"),
        ("nan", "expected a whole number, got 'nan'"),
        ("inf", "expected a whole number, got 'inf'"),
        ("-1", "expected 1..1048576, got -1"),
        ("1e9", "expected 1..1048576, got 1e9"),
        ("9" * 5000, "expected a whole number, got '999"),
    ],
)
def test_errors_name_file_line_section_and_key(tmp_path: Path, value: str, message: str) -> None:
    section = parse(tmp_path, f"[net]\n[conv]\nsize=3\nfilters={value}\n")[1]
    with pytest.raises(InputError) as error:
        section.integer("filters", 1, 1)
    assert f"net.cfg:4: [convolutional] (layer 0): filters: {message}" in str(error.value)


def test_lists_and_numbers_that_are_none(tmp_path: Path) -> None:
    section = parse(tmp_path, "[net]\n[yolo]\nanchors=1,2,x\nscale_x_y=inf\n")[1]
    with pytest.raises(InputError, match="anchors: expected numbers between commas, got '1,2,x'"):
        section.numbers("anchors")
    with pytest.raises(InputError, match="scale_x_y: expected a number, got 'inf'"):
        section.number("scale_x_y", 1)


@given(
    st.lists(
        st.sampled_from(["[net]", "[conv]", "[yolo]", "a=b", "=", "[", "]", "# x", "a", "\0", "é", "a=1;2"]) | st.text()
    )
)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_read_or_refused(tmp_path: Path, lines: list[str]) -> None:
    try:
        sections = parse(tmp_path, "\n".join(lines))
    except InputError:
        return
    assert sections[0].kind == "net"
    assert [section.index for section in sections] == list(range(-1, len(sections) - 1))


def test_every_cfg_of_both_darknets_is_read(assets: Path) -> None:
    paths = sorted((assets / "cfgs").rglob("*.cfg"))
    assert len(paths) == 140
    for path in paths:
        assert len(read_cfg(path)) > 2
