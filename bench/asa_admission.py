"""Deciding on a booking and entering it, in memory, beside the classic list of slices walked from its beginning."""

from __future__ import annotations

import random
import time
from itertools import accumulate
from typing import Protocol

from asa.calendar import Calendar
from bench.report import Result

YEAR, DAY = 365 * 86_400, 86_400
POOL = 10**15
OPEN_ENDED = 0.01
LIVE = (1_000, 10_000, 100_000)
NAIVE_TO = 10_000
BATCH, ROUNDS = 250, 40
NAIVE_BATCH, NAIVE_ROUNDS = 20, 5

Booking = tuple[int, int, int | None]


class Profile(Protocol):
    def add(self, amount: int, start: int, end: int | None) -> None: ...

    def lowest(self, start: int, end: int | None) -> int: ...


class Slices:
    """The times of change and what is free from each on, in two plain lists."""

    def __init__(self, bookings: list[Booking]) -> None:
        changes = {0: POOL}
        for amount, start, end in bookings:
            changes[start] = changes.get(start, 0) - amount
            if end is not None:
                changes[end] = changes.get(end, 0) + amount
        self._times = sorted(changes)
        self._free = list(accumulate(changes[time] for time in self._times))

    def lowest(self, start: int, end: int | None) -> int:
        low = 0
        for begin, free in zip(self._times, self._free, strict=True):
            if end is not None and begin >= end:
                break
            low = free if begin <= start else min(low, free)
        return low

    def add(self, amount: int, start: int, end: int | None) -> None:
        first = self._edge(start)
        last = len(self._times) if end is None else self._edge(end)
        for index in range(first, last):
            self._free[index] += amount

    def _edge(self, time: int) -> int:
        """The index of the slice that begins at ``time``, made if there is none."""
        for index, begin in enumerate(self._times):
            if begin == time:
                return index
            if begin > time:
                break
        else:
            index = len(self._times)
        self._times.insert(index, time)
        self._free.insert(index, self._free[index - 1])
        return index


def booking(chance: random.Random) -> Booking:
    """Of 1 to 100 Mbit/s for a minute to a day within a year, or, now and then, from then on."""
    start = chance.randrange(1, YEAR)
    end = None if chance.random() < OPEN_ENDED else start + chance.randint(60, DAY)
    return chance.randint(1, 100) * 10**6, start, end


def admission(profile: Profile, chance: random.Random, batch: int) -> float:
    """The µs that a decision and the booking take on average; the bookings are taken back after."""
    bookings = [booking(chance) for _ in range(batch)]
    begun = time.perf_counter()
    for amount, start, end in bookings:
        if profile.lowest(start, end) >= amount:
            profile.add(-amount, start, end)
    taken = time.perf_counter() - begun
    for amount, start, end in bookings:
        profile.add(amount, start, end)
    return taken / batch * 1e6


def main() -> None:
    chance = random.Random(8990)
    bookings = [booking(chance) for _ in range(max(LIVE))]
    calendars: dict[int, Calendar] = {}
    for live in LIVE:
        calendars[live] = Calendar()
        calendars[live].add(POOL, 0, None)
        for amount, start, end in bookings[:live]:
            calendars[live].add(-amount, start, end)

    # Turn by turn, so that what else the machine does falls on all of them alike.
    ours = dict.fromkeys(LIVE, float("inf"))
    for _ in range(ROUNDS):
        for live, calendar in calendars.items():
            ours[live] = min(ours[live], admission(calendar, chance, BATCH))
    for live in LIVE:
        aim = 60 if live == max(LIVE) else None
        Result(f"admission and booking, {live} live", round(ours[live], 1), "µs", aim=aim, lower_is_better=True).print()
        if live <= NAIVE_TO:
            slices = Slices(bookings[:live])
            naive = min(admission(slices, chance, NAIVE_BATCH) for _ in range(NAIVE_ROUNDS))
            Result(f"the same in a list of slices, {live} live", round(naive, 1), "µs").print()
    growth = ours[max(LIVE)] / ours[min(LIVE)]
    name = f"admission and booking, growth from {min(LIVE)} to {max(LIVE)} live"
    Result(name, round(growth, 2), "", aim=2.0, lower_is_better=True).print()


if __name__ == "__main__":
    main()
