"""Requests for certificates (PKCS #10, RFC 2986): what a node asks a CA for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from asa.domain.errors import BadFile, BadIdentity
from asa.domain.issuing import common_name, digest_for
from asa.domain.keys import PrivateKey, PublicKey
from grasp.security import ACP_NAME_OID, UNREADABLE, AcpName, acp_other_name, decode_acp_name, key_weakness

MAX_REQUEST: Final = 16 * 1024
"""Bytes."""
_PEM: Final = b"-----BEGIN"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a request would like; the operator's word counts."""

    name: str
    acp_name: str
    key: PublicKey


def request(key: PrivateKey, name: str, acp_name: AcpName | None = None) -> bytes:
    """PEM. Without ``acp_name`` the CA has to know which one it is."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(common_name(name))
    if acp_name is not None:
        names = x509.SubjectAlternativeName([acp_other_name(acp_name)])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(key, digest_for(key)).public_bytes(Encoding.PEM)


def wishes(content: bytes, where: object) -> Wishes:
    """Raises BadFile, or BadIdentity: who asks has not the key, or it is too weak."""
    if len(content) > MAX_REQUEST:
        raise BadFile(f"{where} is longer than {MAX_REQUEST} bytes")
    try:
        read = x509.load_pem_x509_csr if _PEM in content else x509.load_der_x509_csr
        found = read(content)
        key = found.public_key()
        signed = found.is_signature_valid
    except UNREADABLE:
        raise BadFile(f"{where} is no request for a certificate", hint="asa domain request makes one") from None
    if not signed:
        raise BadIdentity(f"{where}: the request is not signed by the key it is for")
    if (why := key_weakness(key)) is not None or not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise BadIdentity(f"{where}: {why}", hint="RSA from 2048 bits on, P-256, P-384 or P-521 (RFC 8994 §6.2.1)")
    return Wishes(_common_name(found), _acp_name(found), key)


def _common_name(found: x509.CertificateSigningRequest) -> str:
    try:
        names = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except UNREADABLE:
        return ""
    return str(names[0].value) if len(names) == 1 else ""


def _acp_name(found: x509.CertificateSigningRequest) -> str:
    """Not judged: it is only shown."""
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        texts = [decode_acp_name(each.value) for each in names.get_values_for_type(x509.OtherName) if _is_acp(each)]
    except (x509.ExtensionNotFound, *UNREADABLE):
        return ""
    return texts[0] if len(texts) == 1 else ""


def _is_acp(name: x509.OtherName) -> bool:
    return name.type_id.dotted_string == ACP_NAME_OID
