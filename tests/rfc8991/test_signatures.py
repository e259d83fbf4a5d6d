"""The functions, structures and numbers against the text of RFC 8991, copied here by hand."""

from __future__ import annotations

import inspect
import re
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from grasp import rfc8991
from grasp.calls import SessionHandle
from grasp.rfc8991 import ASA_locator, errors, objective, tagged_objective

# §2.3.3 to §2.3.7: input parameters in their order, with the defaults the text gives. "May be null" and
# "optional" are defaults too.
PARAMETERS = {
    "register_asa": "name",
    "deregister_asa": "asa_handle name",
    "register_objective": "asa_handle objective ttl=60000 discoverable=False overlap=False local=False",
    "deregister_objective": "asa_handle objective",
    "discover": "asa_handle objective timeout minimum_TTL",
    "request_negotiate": "asa_handle objective peer timeout",
    "listen_negotiate": "asa_handle objective",
    "stop_listen_negotiate": "asa_handle objective",
    "negotiate_step": "asa_handle session_handle objective timeout",
    "negotiate_wait": "asa_handle session_handle timeout",
    "end_negotiate": "asa_handle session_handle result reason=None",
    "synchronize": "asa_handle objective peer timeout",
    "listen_synchronize": "asa_handle objective",
    "stop_listen_synchronize": "asa_handle objective",
    "flood": "asa_handle ttl tagged_objective_list",
    "get_flood": "asa_handle objective",
    "expire_flood": "asa_handle tagged_objective",
    "send_invalid": "asa_handle session_handle info=b''",
}

# How many return values each has, the errorcode among them.
RESULTS = {
    "register_asa": 2,
    "discover": 2,
    "request_negotiate": 4,
    "listen_negotiate": 3,
    "negotiate_step": 4,
    "synchronize": 2,
    "get_flood": 2,
}

# §2.3.2.8: "all API functions that involve waiting for a remote operation".
WAITING = ("discover", "request_negotiate", "negotiate_step", "listen_negotiate", "synchronize")

APPENDIX_A = """
    ok 0 declined 1 noReply 2 unspec 3 ASAfull 4 dupASA 5 noASA 6 notYourASA 7 notBoth 8 notDry 9
    notOverlap 10 objFull 11 objReg 12 notYourObj 13 notObj 14 notNeg 15 noSecurity 16 noDiscReply 17
    sockErrNegRq 18 noSession 19 noSocket 20 loopExhausted 21 sockErrNegStep 22 noPeer 23 CBORfail 24
    invalidNeg 25 invalidEnd 26 noNegReply 27 noValidStep 28 sockErrWait 29 sockErrEnd 30 IDclash 31
    notSynch 32 notFloodDisc 33 sockErrSynRq 34 noListener 35 noSynchReply 36 noValidSynch 37
    invalidLoc 38
"""


def parameters(function) -> list[inspect.Parameter]:
    return [each for each in inspect.signature(function).parameters.values() if each.kind is not each.KEYWORD_ONLY]


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_those_of_the_rfc_in_its_order(name):
    shown = [
        each.name if each.default is each.empty else f"{each.name}={each.default!r}"
        for each in parameters(getattr(rfc8991, name))
    ]
    assert shown == PARAMETERS[name].split()


@pytest.mark.parametrize("name", PARAMETERS)
def test_only_waiting_functions_take_a_callback(name):
    extra = [
        (each.name, each.default)
        for each in inspect.signature(getattr(rfc8991, name)).parameters.values()
        if each.kind is each.KEYWORD_ONLY
    ]
    assert extra == ([("callback", None)] if name in WAITING else [])


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_errorcode_comes_first_or_alone(name):
    function = getattr(rfc8991, name)
    result = function(*([object()] * sum(each.default is each.empty for each in parameters(function))))
    if name in RESULTS:
        assert type(result) is tuple
        assert len(result) == RESULTS[name]
        result = result[0]
    assert isinstance(result, int)
    assert result == errors.badArgument


@pytest.mark.parametrize("name", [each for each in PARAMETERS if each != "register_asa"])
def test_before_any_asa_has_registered_there_is_none(name):
    made = objective("EX1")
    made.negotiate = name in ("request_negotiate", "listen_negotiate", "negotiate_step")
    made.synch = not made.negotiate
    sample = {
        "asa_handle": 1,
        "name": "A",
        "objective": made,
        "timeout": 1,
        "minimum_TTL": 1,
        "peer": None,
        "session_handle": SessionHandle(1, 2, IPv6Address("fe80::1"), True),
        "ttl": 0,
        "result": True,
        "tagged_objective_list": [tagged_objective(made)],
        "tagged_objective": tagged_objective(made),
    }
    function = getattr(rfc8991, name)
    result = function(*(sample[each.name] for each in parameters(function) if each.default is each.empty))
    assert (result[0] if name in RESULTS else result) == errors.noASA


def test_every_function_of_the_rfc_is_there_and_no_other():
    functions = {name for name in rfc8991.__all__ if inspect.ismethod(getattr(rfc8991, name))}
    assert functions - {"configure", "shutdown"} == set(PARAMETERS)


def test_errorcodes_are_those_of_appendix_a():
    words = APPENDIX_A.split()
    expected = {name: int(number) for name, number in zip(words[::2], words[1::2], strict=True)}
    assert {each.name: each.value for each in errors if each < 100} == expected


def test_every_errorcode_has_a_text():
    assert rfc8991.error_text(0) == "OK"
    assert rfc8991.error_text(21) == "Loop count exhausted"
    assert rfc8991.error_text(4711) == "Unknown error 4711"
    assert all(rfc8991.error_text(each) for each in errors)


def test_an_objective_is_the_python_example_of_the_rfc():
    made = objective("EX1")
    assert vars(made) == {
        "name": "EX1",
        "negotiate": False,
        "dryrun": False,
        "synch": False,
        "loop_count": 6,
        "value": None,
    }
    made.neg = made.dry = True
    assert (made.negotiate, made.dryrun) == (True, True)
    made.negotiate = made.dryrun = False
    assert (made.neg, made.dry) == (False, False)


def test_a_locator_has_the_fields_of_the_rfc():
    fields = {
        "locator", "ifi", "expire", "diverted", "protocol", "port", "is_ipaddress", "is_fqdn", "is_uri",
    }  # fmt: skip
    made = ASA_locator(IPv6Address("fd00::1"), 7, True)
    assert set(vars(made)) == fields
    assert (made.is_ipaddress, made.is_fqdn, made.is_uri) == (True, False, False)
    assert (made.ifi, made.diverted, made.protocol) == (7, True, 6)
    assert ASA_locator("www.example.net").is_ipaddress is False
    assert set(vars(tagged_objective(objective("EX1")))) == {"objective", "locator"}


def test_it_knows_only_the_boundary_and_public_values():
    """The core could live in another process: nothing here may reach into it."""
    allowed = {
        "grasp.api", "grasp.calls", "grasp.cbor", "grasp.constants", "grasp.errors", "grasp.flooding",
        "grasp.limits", "grasp.locators", "grasp.wire",
    }  # fmt: skip
    for path in Path(rfc8991.__file__).parent.glob("*.py"):
        imported = set(re.findall(r"^(?:from|import) (grasp[\w.]*)", path.read_text(), re.MULTILINE))
        assert {each for each in imported if not each.startswith("grasp.rfc8991")} <= allowed, path.name
