"""A CA: its key, its certificate, its index and its revocation list, in one directory.

=============  ============================================================================
``ca.pem``     the certificate, which is the domain's trust anchor
``key.pem``    its private key, encrypted with the operator's passphrase
``index.db``   what was issued, revoked and used for joining
``crl.pem``    the newest revocation list
``lock``       locked by whoever changes any of these
=============  ============================================================================

A certificate is in the index, on disk, before anybody gets it; a revocation before its list is signed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from ipaddress import IPv6Address
from pathlib import Path
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from asa.domain import files, issuing, keys
from asa.domain.addresses import registrar_of, zone_address
from asa.domain.errors import BadFile, NameTaken, Revoked
from asa.domain.index import Index, Issued
from asa.domain.keys import PrivateKey, PublicKey
from asa.errors import BadRequest, Conflict, NotFound
from asa.quantities import format_time
from grasp.security import AcpName, acp_names, is_domain, parse_acp_name, sync_directory
from objectives.fields import InvalidValue, check_name

CERTIFICATE: Final = "ca.pem"
KEY: Final = "key.pem"
INDEX: Final = "index.db"
CRL: Final = "crl.pem"
_LOCK: Final = "lock"

NODE_DAYS: Final = 90
CA_DAYS: Final = 3650
MOST_DAYS: Final = 36_500

Address = IPv6Address | Literal["own", "none"]
"""``own``: one that no other node has, of the domain's prefix; ``none``: left out of the name (RFC 8994 §6.2.2)."""


def create(
    directory: Path,
    domain: str,
    passphrase: bytes,
    *,
    algorithm: str = "p256",
    days: int = CA_DAYS,
    crl_url: str = "",
    now: float,
) -> None:
    """A CA that was not there before: all of it or nothing. Raises BadRequest, Conflict or StoreFailed."""
    domain = checked_domain(domain)
    refuse_present(directory)
    key = keys.generate(algorithm)
    certificate = issuing.root(key, domain, now, _days(days))
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
        try:
            files.write(made / KEY, keys.encrypted(key, passphrase), files.SECRET)
            files.write(made / CERTIFICATE, certificate.public_bytes(Encoding.PEM), files.PUBLIC)
            Index.create(made / INDEX, {"domain": domain, "crl_url": crl_url, "crl": "1", "crl_written": "1"})
            crl = issuing.revocation_list(certificate, key, 1, now, ())
            files.write(made / CRL, crl.public_bytes(Encoding.PEM), files.PUBLIC)
            os.replace(made, directory)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        sync_directory(directory.parent)
    except OSError as error:
        raise files.failed(directory, error) from None


def refuse_present(directory: Path) -> None:
    """Raises Conflict."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise Conflict(f"{directory} is there already", hint="a CA is never written over; say another --ca")


class Authority:
    """A CA that is there. Reading needs no passphrase; :meth:`unlock` comes before anything is signed."""

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        """Raises NotFound, BadFile, StoreDamaged or StoreFailed."""
        self.directory = directory
        self._clock = clock
        self._key: PrivateKey | None = None
        if not (directory / CERTIFICATE).is_file():
            raise NotFound(f"there is no CA in {directory}", hint="asa domain init makes one, --ca says where it is")
        try:
            self.certificate = x509.load_pem_x509_certificate(files.read(directory / CERTIFICATE))
        except ValueError:
            raise BadFile(f"{directory / CERTIFICATE} is no certificate", hint="put it back from the backup") from None
        with self._index() as index:
            self.domain = index.fact("domain")
            self.crl_url = index.fact("crl_url")

    def unlock(self, passphrase: bytes) -> None:
        """Raises WrongPassphrase or BadFile."""
        where = self.directory / KEY
        key = keys.decrypted(files.read_secret(where), passphrase, where)
        if not keys.same(key, keys.supported(self.certificate.public_key(), CERTIFICATE)):
            raise BadFile(f"{where} is not the key of {CERTIFICATE}", hint="put both back from the backup")
        self._key = key

    @cached_property
    def trust(self) -> str:
        """PEM."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @contextmanager
    def _index(self) -> Iterator[Index]:
        index = Index(self.directory / INDEX)
        try:
            yield index
        finally:
            index.close()

    @contextmanager
    def _changing(self) -> Iterator[Index]:
        with files.locked(self.directory / _LOCK), self._index() as index:
            yield index

    @property
    def _signing(self) -> PrivateKey:
        assert self._key is not None
        return self._key

    def certificates(self, name: str | None = None) -> list[Issued]:
        """All that were issued, the oldest first."""
        with self._index() as index:
            return index.certificates(name)

    def crl_outdated(self) -> bool:
        """Whether a revocation is in the index and not in ``crl.pem``: a crash came between."""
        with self._index() as index:
            return index.fact("crl") != index.fact("crl_written")

    def check_free(self, name: str, *, address: Address | None = None, days: int = NODE_DAYS) -> None:
        """Whether :meth:`issue` would do it. Raises BadRequest or NameTaken."""
        checked_name(name)
        _days(days)
        with self._index() as index:
            _check_free(index, name, self._clock())
            if isinstance(address, IPv6Address):
                index.check_address(name, address)

    def issue(
        self,
        name: str,
        public: PublicKey,
        *,
        address: Address | None = None,
        days: int = NODE_DAYS,
        invitation: str | None = None,
    ) -> Issued:
        """A first certificate; ``address`` None: the one the name has, else its own. ``invitation``: used by this.

        Raises BadRequest, NameTaken (a certificate of that name is valid, or the address is another node's), Revoked
        (a certificate with this key was), Conflict (the invitation was used), Busy (no node numbers left) or
        StoreFailed.
        """
        checked_name(name)
        now = self._clock()
        with self._changing() as index, index.transaction():
            _check_free(index, name, now)
            _check_key(index, public)
            acp_name = AcpName(self.domain, self._address(index, name, address))
            issued = self._certified(index, name, public, acp_name, now, _days(days))
            if invitation is not None and not index.use(invitation, issued.serial):
                raise Conflict("the invitation was used already")
        return issued

    def current_key(self, name: str) -> PublicKey:
        """That of the last certificate. Raises NotFound or Revoked."""
        with self._index() as index:
            return _key_of(_last(index, name))

    def renew(self, name: str, public: PublicKey, *, days: int = NODE_DAYS) -> Issued:
        """Same name and address. Raises NotFound, Revoked or StoreFailed."""
        now = self._clock()
        with self._changing() as index, index.transaction():
            last = _last(index, name)
            _check_key(index, public)
            acp_name = AcpName(self.domain, _address_in(_read(last)))
            return self._certified(index, name, public, acp_name, now, _days(days))

    def revoke(self, which: str) -> list[Issued]:
        """All certificates of a name, or the one with a serial (hexadecimal), and all others of the same keys; then a
        new list. Who has a key can show any of its certificates.

        Again for what is revoked: only the list is made anew. Raises NotFound or StoreFailed.
        """
        now = int(self._clock())
        with self._changing() as index:
            with index.transaction():
                found = _meant(index, which)
                found += _of_same_keys(index, found)
                for each in found:
                    index.revoke(each.serial, now)
                index.remember("crl", str(int(index.fact("crl")) + 1))
            self._write_crl(index, now)
        return found

    def sign_crl(self) -> int:
        """A new list, whose number it returns. Raises StoreFailed."""
        with self._changing() as index:
            with index.transaction():
                index.remember("crl", str(int(index.fact("crl")) + 1))
            return self._write_crl(index, self._clock())

    def crl(self) -> str:
        """PEM. Raises NotFound or BadFile."""
        return files.read(self.directory / CRL).decode("ascii", "replace")

    def invite(self, identifier: str, name: str, ends: int) -> None:
        """Remember an invitation. Raises StoreFailed."""
        with self._changing() as index, index.transaction():
            index.invite(identifier, name, int(self._clock()), ends)

    def _write_crl(self, index: Index, now: float) -> int:
        number = int(index.fact("crl"))
        # One that ended is refused by its end; it stays for one list more (RFC 5280 §3.3).
        gone = now - issuing.CRL_LIFE_S
        revoked = [
            (each.serial, each.revoked)
            for each in index.certificates()
            if each.revoked is not None and each.expires > gone
        ]
        crl = issuing.revocation_list(self.certificate, self._signing, number, now, revoked)
        files.write(self.directory / CRL, crl.public_bytes(Encoding.PEM), files.PUBLIC)
        with index.transaction():
            index.remember("crl_written", str(number))
        return number

    def _address(self, index: Index, name: str, address: Address | None) -> IPv6Address | None:
        if address is None:
            address = index.address(name) or "own"
        if address == "none":
            return None
        number = None
        if address == "own":
            number = index.next_number()
            identifier = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            address = zone_address(self.domain, registrar_of(identifier.digest), number)
        if int(address):
            index.give_address(name, address, number)
        return address

    def _certified(
        self, index: Index, name: str, public: PublicKey, acp_name: AcpName, now: float, days: int
    ) -> Issued:
        if now >= self.certificate.not_valid_after_utc.timestamp():
            raise Conflict(f"the CA's certificate has ended: {self.directory}", hint="asa domain init makes another CA")
        made = issuing.leaf(self.certificate, self._signing, public, name, acp_name, now, days, self.crl_url)
        pem = made.public_bytes(Encoding.PEM).decode()
        issued = Issued(made.serial_number, name, int(now), int(made.not_valid_after_utc.timestamp()), None, pem)
        index.add(issued)
        return issued


def checked_domain(text: str) -> str:
    """In lower case. Raises BadRequest."""
    if not is_domain(text):
        raise BadRequest(
            f"{text!a:.80} is no domain", hint="labels of letters, digits and -, a letter first: acp.example.com"
        )
    return text.lower()


def checked_name(text: str) -> str:
    """Raises BadRequest."""
    try:
        return check_name(text, "a node's name")
    except InvalidValue as error:
        raise BadRequest(str(error), hint="the name the node's configuration gives the agent") from None


def _days(days: int) -> int:
    if not 1 <= days <= MOST_DAYS:
        raise BadRequest(f"{days} days: a certificate is valid for 1 to {MOST_DAYS}")
    return days


def _check_free(index: Index, name: str, now: float) -> None:
    for each in index.certificates(name):
        if each.valid(now):
            raise NameTaken(
                f"{name} has a certificate, {each.serial:x}, valid until {format_time(each.expires)}",
                hint=f"asa domain renew {name}, or asa domain revoke {name} first",
            )


def _last(index: Index, name: str) -> Issued:
    """The newest that is not revoked. Raises NotFound or Revoked."""
    before = index.certificates(name)
    if not before:
        raise NotFound(f"this CA issued no certificate to {name}", hint="asa domain issue issues the first")
    kept = [each for each in before if each.revoked is None]
    if not kept:
        raise Revoked(f"the certificate of {name} was revoked", hint="asa domain issue, with another key")
    return kept[-1]


def _meant(index: Index, which: str) -> list[Issued]:
    """By serial, or by name those not yet revoked; all of the name if all are. Raises NotFound."""
    named = index.certificates(which)
    if not named:
        try:
            return [index.certificate(int(which, 16))]
        except ValueError:
            raise NotFound(f"this CA issued no certificate to {which}", hint="asa domain list shows them") from None
    return [each for each in named if each.revoked is None] or named


def _of_same_keys(index: Index, meant: list[Issued]) -> list[Issued]:
    """What else is to be revoked with ``meant``."""
    revoked = {keys.public_bytes(_key_of(each)) for each in meant}
    serials = {each.serial for each in meant}
    others = [each for each in index.certificates() if each.revoked is None and each.serial not in serials]
    return [each for each in others if keys.public_bytes(_key_of(each)) in revoked]


def _check_key(index: Index, public: PublicKey) -> None:
    """Raises Revoked."""
    for each in index.certificates():
        if each.revoked is not None and keys.same(_key_of(each), public):
            raise Revoked(
                f"a certificate of {each.name} with this key was revoked",
                hint="it takes another key: a new request, or without --csr another --out",
            )


def _key_of(issued: Issued) -> PublicKey:
    return keys.supported(_read(issued).public_key(), issued.name)


def _read(issued: Issued) -> x509.Certificate:
    return x509.load_pem_x509_certificate(issued.pem.encode())


def _address_in(certificate: x509.Certificate) -> IPv6Address | None:
    return parse_acp_name(acp_names(certificate)[0]).address
