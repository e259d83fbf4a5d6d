"""Error codes are those of RFC 8991 Appendix A, and every error can cross a process boundary."""

from __future__ import annotations

import copy
import pickle

import pytest

from grasp.cbor import TrailingBytes, Truncated
from grasp.errors import Declined, ErrorCode, GraspError, LocalError, PeerError, WireError
from grasp.wire import InvalidMessage, UnknownMessage

APPENDIX_A = {
    0: ("ok", "OK"),
    1: ("declined", "Declined"),
    2: ("noReply", "No reply"),
    3: ("unspec", "Unspecified error"),
    4: ("ASAfull", "ASA registry full"),
    5: ("dupASA", "Duplicate ASA name"),
    6: ("noASA", "ASA not registered"),
    7: ("notYourASA", "ASA registered but not by you"),
    8: ("notBoth", "Objective cannot support both negotiation and synchronization"),
    9: ("notDry", "Dry-run allowed only with negotiation"),
    10: ("notOverlap", "Overlap not supported by this implementation"),
    11: ("objFull", "Objective registry full"),
    12: ("objReg", "Objective already registered"),
    13: ("notYourObj", "Objective not registered by this ASA"),
    14: ("notObj", "Objective not found"),
    15: ("notNeg", "Objective not negotiable"),
    16: ("noSecurity", "No security"),
    17: ("noDiscReply", "No reply to discovery"),
    18: ("sockErrNegRq", "Socket error sending negotiation request"),
    19: ("noSession", "No session"),
    20: ("noSocket", "No socket"),
    21: ("loopExhausted", "Loop count exhausted"),
    22: ("sockErrNegStep", "Socket error sending negotiation step"),
    23: ("noPeer", "No negotiation peer"),
    24: ("CBORfail", "CBOR decode failure"),
    25: ("invalidNeg", "Invalid Negotiate message"),
    26: ("invalidEnd", "Invalid end message"),
    27: ("noNegReply", "No reply to negotiation step"),
    28: ("noValidStep", "No valid reply to negotiation step"),
    29: ("sockErrWait", "Socket error sending wait message"),
    30: ("sockErrEnd", "Socket error sending end message"),
    31: ("IDclash", "Incoming request Session ID clash"),
    32: ("notSynch", "Not a synchronization objective"),
    33: ("notFloodDisc", "Not flooded and no reply to discovery"),
    34: ("sockErrSynRq", "Socket error sending synch request"),
    35: ("noListener", "No synch listener"),
    36: ("noSynchReply", "No reply to synchronization request"),
    37: ("noValidSynch", "No valid reply to synchronization request"),
    38: ("invalidLoc", "Invalid locator"),
}


def test_codes_below_100_are_those_of_the_rfc_with_its_names_and_texts() -> None:
    assert {code.value: (code.name, code.text) for code in ErrorCode if code < 100} == APPENDIX_A


def test_every_code_of_our_own_has_a_text() -> None:
    assert all(code.text for code in ErrorCode if code >= 100)


ERRORS: list[GraspError] = [
    GraspError(ErrorCode.unspec, "x"),
    LocalError(ErrorCode.badArgument, "x"),
    PeerError(ErrorCode.noReply),
    WireError("x"),
    WireError("x", ErrorCode.tooLong),
    Truncated("x"),
    TrailingBytes("x"),
    InvalidMessage("x", 4711),
    InvalidMessage("x"),
    UnknownMessage("x", 0),
    Declined("too much"),
    Declined(),
]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_an_error_survives_being_pickled_and_copied(error: GraspError) -> None:
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is type(error)
        assert vars(other) == vars(error)
        assert str(other) == str(error)


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_an_error_is_either_ours_or_the_peers(error: GraspError) -> None:
    if type(error) is not GraspError:
        assert isinstance(error, LocalError) is not isinstance(error, PeerError)


def test_the_text_of_an_error_says_what_and_where() -> None:
    assert str(LocalError(ErrorCode.notObj, "EX1")) == "Objective not found: EX1"
    assert str(PeerError(ErrorCode.noReply)) == "No reply"
    assert (Declined("too much").code, Declined("too much").reason) == (ErrorCode.declined, "too much")
