"""Synchronization and flooding between two nodes (RFC 8991 §2.3.6)."""

from __future__ import annotations

import math
import threading
import time
from ipaddress import IPv6Address

import pytest

from grasp.rfc8991 import IPPROTO_UDP, ASA_locator, RawCBOR, errors, tagged_objective
from tests.rfc8991.conftest import WAIT_S, synchronizable

EX = "EX2"


@pytest.fixture
def registered(pair):
    pair[1].register(synchronizable(EX))
    return pair


def flooded(agent, count, name=EX):
    """What is in the flood cache once there are ``count``."""
    deadline = time.monotonic() + WAIT_S
    while True:
        errorcode, found = agent.get_flood(synchronizable(name))
        assert errorcode == errors.ok
        if len(found) == count:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.002)


def wire_locator(address="2001:db8::53", port=5353, protocol=IPPROTO_UDP):
    made = ASA_locator(IPv6Address(address))
    made.port, made.protocol = port, protocol
    return made


# -- synchronization


def test_the_value_is_the_last_one_published(registered):
    a, b = registered
    for value in ({"version": 1}, {"version": 2}):
        assert b.listen_synchronize(synchronizable(EX, value)) == errors.ok
        errorcode, result = a.synchronize(synchronizable(EX), None, 30_000)
        assert (errorcode, result.value) == (errors.ok, value)
        assert (result.name, result.synch, result.negotiate) == (EX, True, False)


def test_a_published_value_is_a_copy(registered):
    a, b = registered
    published = synchronizable(EX, [1])
    b.listen_synchronize(published)
    published.value.append(2)
    assert a.synchronize(published, b.locator(a), 30_000)[1].value == [1]


def test_stopping_it(registered):
    a, b = registered
    b.listen_synchronize(synchronizable(EX, 1))
    assert b.stop_listen_synchronize(synchronizable(EX)) == errors.ok
    assert a.synchronize(synchronizable(EX), b.locator(a), 30_000) == (errors.noListener, None)
    assert a.synchronize(synchronizable(EX), None, 50) == (errors.notFloodDisc, None)


def test_without_peer_the_flooded_value_is_taken_with_peer_the_current_one(registered):
    a, b = registered
    b.listen_synchronize(synchronizable(EX, "current"))
    assert b.flood(60_000, [tagged_objective(synchronizable(EX, "flooded"))]) == errors.ok
    flooded(a, 1)
    assert a.synchronize(synchronizable(EX), None, 30_000)[1].value == "flooded"
    assert a.synchronize(synchronizable(EX), b.locator(a), 30_000)[1].value == "current"


def test_raw_cbor_is_published_and_flooded_as_such(registered):
    a, b = registered
    raw = RawCBOR(bytes.fromhex("83010203"))
    b.listen_synchronize(synchronizable(EX, raw))
    result = a.synchronize(synchronizable(EX), b.locator(a), 30_000)[1].value
    assert type(result) is RawCBOR
    assert result == raw
    b.flood(60_000, [tagged_objective(synchronizable(EX, raw))])
    (tagged,) = flooded(a, 1)
    assert type(tagged.objective.value) is RawCBOR
    assert tagged.objective.value.decode_item() == [1, 2, 3]


# -- flooding


def test_nothing_flooded_is_an_empty_list(registered):
    a, _ = registered
    assert a.get_flood(synchronizable(EX)) == (errors.ok, [])


def test_a_flood_reaches_the_neighbour_and_the_node_itself(registered):
    a, b = registered
    before = time.monotonic()
    assert b.flood(30_000, [tagged_objective(synchronizable(EX, {"mtu": 9000}))]) == errors.ok
    for agent in (a, b):
        (tagged,) = flooded(agent, 1)
        assert tagged.locator is None
        assert tagged.objective.value == {"mtu": 9000}
        assert tagged.objective.synch
    assert time.monotonic() - before < WAIT_S


def test_a_locator_is_flooded_as_it_is(registered):
    a, b = registered
    before = time.monotonic()
    b.flood(30_000, [tagged_objective(synchronizable(EX, 1), wire_locator())])
    (tagged,) = flooded(a, 1)
    where = tagged.locator
    assert (where.locator, where.protocol, where.port) == (IPv6Address("2001:db8::53"), 17, 5353)
    assert where.is_ipaddress
    assert before + 30 <= where.expire <= time.monotonic() + 30
    assert where.ifi == b.locator(a).ifi


def test_texts_are_locators_too(registered):
    a, b = registered
    name, uri = ASA_locator("www.example.net"), ASA_locator("https://example.net/x")
    name.is_fqdn, name.port = True, 443
    uri.is_uri, uri.protocol, uri.port = True, None, None
    b.flood(0, [tagged_objective(synchronizable(EX, 1), name), tagged_objective(synchronizable(EX, 2), uri)])
    by_name, by_uri = (each.locator for each in flooded(a, 2))
    assert (by_name.locator, by_name.is_fqdn, by_name.is_uri, by_name.port) == ("www.example.net", True, False, 443)
    assert (by_uri.locator, by_uri.is_fqdn, by_uri.is_uri, by_uri.port) == ("https://example.net/x", False, True, None)
    assert by_uri.expire == math.inf


def test_the_unspecified_address_becomes_that_of_the_link(registered):
    a, b = registered
    b.flood(30_000, [tagged_objective(synchronizable(EX, 1), wire_locator("::", 7017, 6))])
    (tagged,) = flooded(a, 1)
    assert tagged.locator.locator == IPv6Address(b.host.link_local("eth0"))
    assert tagged.locator.port == 7017
    assert tagged.objective.loop_count == 1


def test_the_same_objective_from_two_asas_stands_twice(registered):
    a, b = registered
    a.register(synchronizable(EX))
    a.flood(0, [tagged_objective(synchronizable(EX, "a"), wire_locator("2001:db8::a"))])
    b.flood(0, [tagged_objective(synchronizable(EX, "b"), wire_locator("2001:db8::b"))])
    for agent in (a, b):
        assert {each.objective.value for each in flooded(agent, 2)} == {"a", "b"}


def test_several_objectives_in_one_flood(registered):
    a, b = registered
    b.register(synchronizable("EX3"))
    tagged = [tagged_objective(synchronizable(EX, 1)), tagged_objective(synchronizable("EX3", 2))]
    assert b.flood(0, tagged) == errors.ok
    assert flooded(a, 1)[0].objective.value == 1
    assert flooded(a, 1, "EX3")[0].objective.value == 2


def test_a_later_flood_replaces_the_earlier(registered):
    a, b = registered
    for value in (1, 2):
        b.flood(0, [tagged_objective(synchronizable(EX, value))])
    deadline = time.monotonic() + WAIT_S
    while flooded(a, 1)[0].objective.value != 2:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_flood_ends_with_its_lifetime(registered):
    a, b = registered
    deadline = time.monotonic() + WAIT_S
    # Again and again, until it is looked at while it lives.
    while not a.get_flood(synchronizable(EX))[1]:
        assert time.monotonic() < deadline
        b.flood(100, [tagged_objective(synchronizable(EX, 1))])
        time.sleep(0.002)
    flooded(a, 0)


def test_expiring_one_of_two_entries(registered):
    a, b = registered
    tagged = [tagged_objective(synchronizable(EX, n), wire_locator(f"2001:db8::{n}")) for n in (1, 2)]
    b.flood(0, tagged)
    first, second = flooded(a, 2)
    assert a.expire_flood(first) == errors.ok
    assert a.expire_flood(first) == errors.notObj
    (left,) = flooded(a, 1)
    assert left.objective.value == second.objective.value
    assert len(flooded(b, 2)) == 2


def test_what_get_flood_returns_is_the_callers_own(registered):
    a, b = registered
    b.flood(0, [tagged_objective(synchronizable(EX, [1]))])
    (mine,) = flooded(a, 1)
    mine.objective.value.append(2)
    assert flooded(a, 1)[0].objective.value == [1]


def test_flooding_from_many_threads(registered):
    a, b = registered
    codes = []

    def flood(number):
        codes.append(b.flood(0, [tagged_objective(synchronizable(EX, number), wire_locator(f"2001:db8::{number}"))]))

    threads = [threading.Thread(target=flood, args=(number,)) for number in range(1, 17)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert codes == [errors.ok] * 16
    assert {each.objective.value for each in flooded(a, 16)} == set(range(1, 17))
