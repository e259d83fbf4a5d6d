"""Network parameters distributed by flooding and synchronization: the literal face of the API (RFC 8991).

    python -m examples.parameters_rfc8991                  # both sides, in two hosts made for it
    python -m examples.parameters_rfc8991 publish eth0     # or each side where you like
    python -m examples.parameters_rfc8991 apply eth0

The publisher floods EX2, such as ``{"serial": 1, "mtu": 9000, "ntp": ["2001:db8::123"]}``, whenever it
changes, and answers those who missed it. A router takes what it finds at start and then each newer serial.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from examples.stage import play, say
from grasp import rfc8991 as grasp
from grasp.rfc8991 import errors

LIFETIME = 10_000  # ms a flooded value stays valid
INTERVAL = 1.0  # s between changes
UPDATES = 3  # the router follows that many


def check(what: str, errorcode: int) -> None:
    """Every function returns its errorcode first, or alone. Nothing raises."""
    if errorcode != errors.ok:
        raise SystemExit(f"{what}: {grasp.error_text(errorcode)}")


def parameters() -> grasp.objective:
    made = grasp.objective("EX2")
    made.synch = True
    return made


def publish() -> None:
    errorcode, asa_handle = grasp.register_asa("parameter-server")
    check("register_asa", errorcode)
    assert asa_handle is not None
    objective = parameters()
    check("register_objective", grasp.register_objective(asa_handle, objective))
    serial = 0
    while True:
        serial += 1
        objective.value = {"serial": serial, "mtu": 9000, "ntp": [f"2001:db8::{122 + serial}"]}
        # For those who ask, from now on:
        check("listen_synchronize", grasp.listen_synchronize(asa_handle, objective))
        # For all who are there now:
        check("flood", grasp.flood(asa_handle, LIFETIME, [grasp.tagged_objective(objective, None)]))
        say(f"floods {objective.value}")
        time.sleep(INTERVAL)


def valid(value: Any) -> bool:
    """GRASP checks that a value is CBOR; that it makes sense is up to the ASA (RFC 8991 §2.3.2.4)."""
    return (
        isinstance(value, dict)
        and type(value.get("serial")) is int
        and type(value.get("mtu")) is int
        and 1280 <= value["mtu"] <= 65535
    )


def apply() -> None:
    errorcode, asa_handle = grasp.register_asa("router")
    check("register_asa", errorcode)
    assert asa_handle is not None
    objective = parameters()  # only to receive it, so there is no need to register it

    # Without a peer: the flooded value if one has come already, else from a publisher that is discovered.
    errorcode, found = grasp.synchronize(asa_handle, objective, None, 5_000)
    check("synchronize", errorcode)
    assert found is not None
    if not valid(found.value):
        raise SystemExit(f"cannot use {found.value!r}")
    serial = found.value["serial"]
    say(f"starts with {found.value}")

    last = serial + UPDATES
    deadline = time.monotonic() + 3 * UPDATES * INTERVAL
    while serial < last and time.monotonic() < deadline:
        errorcode, cached = grasp.get_flood(asa_handle, objective)
        check("get_flood", errorcode)
        for tagged in cached or []:
            if not valid(tagged.objective.value):
                # Let nobody else on this node trip over it.
                grasp.expire_flood(asa_handle, tagged)
            elif tagged.objective.value["serial"] > serial:
                serial = tagged.objective.value["serial"]
                say(f"changes to {tagged.objective.value}")
        time.sleep(0.05)
    if serial < last:
        raise SystemExit("no further change was flooded")
    check("deregister_asa", grasp.deregister_asa(asa_handle, "router"))


def main(arguments: list[str]) -> int:
    if not arguments:
        return play("examples.parameters_rfc8991", ("publish", "apply"), serving=("publish",))
    role, interface = arguments
    grasp.configure([interface])
    {"publish": publish, "apply": apply}[role]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
