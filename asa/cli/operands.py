"""What the command line may say in place of each operand; argparse tells what is wrong with it, and what to write."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable
from typing import Final, TypeVar

from asa.errors import BadRequest
from asa.quantities import parse_duration, parse_milliseconds, parse_rate, parse_time

T = TypeVar("T")

NEVER: Final = "never"
"""An end that never comes, as the API has it."""


def _quantity(parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except BadRequest as error:
        raise argparse.ArgumentTypeError(f"{error.message}; {error.hint}") from None


def _now() -> int:
    return int(time.time())


def rate(text: str) -> int:
    return _quantity(parse_rate, text)


def cap(text: str) -> tuple[int, bool]:
    """An amount, and whether it is in percent; 0 is a cap too."""
    found = re.fullmatch("([0-9]{1,3})%", text, re.ASCII)
    if found is None and not text.endswith("%"):
        return _quantity(lambda each: parse_rate(each, least=0), text), False
    if found is None or int(found[1]) > 100:
        raise argparse.ArgumentTypeError(f"{text!r:.40} is no cap; write 10%, 0% to 100%, or a rate as 500Mbit")
    return int(found[1]), True


def position(text: str) -> int:
    """Where on a pool's line, in bit/s: 0 is a place too."""
    return _quantity(lambda each: parse_rate(each, least=0), text)


def duration(text: str) -> int:
    return _quantity(parse_duration, text)


def patience(text: str) -> int:
    """Milliseconds."""
    return _quantity(parse_milliseconds, text)


def timeout(text: str) -> float:
    """Seconds."""
    milliseconds = _quantity(parse_milliseconds, text)
    if not 0 < milliseconds <= 86_400_000:
        raise argparse.ArgumentTypeError(f"{text:.40} is out of range; a timeout is 1ms to 1d")
    return milliseconds / 1000


def start(text: str) -> int | None:
    """None is now: by the agent's clock and not by ours."""
    if text.strip().lower() == "now":
        return None
    found = _quantity(lambda each: parse_time(each, _now()), text)
    if found is None:
        raise argparse.ArgumentTypeError("a start is never never; write now or a time")
    return found


def end(text: str) -> int | str:
    found = _quantity(lambda each: parse_time(each, _now()), text)
    return NEVER if found is None else found


def finite_end(text: str) -> int:
    found = end(text)
    if isinstance(found, str):
        raise argparse.ArgumentTypeError("the window needs an end; leave it out for the policy's horizon")
    return found


def number(text: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r:.40} is no number; write 0, 1, 2 and so on")
    return int(text)


def endpoint(text: str) -> tuple[str, int]:
    """``HOST:PORT``, the host a name, an IPv4 address or an IPv6 address in brackets."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:\[\]/]+)):([0-9]{1,5})", text, re.ASCII)
    if found is None or not 1 <= int(found[3]) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r:.80} is not HOST:PORT; write 127.0.0.1:7180 or [::1]:7180")
    return found[1] or found[2], int(found[3])


def token(text: str) -> str:
    """What stands in a header: printable ASCII."""
    if not re.fullmatch("[!-~]{1,128}", text):
        raise argparse.ArgumentTypeError("1..128 printable ASCII characters without spaces")
    return text


def assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals or not value:
        raise argparse.ArgumentTypeError(f"{text!r:.80} is not NAME=VALUE; write lease=2h")
    return name, value


def some_text(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return any_text(text)


def any_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("must be UTF-8 text") from None
    return text
