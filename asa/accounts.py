"""What is counted of one pool, and of one project or one member in it. No I/O."""

from __future__ import annotations

from asa.calendar import Calendar
from asa.pool import Pool
from asa.records import Lent, Seed


class Account:
    """One pool at this agent: the blocks held, and the free capacity at every instant."""

    def __init__(self, floor: int) -> None:
        self.seeds: dict[int, Seed] = {}
        self.held = Pool()
        self.free = Calendar()
        self.free.forget(floor)
        self.reservations = 0


class Project:
    """What a project has booked of one resource, below zero in a calendar."""

    def __init__(self, floor: int) -> None:
        self.free = Calendar()
        self.free.forget(floor)
        self.reservations = 0


class Loan:
    """What is lent to a member of one pool, below zero in a calendar, and the changes behind it, by their time."""

    def __init__(self, floor: int) -> None:
        self.free = Calendar()
        self.free.forget(floor)
        self.changes: dict[int, Lent] = {}
