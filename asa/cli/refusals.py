"""A refusal explained: what falls short, in which windows and by how much, and what would fit; or which cap it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Final

from asa.cli.interrupts import Failed
from asa.cli.output import safe
from asa.cli.shapes import BadAnswer, shaped
from asa.errors import LinkShort, OverCap, Short
from asa.quantities import exact_rate, format_time
from asa.views import Offer, Refusal

_SHOWN: Final = 10
"""Windows, and peers, listed; more are counted."""

_AT_MOST: Final = re.compile(r"at most ([0-9]{1,19}) bit/s", re.ASCII)
"""How a peer says what it could grant instead."""

_OFFERS: Final = (("lower_rate", "less"), ("later_start", "later"), ("shorter", "shorter"))


def refused(
    error: Short,
    what: str,
    command: Callable[[Offer], str],
    fitting: Collection[str] = ("lower_rate", "later_start", "shorter"),
) -> Failed:
    """``error`` for people: of what there is too little for ``what``, why, and the offers among ``fitting`` as a
    ``command`` to paste."""
    try:
        refusal = shaped(Refusal, error.details)
    except BadAnswer:
        # The message says what happened already.
        return Failed(error)
    text = _explained(refusal, isinstance(error, LinkShort), command, fitting)
    said = f"refused: there is too little of {refusal.resource} for {what}"
    return Failed(error, text=text, said=said if text else "")


def over_cap(error: OverCap) -> Failed:
    """``error`` for people: whose cap it is, of what, and what is booked below it."""
    project, resource = (error.details.get(each) for each in ("project", "resource"))
    cap, booked, wanted = (error.details.get(each) for each in ("cap", "booked", "wanted"))
    if not (isinstance(resource, str) and type(cap) is type(booked) is type(wanted) is int):
        return Failed(error)
    of = "anything" if resource == "*" else resource
    lines = [f"  cap     {exact_rate(cap)}", f"  booked  {exact_rate(booked)}", f"  wanted  {exact_rate(wanted)}"]
    lines += [safe(error.hint)] if error.hint else []
    return Failed(
        error,
        text="\n".join([*lines, "asa caps shows every cap"]),
        said=f"refused: project {project or '(none)'} would have more of {of} than it may",
    )


def _explained(refusal: Refusal, link: bool, command: Callable[[Offer], str], fitting: Collection[str]) -> str:
    lines = []
    for each in refusal.shortages[:_SHOWN]:
        window = f"from {format_time(each.start)} until {format_time(each.end)}"
        lines.append(f"  short of {exact_rate(each.missing)} {window}")
    if len(refusal.shortages) > _SHOWN:
        lines.append(f"  and in {len(refusal.shortages) - _SHOWN} more windows")
    if link:
        lines.append(f"{safe(refusal.resource)} is an interface of this node: no peer can add to it")
    if refusal.peers_asked:
        lines.append("peers asked:")
        lines += [f"  {safe(_readable(each), 200)}" for each in refusal.peers_asked[:_SHOWN]]
        if len(refusal.peers_asked) > _SHOWN:
            lines.append(f"  and {len(refusal.peers_asked) - _SHOWN} more")
    offers = [(word, getattr(refusal, name)) for name, word in _OFFERS if name in fitting]
    rows = [[f"  {word}", command(offer)] for word, offer in offers if offer is not None]
    if rows:
        lines.append("what would fit now:")
        width = max(len(word) for word, _ in rows)
        lines += [f"{word.ljust(width)}  {safe(text)}" for word, text in rows]
    return "\n".join(lines)


def _readable(said: str) -> str:
    return _AT_MOST.sub(lambda found: f"at most {exact_rate(int(found[1]))}", said)
