"""What only HTTP can refuse. Each is an :class:`~asa.errors.AgentError` with a code and a status of its own."""

from __future__ import annotations

from asa.errors import AgentError, NotFound


class UnknownPath(NotFound):
    """No endpoint has that path."""

    code = "unknown-path"


class MethodNotAllowed(AgentError):
    """The endpoint has no such method; ``details["allow"]`` lists those it has."""

    code = "method-not-allowed"
    status = 405


class RequestTimeout(AgentError):
    """The request did not arrive in time."""

    code = "request-timeout"
    status = 408


class LengthRequired(AgentError):
    """The endpoint needs a body, and the request announces none."""

    code = "length-required"
    status = 411


class TooLarge(AgentError):
    """The body is larger than any request needs."""

    code = "too-large"
    status = 413


class TargetTooLong(AgentError):
    """The path and query are longer than any request needs."""

    code = "target-too-long"
    status = 414


class UnsupportedMediaType(AgentError):
    """The body is not declared as JSON."""

    code = "unsupported-media-type"
    status = 415


class HeadTooLarge(AgentError):
    """The headers are larger, or more, than any request needs."""

    code = "head-too-large"
    status = 431


class TooManyRequests(AgentError):
    """So many a second are answered; ``details["retry_after_ms"]`` tells when the next one is."""

    code = "too-many-requests"
    status = 429
