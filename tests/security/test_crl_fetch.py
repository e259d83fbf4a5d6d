"""When revocation lists are retrieved (RFC 8994 §6.2.5.3, §6.7), from where, and what is made of them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from grasp.security import Membership, NotMember, Revocations
from grasp.security import crl_fetch as module
from grasp.security.crl_fetch import CrlFetcher, refresh_after, retry_after
from grasp.security.download import DownloadFailed
from tests.pki import DAY, Authority, Issued
from tests.security.test_download import response, serving

DOMAIN = "acp.example.com"
URL = "http://[fd00::1]/ca.crl"


@pytest.fixture
def ca() -> Authority:
    return Authority(DOMAIN)


@dataclass
class World:
    """A fetcher whose waits take no time: each moves the clock on and is written down."""

    answers: Callable[[str], bytes]
    enough: int
    """Retrievals after which it is stopped."""
    chance: float = 0.0
    fails: bool = False
    revocations: Revocations = field(default_factory=Revocations)
    asked: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    taken: int = 0
    ticks: float = 1_000.0
    ready: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.start = time.time()
        self.fetcher = CrlFetcher(
            self.revocations,
            self.told,
            clock=lambda: self.start + self.ticks - 1_000.0,
            ticks=lambda: self.ticks,
            fetch=self.fetch,
            chance=lambda: self.chance,
        )
        self.fetcher._wake = Waits(self)

    def told(self) -> None:
        self.taken += 1
        if self.fails:
            raise RuntimeError("what follows fails")

    def fetch(self, url: str) -> bytes:
        assert self.ready.wait(60)
        if len(self.asked) == self.enough:
            self.fetcher.stop()
            self.done.set()
            raise DownloadFailed("enough")
        self.asked.append(url)
        return self.answers(url)

    def watch(self, ca: Authority, *issued: Issued) -> None:
        """Until it has retrieved enough."""
        members = Membership(DOMAIN, [ca.anchor])
        for each in issued:
            self.fetcher.watch(members.path(each.whole, time.time()))
        self.ready.set()
        assert self.done.wait(60)
        thread = self.fetcher._thread
        assert thread is not None
        thread.join(60)
        assert not thread.is_alive()


class Waits(threading.Condition):
    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.world.waits.append(round(timeout, 3))
        self.world.ticks += timeout
        return super().wait(0)


def failing(url: str) -> bytes:
    raise DownloadFailed("nobody there")


def from_list(answers: list[bytes]) -> Callable[[str], bytes]:
    left = iter(answers)

    def answer(url: str) -> bytes:
        return next(left)

    return answer


def test_the_first_list_is_asked_for_at_once_and_then_at_half_of_its_life(ca: Authority) -> None:
    now = float(int(time.time()))
    world = World(from_list([ca.crl(next_update=now + 4_000), ca.crl(next_update=now + DAY)]), enough=2)
    world.start = now
    world.watch(ca, ca.issue("rack-7", crl_urls=[URL]))
    assert world.asked == [URL, URL]
    assert world.waits == [2_000.0, (DAY - 2_000) / 2]
    assert world.fetcher.statistics == {"retrieved": 2, "failed": 1, "refused": 0}


def test_failures_are_retried_ever_later_as_the_rfc_recommends(ca: Authority) -> None:
    world = World(failing, enough=9)
    world.watch(ca, ca.issue("rack-7", crl_urls=[URL]))
    assert world.waits == [10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 640.0, 640.0]


def test_after_a_success_failures_count_anew(ca: Authority) -> None:
    now = float(int(time.time()))
    found = ca.crl(next_update=now + 10 * DAY)
    world = World(from_list([b"", b"", found, b"", b""]), enough=5)
    world.watch(ca, ca.issue("rack-7", crl_urls=[URL]))
    assert [*world.waits[:2], *world.waits[3:]] == [10.0, 20.0, 10.0, 20.0]
    assert world.waits[2] == DAY


def test_nobody_waits_exactly_as_long_as_another(ca: Authority) -> None:
    world = World(failing, enough=3, chance=1.0)
    world.watch(ca, ca.issue("rack-7", crl_urls=[URL]))
    assert world.waits == [8.0, 16.0, 32.0]


@pytest.mark.parametrize(("left", "wait"), [(1_000.0, 500.0), (10.0, 60.0), (100 * DAY, DAY), (-5.0, 60.0)])
def test_a_list_is_asked_for_again_within_bounds(ca: Authority, left: float, wait: float) -> None:
    revocations = Revocations()
    now = float(int(time.time()))
    revocations.add(ca.crl(next_update=now + left), [ca.certificate], now)
    assert refresh_after(revocations.lists()[0], now) == wait


def test_the_wait_after_very_many_failures_is_the_longest() -> None:
    assert retry_after(10**9) == 640.0


def test_what_a_list_revokes_is_revoked_and_told(ca: Authority) -> None:
    issued, other = ca.issue("rack-7", crl_urls=[URL]), ca.issue("rack-8", crl_urls=[URL])
    ca.revoke(issued)
    found = ca.crl()
    world = World(lambda url: found, enough=2)
    world.watch(ca, issued, other)
    members = Membership(DOMAIN, [ca.certificate], world.revocations)
    with pytest.raises(NotMember):
        members.check(issued.whole, time.time())
    members.check(other.whole, time.time())
    assert world.taken == 1


def test_a_list_of_another_or_none_is_dropped_and_counted(ca: Authority) -> None:
    issued = ca.issue("rack-7", crl_urls=[URL])
    forged = Authority(DOMAIN)
    forged.revoke(issued)
    world = World(from_list([forged.crl(), b"<html>", b""]), enough=3)
    world.watch(ca, issued)
    assert world.fetcher.statistics == {"retrieved": 0, "failed": 1, "refused": 3}
    assert (world.taken, world.revocations.version) == (0, 0)


def test_a_list_that_is_overdue_counts_and_is_asked_for_again_soon(ca: Authority) -> None:
    issued = ca.issue("rack-7", crl_urls=[URL])
    ca.revoke(issued)
    old = ca.crl(this_update=time.time() - 9 * DAY, next_update=time.time() - DAY)
    world = World(lambda url: old, enough=3)
    world.watch(ca, issued)
    assert world.waits == [10.0, 20.0, 40.0]
    assert world.revocations.revoked(issued.certificate)


def test_of_several_urls_of_a_point_the_first_that_works_is_enough(ca: Authority) -> None:
    from cryptography import x509

    names = [x509.UniformResourceIdentifier(f"{scheme}://a/{n}") for n, scheme in enumerate(("ldap", "http", "https"))]
    point = x509.CRLDistributionPoints([x509.DistributionPoint(names, None, None, None)])
    found = ca.crl()

    def answer(url: str) -> bytes:
        return found if url == "https://a/2" else failing(url)

    world = World(answer, enough=2)
    world.watch(ca, ca.issue("rack-7", extensions=[(point, False)]))
    assert world.asked == ["http://a/1", "https://a/2"]
    assert world.revocations.version == 1


def test_an_intermediates_point_is_followed_too(ca: Authority) -> None:
    below = Authority(DOMAIN, "below", ca, crl_urls=["http://a/ca"])
    issued = below.issue("rack-7", crl_urls=["http://a/below"])
    ca.revoke(below.certificate)
    lists = {"http://a/ca": ca.crl(), "http://a/below": below.crl()}
    world = World(lambda url: lists[url], enough=2)
    world.watch(ca, issued)
    assert sorted(world.asked) == ["http://a/below", "http://a/ca"]
    assert world.revocations.revoked(below.certificate)


def test_a_ca_that_changes_its_key_behind_the_same_url_is_followed() -> None:
    old, new = Authority(DOMAIN), Authority(DOMAIN)
    issued = [each.issue("rack-7", crl_urls=[URL]) for each in (old, new)]
    new.revoke(issued[0])
    fetched = threading.Event()
    revocations = Revocations()
    fetcher = CrlFetcher(revocations, fetched.set, fetch=lambda url: new.crl() if watched.wait(60) else b"")
    watched = threading.Event()
    members = Membership(DOMAIN, [old.certificate, new.certificate])
    try:
        for each in issued:
            fetcher.watch(members.path(each.whole, time.time()))
        watched.set()
        assert fetched.wait(60)
    finally:
        fetcher.stop()
    assert revocations.revoked(issued[0].certificate)


def test_what_cannot_be_asked_for_starts_no_thread(ca: Authority) -> None:
    fetcher = CrlFetcher(Revocations(), lambda: None, fetch=failing)
    issued = ca.issue("rack-7", crl_urls=["ldap://a/b", "file:///etc/passwd", "http://u:p@a/"])
    fetcher.watch([issued.certificate, ca.certificate])
    fetcher.watch([ca.issue("rack-8").certificate, ca.certificate])
    assert fetcher._thread is None
    fetcher.stop()


def test_the_points_are_bounded(ca: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POINTS", 3)
    blocked = threading.Event()
    fetcher = CrlFetcher(Revocations(), lambda: None, fetch=lambda url: failing(url) if blocked.wait(60) else b"")
    try:
        for n in range(9):
            fetcher.watch([ca.issue("rack-7", crl_urls=[f"http://a/{n}"]).certificate, ca.certificate])
        assert list(fetcher._points) == [("http://a/6",), ("http://a/7",), ("http://a/8",)]
    finally:
        blocked.set()
        fetcher.stop()


def test_what_fails_after_a_list_does_not_end_the_thread(ca: Authority, caplog: pytest.LogCaptureFixture) -> None:
    world = World(from_list([ca.crl(), ca.crl()]), enough=2, fails=True)
    with caplog.at_level(logging.CRITICAL, "grasp.security"):
        world.watch(ca, ca.issue("rack-7", crl_urls=[URL]))
    assert world.taken == 2


def test_people_are_told_of_the_first_failure_in_a_row_only(ca: Authority, caplog: pytest.LogCaptureFixture) -> None:
    world = World(failing, enough=5)
    with caplog.at_level(logging.WARNING, "grasp.security"):
        world.watch(ca, ca.issue("rack-7", crl_urls=[URL]))
    assert [each.getMessage() for each in caplog.records] == [f"no revocation list from {URL}: nobody there"]


def test_after_the_end_nothing_is_followed(ca: Authority) -> None:
    fetcher = CrlFetcher(Revocations(), lambda: None, fetch=failing)
    fetcher.stop()
    fetcher.watch([ca.issue("rack-7", crl_urls=[URL]).certificate, ca.certificate])
    assert fetcher._thread is None


def test_a_list_comes_over_http(ca: Authority) -> None:
    told = threading.Event()
    revocations = Revocations()
    with serving(lambda path: [response(ca.crl(der=True))]) as server:
        issued = ca.issue("rack-7", crl_urls=[server.url("/ca.crl")])
        ca.revoke(issued)
        fetcher = CrlFetcher(revocations, told.set)
        fetcher.watch(Membership(DOMAIN, [ca.certificate]).path(issued.whole, time.time()))
        assert fetcher._thread is not None
        assert (fetcher._thread.name, fetcher._thread.daemon) == ("grasp-crl", True)
        assert told.wait(60)
        fetcher.stop()
        fetcher._thread.join(60)
    assert revocations.revoked(issued.certificate)
