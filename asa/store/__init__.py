"""Stable storage: the records of an agent in one SQLite database, and what becomes of it when it is damaged.

``asa.db`` may be read while the agent runs: ``sqlite3 -readonly asa.db``. Nobody but the agent writes to it.
"""

from asa.store.faults import Cause
from asa.store.salvage import Salvaged, salvage
from asa.store.store import Store

__all__ = ["Cause", "Salvaged", "Store", "salvage"]
