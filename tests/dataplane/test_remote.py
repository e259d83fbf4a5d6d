"""An agent without privileges and its deputy: the same as the deputy's back end itself, and what if it is lost."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from asa.dataplane.backend import Counters, EnforcementFailed, Reading, Unfit
from asa.dataplane.deputy import conversation
from asa.dataplane.deputy.remote import Remote
from asa.dataplane.deputy.vocabulary import MOST_MATCHES, Asked, Change, Changed, There, Welcome
from asa.dataplane.deputy.wire import asked_from, encoded
from asa.dataplane.plan import Key, Line, Plan, Share
from asa.dataplane.record import Record
from asa.errors import BadRequest
from tests.dataplane.deputies import IN, OUT, PATIENCE, VARIED, Faulty, entry, eventually, plan, serving


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deputy.sock"


@pytest.fixture
def backend() -> Faulty:
    return Faulty()


@pytest.fixture
def remote(path: Path, backend: Faulty) -> Iterator[Remote]:
    with serving(backend, path):
        remote = Remote(path)
        yield remote
        remote.close()


class Heard:
    """Every frame a deputy gets, and how long it is."""

    def __init__(self) -> None:
        self.frames: list[Asked] = []
        self.bytes = 0

    def __call__(self, body: bytes) -> Asked:
        self.frames.append(asked_from(body))
        self.bytes += len(body)
        return self.frames[-1]

    def forget(self) -> None:
        self.frames, self.bytes = [], 0


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    heard = Heard()
    monkeypatch.setattr(conversation, "asked_from", heard)
    return heard


def test_it_does_what_the_back_end_itself_does(remote: Remote, backend: Faulty) -> None:
    own = Record()
    assert remote.probe([OUT, IN]) == own.probe([OUT, IN])
    assert remote.name == "record"
    for each in (plan(VARIED), plan(VARIED[:3]), plan(VARIED[2:], [IN, OUT]), plan(VARIED[:1], [OUT]), Plan()):
        assert remote.apply(each) == own.apply(each) == {}
        assert remote.read() == own.read() == backend.read()
        assert set(backend.read().found) == {spot for of in each.entries.values() for spot in spots(of.key)}
        keys = [of.key for of in VARIED if of.line in [line.name for line in each.lines]]
        assert remote.read(keys) == own.read(keys)
    assert remote.read([]) == Reading()
    remote.apply(plan(VARIED))
    remote.clear()
    assert (remote.read(), backend.read()) == (Reading(), Reading())
    assert remote.apply(plan(VARIED)) == {}
    assert len(remote.read().found) == len(list(VARIED)) + 2


def spots(key: Key) -> list[Any]:
    return [(key[0], key[1], match) for match in key[2]]


def test_a_change_among_thousands_is_a_small_message(remote: Remote, backend: Faulty, heard: Heard) -> None:
    entries = [entry(number) for number in range(5_000)]
    remote.apply(plan(entries))
    assert len(heard.frames) > 3
    assert remote.read() == backend.read()
    heard.forget()
    entries[7] = replace(entries[7], share=Share(16_000, 16_000))
    del entries[9]
    entries.append(entry(6_000))
    remote.apply(plan(entries))
    (change,) = heard.frames
    assert isinstance(change, Change)
    assert (change.lines, len(change.gone), len(change.come)) == (None, 1, 2)
    assert heard.bytes < 1_000
    heard.forget()
    remote.apply(plan([replace(each) for each in entries]))
    assert heard.bytes < 50
    assert remote.read([entries[7].key]).found[OUT.name, *spots(entries[7].key)[0][1:]].share == Share(16_000, 16_000)
    assert remote.read() == backend.read()
    heard.forget()
    remote.apply(plan(entries, [replace(OUT, floor=80_000_000), IN]))
    assert heard.bytes < 1_000


def test_many_keys_of_no_entries_are_asked_for(remote: Remote) -> None:
    remote.apply(plan(VARIED))
    keys = [entry(number).key for number in range(1, 5_000)]
    assert set(remote.read(keys).found) == set(spots(keys[0]))


class Counting(Record):
    def count(self) -> dict[Key, Counters]:
        return {key: Counters(len(each.ids), 2, 3, 4, 5, 6) for key, each in self._plan.entries.items()}


def test_counters_come_by_entry(path: Path) -> None:
    with serving(Counting(), path):
        remote = Remote(path)
        entries = [entry(number) for number in range(3_000)] + [entry(5_000, ids=("a", "b", "c"))]
        remote.apply(plan(entries))
        assert remote.count() == {each.key: Counters(len(each.ids), 2, 3, 4, 5, 6) for each in entries}
        remote.close()


# -- what fails


def test_what_is_not_put_in_place_is_told_by_entry(remote: Remote, backend: Faulty) -> None:
    first, second = entry(1), entry(2)
    backend.refuses = {first.key: "no room", entry(3).key: "nobody wanted that"}
    assert remote.apply(plan([first, second])) == {first.key: "no room"}
    backend.refuses = {first.key: "it does not go away"}
    assert remote.apply(plan([second])) == {first.key: "it does not go away"}
    backend.refuses = {entry(number).key: "x" * 900 for number in range(4_000)}
    failed = remote.apply(plan([entry(number) for number in range(4_000)]))
    assert set(failed) == set(backend.refuses)
    assert {len(each) for each in failed.values()} == {400}


def test_an_entry_of_too_many_matches_does_not_hold_up_the_others(remote: Remote, backend: Faulty) -> None:
    matches = frozenset(match for number in range(MOST_MATCHES + 1) for match in entry(100 + number).matches)
    many, other = entry(1, matches=matches), entry(2)
    failed = remote.apply(plan([many, other]))
    assert list(failed) == [many.key]
    assert set(backend.read().found) == set(spots(other.key))
    assert remote.apply(plan([entry(1, matches=frozenset(list(matches)[1:])), other])) == {}
    assert len(backend.read().found) == MOST_MATCHES + 1


@pytest.mark.parametrize(
    ("raised", "expected", "text"),
    [
        (EnforcementFailed("tc failed", hint="look"), EnforcementFailed, "tc failed"),
        (Unfit("no HTB here", hint="modprobe"), Unfit, "no HTB here"),
        (BadRequest("a bad one"), EnforcementFailed, "refuses: a bad one (bad-request)"),
        (RuntimeError("\x1b[2J" * 500), EnforcementFailed, "(internal)"),
    ],
)
def test_what_the_back_end_raises_is_raised_here(
    remote: Remote, backend: Faulty, raised: Exception, expected: type[Exception], text: str
) -> None:
    remote.apply(plan(VARIED[:2]))
    backend.raises = raised
    with pytest.raises(expected) as caught:
        remote.apply(plan(VARIED))
    assert type(caught.value) is expected
    assert text in str(caught.value)
    assert len(str(caught.value)) < 600
    backend.raises = None
    assert remote.apply(plan(VARIED[1:])) == {}
    assert remote.read() == backend.read()
    assert set(remote.read().found) == {spot for each in VARIED[1:] for spot in spots(each.key)}


def test_without_a_deputy_it_says_what_to_do(path: Path) -> None:
    remote = Remote(path)
    calls: list[Callable[[], object]] = [
        lambda: remote.probe([OUT]), lambda: remote.apply(plan(VARIED)), remote.read, remote.count, remote.clear,
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(EnforcementFailed, match=r"no deputy at .*: No such file") as caught:
            call()
        assert "asa deputy" in caught.value.hint
        assert "CAP_NET_ADMIN" in caught.value.hint
    remote.close()


@pytest.mark.parametrize("call", ["read", "count", "apply", "probe", "clear"])
def test_a_deputy_that_was_lost_is_told_everything_anew(path: Path, call: str, heard: Heard) -> None:
    remote = Remote(path)
    with serving(Record(), path):
        remote.probe([OUT, IN])
        remote.apply(plan(VARIED))
    with pytest.raises(EnforcementFailed):
        remote.read()
    with pytest.raises(EnforcementFailed):
        remote.apply(plan(VARIED))
    heard.forget()
    fresh = Record()
    with serving(fresh, path):
        if call in ("probe", "clear"):
            assert getattr(remote, call)(*([[OUT, IN]] if call == "probe" else [])) in (None, fresh.probe([OUT]))
            assert fresh.read() == Reading()
        else:
            getattr(remote, call)(*([plan(VARIED)] if call == "apply" else []))
            assert len(fresh.read().found) == len(VARIED) + 2
        assert [type(each).__name__ for each in heard.frames[:2]] == ["Hello", "Probe"]
        assert sum(type(each).__name__ == "Probe" for each in heard.frames) == 1
        remote.close()


def test_a_deputy_restarted_between_two_calls_is_not_even_noticed(path: Path) -> None:
    remote = Remote(path)
    with serving(Record(), path):
        remote.apply(plan(VARIED[:3]))
    fresh = Record()
    with serving(fresh, path):
        assert remote.apply(plan(VARIED)) == {}
        assert remote.read() == fresh.read()
        remote.close()


class Choosy(Record):
    """Becomes unfit."""

    fit = True

    def probe(self, lines: Any) -> Any:
        if not self.fit:
            raise Unfit("no HTB here")
        return super().probe(lines)


def test_one_that_became_unfit_meanwhile_is_a_failure_and_asked_again(path: Path) -> None:
    remote, backend = Remote(path), Choosy()
    with serving(backend, path):
        remote.probe([OUT, IN])
    backend.fit = False
    with serving(backend, path):
        with pytest.raises(Unfit):
            remote.probe([OUT, IN])
        for _ in range(2):
            with pytest.raises(EnforcementFailed, match="no HTB here"):
                remote.apply(plan(VARIED))
        backend.fit = True
        assert remote.apply(plan(VARIED)) == {}
        remote.close()


def test_a_deputy_has_one_agent_at_a_time(path: Path) -> None:
    with serving(Record(), path):
        first, second = Remote(path), Remote(path)
        first.apply(plan(VARIED))
        with pytest.raises(EnforcementFailed, match=f"this deputy is process {os.getpid()} of user .*busy"):
            second.apply(Plan())
        assert len(first.read().found) == len(VARIED) + 2
        first.close()

        def served() -> bool:
            try:
                return second.apply(Plan()) == {}
            except EnforcementFailed:
                return False

        eventually(served)
        second.close()


def test_who_may_not_use_the_deputy_is_told_how_it_could(path: Path) -> None:
    with serving(Record(), path, uids=()):
        remote = Remote(path)
        with pytest.raises(EnforcementFailed, match=r"may not use this deputy \(forbidden\)") as caught:
            remote.probe([OUT])
        assert caught.value.hint == f"asa deputy --uid {os.getuid()} lets it"


def test_a_line_the_deputy_leaves_alone(path: Path) -> None:
    backend = Record()
    with serving(backend, path, interfaces=["eth1"]):
        remote = Remote(path)
        for call in (lambda: remote.probe([OUT]), lambda: remote.apply(plan(VARIED))):
            with pytest.raises(EnforcementFailed, match="leaves eth0 alone"):
                call()
        mine = [replace(entry(1), line="eth1:out")]
        remote = Remote(path) if remote.close() is None else remote
        assert remote.apply(plan(mine, [Line("eth1", "out", 800_000, 8_000)])) == {}
        remote.close()
        assert [name for name, _, _ in backend.read().found] == ["eth1:out"]


# -- a deputy that is none


@contextmanager
def saying(path: Path, *answers: bytes) -> Iterator[None]:
    """Each answer to one piece of what is said, then silence."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        over = threading.Event()

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                for each in answers:
                    sock.recv(1 << 20)
                    sock.sendall(each)
                over.wait(PATIENCE)

        thread = threading.Thread(target=serve, name="no-deputy", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(PATIENCE)


WELCOME = encoded(Welcome(1, "record"))


@pytest.mark.parametrize(
    "answers",
    [
        (),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n",),
        (b"\0\0\0\2{}",),
        (encoded(Changed()),),
        (WELCOME, WELCOME),
        (WELCOME, b"\xff\xff\xff\xff"),
        (WELCOME, encoded(There())),
        (WELCOME, b"\0\0\0\x10{}"),
        (WELCOME, encoded(Changed(more=True)) * 2_000),
    ],
)
def test_a_deputy_that_makes_no_sense_or_hangs_is_given_up(path: Path, answers: tuple[bytes, ...]) -> None:
    with saying(path, *answers):
        remote = Remote(path, answer_s=0.5)
        with pytest.raises(EnforcementFailed, match="no deputy at"):
            remote.apply(plan(VARIED))
        remote.close()


@pytest.mark.parametrize(
    ("answer", "call"),
    [
        (b'{"is":"there","entries":[{"number":99,"at":0,"found":{"group":1}}]}', "read"),
        (b'{"is":"there","entries":[{"number":1,"at":5,"found":{"group":1}}]}', "read"),
        (b'{"is":"counted","entries":[{"number":99,"bytes":1,"packets":1,"dropped":0,"borrowed":0,"backlog":0}]}',
         "count"),
    ],
)  # fmt: skip
def test_what_was_never_asked_about_is_not_believed(path: Path, answer: bytes, call: str) -> None:
    with saying(path, WELCOME, encoded(Changed()), len(answer).to_bytes(4, "big") + answer):
        remote = Remote(path, answer_s=PATIENCE)
        remote.apply(plan([entry(1)]))
        with pytest.raises(EnforcementFailed, match="no deputy at"):
            getattr(remote, call)()
        remote.close()


def test_a_failure_of_no_entry_is_not_believed(path: Path) -> None:
    answer = b'{"is":"changed","failed":[{"number":77,"why":"x"}]}'
    with saying(path, WELCOME, len(answer).to_bytes(4, "big") + answer):
        remote = Remote(path, answer_s=PATIENCE)
        with pytest.raises(EnforcementFailed, match="no deputy at"):
            remote.apply(Plan((OUT,), MappingProxyType({})))
        remote.close()
