"""A certificate that this machine makes for itself: browsers give threads to pages of HTTPS only, or of localhost."""

import datetime as dt
import ipaddress
import socket
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from yolo_edge.ondevice.files import not_written, write_atomically

_DAYS = 397  # iOS takes none of more than 825 days, nor Chrome of more than 398
_LEFT = 7  # days: one that ends sooner is made anew
_NAME = "certificate.pem"


def own_certificate(folder: Path, hosts: Sequence[str]) -> tuple[Path, str]:
    """A certificate for names and addresses of this machine: the one in the folder, or a new one.

    It is kept so that a phone is asked once; its key never leaves the folder, which is for its owner alone.

    Args:
        folder: Where it is kept; made if missing.
        hosts: That it has to be for, beside localhost and the machine's own name.

    Returns:
        A PEM file with the key and the certificate, and the certificate's SHA-256 as browsers show it.

    Raises:
        InputError: It cannot be written.
    """
    path = folder / _NAME
    names = sorted({*hosts, "localhost", "127.0.0.1", "::1", socket.gethostname()})
    found = _read(path, names)
    if found is None:
        found, pem = _make(names)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
            write_atomically(path, pem)
            path.chmod(0o600)
        except OSError as error:
            raise not_written(path, error) from error
    return path, found.fingerprint(hashes.SHA256()).hex(":").upper()


def _read(path: Path, names: Sequence[str]) -> x509.Certificate | None:
    """The certificate in a file; None where it is none, is for others, or ends soon."""
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
        covered = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return None
    left = found.not_valid_after_utc - dt.datetime.now(dt.timezone.utc)
    if left < dt.timedelta(days=_LEFT) or not {_general_name(name) for name in names} <= set(covered):
        return None
    return found


def _make(names: Sequence[str]) -> tuple[x509.Certificate, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"yolo-edge on {socket.gethostname()}"[:64])])
    now = dt.datetime.now(dt.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))  # clocks differ
        .not_valid_after(now + dt.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate, private + certificate.public_bytes(serialization.Encoding.PEM)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
