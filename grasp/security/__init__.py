"""Membership of a domain by certificates (RFC 8994 §6.2): who a node is, whom it accepts, and what a member has sealed.

Loading it loads ``cryptography``, so a node on the plain substrate does not. The exceptions of the library stay
inside: what a peer presents raises :class:`NotMember` or :class:`BadSeal`, what the operator put there
:class:`BadIdentity` or :class:`BadCertificate`. Retrieving revocation lists is in :mod:`grasp.security.crl_fetch`.
"""

from __future__ import annotations

from grasp.security.acp_name import (
    ACP_NAME_OID,
    AcpName,
    InvalidAcpName,
    decode_acp_name,
    encode_acp_name,
    is_domain,
    parse_acp_name,
)
from grasp.security.certificates import (
    UNREADABLE,
    BadCertificate,
    acp_names,
    acp_other_name,
    certificate_from_der,
    certificates_from_pem,
    common_name,
    crl_points,
    crl_urls,
    der,
    fingerprint,
    is_node_name,
    key_weakness,
    weakness,
)
from grasp.security.durable import sync_directory, write_durably
from grasp.security.identity import (
    BadIdentity,
    Identity,
    Stamp,
    changed,
    load_crls,
    problems,
    save,
    save_crls,
    stamp,
)
from grasp.security.membership import Finding, Membership, NotMember, node_name
from grasp.security.revocation import BadCrl, RevocationList, Revocations, crl_pem, crls_from_pem
from grasp.security.sealed import BadSeal, seal, unseal

__all__ = [
    "ACP_NAME_OID",
    "UNREADABLE",
    "AcpName",
    "BadCertificate",
    "BadCrl",
    "BadIdentity",
    "BadSeal",
    "Finding",
    "Identity",
    "InvalidAcpName",
    "Membership",
    "NotMember",
    "RevocationList",
    "Revocations",
    "Stamp",
    "acp_names",
    "acp_other_name",
    "certificate_from_der",
    "certificates_from_pem",
    "changed",
    "common_name",
    "crl_pem",
    "crl_points",
    "crl_urls",
    "crls_from_pem",
    "decode_acp_name",
    "der",
    "encode_acp_name",
    "fingerprint",
    "is_domain",
    "is_node_name",
    "key_weakness",
    "load_crls",
    "node_name",
    "parse_acp_name",
    "problems",
    "save",
    "save_crls",
    "seal",
    "stamp",
    "sync_directory",
    "unseal",
    "weakness",
    "write_durably",
]
