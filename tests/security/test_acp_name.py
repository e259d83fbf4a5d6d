"""AcpNodeName against RFC 8994 §6.2.2: its ABNF, its example, and OpenSSL's reading of the DER."""

from __future__ import annotations

import subprocess
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grasp.security import AcpName, InvalidAcpName, acp_names, decode_acp_name, encode_acp_name, parse_acp_name
from tests.pki import Authority, ia5, pem

HEX = "fd89b714f3db00000200000064000000"
ETEXT = "abzABZ0189!#$%&'*-/=?^_`{|}~"

labels = st.from_regex(r"[a-zA-Z]([a-zA-Z0-9-]{0,20}[a-zA-Z0-9])?", fullmatch=True)
domains = st.lists(labels, min_size=1, max_size=4).map(".".join)
addresses = st.none() | st.integers(0, 2**128 - 1).map(IPv6Address)
extensions = st.lists(st.text(ETEXT, min_size=1, max_size=8), max_size=3).map(tuple)


def test_the_example_of_the_rfc_is_read_as_it_says() -> None:
    name = parse_acp_name(f"{HEX}+area51.research@acp.example.com")
    assert name.address == IPv6Address("fd89:b714:f3db:0:200:0:6400:0000")
    assert (name.domain, name.rsub, name.extensions) == ("acp.example.com", "area51.research", ())


@given(addresses, st.just("") | domains, extensions, domains)
def test_what_is_written_is_read_again(
    address: IPv6Address | None, rsub: str, more: tuple[str, ...], domain: str
) -> None:
    name = AcpName(domain, address, rsub, more)
    assert parse_acp_name(str(name)) == name
    assert decode_acp_name(encode_acp_name(name)) == str(name)
    assert (name.domain, name.rsub) == (domain.lower(), rsub.lower())


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("@acp.example.com", "@acp.example.com"),
        ("0@acp.example.com", "0@acp.example.com"),
        ("0" * 32 + "@acp.example.com", "0@acp.example.com"),
        (f"{HEX.upper()}@ACP.Example.COM", f"{HEX}@acp.example.com"),
        (f"{HEX}+@acp.example.com", f"{HEX}@acp.example.com"),
        ("+rsub@acp.example.com", "+rsub@acp.example.com"),
        ("++new@acp.example.com", "++new@acp.example.com"),
        ("0+r+A!b+c@x", "0+r+A!b+c@x"),
        (f"{HEX}++{ETEXT}@a-1.b", f"{HEX}++{ETEXT}@a-1.b"),
        ("0@" + ".".join(["a" * 61] * 4), "0@" + ".".join(["a" * 61] * 4)),
    ],
)
def test_the_abnf_allows(text: str, canonical: str) -> None:
    assert str(parse_acp_name(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "acp.example.com",
        f"{HEX}acp.example.com",
        f"{HEX}@",
        f"{HEX}@ ",
        f"{HEX}@.",
        f"{HEX}@acp.example.com.",
        f"{HEX}@acp..com",
        f"{HEX}@-a.com",
        f"{HEX}@a-.com",
        f"{HEX}@1acp.com",
        f"{HEX}@acp_1.com",
        f"{HEX}@ácp.com",
        f"{HEX}@" + "a" * 64,
        f"{HEX}@" + ".".join(["a" * 63] * 4),
        f"{HEX}@a@b",
        f"{HEX}@a\n",
        f"{HEX}@a\x00b",
        f"{HEX[1:]}@a",
        f"{HEX}0@a",
        "g" * 32 + "@a",
        "00@a",
        "1@a",
        "fd89::1@a",
        "\u0660@a",
        f"{HEX}rsub@a",
        f"{HEX}+1rsub@a",
        f"{HEX}+r.@a",
        f"{HEX}+r+@a",
        f"{HEX}+r++x@a",
        f"{HEX}+r+a.b@a",
        f"{HEX}+r+a b@a",
        f"{HEX}+r+a\n@a",
        f'{HEX}+r+"@a',
    ],
)
def test_the_abnf_does_not_allow(text: str) -> None:
    with pytest.raises(InvalidAcpName):
        parse_acp_name(text)


@given(st.text(max_size=80) | st.text("0f+@.a-!", max_size=60))
def test_any_text_is_a_name_or_refused_with_a_short_reason(text: str) -> None:
    try:
        name = parse_acp_name(text)
    except InvalidAcpName as error:
        reason = str(error)
    else:
        assert parse_acp_name(str(name)) == name
        reason = ""
    assert len(reason) < 400
    assert reason.isprintable()


def test_a_refusal_quotes_only_a_piece_of_what_was_said() -> None:
    with pytest.raises(InvalidAcpName) as refused:
        parse_acp_name("x" * 100_000 + "@a")
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x16",
        b"\x16\x00",
        b"\x0c\x01a",
        b"\x16\x02a",
        b"\x16\x01ab",
        b"\x16\x80a\x00\x00",
        b"\x16\x81\x01a",
        b"\x16\x82\x00\x80" + b"a" * 128,
        b"\x16\x81" + b"a" * 3,
        b"\x16\xff" + b"a" * 3,
        b"\x16\x03a\xe4b",
    ],
    ids=bytes.hex,
)
def test_what_is_no_der_of_an_ia5_string_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidAcpName):
        decode_acp_name(value)


@pytest.mark.parametrize("size", [1, 126, 127, 128, 255, 256, 65_535, 65_536])
def test_the_length_is_written_as_der_wants_it(size: int) -> None:
    text = "0++" + "e" * size + "@a"
    assert decode_acp_name(encode_acp_name(text)) == text
    if len(text) < 65_536:
        assert encode_acp_name(text) == ia5(text)


def test_openssl_reads_the_name_in_a_certificate_as_we_do(tmp_path: Path) -> None:
    issued = Authority().issue("rack-7", f"{HEX}+area51.research@acp.example.com")
    (tmp_path / "c.pem").write_bytes(pem(issued.certificate))
    shown = subprocess.run(
        ["openssl", "x509", "-in", tmp_path / "c.pem", "-noout", "-ext", "subjectAltName"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "1.3.6.1.5.5.7.8.10" in shown
    assert f"{HEX}+area51.research@acp.example.com" in shown
    assert acp_names(issued.certificate) == (f"{HEX}+area51.research@acp.example.com",)
