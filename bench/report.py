"""How a benchmark tells what it found: one JSON object per result, and facts about the machine."""

from __future__ import annotations

import json
import os
import platform
import re
from dataclasses import asdict, dataclass
from pathlib import Path


def machine() -> dict[str, int | str]:
    """What a figure depends on and a reader cannot see."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }


def rss_kib(pid: int) -> int:
    """Resident memory of a process, in KiB."""
    return _status(pid, "VmRSS")


def threads(pid: int) -> int:
    """Threads of a process."""
    return _status(pid, "Threads")


def _status(pid: int, field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    if not found:
        raise ProcessLookupError(f"process {pid} has ended")
    return int(found[1])


@dataclass(frozen=True)
class Result:
    """One measured figure, and what it is held against.

    With a `floor` (the same figure of the barest program that does the job) the `aim` is for the ratio of
    the two; without one it is for the value itself. It is a least value, or a most if `lower_is_better`.
    """

    name: str
    value: float
    unit: str
    floor: float | None = None
    aim: float | None = None
    lower_is_better: bool = False

    @property
    def ratio(self) -> float | None:
        return round(self.value / self.floor, 3) if self.floor else None

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None without an aim."""
        if self.aim is None:
            return None
        figure = self.value if self.ratio is None else self.ratio
        return figure <= self.aim if self.lower_is_better else figure >= self.aim

    def __str__(self) -> str:
        fields = asdict(self) | {"ratio": self.ratio, "met": self.met}
        return json.dumps({key: fields[key] for key in ("name", "value", "unit", "floor", "ratio", "aim", "met")})

    def print(self) -> None:
        print(self, flush=True)
