"""Where things are: a host table that changes under a running agent, and what else of the mandate placement needs."""

from __future__ import annotations

import os
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest

from asa import hosts, whereabouts
from asa.config import AgentSection, Config, EnforcementSection, FlowsSection, LinkSection, RouteSection
from asa.hosts import MAX_FILE, HostTable
from asa.routing import Hop
from asa.traffic import TrafficClass
from asa.whereabouts import BAD_HOSTS, Whereabouts, limits, thresholds
from objectives import NodeId
from objectives.reach import Reach

ME, PEER = NodeId("me", "0" * 16), NodeId("peer", "1" * 16)
AGENT = AgentSection("me", "origin")

ONE = '[hosts.web1]\naddresses = ["10.0.0.1"]\n'
TWO = '[hosts.web1]\naddresses = ["10.0.0.2"]\n'


class Told:
    """What is wrong now, and how often that changed, as the agent keeps it."""

    def __init__(self) -> None:
        self.wrong: dict[str, str] = {}
        self.changes: list[str | None] = []

    def __call__(self, code: str, message: str | None) -> None:
        assert code == BAD_HOSTS
        if message != self.wrong.get(code):
            self.changes.append(message)
        if message is None:
            self.wrong.pop(code, None)
        else:
            self.wrong[code] = message


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "hosts.toml"
    write(made, ONE)
    return made


@pytest.fixture
def where(file: Path, told: Told) -> Whereabouts:
    return Whereabouts(Config(AGENT, flows=FlowsSection(hosts_file=file)), ME, told)


_WRITTEN = 0


def write(file: Path, text: str) -> None:
    """Not within one tick of the file system's clock of the last time."""
    global _WRITTEN
    _WRITTEN += 1
    file.write_text(text)
    os.utime(file, ns=(_WRITTEN * 10**9, _WRITTEN * 10**9))


def address(where: Whereabouts) -> str:
    return str(where.surroundings().hosts.resolve("web1").addresses[0])


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often the table was read."""
    real, count = hosts.load, [0]

    def counting(path: str | Path) -> HostTable:
        count[0] += 1
        return real(path)

    monkeypatch.setattr("asa.hosts.load", counting)
    return lambda: count[0]


def test_a_table_is_read_when_it_changed_and_only_then(
    where: Whereabouts, file: Path, told: Told, load: Callable[[], int]
) -> None:
    assert [address(where) for _ in range(3)] == ["10.0.0.1"] * 3
    assert load() == 1
    write(file, TWO)
    assert [address(where) for _ in range(3)] == ["10.0.0.2"] * 3
    assert load() == 2
    assert told.changes == []


def test_one_that_took_its_place_with_the_same_time_and_length_is_read_too(where: Whereabouts, file: Path) -> None:
    assert address(where) == "10.0.0.1"
    other = file.with_suffix(".new")
    other.write_text(TWO)
    before = file.stat()
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert other.stat().st_size == before.st_size
    other.replace(file)
    assert address(where) == "10.0.0.2"


def unreadable(file: Path) -> None:
    file.unlink()
    file.mkdir()


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "not TOML": (lambda file: write(file, "[hosts"), "not TOML"),
    "a host that is wrong": (lambda file: write(file, "[hosts.web1]\n"), "hosts.web1.addresses is missing"),
    "a name twice": (lambda file: write(file, ONE + ONE.replace("web1", "WEB1")), "is there twice"),
    "too long": (lambda file: write(file, "#" * (MAX_FILE + 1)), "is too long"),
    "gone": (lambda file: file.unlink(), "cannot be read: No such file"),
    "a directory": (unreadable, "cannot be read: Is a directory"),
}


@pytest.mark.parametrize(("spoil", "what"), BROKEN.values(), ids=BROKEN)
def test_one_that_cannot_be_used_leaves_the_old_in_force_and_is_told_until_it_can(
    where: Whereabouts, file: Path, told: Told, spoil: Callable[[Path], object], what: str
) -> None:
    assert address(where) == "10.0.0.1"
    spoil(file)
    assert [address(where) for _ in range(3)] == ["10.0.0.1"] * 3
    assert len(told.changes) == 1
    assert what in told.wrong[BAD_HOSTS]
    assert told.wrong[BAD_HOSTS].endswith("the old one holds")
    if file.is_dir():
        file.rmdir()
    write(file, TWO)
    assert [address(where) for _ in range(3)] == ["10.0.0.2"] * 3
    assert told.changes[1:] == [None]


@pytest.mark.parametrize(("spoil", "what"), BROKEN.values(), ids=BROKEN)
def test_the_old_file_put_back_as_it_was_is_no_problem_any_more(
    where: Whereabouts, file: Path, told: Told, spoil: Callable[[Path], object], what: str
) -> None:
    assert address(where) == "10.0.0.1"
    aside = file.with_suffix(".aside")
    os.link(file, aside)
    file.unlink()
    if what != BROKEN["gone"][1]:
        file.touch()
        spoil(file)
    assert address(where) == "10.0.0.1"
    assert what in told.wrong[BAD_HOSTS]
    if file.is_dir():
        file.rmdir()
    aside.replace(file)
    assert address(where) == "10.0.0.1"
    assert told.wrong == {}


def test_another_problem_is_told_in_place_of_the_first(where: Whereabouts, file: Path, told: Told) -> None:
    write(file, "[hosts")
    where.surroundings()
    file.unlink()
    where.surroundings()
    write(file, "")
    assert where.surroundings().hosts == HostTable()
    assert [each and each.partition(";")[0].rpartition(": ")[2] for each in told.changes][1:] == [
        "No such file or directory",
        None,
    ]


def test_one_that_is_broken_from_the_start_is_no_table(where: Whereabouts, file: Path, told: Told) -> None:
    write(file, "[hosts")
    assert where.surroundings().hosts == HostTable()
    assert len(told.changes) == 1


def test_without_a_file_there_are_no_hosts_and_no_problems(told: Told) -> None:
    assert Whereabouts(Config(AGENT), ME, told).surroundings().hosts == HostTable()
    assert told.changes == []


LINKS = (
    LinkSection("eth0", 1_000, headroom=10),
    LinkSection("eth1", 1_001, capacity_in=99, headroom=50, alarm=80),
    LinkSection("eth2", 7, alarm=0),
)


def test_the_mandate_says_the_rest(told: Told) -> None:
    config = Config(
        AGENT,
        links=LINKS,
        routes=(RouteSection(ip_network("10.0.2.0/24"), "eth1", ("wan",)),),
        flows=FlowsSection(kernel_routes=False, prefer="ipv4", serves=(ip_network("10.0.1.0/24"),)),
        traffic_classes=(TrafficClass("bulk", 8),),
    )
    made = Whereabouts(config, ME, told)
    around = made.surroundings()
    assert around.classes.find("bulk").dscp == 8
    assert (around.serves, around.prefer) == ((ip_network("10.0.1.0/24"),), "ipv4")
    assert around.limited == {f"eth{number}:{way}" for number in range(3) for way in ("out", "in")}
    assert around.toward(ip_network("10.0.2.7")) == Hop("eth1", ("wan",))
    assert around.toward(ip_network("127.0.0.1")) == Hop(None, None)
    assert around.local(ip_network("10.0.1.7/32"))
    assert not around.local(ip_network("10.0.2.7/32"))
    assert around.serving(ip_network("10.0.2.7")) is None
    made.map.heard(0.0, Reach(PEER, 1, (ip_network("10.0.2.0/24"),)))
    assert around.serving(ip_network("10.0.2.7")) == PEER


def test_the_kernel_is_asked_where_no_route_names_an_interface(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whereabouts, "kernel_interface", lambda address: f"to-{address}")
    routes = (RouteSection(ip_network("10.0.2.0/24"), "eth1"),)
    asking = Whereabouts(Config(AGENT, routes=routes), ME, told).surroundings()
    silent = Whereabouts(Config(AGENT, routes=routes, flows=FlowsSection(kernel_routes=False)), ME, told).surroundings()
    for around, other in (asking, "to-10.0.3.7"), (silent, None):
        assert around.toward(ip_network("10.0.2.7")).interface == "eth1"
        assert around.toward(ip_network("10.0.3.7")).interface == other


def test_what_may_be_reserved_of_a_link_is_its_capacity_less_its_headroom() -> None:
    assert limits(Config(AGENT, links=LINKS)) == {
        "eth0:out": 900, "eth0:in": 900, "eth1:out": 500, "eth1:in": 49, "eth2:out": 7, "eth2:in": 7,
    }  # fmt: skip
    assert limits(Config(AGENT)) == {}


def test_where_packets_obey_a_floor_is_kept_of_each_link() -> None:
    links = (LinkSection("eth0", 10_000, 1_001, headroom=6), LinkSection("eth1", 1_000), LinkSection("eth2", 1_999))
    for backend in ("auto", "tc-nft", "tc-u32", "openvswitch"):
        found = limits(Config(AGENT, links=links, enforcement=EnforcementSection(backend)))
        assert found == {
            "eth0:out": 9_400, "eth0:in": 940, "eth1:out": 950, "eth1:in": 950, "eth2:out": 1_899, "eth2:in": 1_899,
        }  # fmt: skip
    half = limits(Config(AGENT, links=links, enforcement=EnforcementSection("auto", floor=50)))
    assert (half["eth0:out"], half["eth1:in"]) == (5_000, 500)
    nothing = Config(AGENT, links=links, enforcement=EnforcementSection("record", floor=50))
    assert limits(nothing) == limits(Config(AGENT, links=links))


def test_thresholds_are_of_links_with_one_of_their_own() -> None:
    assert thresholds(Config(AGENT, links=LINKS)) == {"eth1:out": 80, "eth1:in": 80, "eth2:out": 0, "eth2:in": 0}
