"""The certificates of a domain's agents: the CA's side and the node's. No agent is asked."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

from cryptography import x509

from asa.cli.agent import Agent
from asa.cli.arguments import UsageError
from asa.cli.output import Output, listed, safe, table
from asa.cli.passphrase import read_passphrase
from asa.domain import authority, delivery, files, installing, keys, requests, showing
from asa.domain.authority import Address, Authority
from asa.domain.index import Issued
from asa.errors import NotFound
from asa.quantities import format_time
from grasp.security import AcpName


def init(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    directory = Path(arguments.ca)
    authority.refuse_present(directory)
    domain = authority.checked_domain(arguments.domain)
    authority.create(
        directory,
        domain,
        read_passphrase(arguments.passphrase_file, new=True),
        algorithm=arguments.algorithm,
        days=arguments.days,
        crl_url=arguments.crl_url or "",
        now=time.time(),
    )
    view = showing.certificate_view(Authority(directory).certificate)
    output.result(
        {"ca": arguments.ca, "domain": domain, "certificate": view},
        f"{listed([('CA', arguments.ca), ('domain', domain), *_certificate_pairs(view)])}\n\n"
        "back up the whole directory, and keep the passphrase elsewhere: nobody can do without either",
    )
    return 0


def issue(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    ca, out = _unlocked(arguments), Path(arguments.out)
    address = own_address(arguments.address)
    ca.check_free(arguments.name, address=address, days=arguments.days)
    if arguments.csr is None:
        public = delivery.own_key(out).public_key()
    else:
        public = _wished(arguments, output)
        delivery.refuse_other(out, public)
    issued = ca.issue(arguments.name, public, address=address, days=arguments.days)
    delivery.deliver(out, ca, issued)
    _delivered(issued, out, output, "copy it to the node with its modes, as its identity")
    return 0


def renew(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    ca, out = _unlocked(arguments), Path(arguments.out)
    public = ca.current_key(arguments.name) if arguments.csr is None else _wished(arguments, output)
    delivery.refuse_other(out, public)
    issued = ca.renew(arguments.name, public, days=arguments.days)
    delivery.deliver(out, ca, issued)
    _delivered(issued, out, output, "at the node: asa domain install DIR; the agent takes it by itself")
    return 0


def revoke(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    ca = _unlocked(arguments)
    revoked = ca.revoke(arguments.which)
    crl = str(ca.directory / authority.CRL)
    what = "\n".join(_revoked_line(arguments.which, each) for each in revoked)
    output.result(
        {"revoked": [_issued_view(each) for each in revoked], "crl": crl},
        f"{what}\n{_spread(crl)}",
    )
    return 0


def crl(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    ca = _unlocked(arguments)
    number = ca.sign_crl()
    path = str(ca.directory / authority.CRL)
    output.result({"crl": path, "number": number}, f"{safe(path)}: number {number}\n{_spread(path)}")
    return 0


def list_(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    ca, now = Authority(Path(arguments.ca)), time.time()
    issued, outdated = ca.certificates(), ca.crl_outdated()
    rows = [[each.name, f"{each.serial:x}", _state(each, now), format_time(each.expires)] for each in issued]
    text = table(["NODE", "SERIAL", "STATE", "ENDS"], rows) if rows else f"{ca.domain}: nothing issued yet"
    if outdated:
        text += "\n\na revocation is not in crl.pem yet: asa domain crl"
    output.result(
        {"domain": ca.domain, "certificates": [_issued_view(each) for each in issued], "crl_outdated": outdated}, text
    )
    return 0


def show(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    found = showing.show(Path(arguments.path))
    output.result(found, "\n\n".join(_shown(each) for each in found))
    return 0


def check(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    """1 if members would refuse it."""
    path, now = Path(arguments.path), time.time()
    wrong: list[str] = []
    if arguments.peer is not None:
        findings = showing.check_peer(path, Path(arguments.peer), now)
    elif path.is_dir():
        wrong, findings = showing.check_own(path, now)
    else:
        findings = showing.check_peer(Path(arguments.identity), path, now)
    ok = showing.member(findings) and not wrong
    rows = [[str(each.rule or ""), each.title, "ok" if each.ok else "no", each.detail] for each in findings]
    parts = [table(["RULE", "OF RFC 8994 §6.2.3", "", "WHY"], rows)]
    parts += ["\n".join(f"wrong: {safe(each)}" for each in wrong)] if wrong else []
    linkable = all(each.ok for each in findings)
    parts.append("refused" if not ok else "a member" if linkable else "a member, with the limits above")
    output.result({"ok": ok, "problems": wrong, "findings": [asdict(each) for each in findings]}, "\n\n".join(parts))
    return 0 if ok else 1


def request(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    name, out = authority.checked_name(arguments.name), Path(arguments.out)
    acp_name = None
    if arguments.domain is not None:
        address = own_address(arguments.address)
        wanted = address if isinstance(address, IPv6Address) else None
        acp_name = AcpName(authority.checked_domain(arguments.domain), wanted)
    elif arguments.address is not None:
        raise UsageError("--address needs --domain", hint="the two make up the AcpNodeName (RFC 8994 §6.2.2)")
    if arguments.key is None:
        key = delivery.own_key(out)
    else:
        key = keys.read(files.read_secret(Path(arguments.key)), arguments.key)
        files.private_directory(out)
    target = out / installing.REQUEST
    files.write(target, requests.request(key, name, acp_name), files.PUBLIC)
    said = "" if acp_name is None else str(acp_name)
    output.result(
        {"request": str(target), "name": name, "acp_name": said},
        f"{listed([('request', str(target)), ('name', name), ('AcpNodeName', said)])}\n\n"
        "what the CA sends back: asa domain install FILE --trust FILE",
    )
    return 0


def install(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    directory, now = Path(arguments.identity), time.time()
    crls = installing.read_crls(files.read(Path(arguments.crl))) if arguments.crl is not None else ()
    if arguments.file is None:
        if not crls or arguments.trust is not None or arguments.key is not None:
            raise UsageError("FILE is missing", hint="only a revocation list, --crl, comes without a certificate")
        newer = installing.install_crls(directory, crls, now)
        said = (
            "put in place; members hear of it from this one" if newer else "a newer one, or this one, is there already"
        )
        output.result({"crl": arguments.crl, "newer": newer}, f"{safe(arguments.crl)}: {said}")
        return 0
    sent, candidates = _sent(arguments, directory, crls)
    identity = installing.install(directory, sent, candidates, now)
    view = showing.certificate_view(identity.certificate)
    output.result(
        {"identity": str(directory), "certificate": view},
        listed([("identity", str(directory)), *_certificate_pairs(view)]),
    )
    return 0


def own_address(text: str | None) -> Address | None:
    if text is None:
        return None
    return "none" if text == "none" else IPv6Address(int(text, 16))


def certificate_text(identity: str, certificate: x509.Certificate) -> str:
    return listed([("identity", identity), *_certificate_pairs(showing.certificate_view(certificate))])


def _unlocked(arguments: argparse.Namespace) -> Authority:
    ca = Authority(Path(arguments.ca))
    ca.unlock(read_passphrase(arguments.passphrase_file))
    return ca


def _wished(arguments: argparse.Namespace, output: Output) -> keys.PublicKey:
    """The key of a request; its other wishes are told."""
    found = requests.wishes(files.read(Path(arguments.csr)), arguments.csr)
    for wish in (found.name, found.acp_name):
        if wish and wish != arguments.name:
            output.note(f"asa: the request wishes {safe(wish)}; issued is what you say")
    return found.key


def _sent(
    arguments: argparse.Namespace, directory: Path, crls: tuple[bytes, ...]
) -> tuple[installing.Sent, list[keys.PrivateKey]]:
    """What there is to install, and the keys it may be for."""
    given = Path(arguments.file)
    file, trust = given, arguments.trust
    if given.is_dir():
        file = given / installing.CERTIFICATE
        beside = given / installing.TRUST
        trust = str(beside) if trust is None and beside.exists() else trust
        if not crls and (given / installing.CRL).exists():
            crls = installing.read_crls(files.read(given / installing.CRL))
    anchors = () if trust is None else installing.read_certificates(files.read(Path(trust)), trust)
    sent = installing.Sent(installing.read_certificates(files.read(file), file), anchors, crls)
    places = [directory / installing.KEY, file.parent / installing.KEY]
    places = [each for each in places if each.exists()] if arguments.key is None else [Path(arguments.key)]
    if not places:
        raise NotFound(f"there is no key, neither in {directory} nor in {file.parent}", hint="--key FILE")
    return sent, [keys.read(files.read_secret(each), each) for each in places]


def _delivered(issued: Issued, out: Path, output: Output, then: str) -> None:
    view = showing.certificate_view(x509.load_pem_x509_certificate(issued.pem.encode()))
    output.result(
        {"name": issued.name, "out": str(out), "certificate": view},
        f"{listed([('put in', str(out)), *_certificate_pairs(view)])}\n\n{then}",
    )


def _revoked_line(which: str, issued: Issued) -> str:
    meant = which == issued.name or _serial(which) == issued.serial
    return f"revoked: {safe(issued.name)} {issued.serial:x}{'' if meant else ', which is of the same key'}"


def _serial(text: str) -> int | None:
    try:
        return int(text, 16)
    except ValueError:
        return None


def _spread(path: str) -> str:
    return f"now, at any one agent: asa domain install --crl {safe(path)}\nmembers pass it on to each other"


def _issued_view(issued: Issued) -> dict[str, Any]:
    return {
        "name": issued.name, "serial": f"{issued.serial:x}", "issued": issued.issued, "expires": issued.expires,
        "revoked": issued.revoked,
    }  # fmt: skip


def _state(issued: Issued, now: float) -> str:
    if issued.revoked is not None:
        return f"revoked {format_time(issued.revoked)}"
    return "valid" if issued.valid(now) else "ended"


def _certificate_pairs(view: dict[str, Any]) -> list[tuple[str, str]]:
    names = ", ".join(view["acp_names"])
    return [
        ("subject", view["subject"]),
        ("AcpNodeName", names or ("" if view["kind"] == "ca" else "none: no member takes it")),
        ("address", view["address"]),
        ("issuer", view["issuer"]),
        ("serial", view["serial"]),
        ("valid", f"{format_time(view['not_before'])} to {format_time(view['not_after'])}"),
        ("key", view["key"]),
        ("fingerprint", view["fingerprint"]),
        ("CRL", ", ".join(view["crl_urls"])),
    ]


def _shown(view: dict[str, Any]) -> str:
    kind, file = view["kind"], view["file"]
    if kind == "request":
        pairs = [("wishes", view["name"]), ("AcpNodeName", view["acp_name"]), ("key", view["key"])]
    elif kind == "crl":
        until = "" if view["next_update"] is None else f", next due {format_time(view['next_update'])}"
        pairs = [
            ("issuer", view["issuer"]),
            ("number", "" if view["number"] is None else str(view["number"])),
            ("made", f"{format_time(view['this_update'])}{until}"),
            ("revoked", f"{view['revoked']}: {', '.join(view['serials'])}" if view["serials"] else "none"),
        ]
    else:
        pairs = _certificate_pairs(view)
    return f"{safe(file)}: {kind}\n{listed(pairs)}"
