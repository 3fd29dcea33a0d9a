"""The pictures that a user named: files, folders, globs."""

import glob
import re
from pathlib import Path
from typing import Dict, Iterable, List, Tuple

from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import reason
from yolo_edge.ondevice.images import SUFFIXES


def find_images(arguments: Iterable[str]) -> List[Path]:
    """Files as named; the pictures of a folder (not of folders in it) and the matches of a glob in natural order.

    Raises:
        InputError: An argument names nothing.
    """
    found: Dict[Path, None] = {}
    for argument in arguments:
        if not argument:
            raise InputError("expected a picture, got an empty text")
        path = Path(argument)
        if _is_folder(path):
            inside = _pictures_in(path)
            if not inside:
                raise InputError(f"{path}: no pictures in this folder ({', '.join(sorted(SUFFIXES))})")
            found.update(dict.fromkeys(sorted(inside, key=_natural)))
        elif not path.exists() and glob.has_magic(argument):
            matches = [Path(match) for match in glob.glob(argument, recursive=True)]  # noqa: PTH207 - absolute ones too
            files = [match for match in matches if match.is_file()]
            if not files:
                raise InputError(f"{argument}: matches no file")
            found.update(dict.fromkeys(sorted(files, key=_natural)))
        else:
            found[path] = None
    return list(found)


def _pictures_in(folder: Path) -> List[Path]:
    try:
        return [child for child in folder.iterdir() if child.suffix.lower() in SUFFIXES]
    except OSError as error:
        raise InputError(f"{folder}: {reason(error)}") from error


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise InputError(f"{path}: {reason(error)}") from error


def _natural(path: Path) -> List[Tuple[int, str]]:
    """Sorts img2 before img10."""
    parts = re.split(r"([0-9]{1,18})", str(path))
    return [(int(part), "") if part.isdigit() and part.isascii() else (-1, part) for part in parts]
