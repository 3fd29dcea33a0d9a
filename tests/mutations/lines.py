"""Mutations of a cfg's lines."""

from collections.abc import Callable

from tests.mutations.draft import Draft

VALUES = [
    "-1", "0", "1", "1e9", "-1e9", "1000000000", str(2**31), str(-(2**31)), str(2**63), str(10**18), "1e308", "1e-320",
    "9" * 5000, "-" + "9" * 5000, "nan", "inf", "-inf", "NaN", "", " ", "text", "0x10", "1_000", "1.5", ".5", "+2",
    "1e", "--1", "٣", "²", "½", "１２", "1,2", ",", ",,,,", "1;2", "=", "a=b", "[", "]", "é\u202e", "true",
    "%s%n", "\x1b[2J", "x\u2028y", "x\x85y", "x\x0by", "../../etc/passwd", "/dev/zero", ".", "a" * 100_000,
    "\\n", "per_channel", "per_feature", "softmax", "avg_relu", "relu", "net.cfg",
]  # fmt: skip
_KEYS = [
    "activation", "anchors", "batch_normalize", "channels", "classes", "coords", "dilation", "filters", "from",
    "group_id", "groups", "height", "layers", "letter_box", "map", "mask", "new_coords", "num", "pad", "padding",
    "reverse", "scale", "scale_x_y", "share_index", "size", "softmax", "stride", "stride_x", "stride_y", "tree",
    "weights_normalization", "weights_type", "width",
]  # fmt: skip
_KINDS = [
    "avg", "avgpool", "batchnorm", "conn", "connected", "conv", "convolutional", "cost", "crop", "deconvolutional",
    "detection", "dropout", "empty", "Gaussian_yolo", "gru", "local_avgpool", "lstm", "maxpool", "net", "network",
    "region", "reorg", "reorg3d", "rnn", "route", "sam", "scale_channels", "shortcut", "softmax", "upsample", "yolo",
    "", " ", "YOLO", "nonsense", "[yolo]", "yolo\x1b[31m", "a\u2028b", "a\x85b", "é", "y" * 300, "z" * 100_000,
]  # fmt: skip
_SMALL_LAYERS = [
    "[convolutional]\nfilters=4\nbatch_normalize=1", "[conv]", "[max]", "[dropout]", "[route]\nlayers=-1", "[upsample]",
    "[route]\nlayers=-1,-1", "[shortcut]\nfrom=-1\nactivation=leaky", "[avg]", "[yolo]\nclasses=1\nanchors=1,1",
    "[route]\nlayers=0", "[route]\nlayers=0\ngroups=2", "[softmax]", "[reorg]\nstride=1",
    "[batchnorm]", "[shortcut]\nfrom=-1\nweights_type=per_channel\nweights_normalization=softmax",
    "[convolutional]\nfilters=4\nshare_index=-1", "[sam]\nfrom=-1",
]  # fmt: skip


def _delete_lines(draft: Draft) -> None:
    for _ in range(draft.rng.choice([1, 1, 3, 10])):
        if draft.lines:
            del draft.lines[draft.rng.randrange(len(draft.lines))]


def _duplicate_lines(draft: Draft) -> None:
    i = draft.rng.randrange(len(draft.lines))
    draft.lines[i:i] = draft.lines[i : i + draft.rng.choice([1, 5, 50])]


def _swap_lines(draft: Draft) -> None:
    i, j = (draft.rng.randrange(len(draft.lines)) for _ in range(2))
    draft.lines[i], draft.lines[j] = draft.lines[j], draft.lines[i]


def _truncate_lines(draft: Draft) -> None:
    i = draft.rng.randrange(len(draft.lines))
    draft.lines[i] = draft.lines[i][: draft.rng.randrange(len(draft.lines[i]) + 1)]


def _delete_section(draft: Draft) -> None:
    start, end = draft.section()
    del draft.lines[start:end]


def _duplicate_section(draft: Draft) -> None:
    start, end = draft.section()
    place = draft.section()[0]
    draft.lines[place:place] = draft.lines[start:end] * draft.rng.choice([1, 1, 2, 40])


def _swap_sections(draft: Draft) -> None:
    start, end = draft.section()
    moved = draft.lines[start:end]
    del draft.lines[start:end]
    place = draft.section()[0]
    draft.lines[place:place] = moved


def _rename_section(draft: Draft) -> None:
    draft.lines[draft.section()[0]] = f"[{draft.rng.choice(_KINDS)}]"


def _hostile_value(draft: Draft) -> None:
    places = [i for i, line in enumerate(draft.lines) if "=" in line]
    if places:
        i = draft.rng.choice(places)
        draft.lines[i] = f"{draft.lines[i].partition('=')[0]}={draft.rng.choice(VALUES)}"


def _hostile_key(draft: Draft) -> None:
    draft.put(draft.rng.choice(_KEYS), draft.rng.choice(VALUES))


def _missing_key(draft: Draft) -> None:
    i = draft.place(draft.rng.choice(_KEYS))
    if i is not None:
        del draft.lines[i]


def _reference(draft: Draft) -> None:
    """Routes and shortcuts to the future, to themselves, out of range, far back, or to everything."""
    layers = sum(line.startswith("[") for line in draft.lines)
    kind, key = draft.rng.choice(
        [("route", "layers"), ("shortcut", "from"), ("scale_channels", "from"), ("sam", "from")]
    )
    targets = [0, 1, -1, -2, layers, layers + 1, layers // 2, -layers, 10**6, -(10**6), 10**18, -(10**18), "1e308"]
    value = ",".join(str(target) for target in draft.rng.choices(targets, k=draft.rng.choice([1, 1, 1, 2, 5])))
    if draft.rng.random() < 0.5:
        place = draft.section()[0]
        draft.lines[place:place] = [f"[{kind}]", f"{key}={value}", "groups=2"][: draft.rng.choice([1, 2, 2, 2, 3])]
    else:
        draft.put(key, value, [kind])


def _long_list(draft: Draft) -> None:
    key, kinds = draft.rng.choice(
        [("mask", ["yolo"]), ("anchors", ["yolo", "region"]), ("layers", ["route"]), ("from", ["shortcut"])]
    )
    item = draft.rng.choice(["0", "1", "-1", "-2", "0.5", "", "x", "9" * 50, "-1000000"])
    draft.put(key, ",".join([item] * draft.length()), kinds)


def _weighted_shortcut(draft: Draft) -> None:
    """The sum of many layers, each with weights of its own."""
    place = draft.section()[0]
    if draft.rng.random() < 0.3:
        draft.lines[place:place] = [f"[convolutional]\nfilters={draft.rng.choice([64, 2**14, 2**20])}\nstride=32"]
        place += 1
    count = draft.rng.choice([1, 1, 2, 9, 200, draft.length()])
    options = [
        f"from={','.join([draft.rng.choice(['-1', '-1', '-1', '-2', '0'])] * count)}",
        f"weights_type={draft.rng.choice(['per_feature', 'per_channel', 'per_layer', 'none', 'nonsense'])}",
        f"weights_normalization={draft.rng.choice(['softmax', 'relu', 'avg_relu', 'none', 'nonsense'])}",
    ]
    draft.lines[place:place] = ["[shortcut]", *options]


def _named_file(draft: Draft) -> None:
    """A word tree or map that is something else."""
    name = draft.rng.choice(
        ["net.cfg", "net.weights", "missing", "/etc/passwd", "/dev/zero", "/", "~", "a" * 300, "a/" * 3000,
         "\x1b[2J", "é" * 120]
    )  # fmt: skip
    draft.put("tree", name, ["region"])
    if draft.rng.random() < 0.3:
        draft.put("map", draft.rng.choice([name, "net.cfg"]), ["region"])


def _many_anchors(draft: Draft) -> None:
    heads = ["yolo", "region"]
    draft.put("num", draft.rng.choice([10**9, 1000, 1001, 10**18, 0, -1, "1e9"]), heads)
    if draft.rng.random() < 0.7:
        draft.put(
            "mask", draft.rng.choice(["999999999", "999", "0", "-1", "0,0,0", ",".join(map(str, range(1000)))]), heads
        )
    if draft.rng.random() < 0.5:
        pair = draft.rng.choice(["1,1", "1e308,1e308", "1e-320,1e-320", "0,0", "-1,-1", "1,nan", "1e40,1"])
        draft.put("anchors", ",".join([pair] * draft.rng.choice([1, 9, 1000, draft.length()])), heads)


def _huge_layer(draft: Draft) -> None:
    key = draft.rng.choice(
        ["filters", "size", "stride", "groups", "padding", "dilation", "stride_x", "stride_y", "pad", "scale"]
    )
    value = draft.rng.choice([0, 2, 7, 64, 1000, 1024, 4096, 2**16, 2**20, 2**20 + 1, 10**9, 10**18, "1e39"])
    draft.put(key, value, ["convolutional", "maxpool", "upsample", "route", "reorg"])


def _huge_input(draft: Draft) -> None:
    value = draft.rng.choice([0, -1, 1, 2, 3, 31, 33, 4096, 8192, 8193, 10**9, 10**18])
    draft.put(draft.rng.choice(["width", "height", "channels"]), value, ["net"])


def _head_numbers(draft: Draft) -> None:
    key = draft.rng.choice(["classes", "num", "scale_x_y", "coords", "softmax", "anchors", "mask"])
    value = draft.rng.choice([0, 1, -1, 2, 80, 99_999, 100_000, 10**6, 1e38, -1e38, 1e39, 1e308, 1e-300, "5,5,5,5,5,5"])
    draft.put(key, value, ["yolo", "region"])


def _many_sections(draft: Draft) -> None:
    body = draft.rng.choice([*_SMALL_LAYERS, "\n".join(draft.lines[slice(*draft.section())])])
    place = draft.section()[0]
    draft.lines[place:place] = [body] * draft.rng.choice([50, 500, 2000, 20_000])


def _deep_routes(draft: Draft) -> None:
    """Each doubles the channels, or reads all layers before it."""
    place = draft.section()[0]
    count = draft.rng.choice([10, 30, 60, 1000])
    if draft.rng.random() < 0.5:
        body = ["[route]\nlayers=-1,-1"] * count
    else:
        body = ["[route]\nlayers=" + ",".join(map(str, range(-1, -min(i, 60) - 2, -1))) for i in range(count)]
    draft.lines[place:place] = body


def _long_line(draft: Draft) -> None:
    length = draft.length()
    line = draft.rng.choice(
        ["a" * length, "#" * length, "[" + "a" * length + "]", "a" * length + "=1", "filters=" + "1" * length,
         "=" * length, "[" * length + "]" * length, "activation=" + "b" * length, "anchors=" + "1," * length,
         "a=" + " " * length + "b",
         "channels=" + "3" * length, "size=1." + "0" * length, "weights_type=" + "c" * length]
    )  # fmt: skip
    draft.lines.insert(draft.rng.randrange(len(draft.lines) + 1), line)


def _many_lines(draft: Draft) -> None:
    length = draft.length()
    place = draft.section()[1]
    lines = draft.rng.choice([["", "#", "a=1", ";=[", "\x0b", " "], None])
    new = [draft.rng.choice(lines)] * length if lines else [f"k{i}=1" for i in range(length // 3)]
    draft.lines[place:place] = new


def _brackets(draft: Draft) -> None:
    start, _ = draft.section()
    inner = draft.lines[start].strip("[]")
    draft.lines[start] = draft.rng.choice(
        [f"[[{inner}]]", f"[{inner}", f"{inner}]", f"[{inner}]]", f"[[{inner}]", f"[ {inner} ]", "[]", "[", "]", "[[]]",
         f"[{inner}][{inner}]", f"[{inner}] # x", f"[{inner}]=1", f"[{inner}\t]"]
    )  # fmt: skip


def _nothing(draft: Draft) -> None:
    """The network as it is, at a hostile size."""


ON_LINES: dict[str, Callable[[Draft], None]] = {
    "brackets": _brackets,
    "deep routes": _deep_routes,
    "delete lines": _delete_lines,
    "delete section": _delete_section,
    "duplicate lines": _duplicate_lines,
    "duplicate section": _duplicate_section,
    "head numbers": _head_numbers,
    "hostile key": _hostile_key,
    "hostile value": _hostile_value,
    "huge input": _huge_input,
    "huge layer": _huge_layer,
    "long line": _long_line,
    "long list": _long_list,
    "many anchors": _many_anchors,
    "many lines": _many_lines,
    "many sections": _many_sections,
    "missing key": _missing_key,
    "named file": _named_file,
    "nothing": _nothing,
    "reference": _reference,
    "rename section": _rename_section,
    "swap lines": _swap_lines,
    "swap sections": _swap_sections,
    "truncate lines": _truncate_lines,
    "weighted shortcut": _weighted_shortcut,
}
