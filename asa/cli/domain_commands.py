"""Which commands ``asa domain`` has, and what each takes."""

from __future__ import annotations

import argparse
import re
from typing import Any, Final

from asa.cli import operands

CA: Final = "/etc/asa/ca"
IDENTITY: Final = "/var/lib/asa/identity"
ALGORITHMS: Final = ("p256", "p384")
NODE_DAYS: Final = 90
CA_DAYS: Final = 3650
INVITED_S: Final = 600
LONGEST_INVITATION_S: Final = 86_400


def _address(text: str) -> str:
    if text in ("0", "none") or re.fullmatch("[0-9A-Fa-f]{32}", text):
        return text.lower()
    raise argparse.ArgumentTypeError(f"{text!r:.80} is no address; write 32 hexadecimal digits, 0 or none")


def _invited(text: str) -> int:
    found = operands.duration(text)
    if found > LONGEST_INVITATION_S:
        raise argparse.ArgumentTypeError(f"{text!r:.40} is too long; an invitation lasts a day at most")
    return found


def _listen(text: str) -> tuple[str, int]:
    if text.endswith(":0"):
        return operands.endpoint(text[:-1] + "1")[0], 0
    return operands.endpoint(text)


def _url(text: str) -> str:
    if not re.fullmatch("https?://[!-~]{1,400}", text):
        raise argparse.ArgumentTypeError(f"{text!r:.80} is no URL of a revocation list; write http://host/ca.crl")
    return text


def _ca(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ca", metavar="DIR", default=CA, type=operands.some_text, help=f"where the CA is; {CA}")


def _signing(parser: argparse.ArgumentParser) -> None:
    _ca(parser)
    parser.add_argument(
        "--passphrase-file", metavar="FILE", type=operands.some_text,
        help="what the CA's key is encrypted with, - for standard input; asked for on a terminal",
    )  # fmt: skip


def _identity(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--identity", metavar="DIR", default=IDENTITY, type=operands.some_text,
        help=f"where the agent's identity is; {IDENTITY}",
    )  # fmt: skip


def _name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", type=operands.some_text, help="agent.name of the configuration")


def _days(parser: argparse.ArgumentParser, days: int) -> None:
    parser.add_argument("--days", metavar="N", type=operands.number, default=days, help=f"how long it is valid; {days}")


def _own_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--address", metavar="HEX", type=_address,
        help="the ACP address, 32 hexadecimal digits, 0 if it has none yet, none to leave it out; one of its own",
    )  # fmt: skip


def _init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("domain", metavar="DOMAIN", type=operands.some_text, help="its name, as acp.example.com")
    _signing(parser)
    _days(parser, CA_DAYS)
    parser.add_argument("--algorithm", metavar="KIND", choices=ALGORITHMS, default="p256", help="p256 or p384; p256")
    parser.add_argument(
        "--crl-url", metavar="URL", type=_url, help="where the revocation list will be, for certificates"
    )


def _csr(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--csr", metavar="FILE", type=operands.some_text, help="the node's request, instead of a key")


def _out(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--out", metavar="DIR", required=True, type=operands.some_text, help=what)


def _issue(parser: argparse.ArgumentParser) -> None:
    _name(parser)
    _csr(parser)
    _own_address(parser)
    _days(parser, NODE_DAYS)
    _out(parser, "where the identity is put, complete but for the key of a request")
    _signing(parser)


def _renew(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", type=operands.some_text)
    parser.add_argument("--csr", metavar="FILE", type=operands.some_text, help="of another key; the same key")
    _days(parser, NODE_DAYS)
    _out(parser, "where the certificate is put, for asa domain install at the node")
    _signing(parser)


def _revoke(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "which", metavar="NAME|SERIAL", type=operands.some_text, help="all of a node, or one; with all of the same key"
    )
    _signing(parser)


def _show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", metavar="PATH", nargs="?", default=IDENTITY, type=operands.some_text,
        help=f"an identity, a CA, or a file with certificates, a request or a revocation list; {IDENTITY}",
    )  # fmt: skip


def _check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", metavar="PATH", nargs="?", default=IDENTITY, type=operands.some_text,
        help=f"an identity, or a file with a member's certificate; {IDENTITY}",
    )  # fmt: skip
    parser.add_argument(
        "--peer", metavar="FILE", type=operands.some_text, help="whether this certificate would be a member's there"
    )
    _identity(parser)


def _request(parser: argparse.ArgumentParser) -> None:
    _name(parser)
    parser.add_argument("--domain", metavar="DOMAIN", type=operands.some_text, help="asked for with the name")
    parser.add_argument("--address", metavar="HEX", type=_address, help="asked for with the domain")
    parser.add_argument("--key", metavar="FILE", type=operands.some_text, help="a key there is; a new one")
    _out(parser, "where key.pem and request.pem are put")


def _install(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", nargs="?", type=operands.some_text,
        help="the certificate and those above it, or a directory that asa domain issue or renew has made",
    )  # fmt: skip
    parser.add_argument("--trust", metavar="FILE", type=operands.some_text, help="the domain's trust anchors")
    parser.add_argument("--crl", metavar="FILE", type=operands.some_text, help="a revocation list; may come alone")
    parser.add_argument("--key", metavar="FILE", type=operands.some_text, help="the key, if it is not there yet")
    _identity(parser)


def _invite(parser: argparse.ArgumentParser) -> None:
    _name(parser)
    parser.add_argument(
        "--listen", metavar="HOST:PORT", type=_listen,
        help="where the node comes to, port 0 is any; this host's routed address",
    )  # fmt: skip
    parser.add_argument(
        "--for", dest="duration", metavar="DURATION", type=_invited, default=INVITED_S,
        help="how long the token is good for; 10m",
    )  # fmt: skip
    _own_address(parser)
    _days(parser, NODE_DAYS)
    _signing(parser)


def _join(parser: argparse.ArgumentParser) -> None:
    # The token's file is --token-file, which every command has.
    _identity(parser)


DOMAIN: Final[tuple[tuple[str, Any, str], ...]] = (
    ("init", _init, "make a CA for a domain"),
    ("issue", _issue, "issue a node its first certificate"),
    ("renew", _renew, "issue a node its next certificate"),
    ("revoke", _revoke, "revoke certificates, and make a new revocation list"),
    ("crl", _signing, "make a new revocation list before the last one ends"),
    ("list", _ca, "the certificates a CA has issued"),
    ("invite", _invite, "let one node join, once: print a token and wait for it"),
    ("join", _join, "join a domain with the token of an invitation"),
    ("request", _request, "make a key, and a request for a CA from elsewhere"),
    ("install", _install, "check what a CA has sent, and put it in place"),
    ("show", _show, "what is in a certificate, a request, a list, an identity"),
    ("check", _check, "whether members take a certificate, rule by rule"),
)
