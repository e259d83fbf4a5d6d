"""The state directory: its lock, the files in it that are not the database, and setting a damaged database aside.

========================  ===========================================================================================
``lock``                  locked while an agent runs; names its process
``asa.db`` ``-wal`` ``-shm``  the database
``initialised``           there has been a database here, with at least so many transactions
``asa.db.before-N``       a copy made before the migration to version N; the last two are kept
``asa.db.damaged-TIME``   a damaged database, with its -wal and -shm
``damaged.json``          until it is removed no agent starts here: an operator has to decide first
``*.new``                 a file not yet complete, left by a crash; replaced when it is made again
========================  ===========================================================================================
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from asa.errors import StoreDamaged, StoreLocked
from asa.store.faults import failure

DATABASE: Final = "asa.db"
COMPANIONS: Final = ("-wal", "-shm", "-journal")
NEW: Final = ".new"
BEFORE: Final = f"{DATABASE}.before-"
_LOCK: Final = "lock"
_INITIALISED: Final = "initialised"
_DAMAGED: Final = "damaged.json"


@dataclass(frozen=True, slots=True)
class Damage:
    """What ``damaged.json`` says. ``aside``: the name of what was set aside, None if there was nothing."""

    what: str
    aside: str | None
    at: int
    serial: int
    """At least so many transactions had been committed."""
    moved: bool
    """False if a crash came between the decision and the last file."""


class StateDirectory:
    """A locked directory. Made by :meth:`lock` only."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.database = path / DATABASE
        self._lock: int | None = lock
        self._mark: int | None = None

    @classmethod
    def lock(cls, path: Path) -> StateDirectory:
        """Make the directory (0700) unless it is there, and lock it; the kernel unlocks it when the process ends.

        Raises :class:`StoreLocked`, :class:`StoreFailed`.
        """
        try:
            missing = [each for each in (path, *path.parents) if not each.exists()]
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for each in missing:
                # One may enter a directory that one may not read.
                with suppress(PermissionError):
                    _sync(each.parent)
            descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise failure(error, f"the state directory {path} cannot be used") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            if not isinstance(error, BlockingIOError):
                raise failure(error, f"the state directory {path} cannot be locked") from error
            known = holder.isdigit()
            raise StoreLocked(
                f"the state directory {path} is in use by {f'process {holder}' if known else 'another process'}",
                hint="stop that agent, or give this one a state directory of its own",
                details={"pid": int(holder)} if known else None,
            ) from None
        # On a full disk it is locked all the same.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        return cls(path, descriptor)

    def release(self) -> None:
        for descriptor in (self._mark, self._lock):
            if descriptor is not None:
                os.close(descriptor)
        self._mark = self._lock = None

    # -- files

    def write(self, name: str, content: bytes) -> None:
        """The whole file or none of it, durably."""
        new = self.path / (name + NEW)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            while content:
                content = content[os.write(descriptor, content) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(new, self.path / name)
        _sync(self.path)

    def blank(self, name: str) -> Path:
        """An empty file ``name.new`` (0600), for SQLite to fill; whatever a crash left of it is removed."""
        new = self.path / (name + NEW)
        for suffix in ("", *COMPANIONS):
            Path(f"{new}{suffix}").unlink(missing_ok=True)
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        return new

    def complete(self, new: Path) -> None:
        """Give a file made by :meth:`blank` its name, durably."""
        _sync(new)
        os.rename(new, new.with_name(new.name.removesuffix(NEW)))
        _sync(self.path)

    # -- has there been a database, and how far had it come?

    def had_database(self) -> bool:
        """Whether anything here tells of a database, complete or not; only where nothing does may one be made."""
        names = [each.name for each in self.path.iterdir()]
        begun = f"{DATABASE}{NEW}"
        return any(each == _INITIALISED or (each.startswith(DATABASE) and not each.startswith(begun)) for each in names)

    def in_place(self) -> bool:
        """Whether a database, or a part of one, is where the agent looks for it."""
        return any((self.path / (DATABASE + suffix)).exists() for suffix in ("", *COMPANIONS))

    def least_serial(self) -> int:
        """Transactions there have been at least; 0 if that is not known."""
        try:
            return int((self.path / _INITIALISED).read_bytes())
        except (FileNotFoundError, ValueError):
            return 0

    def initialise(self, serial: int) -> None:
        """From now on a missing database is damage, and so is one of fewer transactions."""
        if not (self.path / _INITIALISED).exists():
            self.write(_INITIALISED, _number(serial))
        if self._mark is None:
            self._mark = os.open(self.path / _INITIALISED, os.O_RDWR | os.O_CLOEXEC)
        self.note(serial)

    def note(self, serial: int) -> None:
        """Transactions are on disk. This is not synced: it then says less than there is, which is never wrong."""
        if self._mark is not None:
            with suppress(OSError):
                os.pwrite(self._mark, _number(serial), 0)

    # -- damage

    def damage(self) -> Damage | None:
        """What was found at an earlier start and not decided on; completes a setting aside that was interrupted."""
        try:
            fields: Any = json.loads((self.path / _DAMAGED).read_bytes())
            found = Damage(
                str(fields["what"]), fields["aside"], int(fields["at"]), int(fields["serial"]), bool(fields["moved"])
            )
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            return Damage(f"{_DAMAGED} cannot be read", None, 0, 0, True)
        return found if found.moved else self._move(found)

    def set_aside(self, what: str, now: int) -> StoreDamaged:
        """Move the database away, so that the next start finds ``damaged.json``; returns what to raise.

        An open connection is best closed afterwards: SQLite then notices the move and leaves the files as they are.
        """
        try:
            damage = Damage(what, self._unused(now) if self.in_place() else None, now, self.least_serial(), moved=False)
            self._record(damage)
            return self.damaged(self._move(damage))
        except OSError as error:
            return self._damaged(what, f"it could not be set aside ({error}) and is still in its place", None)

    def _unused(self, now: int) -> str:
        """A name that neither a database nor a part of one has."""
        stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
        names = {each.name for each in self.path.iterdir()}
        aside = base = f"{DATABASE}.damaged-{stamp}"
        number = 1
        while any(aside + suffix in names for suffix in ("", *COMPANIONS)):
            number += 1
            aside = f"{base}-{number}"
        return aside

    def _move(self, damage: Damage) -> Damage:
        if damage.aside is not None:
            for suffix in (*COMPANIONS, ""):
                with suppress(FileNotFoundError):
                    os.rename(self.path / (DATABASE + suffix), self.path / (damage.aside + suffix))
            _sync(self.path)
        # A copy the operator restores has had fewer transactions, and is not to be refused for it.
        if (self.path / _INITIALISED).exists():
            self.write(_INITIALISED, _number(0))
        moved = replace(damage, moved=True)
        self._record(moved)
        return moved

    def _record(self, damage: Damage) -> None:
        self.write(_DAMAGED, json.dumps(asdict(damage), indent=1).encode() + b"\n")

    def damaged(self, damage: Damage) -> StoreDamaged:
        """What to raise as long as nobody has decided."""
        if damage.aside is None:
            where = "nothing is left of it that could be set aside"
        else:
            where = f"it was set aside as {self.path / damage.aside}"
        return self._damaged(damage.what, where, damage.aside)

    def _damaged(self, what: str, where: str, aside: str | None) -> StoreDamaged:
        marker = self.path / _DAMAGED
        hint = f"put a good copy in place as {self.database} and remove {marker}, or salvage what can still be read"
        if marker.exists() and self.database.exists():
            hint = f"{self.database} is there again: remove {marker} if the agent is to go on with it"
        return StoreDamaged(
            f"the database {self.database} is damaged: {what}; {where}",
            hint=hint,
            details={"what": what, "aside": aside, "marker": str(marker)},
        )

    def decided(self) -> None:
        """The operator's decision was carried out."""
        (self.path / _DAMAGED).unlink(missing_ok=True)
        _sync(self.path)

    # -- copies

    def forget_copies(self, keep: int) -> None:
        """Remove all but the ``keep`` newest copies made before migrations."""
        numbers = [each.name.removeprefix(BEFORE) for each in self.path.glob(f"{BEFORE}*")]
        for number in sorted((int(each) for each in numbers if each.isdigit()), reverse=True)[keep:]:
            (self.path / f"{BEFORE}{number}").unlink()


def _sync(path: Path) -> None:
    """Make a file, or the names in a directory, durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _number(serial: int) -> bytes:
    """Of fixed length, so that it is replaced in place."""
    return b"%020d\n" % serial
