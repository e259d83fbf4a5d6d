"""Lines as Tegu writes them, put together by hand: the colon of a port stands behind every host, also of none."""

from __future__ import annotations

import json
from typing import Any

NOW = 1_795_132_800
"""2026-11-20T00:00:00Z."""
HOUR = NOW + 3_600

TWO_WAY: dict[str, Any] = {
    "host1": "p1/vm1:80{3}", "host2": "p1/vm2:", "commence": NOW, "expiry": HOUR, "bandwin": 10_000_000,
    "bandwout": 20_000_000, "id": "res3fbe_00000", "qid": "res3fbe_00000", "usrkey": "biscuit", "dscp": 46,
    "dscp_koe": False, "protocol": "tcp", "ptype": 0,
}  # fmt: skip
STEERING: dict[str, Any] = {
    "host1": "p1/vm1:", "host2": "E*:", "protocol": "tcp:80", "commence": NOW, "expiry": HOUR, "id": "res3fbe_00001",
    "usrkey": "biscuit", "ptype": 1,
    "mbox_list": [{"id": "mb1", "mac": "fa:16:3e:00:00:01", "switch": "sw1", "port": 7}],
}  # fmt: skip
MIRROR: dict[str, Any] = {
    "host1": "p1/vm1 fa:16:3e:00:00:02 vlan:1,4095", "host2": "label:tap", "commence": NOW, "expiry": HOUR,
    "id": "mir-5a_0", "qid": "compute7", "usrkey": "biscuit", "tenant_id": "p1", "options": "df_default=true",
    "ptype": 2,
}  # fmt: skip
ONE_WAY: dict[str, Any] = {
    "src": "p1/vm1:0x50/0xfff0{3}", "dest": "!//203.0.113.9:443", "commence": NOW, "expiry": HOUR,
    "bandwout": 5_000_000, "id": "res3fbe_00002", "qid": "q", "usrkey": "biscuit", "dscp": 18, "ptype": 3,
}  # fmt: skip
PASSTHROUGH: dict[str, Any] = {
    "host": "p1/vm1:", "protocol": "udp:198.51.100.4:8800", "commence": NOW, "expiry": HOUR, "id": "res3fbe_00003",
    "usrkey": "biscuit", "ptype": 4,
}  # fmt: skip
ALL = [TWO_WAY, STEERING, MIRROR, ONE_WAY, PASSTHROUGH]


def line(record: dict[str, Any], without: tuple[str, ...] = (), **changed: Any) -> bytes:
    """One record, changed, as a line."""
    values = {key: value for key, value in (record | changed).items() if key not in without}
    return json.dumps(values).encode() + b"\n"
