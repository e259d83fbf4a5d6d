"""After a crash and after damage, and what waits: scenarios 33 to 36 of docs/tegu.md."""

from __future__ import annotations

import time

import pytest

from asa.errors import Forbidden, Short, UnknownReservation
from lab import Lab, unavailable_reason
from tests.agents.domain import Domain, G, M, eventually, in_parallel
from tests.tegu.lines import ONE_WAY, PASSTHROUGH, TWO_WAY, line

from .conftest import OUTSIDE, Scene, ids, link, settled, state_at, two_way

OURS = "of the owner"
ALL_KINDS = [
    two_way("h-a:80/0xfff0{3}", "h-b:443{4}", protocol="tcp", back=20 * M, traffic="global_voice", labels=["x", "y"]),
    {"source": "[fd00:a::7]:53{7}", "destination": "fd00:99::/64", "protocol": "udp", "traffic": "data"},
    {"source": "10.1.0.7", "destination": f"{OUTSIDE}:443", "protocol": "sctp", "owner": "Ü, \"quoted\""},
    {"kind": "passthrough", "source": "h-a:5060", "protocol": "udp"},
    {"kind": "steering", "source": "h-a", "destination": "fd00:99::1", "through": ["02:00:00:00:00:01", "h-b"]},
    {"kind": "mirroring", "source": "h-a{9}", "output": "h-c"},
]  # fmt: skip


def whole(view):
    """All of a reservation but what the clock changes, and how far the enforcement of this life has come."""
    return {name: value for name, value in view.items() if name not in ("remaining_s", "enforcement")}


def test_scenario_33_after_a_crash_all_is_there_as_it_was(scene: Scene):
    now = int(time.time())
    for number, wanted in enumerate(ALL_KINDS):
        bandwidth = wanted.get("kind", "one-way") in ("one-way", "two-way")
        pool = "wan" if bandwidth and OUTSIDE not in wanted["destination"] else ""
        when = {"start": scene.day + 10 * number, "end": scene.day + 1_000} if number % 2 else {"end": now + 5_000}
        scene.a.reserve(pool, 10 * M if bandwidth else 0, secret=f"{OURS} {number}", **when, **wanted)
    scene.a.reserve("wan", M, source="h-a", destination="fd00:99::2")
    scene.a.reserve("wan", M, hold_s=600, source="h-a", destination="fd00:99::3")
    scene.a.reserve("wan", M, park=True, end=now + 600, source="nobody", destination="h-a")
    eventually(lambda: "held" not in [each["state"] for each in scene.b.reservations(state=None)])
    end = int(time.time()) + 5
    short = scene.a.reserve("wan", M, end=end, source="h-a", destination="fd00:99::4")
    before = {name: scene.domain.agents[name].reservations(state=None) for name in "ab"}
    taken = link(scene.a), link(scene.b)
    scene.crash(scene.a, scene.b, meanwhile=end)
    for name, found in before.items():
        expected = [whole(each) for each in found if each["id"] != short["id"]]
        assert [whole(each) for each in scene.domain.agents[name].reservations(state=None)] == expected
    assert len(before["a"]) == 10
    assert state_at(scene.a, short["id"]) == "ended"
    assert (link(scene.a), link(scene.b)) == (taken[0] - M, taken[1])
    with pytest.raises(Forbidden):
        scene.a.cancel(before["a"][1]["id"], f"{OURS} 0")
    scene.b.cancel(before["b"][0]["id"], f"{OURS} 0")
    new = [
        scene.a.reserve("wan", M, source=f"fd00:a::{each}", destination="fd00:99::5")["id"] for each in range(20, 40)
    ]
    assert len({*new, *ids(before["a"]), short["id"]}) == 30


def test_scenario_33_who_has_the_other_ends_is_known_at_once_after_a_crash(scene: Scene):
    scene.crash(scene.a)
    when = {"start": scene.day, "end": scene.day + 10}
    made = scene.a.reserve("wan", M, **when, **two_way("h-a:9", "h-b:9", protocol="tcp"))
    assert made["partner"] == scene.b.node
    assert made["id"] in ids(scene.b.reservations())


def test_scenario_34_a_checkpoint_that_is_cut_off_and_has_a_bad_record_gives_what_can_be_read(scene: Scene):
    now = int(time.time())
    scene.hosts("a", vm="10.1.0.5")
    when = {"commence": scene.day, "expiry": scene.day + 1_000}
    good = line(ONE_WAY, src="p1/h-a:0x50/0xfff0{3}", **when) + line(PASSTHROUGH, host="p1/vm:", **when)
    bad = b'{"id": "res3fbe_00009", "ptype": 0, nonsense}\n' + line(TWO_WAY, id="res3fbe_00008", bandwin=0, **when)
    late = line(TWO_WAY, id="res3fbe_00007", commence=now - 100, expiry=now - 10)
    cut = line(TWO_WAY, host1="p1/h-a:80{3}", host2="p1/h-b:", **when)[:-40]
    file = scene.file("resmgr_a1.ckpt", "x")
    file.write_bytes(b"ucap: p1 90\n" + bad + good.replace(b"!//203.0.113.9", b"!//[fd00:99::9]") + late + cut)
    secret = str(scene.file("admin"))
    status, told = scene.asa(scene.a, "import-tegu", str(file), "--pool", "wan", "--secret-file", secret)
    assert status == 1
    found = {each["line"]: each["code"] for each in told["left_out"]}
    assert found == {2: "unparsable", 3: "zero-bandwidth", 6: "expired", 7: "cut-off"}
    taken = {each["tegu"]: each["id"] for each in told["reservations"]}
    assert set(taken) == {"res3fbe_00002", "res3fbe_00003"}
    assert ids(scene.a.reservations(state=None)) == set(taken.values())
    assert [each["amount"] for each in scene.a.get("caps")] == [90]
    one = scene.a.get(f"reservations/{taken['res3fbe_00002']}")
    assert (one["rate"], one["traffic"], one["start"], one["owner"], one["secret"]) == (
        5 * M,
        "data",
        scene.day,
        "p1",
        True,
    )
    assert (one["source"], one["destination"]) == ("h-a:80/0xfff0{3}", "[fd00:99::9]:443")


@pytest.fixture
def solo(tmp_path):
    """An origin and many reservations, stopped."""
    if reason := unavailable_reason():
        pytest.skip(reason)
    with Lab() as lab:
        agent = Domain.line(lab, tmp_path, ["solo", "void"]).agent("solo", "origin", {"wan": G}).start()
        calls = [lambda n=n: agent.reserve("wan", M, labels=[f"{n:04}" + "x" * 200]) for n in range(150)]
        in_parallel(calls)
        agent.before = agent.reservations("wan")
        assert agent.stop() == 0
        yield agent


def test_scenario_34_a_corrupt_page_of_the_store_loses_no_other_and_is_told(solo):
    database = solo.state / "asa.db"
    content = bytearray(database.read_bytes())
    page = content.index(b"0075" + b"x" * 200) // 4096 * 4096
    content[page : page + 4096] = bytes(4096)
    database.write_bytes(content)
    assert "is damaged" in solo.refuses_to_start()
    solo.start("--salvage")
    assert f"lost: reservations: page {page // 4096 + 1} " in solo.log()
    found = ids(solo.reservations("wan"))
    assert found < ids(solo.before)
    assert len(found) > 100
    views = {each["id"]: whole(each) for each in solo.before}
    assert all(whole(each) == views[each["id"]] for each in solo.reservations("wan"))


def test_scenario_35_what_cannot_be_placed_is_parked_tried_again_and_its_owners_to_cancel(scene: Scene):
    now = int(time.time())
    file = scene.file("parked.ckpt", "x")
    flow = {"commence": now - 50, "bandwin": 10 * M, "bandwout": 10 * M, "usrkey": OURS}
    file.write_bytes(
        line(TWO_WAY, host1="p1/h-a:", host2="p1/later:", id="later", **flow, expiry=now + 900)
        + line(TWO_WAY, host1="p1/h-a:", host2="p1/never:", id="never", **flow, expiry=now + 900)
        + line(TWO_WAY, host1="p1/h-a:", host2="p1/brief:", id="brief", **flow, expiry=now + 8)
    )
    status, told = scene.asa(scene.a, "import-tegu", str(file), "--pool", "wan")
    assert status == 0
    assert {(each["state"], each["why"].partition(":")[0]) for each in told["reservations"]} == {
        ("parked", "unknown-host")
    }
    made = {each["tegu"]: each["id"] for each in told["reservations"]}
    for life in range(2):
        assert ids(scene.a.reservations(state="parked")) >= {made["later"], made["never"]}
        assert (link(scene.a), scene.b.reservations(state=None)) == (0, [])
        if not life:
            scene.crash(scene.a)
    with pytest.raises(Forbidden):
        scene.a.cancel(made["never"], "another's")
    scene.a.cancel(made["never"], OURS)
    scene.hosts("a", later="fd00:b::5")
    assert settled(scene.a, made["later"]), "it is placed at a later try"
    assert (link(scene.a), link(scene.b)) == (10 * M, 10 * M)
    assert scene.b.get(f"reservations/{made['later']}")["source_address"] == "fd00:b::5"
    assert settled(scene.a, made["brief"], "ended"), "it is dropped at its end"
    eventually(lambda: "could not be placed" in scene.a.get(f"reservations/{made['brief']}")["why"])
    assert state_at(scene.a, made["never"]) == "cancelled"


def test_scenario_36_ten_changes_within_a_second_are_all_on_disk_when_they_are_answered(scene: Scene):
    old = [scene.a.reserve("wan", M, source=f"fd00:a::{each}", destination="fd00:99::1")["id"] for each in range(1, 6)]
    begin = time.monotonic()
    calls = [lambda each=each: scene.a.cancel(each) for each in old]
    calls += [
        lambda each=each: scene.a.reserve("wan", 2 * M, source=f"fd00:a::{each}", destination="fd00:99::1")
        for each in range(11, 16)
    ]
    found = [each["id"] for each in in_parallel(calls)]
    scene.a.process.kill()
    # All at once, however long that takes on a busy machine.
    assert time.monotonic() - begin < 10.0
    scene.crash(scene.a)
    assert ids(scene.a.reservations(state=None)) == set(found[5:])
    assert {state_at(scene.a, each) for each in old} == {"cancelled"}
    assert link(scene.a) == 10 * M
    with pytest.raises(UnknownReservation):
        scene.a.get("reservations/r-1")
    with pytest.raises(Short):
        scene.a.reserve("wan", 200 * G, patience_ms=0, source="h-a", destination="fd00:99::1")
