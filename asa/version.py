"""Which release this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final


def _installed() -> str:
    try:
        return version("grasp-asa")
    except PackageNotFoundError:
        return "0"


VERSION: Final = _installed()
