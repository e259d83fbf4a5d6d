"""Letting a node join, and joining: one command on each side."""

from __future__ import annotations

import argparse
import os
import socket
import time
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

from asa.cli.agent import Agent
from asa.cli.arguments import UsageError
from asa.cli.domain import certificate_text, own_address
from asa.cli.interrupts import Failed
from asa.cli.output import Output, safe
from asa.cli.passphrase import read_passphrase, read_token
from asa.domain import installing, joining, showing
from asa.domain.authority import Authority
from asa.domain.conversation import Given
from asa.domain.errors import NotInvited
from asa.domain.installing import Sent
from asa.domain.invitation import SECRET_BYTES, parse_token
from asa.domain.keys import PrivateKey
from asa.domain.reception import Outcome, Reception, listen
from asa.quantities import format_time
from grasp.security import Identity

_ROUTED = (("2001:db8::1", socket.AF_INET6), ("192.0.2.1", socket.AF_INET))


def invite(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    """0 if the node has joined. The token is all that goes to stdout; in JSON the outcome follows, one value a line."""
    ca = Authority(Path(arguments.ca))
    address = own_address(arguments.address)
    ca.check_free(arguments.name, address=address, days=arguments.days)
    host, port = arguments.listen or (_routed(), 0)
    _check_host(host)
    ca.unlock(read_passphrase(arguments.passphrase_file))
    with _listening(host, port) as listener:
        now = time.time()
        reception = Reception(
            ca,
            arguments.name,
            listener,
            host,
            os.urandom(SECRET_BYTES),
            ends=now + arguments.duration,
            address=address,
            days=arguments.days,
            told=lambda text: output.note(f"asa: {safe(text)}"),
            now=now,
        )
        with closing(reception):
            ends = int(now + arguments.duration)
            token, at = reception.invitation.token(), reception.invitation.port
            output.line({"token": token, "host": host, "port": at, "ends": ends}, token)
            output.note(
                f"for {safe(arguments.name)}, at {safe(host)} port {at} until {format_time(ends)}; "
                "at the node: asa domain join"
            )
            return _ended(arguments.name, reception.run(), output)


def join(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    directory = Path(arguments.identity)
    installing.refuse_present(directory)
    invitation = parse_token(read_token(arguments.token_file))
    joined: list[Identity] = []

    def put(key: PrivateKey, given: Given) -> None:
        certificates = installing.read_certificates(given.certificate.encode(), "the certificate")
        trust = installing.read_certificates(given.trust.encode(), "the trust anchors")
        sent = Sent(certificates, trust, installing.read_crls(given.crl.encode()))
        joined.append(installing.install(directory, sent, [key], time.time()))

    joining.join(invitation, put, timeout=arguments.timeout)
    identity = joined[0]
    output.result(
        {
            "identity": str(directory),
            "name": identity.name,
            "domain": identity.domain,
            "certificate": showing.certificate_view(identity.certificate),
        },
        certificate_text(str(directory), identity.certificate),
    )
    return 0


def _ended(name: str, outcome: Outcome, output: Output) -> int:
    issued = outcome.issued
    value = {
        "end": outcome.end,
        "name": name,
        "serial": None if issued is None else f"{issued.serial:x}",
        "source": outcome.source,
        "wrong_proofs": outcome.wrong,
        "connections": outcome.guests,
    }
    if outcome.end == "joined":
        output.line(value, "") if output.as_json else output.note(f"{safe(name)} has joined, from {outcome.source}")
        return 0
    guessed = f"; {outcome.wrong} proofs were wrong: somebody without the token tries" if outcome.wrong else ""
    why, hint = {
        "unconfirmed": (
            f"a certificate was given to {outcome.source}, which has not said that it kept it",
            f"if the node could not join: asa domain revoke {name}, and invite it again",
        ),
        "expired": (f"nobody joined in time{guessed}", "asa domain invite makes a new token"),
    }[outcome.end]
    raise Failed(NotInvited(f"{name}: {why}", hint=hint), value)


def _check_host(host: str) -> None:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return
    if address.is_unspecified or address.is_link_local:
        raise UsageError(
            f"--listen {host}: the token has to say where the node finds this host", hint="a routed address"
        )


def _routed() -> str:
    """The address this host has towards everybody else; nothing is sent."""
    for target, family in _ROUTED:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((target, 9))
                found = str(probe.getsockname()[0])
            except OSError:
                continue
            if not ip_address(found).is_link_local:
                return found
    raise UsageError("this host has no routed address", hint="--listen HOST:PORT says where the node can reach it")


def _listening(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except OSError as error:
        raise UsageError(f"--listen {host}:{port}: {error.strerror or error}", hint="an address of this host") from None
