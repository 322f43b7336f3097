"""Certificates for tests of TLS: an authority, and what it signs."""

import dataclasses
import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = datetime.timedelta(days=1)


@dataclasses.dataclass(frozen=True)
class Signed:
    """Paths of a certificate and its key, PEM."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority in a directory; ``certificate`` is the path of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("authority of the tests")
        own = _builder(self._name, self._name, self._key).add_extension(x509.BasicConstraints(True, 0), True)
        self.certificate = directory / "authority.pem"
        self.certificate.write_bytes(_pem(own.sign(self._key, hashes.SHA256())))

    def sign(self, name: str) -> Signed:
        """A certificate for ``name`` on this machine, which may be a server's or a client's."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName(name), x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = _builder(_name(name), self._name, key).add_extension(x509.SubjectAlternativeName(names), False)
        signed = Signed(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        signed.certificate.write_bytes(_pem(builder.sign(self._key, hashes.SHA256())))
        signed.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return signed


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
