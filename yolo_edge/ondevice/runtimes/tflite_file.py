"""TFLite files from outside: what they begin with, and the zip that the metadata convention appends to them."""

import io
import os
import zipfile
import zlib
from typing import Dict, Union

from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import PathLike
from yolo_edge.ondevice.spec import METADATA_KEY

SPEC_FILE = "yolo_edge.spec.json"
IDENTIFIER = b"TFL3"  # bytes 4 to 8 of a file

_MAX_BYTES = 1 << 24  # a spec with ten thousand class names has some 200 kB


def is_tflite(data: bytes) -> bool:
    """Whether a file with these bytes, or these first bytes, is a TFLite model."""
    return data[4:8] == IDENTIFIER


def read_metadata(model: Union[PathLike, bytes], where: str) -> Dict[str, str]:
    """What the zip behind a TFLite model says.

    Args:
        model: A path, or the bytes of a file.
        where: What it is, for error messages.

    Returns:
        The spec under `METADATA_KEY`; nothing where there is no zip, or no spec in it.

    Raises:
        InputError: There is a spec that cannot be read.
    """
    source = io.BytesIO(model) if isinstance(model, bytes) else os.fspath(model)
    try:
        with zipfile.ZipFile(source) as archive:
            if SPEC_FILE not in archive.namelist():
                return {}
            with archive.open(SPEC_FILE) as file:
                data = file.read(_MAX_BYTES + 1)  # whatever size the zip claims
    except zipfile.BadZipFile:
        return {}
    except (OSError, RuntimeError, NotImplementedError, ValueError, EOFError, zlib.error) as error:
        raise InputError(f"{where}: {SPEC_FILE} in it cannot be read ({error})") from error
    if len(data) > _MAX_BYTES:
        raise InputError(f"{where}: {SPEC_FILE} in it is larger than {_MAX_BYTES} bytes")
    try:
        return {METADATA_KEY: data.decode()}
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: {SPEC_FILE} in it is not UTF-8 ({error})") from error
