"""Discovery between two nodes (RFC 8991 §2.3.4)."""

from __future__ import annotations

import time
from ipaddress import IPv6Address

from grasp.rfc8991 import IPPROTO_TCP, errors, objective
from tests.rfc8991.conftest import WAIT_S, negotiable, synchronizable

EX = "EX1"


def test_it_takes_the_whole_timeout_and_returns_all(pair):
    a, b = pair
    b.register(synchronizable(EX))
    b.listen_synchronize(synchronizable(EX, 1))
    before = time.monotonic()
    a.discovered(objective(EX))
    known = time.monotonic()
    errorcode, (found,) = a.discover(objective(EX), 200, 1)
    after = time.monotonic()
    assert errorcode == errors.ok
    assert after - known >= 0.2
    assert found.locator == IPv6Address(b.host.link_local("eth0"))
    assert (found.port, found.protocol) == (b.node.port, IPPROTO_TCP)
    assert (found.is_ipaddress, found.is_fqdn, found.is_uri, found.diverted) == (True, False, False, False)
    assert found.ifi == b.locator(a).ifi
    # The default ttl is 60 s, on the monotonic clock.
    assert before + 60 <= found.expire <= after + 60


def test_an_empty_list_is_no_error(pair):
    a, _ = pair
    before = time.monotonic()
    assert a.discover(objective(EX), 100, 1) == (errors.ok, [])
    assert time.monotonic() - before >= 0.1


def test_timeout_zero_looks_into_the_cache_only(pair):
    a, b = pair
    b.register(objective(EX), discoverable=True)
    assert a.discover(objective(EX), 0, 1) == (errors.ok, [])
    a.discovered(objective(EX))
    assert len(a.discover(objective(EX), 0, 1)[1]) == 1


def test_minimum_ttl_forgets_what_lives_no_longer(pair):
    a, b = pair
    b.register(objective(EX), ttl=30_000, discoverable=True)
    a.discovered(objective(EX))
    assert len(a.discover(objective(EX), 0, 20_000)[1]) == 1
    assert a.discover(objective(EX), 0, 30_000) == (errors.ok, [])
    assert a.discover(objective(EX), 0, 1) == (errors.ok, [])


def test_minimum_ttl_zero_forgets_all(pair):
    a, b = pair
    b.register(objective(EX), discoverable=True)
    a.discovered(objective(EX))
    assert a.discover(objective(EX), 0, 0) == (errors.ok, [])
    a.discovered(objective(EX), 0)


def test_what_nobody_listens_for_is_not_discovered_unless_discoverable(pair):
    a, b = pair
    b.register(negotiable(EX))
    assert a.discover(negotiable(EX), 100, 1) == (errors.ok, [])
    listening = b.listening(negotiable(EX))
    a.discovered(negotiable(EX))
    b.stop_listen_negotiate(negotiable(EX))
    listening.result(WAIT_S)
    assert a.discover(negotiable(EX), 100, 0) == (errors.ok, [])


def test_an_asa_discovers_another_at_its_own_node(pair):
    a, _ = pair
    _, other = a.functions.register_asa("other")
    assert a.functions.register_objective(other, objective(EX), discoverable=True) == errors.ok
    errorcode, (found,) = a.discover(objective(EX), 0, 1)
    assert (errorcode, found.port) == (errors.ok, a.node.port)
