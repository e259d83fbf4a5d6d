"""Patterns of names beside each other: whether one leaves nothing to another. No I/O.

``*``, ``?`` and ``[…]``, as :func:`fnmatch.fnmatchcase` takes them.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Final

_ONE: Final = "\ue000"
"""Stands for a place of exactly one character, any one or one of several."""
_MANY: Final = "\ue001"
"""Stands for a place of any number of characters, none among them."""
_CLASS: Final = re.compile(r"\[!?\]?[^\]]*\]")


def covered(pattern: str, by: str) -> bool:
    """Whether every name that ``pattern`` matches is matched ``by`` too. If in doubt it is not: True is certain.

    A name has at least one character.
    """
    if pattern == by or (by.replace("*", "") in ("", "?") and "*" in by):
        return True
    shape = _CLASS.sub(_ONE, pattern).replace("?", _ONE).replace("*", _MANY)
    if shape == pattern:
        return fnmatchcase(pattern, by)
    # A class could match what only stands for characters; a literal never does, and ? is told what to leave alone.
    return "[" not in by and fnmatchcase(shape, by.replace("?", f"[!{_MANY}]"))
