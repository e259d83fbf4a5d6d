"""The example messages of RFC 8990 Appendix A, byte for byte in both directions."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest

from grasp.constants import F_DISC, F_NEG, F_SYNCH
from grasp.wire import (
    Accept,
    Decline,
    Discovery,
    End,
    Flood,
    FloodEntry,
    IPv6Locator,
    Message,
    Negotiation,
    Objective,
    RequestNegotiation,
    RequestSynchronization,
    Response,
    Synchronization,
    Wait,
    decode_message,
    encode_message,
)
from tests.wire.by_hand import item_end

_INITIATOR = IPv6Address("2001:db8:f000:baaa:28cc:dc4c:9703:6781")
_PEER = IPv6Address("2001:db8:f000:baaa:f000:baaa:f000:baaa")
_NEG = F_DISC | F_NEG
_SYNCH = F_DISC | F_SYNCH


def _nzd(loop_count: int, amount: int) -> Objective:
    return Objective("EX3", _NEG, loop_count, ["NZD", amount])


EXAMPLES: dict[str, tuple[str, Message]] = {
    "A.1 discovery": (
        "84011a00d4d7485020010db8f000baaa28ccdc4c970367818463455831050200",
        Discovery(13948744, _INITIATOR, Objective("EX1", _SYNCH, 2, 0)),
    ),
    "A.1 response": (
        "85021a00d4d7485020010db8f000baaa28ccdc4c9703678119ea6084186750"
        "20010db8f000baaaf000baaaf000baaa0619c123",
        Response(13948744, _INITIATOR, 60000, (IPv6Locator(_PEER, 6, 49443),)),
    ),
    # The RFC prints 86 as first byte, an array of 6, but the message has the 5 items of 85.
    "A.2 flood": (
        "85091a00357b4e5020010db8f000baaa28ccdc4c97036781192710"
        "828463455831050282704578616d706c6520312076616c75653d186480",
        Flood(
            3504974, _INITIATOR, 10000, (FloodEntry(Objective("EX1", _SYNCH, 2, ["Example 1 value=", 100])),)
        ),
    ),
    "A.3 request": (
        "83041a003da10e8463455832050500",
        RequestSynchronization(4038926, Objective("EX2", _SYNCH, 5, 0)),
    ),
    "A.3 value": (
        "83081a003da10e8463455832050582704578616d706c6520322076616c75653d18c8",
        Synchronization(4038926, Objective("EX2", _SYNCH, 5, ["Example 2 value=", 200])),
    ),
    "A.4 request": ("83031a000c3ffd8463455833030682634e5a44182f", RequestNegotiation(802813, _nzd(6, 47))),
    "A.4 acceptance": ("83061a000c3ffd811865", End(802813, Accept())),
    "A.5 request": ("83031a00d214628463455833030682634e5a4419019a", RequestNegotiation(13767778, _nzd(6, 410))),
    "A.5 offer": ("83051a00d214628463455833030682634e5a441850", Negotiation(13767778, _nzd(6, 80))),
    "A.5 less": ("83051a00d214628463455833030582634e5a44190133", Negotiation(13767778, _nzd(5, 307))),
    "A.5 wait": ("83071a00d21462198895", Wait(13767778, 34965)),
    "A.5 more": ("83051a00d214628463455833030482634e5a441878", Negotiation(13767778, _nzd(4, 120))),
    "A.5 still less": ("83051a00d214628463455833030382634e5a4418f6", Negotiation(13767778, _nzd(3, 246))),
    "A.5 refusal": (
        "83061a00d2146282186672496e73756666696369656e742066756e6473",
        End(13767778, Decline("Insufficient funds")),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_decodes_to_what_the_rfc_says_it_is(name: str) -> None:
    text, message = EXAMPLES[name]
    assert decode_message(bytes.fromhex(text)) == message


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_is_encoded_to_the_bytes_of_the_rfc(name: str) -> None:
    text, message = EXAMPLES[name]
    assert encode_message(message, 2048).hex() == text


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_walker_of_these_tests_agrees_that_the_example_is_one_item(name: str) -> None:
    data = bytes.fromhex(EXAMPLES[name][0])
    assert item_end(data) == len(data)
