"""Tegu's names of hosts: ``[token/]project/name[:port[/mask]][{vlan}]``. No I/O.

``name`` is that of a virtual machine, an IPv4 address, an IPv6 address in brackets, or a UUID. ``!project/name`` is one
no token vouches for, ``!//address`` is outside of the cloud, and ``!//any`` is anywhere. A token is dropped when it is
read.

Tegu takes the brackets off an IPv6 address when it reads one and does not put them back when it writes a checkpoint.
Where such a text can be read with a port and without one, it is refused: a wrong guess is a rule for other traffic.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from asa.tegu.report import Code, Refused

MAX_HOST: Final = 4_096
"""Characters of one text, for tokens are long."""

MAX_PROJECT: Final = 64
"""Characters, as in OpenStack; most tokens are longer, so that ``token/name`` is not taken for ``project/name``."""

MAX_PORT: Final = 0xFFFF
MAX_VLAN: Final = 4_094
"""IEEE 802.1Q; 0 is none here, as Tegu has it, and 4095 is reserved."""

ANY: Final = "any"
WILDCARDS: Final = frozenset({"E*", "L*"})
"""Ends of steering: beyond the gateway, and all local ones."""

_WORD: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,127}", re.ASCII)
_VLAN: Final = re.compile(r"\{([0-9]{0,5})\}\Z", re.ASCII)
_PATH: Final = re.compile(r"((?:[^/:\[\]]*/){0,2})([^/].*|)", re.ASCII | re.DOTALL)
_BRACKETS: Final = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\](?::(.*))?", re.ASCII | re.DOTALL)
_NUMBER: Final = re.compile(r"0[xX][0-9A-Fa-f]{1,8}|[0-9]{1,9}", re.ASCII)
_ADDRESS_LIKE: Final = re.compile(r"[0-9.]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of a pledge. ``str()`` is our form: ``10.0.0.1:80/0xfff0{3}``, ``[fd00::1]:443``, ``fd00::1``, ``any``.

    A name is as Tegu had it, which need not be one that a host may have.
    """

    name: str
    """A name, an address in its canonical form, or ``any``."""
    project: str = ""
    """Empty if none is named."""
    port: int | None = None
    """Of TCP or UDP, 1..65535; None: all."""
    mask: int | None = None
    """Of the port's bits that count, 1..0xfffe; None: all of them."""
    vlan: int | None = None
    """1..4094; None: any."""
    vouched: bool = True
    """Not marked with ``!``."""
    external: bool = False
    """Outside of the cloud: no agent is beside it."""

    def __str__(self) -> str:
        text = self.name
        if self.port is not None:
            text = f"[{text}]:{self.port}" if ":" in text else f"{text}:{self.port}"
        if self.mask is not None:
            text += f"/{self.mask:#x}"
        return text if self.vlan is None else f"{text}{{{self.vlan}}}"


def is_project(text: str) -> bool:
    """Whether it may be a project: letters, digits and ``_ . @ + -``, at most MAX_PROJECT."""
    return len(text) <= MAX_PROJECT and _WORD.fullmatch(text) is not None


def without_token(text: str) -> str:
    """``token/project/name`` as ``project/name``; anything else as it is."""
    parts = text.split("/")
    return "/".join(parts[1:]) if len(parts) > 2 else text


def read_endpoint(text: str, *, wildcards: bool = False) -> Endpoint:
    """Raises :class:`Refused`, which quotes nothing. ``wildcards``: ``E*`` and ``L*`` are names."""
    if len(text) > MAX_HOST:
        raise _refused("a host is too long")
    vouched = not text.startswith("!")
    body = text if vouched else text[1:]
    vlan = None
    if found := _VLAN.search(body):
        vlan = read_vlan(found[1])
        body = body[: found.start()]
    split = _PATH.fullmatch(body)
    if split is None or body.startswith("!"):
        raise _refused("a host is not project/name with a token before it at most")
    path = split[1].split("/")[:-1]
    project = path[-1] if path else ""
    if project and not is_project(project):
        raise _refused("a project has a name that is not accepted")
    name, port, mask = _name_and_port(split[2], wildcards)
    if name == ANY and vouched:
        raise _refused("any is a destination as !//any only")
    external = not vouched and not project
    if external and name != ANY and not _is_address(name):
        raise _refused("an external host is not an address")
    return Endpoint(name, project, port, mask, vlan, vouched, external)


def _is_address(name: str) -> bool:
    """Of a name that has been read: only addresses look like this then."""
    return ":" in name or _ADDRESS_LIKE.fullmatch(name) is not None


def _name_and_port(text: str, wildcards: bool) -> tuple[str, int | None, int | None]:
    if text.startswith("["):
        found = _BRACKETS.fullmatch(text)
        address = _v6(found[1]) if found else None
        if found is None or address is None:
            raise _refused("a host in brackets is not an IPv6 address")
        return address, *read_port(found[2] or "")
    if text.count(":") > 1:
        return _bare_v6(text)
    name, _, port = text.partition(":")
    if not name:
        raise _refused("a host has no name")
    if not _WORD.fullmatch(name) and not (wildcards and name in WILDCARDS):
        raise _refused("a host's name has characters that are not accepted")
    if _ADDRESS_LIKE.fullmatch(name):
        try:
            name = str(IPv4Address(name))
        except ValueError:
            raise _refused("a host of digits and dots is not an IPv4 address") from None
    return name, *read_port(port)


def _bare_v6(text: str) -> tuple[str, int | None, int | None]:
    """An IPv6 address without brackets, with a port if that is the only way to read it."""
    whole = _v6(text)
    head, _, tail = text.rpartition(":")
    alone = _v6(head)
    if whole is not None and alone is not None:
        raise _refused("an IPv6 address without brackets can be read with a port and without: put it into brackets")
    if whole is not None:
        return whole, None, None
    if alone is not None:
        return alone, *read_port(tail)
    raise _refused("a host has too many colons for a name and is not an IPv6 address")


def _v6(text: str) -> str | None:
    try:
        # A zone means something on the controller's host alone.
        return None if "%" in text else str(IPv6Address(text))
    except ValueError:
        return None


def read_address(text: str) -> str:
    """An IPv4 or IPv6 address in its canonical form. Raises :class:`Refused`."""
    found = _v6(text)
    if found is None:
        try:
            found = str(IPv4Address(text))
        except ValueError:
            raise _refused("an address is neither IPv4 nor IPv6") from None
    return found


def read_port(text: str) -> tuple[int | None, int | None]:
    """``port[/mask]``, decimal or hexadecimal; nothing and 0 are no port. Raises :class:`Refused`."""
    number, slash, mask = text.partition("/")
    port = _number(number, "a port") if number else 0
    if port > MAX_PORT:
        raise _refused(f"a port is not 0..{MAX_PORT}")
    if not slash:
        return port or None, None
    if not port:
        raise _refused("a mask has no port")
    bits = _number(mask, "a port's mask")
    if not 1 <= bits <= MAX_PORT:
        raise _refused(f"a port's mask is not 1..0x{MAX_PORT:x}")
    if port & ~bits:
        raise _refused("a port has bits its mask does not look at")
    return port, None if bits == MAX_PORT else bits


def read_vlan(text: str) -> int | None:
    """Nothing and 0 are none. Raises :class:`Refused`."""
    vlan = _number(text, "a VLAN") if text else 0
    if vlan > MAX_VLAN:
        raise _refused(f"a VLAN is not 0..{MAX_VLAN}")
    return vlan or None


def _number(text: str, what: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise _refused(f"{what} is not a number")
    return int(text, 16) if text[:2] in ("0x", "0X") else int(text)


def _refused(why: str) -> Refused:
    return Refused(Code.BAD_HOST, why)
