"""YOLO9000's word tree (Redmon and Farhadi 2017, section 4): the files that `tree=` and `map=` of a `[region]` name."""

from contextlib import suppress
from pathlib import Path

from yolo_edge.export.importers.darknet.cfg import Section
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import read_text

_MAX_BYTES = 16 * 1024 * 1024
_MAX_NAME = 255
MAX_CLASSES = 100_000


def read_tree(section: Section, classes: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Parse a tree file: a line a node, its name and the number (from 0) of its parent, -1 for a root (`read_tree`).

    Args:
        section: The `[region]` that names the file.
        classes: The number of nodes that it must have.

    Returns:
        The parent and the name of each node.

    Raises:
        InputError: The file is not there, or is no such tree; the message names the line.
    """
    path = _find(section, "tree")
    parents: list[int] = []
    names: list[str] = []
    for number, line in _lines(path):
        words = line.split()
        try:
            parent = int(words[1]) if len(words) == 2 and len(words[1]) < 12 else None
        except ValueError:
            parent = None
        # the line is not shown: a cfg may name any file
        if parent is None or not -1 <= parent < len(names) or not words[0].isprintable():
            raise InputError(f"{path}:{number}: expected a name and an earlier node (or -1)")
        names.append(words[0])
        parents.append(parent)
    if len(parents) != classes:
        raise section.error(f"{path} has {len(parents)} nodes, classes= says {classes}", "tree")
    starts = [parent for i, parent in enumerate(parents) if i == 0 or parent != parents[i - 1]]
    if len(set(starts)) != len(starts):
        raise InputError(f"{path}: the children of a node stand together, here they do not")
    return tuple(parents), tuple(names)


def read_map(section: Section, nodes: int) -> tuple[int, ...]:
    """Parse a map file: a line a class, the node that it is.

    Raises:
        InputError: The file is not there, or names a node that the tree lacks.
    """
    path = _find(section, "map")
    found = []
    for number, line in _lines(path):
        node = int(line) if line.isascii() and line.isdigit() and len(line) < 12 else -1
        if not 0 <= node < nodes:
            raise InputError(f"{path}:{number}: expected a node 0..{nodes - 1}")
        found.append(node)
        if len(found) > MAX_CLASSES:
            raise InputError(f"{path}: more than {MAX_CLASSES} classes")
    if not found:
        raise InputError(f"{path}: the map is empty")
    return tuple(found)


def _find(section: Section, key: str) -> Path:
    """The file that `key` names: absolute, or relative to the cfg's folder, to the one above it, or to here.

    darknet itself looks from where it was started, which is the folder above its cfg files.
    """
    text = section.text(key, "")
    if len(text) > _MAX_NAME or not text.isprintable():
        raise section.error("expected the name of a file", key)
    name = Path(text)
    folder = Path(section.path).parent
    candidates = [folder / name, folder.parent / name, name]
    for path in candidates:
        with suppress(OSError):  # a name that this file system cannot have
            if path.is_file():
                return path
    raise section.error(f"no such file: {text[:100]} (looked in {folder}, above it and here)", key)


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not empty, with their numbers from 1."""
    text = read_text(path, _MAX_BYTES, "expected UTF-8 text")
    return [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
