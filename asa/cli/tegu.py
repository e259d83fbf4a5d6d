"""Taking over what Tegu has promised, and saying what became of every line of its checkpoint."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from typing import Any, Final

from asa.cli.agent import Agent, lost
from asa.cli.arguments import UsageError
from asa.cli.caps import cap_text
from asa.cli.interrupts import Failed, Interrupted, Stopped
from asa.cli.output import Output, safe, table
from asa.cli.secret import HEADER
from asa.cli.shapes import shaped, shaped_list
from asa.errors import AsaError, Duplicate, NotFound
from asa.tegu import MAX_BYTES, Checkpoint, Code, Entry, Kind, read_checkpoint
from asa.tegu.wishes import Unfit, Wish, cap_body, wish_of
from asa.views import CapView, ReservationView

_CAP: Final = ("project", "resource", "amount", "percent")

_PARKED: Final = {"short", "link-short", "over-cap", "unknown-host", "unreachable", "refused-there", "elsewhere"}
"""What a dry run is refused for and the thing itself is parked for."""


def import_(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    """0 if all that has not ended was taken over; reservations first, for a cap spares what is booked."""
    now = int(time.time())
    found = read_checkpoint(_read(arguments.file), now)
    # Before anything is done: a file that cannot be read is a wrong command line.
    admin = {} if arguments.dry_run else agent.secret
    told = _Told(arguments.file, arguments.dry_run, found)
    try:
        _take_over(found, told, agent, arguments, now, admin)
    except Interrupted as interrupted:
        raise told.broken_off(Stopped(f"stopped by {interrupted}"), interrupted.number) from None
    except AsaError as error:
        raise told.broken_off(error) from None
    output.result(told.value(), "" if output.as_json else told.text())
    return 1 if told.missing() else 0


def _read(file: str) -> bytes:
    try:
        with open(file, "rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}", hint="name one of the files in Tegu's chkpt_dir") from None


class _Told:
    """What became of each line so far."""

    def __init__(self, file: str, dry_run: bool, found: Checkpoint) -> None:
        self._file = file
        self._dry_run = dry_run
        self._lost = found.report.lost()
        self._taken: list[dict[str, Any]] = []
        self._caps: list[dict[str, Any]] = []
        self._left: list[dict[str, Any]] = []

    def reservation(self, entry: Entry, view: ReservationView, notes: tuple[str, ...]) -> None:
        self._taken.append(_line(entry, notes) | {"id": view.id, "state": view.state, "why": view.why})

    def would_park(self, entry: Entry, error: AsaError, notes: tuple[str, ...]) -> None:
        why = f"{error.code}: {error.message}"
        self._taken.append(_line(entry, notes) | {"id": "", "state": "parked", "why": why})

    def cap(self, entry: Entry, body: dict[str, Any]) -> None:
        self._caps.append(_line(entry, entry.notes) | body)

    def left_out(self, entry: Entry, code: str, why: str, notes: tuple[str, ...] = ()) -> None:
        self._left.append(_line(entry, notes) | {"code": code, "why": why})

    def missing(self) -> bool:
        """Whether something was left out that has not simply ended."""
        return any(each["code"] != Code.EXPIRED for each in self._left)

    def broken_off(self, error: AsaError, signal: int | None = None) -> Failed:
        text = f"{self.text()}\nthe rest was not asked for; the same command goes on with it"
        return Failed(error, self.value(), text, signal=signal)

    def value(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "file": self._file,
            "dry_run": self._dry_run,
            "reservations": self._taken,
            "caps": self._caps,
            "left_out": self._left,
            "not_in_a_checkpoint": self._lost,
        }

    def text(self) -> str:
        """For people, escaped."""
        parts = []
        if self._taken:
            rows = [[each["tegu"], each["kind"], each["id"], each["state"], each["why"]] for each in self._taken]
            parts.append(table(["TEGU", "KIND", "ID", "STATE", "WHY"], rows))
        if self._caps:
            caps = [CapView(*(each[name] for name in _CAP)) for each in self._caps]
            rows = [[each.project, cap_text(each)] for each in caps]
            parts.append(table(["PROJECT", "CAP"], rows, {"CAP"}))
        if self._left:
            rows = [[str(each["line"]), each["kind"], each["tegu"], each["code"], each["why"]] for each in self._left]
            parts.append("left out:\n" + table(["LINE", "KIND", "TEGU", "CODE", "WHY"], rows, {"LINE"}))
        notes = [
            f"  line {each['line']}: {safe(note)}"
            for each in sorted([*self._taken, *self._caps, *self._left], key=lambda each: int(each["line"]))
            for note in each["notes"]
        ]
        notes += [f"  no {kind} pledge says {safe(text)}" for kind, text in self._lost.items()]
        if notes:
            parts.append("to look at:\n" + "\n".join(notes))
        return "\n\n".join([*parts, self._summary()])

    def _summary(self) -> str:
        parked = sum(each["state"] == "parked" for each in self._taken)
        counts = [f"{len(self._taken)} taken over" + (f", {parked} of them parked" if parked else "")]
        counts.append(f"{len(self._caps)} cap{'' if len(self._caps) == 1 else 's'}")
        counts.append(f"{len(self._left)} left out")
        return f"{'nothing was changed; would be: ' if self._dry_run else ''}{', '.join(counts)}"


def _line(entry: Entry, notes: tuple[str, ...]) -> dict[str, Any]:
    return {"line": entry.line, "kind": entry.kind.value, "tegu": entry.id, "notes": list(notes)}


def _take_over(
    found: Checkpoint, told: _Told, agent: Agent, arguments: argparse.Namespace, now: int, admin: dict[str, str]
) -> None:
    pledges = {each.id: each for each in found.pledges}
    caps: dict[str, Entry] = {}
    for entry in found.report.entries:
        if not entry.taken:
            told.left_out(entry, entry.code.value, entry.why, entry.notes)
        elif entry.kind is Kind.CAP:
            # The last one of a project counts; its notes tell of the one before.
            caps[entry.id] = entry
        else:
            try:
                wish = wish_of(
                    pledges[entry.id], now, pool=arguments.pool, patience_ms=arguments.patience,
                    dry_run=arguments.dry_run,
                )  # fmt: skip
            except Unfit as error:
                told.left_out(entry, "unfit", error.why, entry.notes)
                continue
            _reserve(entry, wish, told, agent)
    for project, entry in caps.items():
        _set_cap(entry, cap_body(found.caps[project]), told, agent, arguments.dry_run, admin)


def _reserve(entry: Entry, wish: Wish, told: _Told, agent: Agent) -> None:
    headers = {} if wish.request.dry_run else {"Idempotency-Key": wish.key}
    if wish.secret is not None:
        headers[HEADER] = wish.secret.reveal()
    notes = (*entry.notes, *wish.notes)
    try:
        told.reservation(entry, _made(wish, headers, agent), notes)
    except AsaError as error:
        if lost(error):
            raise
        if wish.request.dry_run and error.code in _PARKED:
            told.would_park(entry, error, notes)
        else:
            told.left_out(entry, error.code, error.message, notes)


def _made(wish: Wish, headers: dict[str, str], agent: Agent) -> ReservationView:
    try:
        return shaped(ReservationView, agent.post("reservations", body=asdict(wish.request), headers=headers))
    except Duplicate as error:
        # Of an import before, whose key is forgotten.
        view = _there(error, agent)
        if view is None or wish.label not in view.labels:
            raise
        return view


def _there(error: Duplicate, agent: Agent) -> ReservationView | None:
    identifier = error.details.get("id")
    if not isinstance(identifier, str):
        return None
    try:
        return shaped(ReservationView, agent.get("reservations", identifier))
    except NotFound:
        return None


def _set_cap(
    entry: Entry, body: dict[str, Any], told: _Told, agent: Agent, dry_run: bool, admin: dict[str, str]
) -> None:
    try:
        if not dry_run:
            shaped_list(CapView, agent.put("caps", body=body, headers=admin))
        told.cap(entry, body)
    except AsaError as error:
        if lost(error):
            raise
        told.left_out(entry, error.code, error.message, entry.notes)
