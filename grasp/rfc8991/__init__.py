"""The GRASP API of RFC 8991, literally: its names, its argument and return orders, its error numbers.

>>> from grasp import rfc8991
>>> from grasp.rfc8991 import errors
>>> errorcode, asa_handle = rfc8991.register_asa("example")                # doctest: +SKIP
>>> if errorcode != errors.ok:                                             # doctest: +SKIP
...     print(rfc8991.error_text(errorcode))

The functions work on one node per process, which starts with the first ASA; :func:`configure` says how.
:class:`Functions` has the same ones for a node of your own. What all of them have in common stands in
:mod:`grasp.rfc8991.functions`.
"""

from grasp.cbor import RawCBOR
from grasp.constants import (
    GRASP_DEF_LOOPCT,
    GRASP_DEF_MAX_SIZE,
    GRASP_DEF_TIMEOUT,
    GRASP_LISTEN_PORT,
    IPPROTO_TCP,
    IPPROTO_UDP,
)
from grasp.errors import ErrorCode
from grasp.rfc8991.default import DefaultNode
from grasp.rfc8991.functions import Functions
from grasp.rfc8991.structures import ASA_locator, objective, tagged_objective

errors = ErrorCode
"""The names of Appendix A: ``errors.ok``, ``errors.declined`` …; they are integers."""


def error_text(errorcode: int) -> str:
    """The English description of an errorcode; also of one that this version does not know."""
    try:
        return ErrorCode(errorcode).text
    except ValueError:
        return f"Unknown error {errorcode}"


_default = DefaultNode()

configure = _default.configure
shutdown = _default.shutdown

register_asa = _default.register_asa
deregister_asa = _default.deregister_asa
register_objective = _default.register_objective
deregister_objective = _default.deregister_objective
discover = _default.discover
request_negotiate = _default.request_negotiate
listen_negotiate = _default.listen_negotiate
stop_listen_negotiate = _default.stop_listen_negotiate
negotiate_step = _default.negotiate_step
negotiate_wait = _default.negotiate_wait
end_negotiate = _default.end_negotiate
synchronize = _default.synchronize
listen_synchronize = _default.listen_synchronize
stop_listen_synchronize = _default.stop_listen_synchronize
flood = _default.flood
get_flood = _default.get_flood
expire_flood = _default.expire_flood
send_invalid = _default.send_invalid

__all__ = [
    "GRASP_DEF_LOOPCT",
    "GRASP_DEF_MAX_SIZE",
    "GRASP_DEF_TIMEOUT",
    "GRASP_LISTEN_PORT",
    "IPPROTO_TCP",
    "IPPROTO_UDP",
    "ASA_locator",
    "Functions",
    "RawCBOR",
    "configure",
    "deregister_asa",
    "deregister_objective",
    "discover",
    "end_negotiate",
    "error_text",
    "errors",
    "expire_flood",
    "flood",
    "get_flood",
    "listen_negotiate",
    "listen_synchronize",
    "negotiate_step",
    "negotiate_wait",
    "objective",
    "register_asa",
    "register_objective",
    "request_negotiate",
    "send_invalid",
    "shutdown",
    "stop_listen_negotiate",
    "stop_listen_synchronize",
    "synchronize",
    "tagged_objective",
]
