"""Where a model came from: hashes of its files, the licence that lies beside them, and the program that wrote it."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

from yolo_edge._version import __version__
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import printable, read_bytes
from yolo_edge.ondevice.spec import ModelSpec

TOOL = f"yolo-edge {__version__}"

# "license_plate.names" is none
_LICENCE_NAME = re.compile(r"(licen[cs]e|copying)([.-](txt|md|rst|apache|mit|bsd|gpl)[\w.-]*)?", re.IGNORECASE)
_LONGEST, _READ, _MAX_BYTES = 200, 4096, 1 << 20


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits.

    Raises:
        OSError: It cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def find_licence(folder: Path) -> str | None:
    """What a licence file in the folder calls itself: its name and its first line; None where there is none.

    Files called LICENSE, LICENCE or COPYING count, with or without a suffix such as .txt; the first by name.
    """
    try:
        found = sorted(path for path in folder.iterdir() if _LICENCE_NAME.fullmatch(path.name))
    except OSError:  # a folder whose files may be read, but not listed
        return None
    for path in found:
        try:
            text = read_bytes(path, _MAX_BYTES)[:_READ].decode("utf-8", "replace")
        except InputError:  # a folder, a pipe, an empty file
            continue
        lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
        title = "".join(letter for letter in lines[0] if letter.isprintable())[:_LONGEST] if lines else ""
        return f"{printable(path.name)}: {title}"
    return None


def written(spec: ModelSpec, precision: str) -> ModelSpec:
    """The spec as it goes into a file: with the precision of its weights, and the name of this program."""
    return replace(spec, precision=precision, provenance=replace(spec.provenance, tool=TOOL))
