"""The name of a node of a domain in its certificate, AcpNodeName (RFC 8994 §6.2.2). No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

ACP_NAME_OID: Final = "1.3.6.1.5.5.7.8.10"
"""id-on-AcpNodeName, the type of the otherName (§6.2.2.1)."""

_LONGEST_DOMAIN: Final = 253
_LABEL: Final = "[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# A label begins with a letter: RFC 1034 §3.5, which the ABNF names, not RFC 1123.
_DOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_ADDRESS: Final = re.compile("[0-9A-Fa-f]{32}|0", re.ASCII)
_EXTENSION: Final = re.compile("[A-Za-z0-9!#$%&'*/=?^_`{|}~-]+", re.ASCII)
_IA5_STRING: Final = 0x16
_SHOWN: Final = 64


class InvalidAcpName(ValueError):
    """No acp-node-name by the ABNF of §6.2.2. The text says what is wrong, with a bounded piece of it."""


@dataclass(frozen=True, slots=True)
class AcpName:
    """An acp-node-name; domain and rsub are in lower case. Raises :class:`InvalidAcpName`."""

    domain: str
    address: IPv6Address | None
    """None: omitted, so no neighbour link (rule 5 of §6.2.3). ``::``: "0", learnt in another way."""
    rsub: str = ""
    extensions: tuple[str, ...] = ()
    """Ignored, as the standard defines none yet."""

    def __post_init__(self) -> None:
        if not is_domain(self.domain):
            raise InvalidAcpName(f"{_shown(self.domain)} is no domain name (RFC 1034 §3.5)")
        if self.rsub and not is_domain(self.rsub):
            raise InvalidAcpName(f"{_shown(self.rsub)} is no routing subdomain (RFC 1034 §3.5)")
        for each in self.extensions:
            if not _EXTENSION.fullmatch(each):
                raise InvalidAcpName(f"{_shown(each)} is no extension: one or more of etext")
        object.__setattr__(self, "domain", self.domain.lower())
        object.__setattr__(self, "rsub", self.rsub.lower())

    def __str__(self) -> str:
        """The canonical text: hexadecimal digits and domains in lower case."""
        local = ""
        if self.address is not None:
            local = self.address.packed.hex() if int(self.address) else "0"
        if self.rsub or self.extensions:
            local = "+".join((local, self.rsub, *self.extensions))
        return f"{local}@{self.domain}"


def is_domain(text: str) -> bool:
    """Whether it is a <subdomain> of RFC 1034 §3.5, of at most 253 characters."""
    return len(text) <= _LONGEST_DOMAIN and _DOMAIN.fullmatch(text) is not None


def parse_acp_name(text: str) -> AcpName:
    """Read an acp-node-name. Raises :class:`InvalidAcpName`."""
    local, at, domain = text.partition("@")
    if not at:
        raise InvalidAcpName(f"{_shown(text)} has no @")
    # Of the parts between "+": address, rsub, extensions; of rsub only "+" may be there.
    address, *rest = local.split("+")
    if address and not _ADDRESS.fullmatch(address):
        raise InvalidAcpName(f"{_shown(address)} is no acp-address: 32 hexadecimal digits, or 0, or nothing")
    return AcpName(
        domain=domain,
        address=IPv6Address(int(address, 16)) if address else None,
        rsub=rest[0] if rest else "",
        extensions=tuple(rest[1:]),
    )


def encode_acp_name(name: AcpName | str) -> bytes:
    """The value of the otherName: DER of an IA5String. Raises :class:`InvalidAcpName`."""
    content = str(parse_acp_name(name) if isinstance(name, str) else name).encode("ascii")
    size = len(content)
    if size < 0x80:
        return bytes((_IA5_STRING, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((_IA5_STRING, 0x80 | len(octets))) + octets + content


def decode_acp_name(value: bytes) -> str:
    """The text in the value of the otherName, whatever it says. Raises :class:`InvalidAcpName`."""
    if len(value) < 2 or value[0] != _IA5_STRING:
        raise InvalidAcpName("the value of the AcpNodeName is no IA5String")
    size, start = value[1], 2
    if size >= 0x80:
        start = 2 + (size & 0x7F)
        octets = value[2:start]
        size = int.from_bytes(octets, "big")
        # DER: the shortest form, and none of indefinite length.
        if not octets or octets[0] == 0 or size < 0x80:
            raise InvalidAcpName("the AcpNodeName is no DER")
    if size != len(value) - start:
        raise InvalidAcpName("the AcpNodeName is longer or shorter than it says")
    content = value[start:]
    if not content:
        raise InvalidAcpName("the AcpNodeName is empty")
    try:
        return content.decode("ascii")
    except UnicodeDecodeError:
        raise InvalidAcpName("the AcpNodeName is not ASCII") from None


def _shown(text: str) -> str:
    return ascii(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
