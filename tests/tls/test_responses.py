"""A response to a discovery, and by what way it may come (RFC 8990 §2.5.4.4)."""

from __future__ import annotations

import threading

import pytest

from grasp.calls import Registration
from grasp.core import Core
from grasp.discovery import Source
from grasp.locators import Discovered
from grasp.member import Member
from grasp.wire import Discovery, IPv6Locator, Objective, Response, encode_message
from tests.test_conformance import NEIGHBOUR, THERE, Links
from tests.tls.substrates import eventually

MEMBER = Member("rack-7", "0@acp.example.com", "acp.example.com", bytes(32), 2**33)
LINK = Source(NEIGHBOUR.address, NEIGHBOUR.port, NEIGHBOUR.interface, MEMBER)


@pytest.mark.parametrize("known", [True, False], ids=["from a neighbour's link", "from anybody"])
def test_a_response_counts_without_a_connection_only_if_a_member_brings_it(known: bool) -> None:
    links = Links()
    core = Core(links, jitter=lambda: 0.0)
    core.start()
    asa = core.register_asa("asker")
    found: list[Discovered] = []
    patience = 30_000 if known else 700

    def ask() -> None:
        found.extend(core.discover(asa, Objective("EX1"), patience, 0, 1))

    asking = threading.Thread(target=ask)
    asking.start()
    question = eventually(lambda: next((each for each in links.multicasts if isinstance(each, Discovery)), None))
    response = Response(question.session_id, question.initiator, 60_000, (IPv6Locator(THERE, 6, 7),))
    core.multicast_received(encode_message(response, 2048), LINK if known else NEIGHBOUR)
    asking.join()
    core.stop()
    assert [each.locator for each in found] == ([IPv6Locator(THERE, 6, 7)] if known else [])
    discarded = core.statistics().discarded
    assert discarded == ({} if known else {"multicast: not for multicast": 1})


def test_a_discovery_that_came_by_a_link_is_answered_by_the_same_way() -> None:
    links = Links()
    core = Core(links)
    core.start()
    asa = core.register_asa("answerer")
    core.register_objective(asa, Registration(Objective.negotiation("EX1"), discoverable=True))
    data = encode_message(Discovery(9, THERE, Objective("EX1", 1, 6)), 2048)
    core.multicast_received(data, LINK)
    core.stop()
    (reply,) = links.replies
    assert isinstance(reply, Response)
    assert (reply.session_id, reply.initiator) == (9, THERE)
