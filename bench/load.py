"""Load: the same for what is measured and for its floor."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Callable


def run(ask: Callable[[], None], sessions: int, clients: int, refusal: type[Exception]) -> dict[str, float]:
    """Call ``ask`` ``sessions`` times from ``clients`` threads; what that took, and how often it was refused."""
    durations: list[float] = []
    refused: list[Exception] = []
    tickets = itertools.repeat(None, sessions)
    start = threading.Barrier(clients + 1)

    def work() -> None:
        clock = time.perf_counter
        start.wait()
        for _ in tickets:
            begun = clock()
            try:
                ask()
            except refusal as error:
                refused.append(error)
            durations.append(clock() - begun)

    workers = [threading.Thread(target=work) for _ in range(clients)]
    for worker in workers:
        worker.start()
    start.wait()
    begun = time.perf_counter()
    for worker in workers:
        worker.join()
    elapsed = time.perf_counter() - begun
    percentiles = statistics.quantiles(durations, n=100) if sessions > 1 else durations * 99
    tenth = max(1, sessions // 10)
    return {
        "rate": round(sessions / elapsed, 1),
        "seconds": round(elapsed, 3),
        "p50_us": round(percentiles[49] * 1e6, 1),
        "p99_us": round(percentiles[98] * 1e6, 1),
        "first_tenth_us": round(statistics.median(durations[:tenth]) * 1e6, 1),
        "last_tenth_us": round(statistics.median(durations[-tenth:]) * 1e6, 1),
        "refused": len(refused),
    }
