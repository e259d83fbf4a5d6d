"""Two roots: what we did wrong (:class:`LocalError`) and what the peer did (:class:`PeerError`).

Both carry a stable code: RFC 8991 Appendix A where it has one, ours from 100 on.
"""

from __future__ import annotations

from enum import IntEnum


class ErrorCode(IntEnum):
    """RFC 8991 Appendix A, same names and numbers; from 100 on this implementation's own."""

    ok = 0
    declined = 1
    noReply = 2
    unspec = 3
    ASAfull = 4
    dupASA = 5
    noASA = 6
    notYourASA = 7
    notBoth = 8
    notDry = 9
    notOverlap = 10
    objFull = 11
    objReg = 12
    notYourObj = 13
    notObj = 14
    notNeg = 15
    noSecurity = 16
    noDiscReply = 17
    sockErrNegRq = 18
    noSession = 19
    noSocket = 20
    loopExhausted = 21
    sockErrNegStep = 22
    noPeer = 23
    CBORfail = 24
    invalidNeg = 25
    invalidEnd = 26
    noNegReply = 27
    noValidStep = 28
    sockErrWait = 29
    sockErrEnd = 30
    IDclash = 31
    notSynch = 32
    notFloodDisc = 33
    sockErrSynRq = 34
    noListener = 35
    noSynchReply = 36
    noValidSynch = 37
    invalidLoc = 38
    stopped = 100
    badArgument = 101
    tooLong = 102
    busy = 103
    noInterface = 104
    notMember = 105
    badIdentity = 106

    @property
    def text(self) -> str:
        """The English description."""
        return _TEXT[self]


_TEXT = {
    ErrorCode.ok: "OK",
    ErrorCode.declined: "Declined",
    ErrorCode.noReply: "No reply",
    ErrorCode.unspec: "Unspecified error",
    ErrorCode.ASAfull: "ASA registry full",
    ErrorCode.dupASA: "Duplicate ASA name",
    ErrorCode.noASA: "ASA not registered",
    ErrorCode.notYourASA: "ASA registered but not by you",
    ErrorCode.notBoth: "Objective cannot support both negotiation and synchronization",
    ErrorCode.notDry: "Dry-run allowed only with negotiation",
    ErrorCode.notOverlap: "Overlap not supported by this implementation",
    ErrorCode.objFull: "Objective registry full",
    ErrorCode.objReg: "Objective already registered",
    ErrorCode.notYourObj: "Objective not registered by this ASA",
    ErrorCode.notObj: "Objective not found",
    ErrorCode.notNeg: "Objective not negotiable",
    ErrorCode.noSecurity: "No security",
    ErrorCode.noDiscReply: "No reply to discovery",
    ErrorCode.sockErrNegRq: "Socket error sending negotiation request",
    ErrorCode.noSession: "No session",
    ErrorCode.noSocket: "No socket",
    ErrorCode.loopExhausted: "Loop count exhausted",
    ErrorCode.sockErrNegStep: "Socket error sending negotiation step",
    ErrorCode.noPeer: "No negotiation peer",
    ErrorCode.CBORfail: "CBOR decode failure",
    ErrorCode.invalidNeg: "Invalid Negotiate message",
    ErrorCode.invalidEnd: "Invalid end message",
    ErrorCode.noNegReply: "No reply to negotiation step",
    ErrorCode.noValidStep: "No valid reply to negotiation step",
    ErrorCode.sockErrWait: "Socket error sending wait message",
    ErrorCode.sockErrEnd: "Socket error sending end message",
    ErrorCode.IDclash: "Incoming request Session ID clash",
    ErrorCode.notSynch: "Not a synchronization objective",
    ErrorCode.notFloodDisc: "Not flooded and no reply to discovery",
    ErrorCode.sockErrSynRq: "Socket error sending synch request",
    ErrorCode.noListener: "No synch listener",
    ErrorCode.noSynchReply: "No reply to synchronization request",
    ErrorCode.noValidSynch: "No valid reply to synchronization request",
    ErrorCode.invalidLoc: "Invalid locator",
    ErrorCode.stopped: "Node not running",
    ErrorCode.badArgument: "Invalid argument",
    ErrorCode.tooLong: "Message too long",
    ErrorCode.busy: "Too many sessions",
    ErrorCode.noInterface: "No usable interface",
    ErrorCode.notMember: "The peer is not a member of the domain, or not the one asked for",
    ErrorCode.badIdentity: "This node's identity cannot be used",
}


class GraspError(Exception):
    """Root of all. ``code`` is an :class:`ErrorCode`; ``detail`` says what, where and what to do."""

    def __init__(self, code: ErrorCode, detail: str = "") -> None:
        super().__init__(f"{code.text}: {detail}" if detail else code.text)
        self.code = code
        self.detail = detail

    def __reduce__(self) -> tuple[object, ...]:
        # Made anew without __init__, whose arguments differ from class to class.
        return _restored, (type(self), self.args), self.__dict__


def _restored(kind: type[GraspError], args: tuple[object, ...]) -> GraspError:
    return kind.__new__(kind, *args)


class LocalError(GraspError):
    """The caller, the node or its host is at fault."""


class PeerError(GraspError):
    """The peer, or the network to it, is at fault."""


class WireError(PeerError):
    """Bytes that are no valid GRASP message. ``detail`` never contains more than a few of them."""

    def __init__(self, detail: str, code: ErrorCode = ErrorCode.CBORfail) -> None:
        super().__init__(code, detail)


class Declined(PeerError):
    """The peer ended the negotiation with O_DECLINE; ``reason`` is its text, maybe empty."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(ErrorCode.declined, reason)
        self.reason = reason
