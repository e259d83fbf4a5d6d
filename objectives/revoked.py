"""``EX1.Revoked``: the newest lists of revoked certificates, so that all agents cut off whom the CA does. No I/O.

A list (CRL, RFC 5280 §5) is signed by its CA: who passes it on need not be trusted, and need not be its issuer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from objectives.fields import Fields, InvalidValue, shown

NAME: Final = "Revoked"
MAX_CRL: Final = 12_288
"""Bytes of one list, and of those in one flood."""
MAX_CRLS: Final = 8
MAX_BYTES: Final = 49_152
"""Of all lists in one answer."""
MAX_SIZE: Final = 65_536
"""Bytes of a unicast message."""


@dataclass(frozen=True, slots=True)
class Revoked:
    """Lists in DER, the most important first. Raises :class:`InvalidValue`."""

    crls: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if len(self.crls) > MAX_CRLS:
            raise InvalidValue(f"revoked.crls must be at most {MAX_CRLS}, not {len(self.crls)}")
        for each in self.crls:
            _check_crl(each, "revoked.crls")
        if sum(map(len, self.crls)) > MAX_BYTES:
            raise InvalidValue(f"revoked.crls must be at most {MAX_BYTES} bytes in all")

    @classmethod
    def fitting(cls, crls: Iterable[bytes]) -> Revoked:
        """As many as one answer holds; a list too long for one is left out."""
        found: list[bytes] = []
        for each in crls:
            if 0 < len(each) <= MAX_CRL and len(found) < MAX_CRLS and sum(map(len, found)) + len(each) <= MAX_BYTES:
                found.append(each)
        return cls(tuple(found))

    def parts(self) -> list[Revoked]:
        """The same in so many that each fits into one flood."""
        parts: list[list[bytes]] = []
        left = 0
        for each in self.crls:
            if len(each) > left:
                parts.append([])
                left = MAX_CRL
            parts[-1].append(each)
            left -= len(each)
        return [Revoked(tuple(each)) for each in parts]

    def to_value(self) -> dict[str, Any]:
        return {"crls": list(self.crls)}


def revoked_from_value(value: object) -> Revoked:
    """Raises :class:`InvalidValue`."""
    return Revoked(Fields(value, "revoked").items("crls", MAX_CRLS, _check_crl))


def _check_crl(value: object, where: str) -> bytes:
    if type(value) is not bytes or not 1 <= len(value) <= MAX_CRL:
        raise InvalidValue(f"{where} must hold lists of 1..{MAX_CRL} bytes, not {shown(value)}")
    return value
