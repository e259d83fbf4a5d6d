"""The client of ovsdb-server: with the real one, and with servers that answer badly or not at all."""

from __future__ import annotations

import json
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from asa.dataplane.backend import EnforcementFailed
from asa.dataplane.openvswitch import ovsdb, queues
from asa.dataplane.openvswitch.ovsdb import Ovsdb
from asa.dataplane.openvswitch.queues import LEAST, qualities_of
from asa.dataplane.openvswitch.rows import as_map, as_set, of_map
from asa.dataplane.openvswitch.topology import topology_of
from asa.dataplane.plan import Share

from .ovs import Node, node


@pytest.fixture(scope="module")
def here() -> Iterator[Node]:
    with node() as found:
        yield found


def test_rows_are_inserted_read_and_deleted(here: Node) -> None:
    database = Ovsdb(here.switch.socket)
    config = {"min-rate": "8000", 'odd "]}{[': "\\ä"}
    new = {"op": "insert", "table": "Queue", "uuid-name": "q1", "row": {"external_ids": of_map(config)}}
    uuid = database.change([new])["q1"]
    ((row,),) = database.select(("Queue", ["external_ids", "dscp"]))
    assert as_map(row["external_ids"]) == config
    assert as_set(row["dscp"]) == []
    assert row["_uuid"] == ["uuid", uuid]
    database.transact(queues.dropped([uuid]))
    assert database.select(("Queue", [])) == [[]]


def test_a_transaction_is_done_as_a_whole_or_not_at_all(here: Node) -> None:
    database = Ovsdb(here.switch.socket)
    good = {"op": "insert", "table": "Queue", "row": {}}
    for bad in (
        {"op": "insert", "table": "Queues", "row": {}},
        {"op": "insert", "table": "Queue", "row": {"dscp": 99}},
        {"op": "delete", "table": "Nonsense", "where": []},
    ):
        with pytest.raises(EnforcementFailed, match="ovsdb-server refuses"):
            database.transact([good, bad])
    # What is referred to and not there is found out at the commit.
    lost = {"op": "insert", "table": "QoS", "row": {"type": "x", "queues": ["map", [[1, ["uuid", UUID]]]]}}
    with pytest.raises(EnforcementFailed, match="referential integrity"):
        database.transact([good, lost])
    assert database.select(("Queue", []), ("QoS", [])) == [[], []]


UUID = "00000000-0000-4000-8000-000000000000"


def test_long_answers_come_as_a_whole(here: Node) -> None:
    database = Ovsdb(here.switch.socket)
    rows = [{"op": "insert", "table": "Queue", "row": {"external_ids": of_map({"n": "x" * 300})}} for _ in range(3_000)]
    database.transact(rows)
    ((*found,),) = database.select(("Queue", ["external_ids"]))
    assert len(found) == 3_000
    database.transact([{"op": "delete", "table": "Queue", "where": []}])


# -- servers that are none


@contextmanager
def server(directory: Path, serve: Callable[[socket.socket], None]) -> Iterator[Path]:
    path = directory / "db.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def run() -> None:
            try:
                connection, _ = listener.accept()
                with connection:
                    serve(connection)
            except OSError:
                pass

        thread = threading.Thread(target=run, name="ovsdb-server", daemon=True)
        thread.start()
        yield path
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def question(connection: socket.socket) -> int:
    serial: int = json.loads(connection.recv(65_536))["id"]
    return serial


def test_probes_are_answered_and_pieces_put_together(tmp_path: Path) -> None:
    echoed: list[object] = []

    def serve(connection: socket.socket) -> None:
        serial = question(connection)
        connection.sendall(b'{"method":"echo","params":["{}"],"id":"e"}{"method":"update","params":[],"id":null}')
        echoed.append(json.loads(connection.recv(65_536)))
        text = json.dumps({"id": serial, "error": None, "result": [{"count": 1}, {"rows": ["}"]}]}).encode()
        for at in range(0, len(text), 7):
            connection.sendall(text[at : at + 7])

    with server(tmp_path, serve) as path:
        assert Ovsdb(path).transact([]) == [{"count": 1}, {"rows": ["}"]}]
    assert echoed == [{"id": "e", "result": ["{}"], "error": None}]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "hung up"), (b"HTTP/1.1 400 }", "no JSON-RPC"), (b'{"id":1,"error":"no","result":null}', "refuses: no"),
        (b'{"id":1,"error":null,"result":7}', "no results"), (b'{"id":1,"resu', "hung up"), (b"[" * 99 + b"}", "JSON"),
        (b'{"a":' * 100_000 + b"}", "hung up"),
    ],
    ids=["nothing", "other", "error", "number", "half", "list", "deep"],
)  # fmt: skip
def test_a_bad_answer_is_a_failure(tmp_path: Path, answer: bytes, why: str) -> None:
    def serve(connection: socket.socket) -> None:
        question(connection)
        connection.sendall(answer)

    with server(tmp_path, serve) as path, pytest.raises(EnforcementFailed, match=why):
        Ovsdb(path).transact([])


def test_an_endless_answer_and_none_at_all_are_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(ovsdb, "LONGEST", 2**20)

    def endless(connection: socket.socket) -> None:
        while True:
            connection.sendall(b" " * 65_536)

    with server(tmp_path, endless) as path, pytest.raises(EnforcementFailed, match="more than 1048576 bytes"):
        Ovsdb(path).transact([])
    (tmp_path / "db.sock").unlink()
    monkeypatch.setattr(ovsdb, "TIME_LIMIT_S", 0.2)
    release = threading.Event()
    with server(tmp_path, lambda _: release.wait(30) and None) as path:
        with pytest.raises(EnforcementFailed, match=r"did not answer within 0\.2 s"):
            Ovsdb(path).transact([])
        release.set()


def test_who_is_not_there_is_tried_again_with_growing_pauses(tmp_path: Path) -> None:
    clock, pauses = [100.0], list[float]()

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        clock[0] += seconds

    database = Ovsdb(
        tmp_path / "none", monotonic=lambda: clock[0], sleep=sleep, jitter=random.Random(7).random
    )  # fmt: skip
    with pytest.raises(EnforcementFailed, match=f"cannot be reached at {tmp_path / 'none'}"):
        database.transact([])
    assert 8 < len(pauses) < 40
    assert sum(pauses) <= ovsdb.CONNECT_LIMIT_S
    assert all(0.01 <= each <= 0.5 for each in pauses)
    assert pauses[0] < 0.021 < 0.25 <= max(pauses)


# -- rows


def queue(name: str, mark: str | None, **config: str) -> dict[str, object]:
    return {
        "_uuid": ["uuid", name], "external_ids": of_map({} if mark is None else {"asa": mark}),
        "other_config": of_map({key.replace("_", "-"): value for key, value in config.items()}),
    }  # fmt: skip


def test_rows_without_our_mark_are_not_ours() -> None:
    def quality(name: str, mark: str | None, *numbers: int) -> dict[str, object]:
        return {
            "_uuid": ["uuid", name], "type": "linux-htb", "other_config": of_map({"max-rate": "8000000"}),
            "external_ids": of_map({} if mark is None else {"asa": mark}),
            "queues": ["map", [[each, ["uuid", f"q{each}"]] for each in numbers]],
        }  # fmt: skip

    rows = [
        queue("q0", "eth0:out", min_rate="8000", max_rate="8000000", priority="7", burst="160000"),
        queue("q1", None, min_rate="8000"),
        queue("q2", "eth0:out", min_rate="8000", max_rate="many", priority="1", burst="160000"),
        queue("q3", "eth0:out"), queue("q4", None),
    ]  # fmt: skip
    found = qualities_of([quality("ours", "eth0:out", 0, 1, 2), quality("theirs", None, 1, 4)], rows)
    assert set(found.ours) == {"ours"}
    assert {number: each.share for number, each in found.ours["ours"].queues.items()} == {
        0: Share(8_000, 8_000_000, 7), 2: None,
    }  # fmt: skip
    assert found.foreign == {"theirs": frozenset({1, 4})}
    assert found.loose == ("q3",)


@pytest.mark.parametrize(
    ("share", "found"),
    [
        (Share(8_000, 16_000), (LEAST, 16_000, 1)), (Share(8_000, 8_000), (LEAST, LEAST, 1)),
        (Share(20_000, 90_000, 3), (20_000, 90_000, 3)), (Share(20_000, 900_000), (20_000, 400_000, 1)),
    ],
)  # fmt: skip
def test_the_class_that_is_made_of_a_queue(share: Share, found: tuple[int, int, int]) -> None:
    assert queues.in_kernel(share, 400_000) == found


def test_ports_that_cannot_be_shaped_say_why() -> None:
    def interface(name: str, number: object = 3, kind: str = "") -> dict[str, object]:
        return {
            "_uuid": ["uuid", f"i{name}"],
            "name": name,
            "type": kind,
            "ofport": number,
            "external_ids": ["map", []],
        }

    def port(name: str, *members: str) -> dict[str, object]:
        rows = ["set", [["uuid", f"i{each}"] for each in members]]
        return {"_uuid": ["uuid", f"p{name}"], "name": name, "interfaces": rows, "qos": ["set", []]}

    names = ["eth0", "bond0", "patch0", "eth1", "eth2"]
    bridge = {
        "_uuid": ["uuid", "b"], "name": "br0", "datapath_type": "", "protocols": ["set", ["OpenFlow15", "OpenFlow10"]],
        "ports": ["set", [["uuid", f"p{each}"] for each in names]],
    }  # fmt: skip
    ports = [port("eth0", "eth0"), port("bond0", "eth3", "eth4"), port("patch0", "patch0"), port("eth1", "eth1"),
             port("eth2", "eth2")]  # fmt: skip
    interfaces = [interface("eth0"), interface("eth3"), interface("eth4"), interface("patch0", kind="patch"),
                  interface("eth1", -1), interface("eth2", ["set", []])]  # fmt: skip
    found = topology_of([bridge], ports, interfaces)
    problems = {name: each.problem for name, each in found.ports.items()}
    assert problems["eth0"] == ""
    assert "bond" in problems["bond0"]
    assert "type patch" in problems["patch0"]
    assert "could not open" in problems["eth1"]
    assert "could not open" in problems["eth2"]
    assert found.ports["eth0"].protocol == "OpenFlow15"
    assert not found.ports["eth0"].userspace
    old = topology_of([{**bridge, "protocols": "OpenFlow10"}], ports, interfaces).ports["eth0"]
    assert "br0 allows none" in old.problem
