"""Objective options (RFC 8990 §2.10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from grasp.cbor import RawCBOR, Tag, unwrap, wrap
from grasp.constants import F_ALL, F_DISC, F_NEG, F_NEG_DRY, F_SYNCH, GRASP_DEF_LOOPCT
from grasp.errors import ErrorCode, LocalError, WireError


class _NoValue:
    """The value of an objective that has none; null is a value."""

    __slots__ = ()
    _only: _NoValue | None = None

    def __new__(cls) -> _NoValue:
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __repr__(self) -> str:
        return "NO_VALUE"

    def __bool__(self) -> bool:
        return False

    def __deepcopy__(self, _memo: Any) -> _NoValue:
        return self

    def __reduce__(self) -> str:
        return "NO_VALUE"


NO_VALUE: Final = _NoValue()


@dataclass(frozen=True, slots=True)
class Objective:
    """A technical objective as a value: name, flags (``F_*`` bits), loop count 0..255, maybe a value.

    The value is anything CBOR has a form for: None, bool, int, float, str, bytes, list, dict arrive as
    sent, a :class:`~grasp.cbor.RawCBOR` as such; anything else arrives as a :class:`~grasp.cbor.Tag`,
    never interpreted.

    Raises :class:`LocalError`: ``notBoth``, ``notDry`` or ``badArgument``.
    """

    name: str
    flags: int = F_DISC
    loop_count: int = GRASP_DEF_LOOPCT
    value: Any = NO_VALUE

    def __post_init__(self) -> None:
        if type(self.name) is not str:
            raise LocalError(ErrorCode.badArgument, "an objective's name must be text")
        if not self.name.isascii():
            try:
                self.name.encode()
            except UnicodeEncodeError:
                raise LocalError(ErrorCode.badArgument, f"a name must be UTF-8 text, not {self.name!r:.80}") from None
        if type(self.flags) is not int or self.flags & ~F_ALL:
            raise LocalError(ErrorCode.badArgument, f"objective flags must be 0..15, not {self.flags!r:.40}")
        if type(self.loop_count) is not int or not 0 <= self.loop_count <= 255:
            raise LocalError(ErrorCode.badArgument, f"loop count must be 0..255, not {self.loop_count!r:.40}")

    @classmethod
    def negotiation(
        cls, name: str, value: Any = None, *, dry_run: bool = False, loop_count: int = GRASP_DEF_LOOPCT
    ) -> Objective:
        """A negotiation objective (F_DISC, F_NEG and, for a dry run, F_NEG_DRY)."""
        return cls(name, F_DISC | F_NEG | (F_NEG_DRY if dry_run else 0), loop_count, value)

    @classmethod
    def synchronization(cls, name: str, value: Any = None, *, loop_count: int = GRASP_DEF_LOOPCT) -> Objective:
        """A synchronization or flooding objective (F_DISC, F_SYNCH)."""
        return cls(name, F_DISC | F_SYNCH, loop_count, value)

    @property
    def negotiable(self) -> bool:
        return bool(self.flags & F_NEG)

    @property
    def synchronizable(self) -> bool:
        return bool(self.flags & F_SYNCH)

    @property
    def dry_run(self) -> bool:
        return bool(self.flags & F_NEG_DRY)

    @property
    def has_value(self) -> bool:
        return self.value is not NO_VALUE

    def with_value(self, value: Any) -> Objective:
        """The same objective with another value."""
        return Objective(self.name, self.flags, self.loop_count, value)

    def with_loop_count(self, loop_count: int) -> Objective:
        """The same objective with another loop count."""
        return Objective(self.name, self.flags, loop_count, self.value)

    def to_item(self) -> list[Any]:
        if self.value is NO_VALUE:
            return [self.name, self.flags, self.loop_count]
        value = wrap(self.value) if type(self.value) is RawCBOR else self.value
        return [self.name, self.flags, self.loop_count, value]


def objective_from_item(item: Any) -> Objective:
    """A decoded objective. Raises :class:`WireError`."""
    if type(item) is not list:
        raise WireError("objective is not an array")
    try:
        if len(item) == 4:
            value = item[3]
            return Objective(item[0], item[1], item[2], unwrap(value) if type(value) is Tag else value)
        if len(item) == 3:
            return Objective(item[0], item[1], item[2])
    except LocalError as error:
        raise WireError(error.detail) from None
    raise WireError(f"objective of {len(item)} items")
