"""The shape of an endpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from asa.errors import AsaError
from asa.northbound.bodies import NoQuery
from asa.northbound.roles import Role
from asa.service import Service


@dataclass(frozen=True, slots=True)
class Call:
    """A checked request. ``body`` and ``query`` are of the types its route names."""

    path: tuple[str, ...]
    """What stands in the place of each name in braces."""
    query: Any
    body: Any
    key: str | None
    """The Idempotency-Key."""
    secret: str | None = field(default=None, repr=False)
    """The Asa-Secret."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A result that is not answered with the route's own status, or with a Location."""

    value: object
    status: int | None = None
    location: str | None = None


@dataclass(frozen=True)
class Route:
    """One endpoint: what it takes, what it does, what it answers. The OpenAPI document is made from the same."""

    name: str
    """The operation's, for programs made from the OpenAPI document."""
    method: str
    path: str
    """With names in braces, each a whole segment."""
    about: str
    handle: Callable[[Service, Call], object]
    """Returns the result, or a :class:`Reply` with it; raises AsaError."""
    result: Any
    role: Role = field(kw_only=True)
    """The least that may."""
    status: int = 200
    query: type[msgspec.Struct] = NoQuery
    body: Any = None
    """The type of the body; None: there may be none."""
    body_optional: bool = False
    key: bool = False
    """Whether it takes an Idempotency-Key."""
    secret: bool = False
    """Whether it takes an Asa-Secret."""
    secret_needed: bool = False
    """Whether it is refused without."""
    errors: tuple[type[AsaError], ...] = ()
    """What the service raises, beside what every endpoint may answer."""
    also: tuple[int, ...] = ()
    """Other statuses with the same result."""
    long: bool = False
    """Whether it may wait for peers, unless the request has no patience. Such calls are bounded, so that there always
    is a thread for the rest."""
    stream: bool = False
    """Whether it is an event stream."""
    media: str = "application/json"
    """What it is answered as; the result of any other is text."""
    decoder: msgspec.json.Decoder[Any] | None = field(init=False)
    fields: tuple[str, ...] = field(init=False)
    names: tuple[str, ...] = field(init=False)
    """Those in braces."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "decoder", None if self.body is None else msgspec.json.Decoder(self.body))
        object.__setattr__(self, "fields", getattr(self.body, "__struct_fields__", ()))
        names = tuple(segment[1:-1] for segment in self.path.split("/") if segment.startswith("{"))
        object.__setattr__(self, "names", names)
