"""What is served and what it rests on: the files of onnxruntime-web, the certificate, the outputs that are compared."""

import base64
import gzip
import hashlib
import io
import json
import ssl
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_edge.devices.device import DeviceError
from yolo_edge.devices.web import package
from yolo_edge.devices.web.certificate import own_certificate
from yolo_edge.devices.web.package import SCRIPT, WASM, find_ort_web
from yolo_edge.devices.web.reference import Reference, read_outputs
from yolo_edge.ondevice.detector import Detector
from yolo_edge.ondevice.errors import InputError, YoloEdgeError

FILES = {SCRIPT: b"export {};", WASM: b"\0asm\1\0\0\0"}


def archive(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return target.getvalue()


NO_HTTP = b"SSH-2.0-OpenSSH_9.2p1\r\n"


def integrity(data: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A registry with one package; `asked` are the paths that were asked for."""
    state: dict[str, Any] = {"data": archive(FILES), "asked": [], "cut": False}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state["asked"].append(self.path)
            if state["data"] == NO_HTTP:
                self.wfile.write(NO_HTTP)
                return
            self.send_response(200 if state["data"] else 404)
            if state["cut"]:
                self.send_header("Content-Length", str(len(state["data"]) + 1))
            self.end_headers()
            self.wfile.write(state["data"])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"http://127.0.0.1:{server.server_address[1]}/npm/")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setattr(package, "INTEGRITY", integrity(state["data"]))
        yield state
        server.shutdown()


def test_fetched_once_and_kept(registry: dict[str, Any], tmp_path: Path) -> None:
    for _ in range(2):
        found = find_ort_web()
        assert (found.version, found.script, found.wasm) == (package.VERSION, FILES[SCRIPT], FILES[WASM])
    assert registry["asked"] == [f"/npm/onnxruntime-web/-/onnxruntime-web-{package.VERSION}.tgz"]
    kept = tmp_path / f"cache/yolo-edge/onnxruntime-web-{package.VERSION}"
    (kept / WASM).write_bytes(b"\0asm damaged")
    assert find_ort_web().wasm == FILES[WASM]
    (kept / SCRIPT).unlink()
    assert find_ort_web().script == FILES[SCRIPT]
    assert len(registry["asked"]) == 3


def test_another_package_is_not_used(registry: dict[str, Any], tmp_path: Path) -> None:
    registry["data"] = archive({**FILES, SCRIPT: b"evil()"})
    with pytest.raises(YoloEdgeError, match=r"gives another .*nothing of it was used; --ort-web DIR"):
        find_ort_web()
    assert not (tmp_path / "cache").exists()


def test_a_registry_that_is_not_reached(registry: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    registry["data"] = b""
    with pytest.raises(YoloEdgeError, match=r"cannot be fetched \(HTTP Error 404.*npm pack onnxruntime-web@"):
        find_ort_web()
    registry["data"] = NO_HTTP
    with pytest.raises(YoloEdgeError, match=r"cannot be fetched \(SSH-2.0.*npm pack onnxruntime-web@"):
        find_ort_web()
    registry.update(data=archive(FILES), cut=True)
    with pytest.raises(YoloEdgeError, match=r"cannot be fetched \(the connection broke off\); with a network"):
        find_ort_web()
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:1")
    with pytest.raises(YoloEdgeError, match=r"cannot be fetched .*--ort-web DIR"):
        find_ort_web()
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "file:///etc/passwd?")
    with pytest.raises(InputError, match="expected an address that begins with https://"):
        find_ort_web()


def test_more_than_a_package_has(registry: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "_MAX_PACKAGE", 1 << 20)
    registry["data"] = b"x" * (3 << 20)
    with pytest.raises(YoloEdgeError, match="more than 1 MB"):
        find_ort_web()


def test_a_folder_of_the_user(tmp_path: Path) -> None:
    folder = tmp_path / "onnxruntime-web"
    with pytest.raises(InputError, match=f"expected {SCRIPT} and {WASM} in it"):
        find_ort_web(folder)
    (folder / "dist").mkdir(parents=True)
    for name, data in FILES.items():
        (folder / "dist" / name).write_bytes(data)
    assert find_ort_web(folder).version == "unknown"
    (folder / "package.json").write_text(json.dumps({"name": "onnxruntime-web", "version": "1.2.3\n"}))
    for place in (folder, folder / "dist"):
        assert find_ort_web(place).version == "1.2.3?"
    (folder / "dist" / WASM).write_bytes(b"<html>")
    with pytest.raises(InputError, match="not a WebAssembly program"):
        find_ort_web(folder)


def test_what_is_pinned_is_as_long_as_a_sha512() -> None:
    assert len(base64.b64decode(package.INTEGRITY.removeprefix("sha512-"))) == 64
    with pytest.raises(YoloEdgeError, match="gives another"):
        package.unpack(gzip.compress(b""))


def test_a_certificate_is_made_once_and_is_for_what_is_asked(tmp_path: Path) -> None:
    folder = tmp_path / "certificate"
    path, fingerprint = own_certificate(folder, ["192.0.2.7"])
    assert own_certificate(folder, ["192.0.2.7"]) == (path, fingerprint)
    assert own_certificate(folder, []) == (path, fingerprint)
    assert (folder.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)
    pem = path.read_text()
    der = ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN CERTIFICATE") :])
    assert hashlib.sha256(der).hexdigest().upper() == fingerprint.replace(":", "")
    names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"127.0.0.1", "::1", "192.0.2.7"} <= {str(name) for name in names.get_values_for_type(x509.IPAddress)}
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    other, changed = own_certificate(folder, ["board.local"])
    assert (other, changed != fingerprint) == (path, True)
    path.write_text("damaged")
    assert own_certificate(folder, [])[1] not in (fingerprint, changed)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)  # the key goes with it


def test_a_folder_that_cannot_hold_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        own_certificate(tmp_path / "file" / "below", [])


# ---- outputs


def described(outputs: dict[str, np.ndarray]) -> tuple[list[dict[str, Any]], bytes]:
    items = [{"name": name, "type": a.dtype.name, "dims": list(a.shape)} for name, a in outputs.items()]
    return items, b"".join(array.tobytes() for array in outputs.values())


def test_outputs_come_as_they_were() -> None:
    given = {"a": np.arange(6, dtype=np.float32).reshape(1, 2, 3), "b": np.array([-3, 4], np.int8), "c": np.float32(2)}
    arrays = {name: np.asarray(array) for name, array in given.items()}
    found = read_outputs(*described(arrays))
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].shape == array.shape


@pytest.mark.parametrize(
    ("items", "payload"),
    [
        (None, b""),
        ([{"name": "a", "type": "float32", "dims": [2]}], b"1234"),
        ([{"name": "a", "type": "float32", "dims": [1]}], b"12345678"),
        ([{"name": "a", "type": "object", "dims": [1]}], b"12345678"),
        ([{"name": "a", "type": "float32", "dims": [-1]}], b""),
        ([{"name": "a", "type": "float32", "dims": [True]}], b"1234"),
        ([{"name": "a", "type": "float32", "dims": [1 << 30] * 8}], b"1234"),
        ([{"name": "a", "type": "float32", "dims": [1] * 9}], b"1234"),
        ([{"name": 1, "type": "float32", "dims": [1]}], b"1234"),
        ([{"name": "a", "type": "float32", "dims": "1"}], b"1234"),
    ],
)
def test_outputs_that_are_none(items: Any, payload: bytes) -> None:
    with pytest.raises((ValueError, TypeError)):
        read_outputs(items, payload)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "name": st.text(max_size=3) | st.integers(),
                "type": st.sampled_from(["float32", "int8", "int64", "object", "O", ">f4"]) | st.integers(),
                "dims": st.lists(st.integers(-1, 1 << 40), max_size=9) | st.none(),
            }
        ),
        max_size=3,
    ),
    st.binary(max_size=40),
)
@settings(max_examples=300)
def test_outputs_of_strangers(items: list[dict[str, Any]], payload: bytes) -> None:
    try:
        found = read_outputs(items, payload)
    except (ValueError, TypeError):
        return
    assert sum(array.nbytes for array in found.values()) <= len(payload)


def test_the_same_outputs_agree(onnx_file: Path) -> None:
    reference = Reference(onnx_file, Detector(onnx_file).spec.to_json(), None)
    compared = reference.compare(reference.outputs)
    assert (compared.agreement, compared.snr_db) == (1.0, 200.0)
    shaken = {name: (array * 1.001).astype(np.float32) for name, array in reference.outputs.items()}
    assert reference.compare(shaken).snr_db == pytest.approx(60, abs=0.1)
    broken = {name: np.full_like(array, np.nan) for name, array in reference.outputs.items()}
    assert not reference.compare(broken).snr_db >= 20  # type: ignore[operator]
    name, array = next(iter(reference.outputs.items()))
    for wrong in ({}, {**reference.outputs, name: array.astype(np.float64)}, {**reference.outputs, name: array[:, :1]}):
        with pytest.raises(DeviceError, match="the page gives"):
            reference.compare(wrong)
