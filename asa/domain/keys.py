"""Private keys: made, written and read. A CA's key is written encrypted: PKCS #8, PBES2 with scrypt and AES-256-CBC.

cryptography writes PBES2 with 2048 rounds of PBKDF2 only, which is too cheap to try; it reads scrypt (RFC 7914).
"""

from __future__ import annotations

import hashlib
import os
from base64 import encodebytes
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from asa.domain.errors import BadFile, WrongPassphrase

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

CURVES: Final[dict[str, type[ec.EllipticCurve]]] = {"p256": ec.SECP256R1, "p384": ec.SECP384R1}

# What openssl(1) reads without being told to take more memory: 128·N·r is 16 MiB.
_COST: Final = 2**14
_BLOCK: Final = 8
_PARALLEL: Final = 5
_MEMORY: Final = 64 * 2**20
_PBES2: Final = bytes.fromhex("06092a864886f70d01050d")
_SCRYPT: Final = bytes.fromhex("06092b06010401da47040b")
_AES_256_CBC: Final = bytes.fromhex("060960864801650304012a")


def generate(algorithm: str = "p256") -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(CURVES[algorithm]())


def public_bytes(key: PublicKey) -> bytes:
    """The SubjectPublicKeyInfo, DER: the same for the same key."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def same(key: PrivateKey | PublicKey, other: PrivateKey | PublicKey) -> bool:
    return _spki(key) == _spki(other)


def _spki(key: PrivateKey | PublicKey) -> bytes:
    return public_bytes(key.public_key() if isinstance(key, PrivateKey) else key)


def supported(key: object, where: object) -> PublicKey:
    """Raises BadFile about ``where``."""
    if isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        return key
    raise _unfit(where)


def plain(key: PrivateKey) -> bytes:
    """PEM, not encrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def encrypted(key: PrivateKey, passphrase: bytes) -> bytes:
    """PEM, for :func:`decrypted` and for openssl(1)."""
    salt, vector = os.urandom(16), os.urandom(16)
    derived = hashlib.scrypt(passphrase, salt=salt, n=_COST, r=_BLOCK, p=_PARALLEL, maxmem=_MEMORY, dklen=32)
    padder = PKCS7(128).padder()
    padded = padder.update(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())) + padder.finalize()
    encryptor = Cipher(algorithms.AES(derived), modes.CBC(vector)).encryptor()
    content = encryptor.update(padded) + encryptor.finalize()
    parameters = _sequence(_octets(salt), *(_integer(each) for each in (_COST, _BLOCK, _PARALLEL, 32)))
    scheme = _sequence(_sequence(_SCRYPT, parameters), _sequence(_AES_256_CBC, _octets(vector)))
    whole = _sequence(_sequence(_PBES2, scheme), _octets(content))
    return b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n" + _lines(whole) + b"-----END ENCRYPTED PRIVATE KEY-----\n"


def decrypted(pem: bytes, passphrase: bytes, where: object) -> PrivateKey:
    """Raises WrongPassphrase, or BadFile about ``where``."""
    try:
        return _fitting(load_pem_private_key(pem, passphrase), where)
    except ValueError:
        raise WrongPassphrase(f"{where}: the passphrase is not the one it was encrypted with") from None
    except (TypeError, UnsupportedAlgorithm):
        raise BadFile(f"{where} is no encrypted private key", hint="put it back from the backup") from None


def read(pem: bytes, where: object) -> PrivateKey:
    """A key that is not encrypted. Raises BadFile."""
    try:
        return _fitting(load_pem_private_key(pem, None), where)
    except TypeError:
        raise BadFile(f"{where}: the key is encrypted, and an agent has nobody to ask for the passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise BadFile(f"{where} is no private key in PEM") from None


def _fitting(key: object, where: object) -> PrivateKey:
    if isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        return key
    raise _unfit(where)


def _unfit(where: object) -> BadFile:
    return BadFile(f"{where}: a key of another kind than RSA and ECDSA (RFC 8994 §6.2.1)")


def _lines(content: bytes) -> bytes:
    flat = encodebytes(content).replace(b"\n", b"")
    return b"".join(flat[start : start + 64] + b"\n" for start in range(0, len(flat), 64))


def _tlv(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size) + content


def _sequence(*items: bytes) -> bytes:
    return _tlv(0x30, b"".join(items))


def _octets(content: bytes) -> bytes:
    return _tlv(0x04, content)


def _integer(value: int) -> bytes:
    return _tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1))
