"""What a value of the mandate may be: readers from what TOML has to what the agent works with. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Final

from asa.dataplane.plan import INTERFACE
from asa.errors import BadRequest
from asa.flows import Endpoint, InvalidFlow
from asa.quantities import parse_rate
from objectives.fields import MAX_NAME, MAX_RATE, InvalidValue, check_name

SOCKET_PATH: Final = 107
"""Bytes of a Unix socket's path (unix(7))."""

MAX_LISTED: Final = 64
"""Entries of :func:`a_list`."""

_OWN_DEVICE: Final = "asa[-+]"
"""How the names begin of devices that back ends make: they come and go, and what is ours on them is swept."""

_PREFIX: Final = 'a prefix such as "10.2.0.0/16" or "fd00:2::/32"; "0.0.0.0/0" and "::/0" are everything'

Read = Callable[[Any], Any]
"""Raises :class:`Wrong`."""


class Wrong(Exception):
    """A value that is refused: what it is, and what is allowed."""

    def __init__(self, wrong: str, allowed: str) -> None:
        super().__init__(wrong)
        self.wrong = wrong
        self.allowed = allowed


def shown(value: object) -> str:
    if isinstance(value, str):
        return ascii(value) if len(value) <= 40 else ascii(value[:40]) + "…"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) and len(str(value)) <= 40 else f"a {type(value).__name__}"


def an_integer(low: int, high: int) -> Read:
    def read(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise Wrong(f"is {shown(value)}", f"an integer {low}..{high}")
        return value

    return read


def a_rate(least: int) -> Read:
    allowed = f'{least}..{MAX_RATE} bit/s, as an integer or as text such as "2.5Gbit"'

    def read(value: Any) -> int:
        try:
            rate = parse_rate(value, least=least) if isinstance(value, str) else value
        except BadRequest as error:
            raise Wrong(f"is {shown(value)}: {error.hint}", allowed) from None
        if type(rate) is not int or not least <= rate <= MAX_RATE:
            raise Wrong(f"is {shown(value)}", allowed)
        return rate

    return read


def a_choice(*choices: str) -> Read:
    allowed = " or ".join(f'"{each}"' for each in choices)

    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise Wrong(f"is {shown(value)}", allowed)
        return value

    return read


def an_optional(read: Read) -> Read:
    return lambda value: None if value is None else read(value)


def as_read(read: Read) -> Read:
    """Takes only what ``read`` gives: for values that are made, not read."""

    def check(value: Any) -> Any:
        if read(value) != value:
            raise Wrong(f"is {shown(value)}", "what it is read as from a file")
        return value

    return check


def a_list(read: Read, what: str) -> Read:
    """At most :data:`MAX_LISTED` of what ``read`` takes, each once; the first that is wrong is told."""

    def read_all(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise Wrong(f"is {shown(value)}", f"a list of {what}")
        if len(value) > MAX_LISTED:
            raise Wrong(f"has {len(value)} {what}", f"at most {MAX_LISTED}")
        found: dict[Any, int] = {}
        for index, each in enumerate(value):
            try:
                first = found.setdefault(read(each), index)
            except Wrong as error:
                raise Wrong(f"[{index}] {error.wrong}", error.allowed) from None
            if first != index:
                raise Wrong(f"[{index}] is {shown(each)}, as [{first}] is", "each once")
        return tuple(found)

    return read_all


def a_boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise Wrong(f"is {shown(value)}", "true or false")
    return value


def a_name(value: Any) -> str:
    try:
        return check_name(value, "")
    except InvalidValue:
        raise Wrong(f"is {shown(value)}", f"1..{MAX_NAME} letters, digits, - _ or .") from None


def a_pattern(value: Any) -> str:
    """Of names, as :func:`fnmatch.fnmatchcase` takes it."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9._*?\[\]!-]{1,127}", value, re.ASCII):
        raise Wrong(f"is {shown(value)}", "a name, or a pattern of names with *, ? or [...], at most 127 characters")
    return value


def a_path(value: Any) -> Path:
    if not isinstance(value, str | Path) or not Path(value).is_absolute() or "\0" in str(value):
        raise Wrong(f"is {shown(str(value) if isinstance(value, Path) else value)}", "an absolute path")
    return Path(value)


def a_socket_path(value: Any) -> Path:
    path = a_path(value)
    if len(bytes(path)) > SOCKET_PATH:
        raise Wrong(f"is {len(bytes(path))} bytes long", f"at most {SOCKET_PATH} bytes: the kernel takes no longer one")
    return path


def a_mode(value: Any) -> int:
    """TOML has it as text: 660 without quotes would be another number than 0o660."""
    if isinstance(value, str) and re.fullmatch("0?[0-7]{3}", value, re.ASCII):
        mode = int(value, 8)
        if mode & 0o600 == 0o600 and not mode & 0o111:
            return mode
    raise Wrong(
        f"is {shown(value)}", 'octal digits between quotes, such as "0660": read and write only, owner included'
    )


def a_mode_made(value: Any) -> int:
    return a_mode(f"{value:04o}" if type(value) is int and value >= 0 else None)


def a_group(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}\$?", value, re.ASCII):
        raise Wrong(f"is {shown(value)}", "the name of a group")
    return value


def _names_interface(value: object) -> bool:
    # What the kernel takes for a name: dev_valid_name() in net/core/dev.c.
    return isinstance(value, str) and bool(re.fullmatch(r"[^\s/:\0]{1,15}", value)) and value not in (".", "..")


def an_interface_name(value: Any) -> str:
    if not _names_interface(value):
        raise Wrong(f"is {shown(value)}", "the name of an interface, 1..15 characters")
    return str(value)


def unfit(interface: str) -> Wrong | None:
    """Why no back end can have an interface of that name; None if one can."""
    if not re.fullmatch(INTERFACE, interface):
        return Wrong(f"is {shown(interface)}", "letters, digits, _ . @ + or -, and no - at the start")
    if re.match(_OWN_DEVICE, interface):
        return Wrong(f"is {interface}, as a device the agent makes", "no name that begins with asa- or asa+")
    return None


def interface_names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise Wrong(f"is {'empty' if value in ([], ()) else shown(value)}", "a list of names; leave it out for all")
    for each in value:
        if not _names_interface(each):
            raise Wrong(f"has {shown(each)}", "names of interfaces, 1..15 characters")
    if len(set(value)) < len(value):
        raise Wrong("has a name twice", "each interface once")
    return tuple(value)


def a_prefix(value: Any) -> IPv4Network | IPv6Network:
    """An address is the prefix of its full length; no bits behind the length are set."""
    text = str(value) if isinstance(value, IPv4Network | IPv6Network) else value
    try:
        network = ip_network(text if isinstance(text, str) else "", strict=False)
        Endpoint(network)
    except InvalidFlow as error:
        raise Wrong(f"is {shown(text)}: {error.message}", error.hint) from None
    except ValueError:
        raise Wrong(f"is {shown(value)}", _PREFIX) from None
    address, slash, length = text.partition("/")
    if ip_address(address) != network.network_address:
        raise Wrong(f"is {shown(text)}: host bits are set; did you mean {network}?", _PREFIX)
    if slash and length != str(network.prefixlen):
        raise Wrong(f"is {shown(text)}: the length is no plain number; did you mean {network}?", _PREFIX)
    return network


def a_routed_address(value: Any) -> IPv4Address | IPv6Address:
    try:
        address = ip_address(value if isinstance(value, str) else str(value))
        if not (address.is_link_local or address.is_loopback or address.is_multicast or address.is_unspecified):
            return address
    except ValueError:
        pass
    raise Wrong(
        f"is {shown(str(value))}", "an IPv6 or IPv4 address other hosts can reach: not link-local, not loopback"
    )


def an_objective_prefix(value: Any) -> str:
    """RFC 8990 §2.10.1 (names), §6: EX0 to EX9 are for experiments; else a name the operator owns."""
    label = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    pattern = rf"EX[0-9]\.|{label}(?:\.{label})+:[A-Za-z0-9_.-]*\."
    if isinstance(value, str) and len(value) <= 100 and re.fullmatch(pattern, value, re.ASCII):
        return value
    raise Wrong(f"is {shown(value)}", '"EX0." to "EX9.", or a domain you own as in "example.com:bandwidth."')


def an_endpoint(value: Any) -> tuple[str, int]:
    host, port = value if isinstance(value, tuple) and len(value) == 2 else _host_and_port(value)
    try:
        if not ip_address(host).is_multicast and type(port) is int and 1 <= port <= 65_535:
            return host, port
    except ValueError:
        pass
    raise Wrong(f"is {shown(value)}", '"ADDRESS:PORT" or "[ADDRESS]:PORT"; 0.0.0.0 and [::] are all of this host')


def _host_and_port(value: Any) -> tuple[str, int]:
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):([0-9]{1,5})", value) if isinstance(value, str) else None
    return (found[1] or found[2], int(found[3])) if found else ("", 0)
