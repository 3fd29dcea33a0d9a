"""The files of onnxruntime-web: from its npm package, once, or from a folder of the user's."""

import base64
import hashlib
import io
import json
import os
import tarfile
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from yolo_edge.ondevice.errors import InputError, YoloEdgeError
from yolo_edge.ondevice.files import cache_folder, first_line, printable, read_bytes, write_atomically

NAME, VERSION = "onnxruntime-web", "1.30.0"
# of the registry's `dist.integrity`: npm view onnxruntime-web@1.30.0 dist.integrity
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
REGISTRY = "https://registry.npmjs.org"

SCRIPT, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"

_MAX_PACKAGE, _MAX_FILE = 128 << 20, 64 << 20
_PART = 1 << 20
_SECONDS = 60.0  # without a byte
_CACHED = "sha512.json"  # of the files beside it, as they came out of the package


@dataclass(frozen=True)
class OrtWeb:
    """What a page needs to run ONNX files on the CPU.

    Attributes:
        version: Of the package.
        script: Its JavaScript, a module.
        wasm: The program that it runs.
    """

    version: str
    script: bytes
    wasm: bytes


def find_ort_web(folder: Path | None = None, progress: Callable[[str], None] = lambda _: None) -> OrtWeb:
    """The files: from a folder, or from the cache, which is filled from the npm registry where it is empty.

    Args:
        folder: The package, unpacked (node_modules/onnxruntime-web), or its `dist`; None: the version that is pinned
            here. `NPM_CONFIG_REGISTRY` says where a mirror of the registry is, as to npm.
        progress: Called with what is done, for each MB that is fetched.

    Raises:
        InputError: The folder has no such files.
        YoloEdgeError: The registry is not reached, or gives something else than what was pinned.
    """
    if folder is not None:
        return _read(folder)
    place = cache_folder() / f"{NAME}-{VERSION}"
    found = _read_cache(place)
    if found is None:
        files = unpack(_fetch(progress))
        for name, data in files.items():
            write_atomically(place / name, data)
        digests = {name: hashlib.sha512(data).hexdigest() for name, data in files.items()}
        write_atomically(place / _CACHED, json.dumps(digests).encode())
        found = OrtWeb(VERSION, files[SCRIPT], files[WASM])
    return found


def unpack(data: bytes) -> dict[str, bytes]:
    """The two files out of an npm package of the pinned version.

    Raises:
        YoloEdgeError: It is another package.
    """
    found = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
    if found != INTEGRITY:
        raise YoloEdgeError(
            f"the registry gives another {NAME}-{VERSION}.tgz than the one that is known ({found[:20]}… instead of "
            f"{INTEGRITY[:20]}…): nothing of it was used; --ort-web DIR takes files that you trust"
        )
    files = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        for name in (SCRIPT, WASM):
            member = archive.getmember(f"package/dist/{name}")
            file = archive.extractfile(member)
            assert file is not None  # noqa: S101 - the package is the one that is known
            files[name] = file.read()
    return files


def _fetch(progress: Callable[[str], None]) -> bytes:
    registry = os.environ.get("NPM_CONFIG_REGISTRY", REGISTRY).rstrip("/")
    url = f"{registry}/{NAME}/-/{NAME}-{VERSION}.tgz"
    if not url.startswith(("https://", "http://")):
        raise InputError(f"NPM_CONFIG_REGISTRY {registry!r}: expected an address that begins with https://")
    remedy = f"with a network: npm pack {NAME}@{VERSION}, unpack it, and give the folder: --ort-web DIR"
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS) as answer:  # noqa: S310 - checked above
            parts, size = [], 0
            while part := answer.read(_PART):
                parts.append(part)
                size += len(part)
                if size > _MAX_PACKAGE:
                    raise YoloEdgeError(f"{printable(url)}: more than {_MAX_PACKAGE >> 20} MB; {remedy}")
                progress(f"fetching {NAME} {VERSION}: {size / 1e6:.0f} MB")
            if answer.length:  # left of what was announced
                raise ConnectionError("the connection broke off")
    except (OSError, ValueError, HTTPException) as error:
        raise YoloEdgeError(f"{printable(url)}: cannot be fetched ({first_line(error)}); {remedy}") from error
    return b"".join(parts)


def _read_cache(place: Path) -> OrtWeb | None:
    """None where something is missing or damaged: it is fetched again."""
    try:
        digests = json.loads((place / _CACHED).read_bytes())
        files = {name: (place / name).read_bytes() for name in (SCRIPT, WASM)}
    except (OSError, ValueError):
        return None
    if any(hashlib.sha512(data).hexdigest() != digests.get(name) for name, data in files.items()):
        return None
    return OrtWeb(VERSION, files[SCRIPT], files[WASM])


def _read(folder: Path) -> OrtWeb:
    places = [place for place in (folder, folder / "dist") if (place / WASM).is_file()]
    if not places or not (places[0] / SCRIPT).is_file():
        raise InputError(
            f"--ort-web {folder}: expected {SCRIPT} and {WASM} in it, or in its folder dist, as the npm package {NAME} "
            "has them"
        )
    place = places[0]
    script, wasm = (read_bytes(place / name, _MAX_FILE) for name in (SCRIPT, WASM))
    if not wasm.startswith(b"\0asm"):
        raise InputError(f"{place / WASM}: not a WebAssembly program")
    return OrtWeb(_version_in(place), script, wasm)


def _version_in(place: Path) -> str:
    for description in (place / "package.json", place.parent / "package.json"):
        try:
            found = json.loads(description.read_bytes()[:_PART])
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(found, dict) and found.get("name") == NAME:
            return printable(str(found.get("version")))[:40]
    return "unknown"
