from __future__ import annotations

import contextlib
import io
import itertools
import json
import random
import socket
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import dpkt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grasp.cli.capture import Capture, Captured
from grasp.cli.streams import Stream
from grasp.errors import LocalError
from grasp.wire import Accept, Discovery, End, Message, Negotiation, Objective, RequestNegotiation, encode_message

A, B = "fd00::a", "fd00::b"
SYN, ACK = dpkt.tcp.TH_SYN, dpkt.tcp.TH_ACK


def bytes_of(message: Message) -> bytes:
    return encode_message(message, 65_536)


def proposal(number: int, kind: Any = Negotiation) -> Message:
    return kind(7, Objective.negotiation("EX3", ["NZD", number]))


def tcp(source: str, destination: str, seq: int, data: bytes, flags: int = ACK, ports: tuple[int, int] = (40000, 5000)):
    segment = dpkt.tcp.TCP(sport=ports[0], dport=ports[1], seq=seq % (1 << 32), flags=flags, data=data)
    return ip6(source, destination, 6, segment)


def udp(source: str, sport: int, data: bytes, dport: int = 7017):
    datagram = dpkt.udp.UDP(sport=sport, dport=dport, data=data, ulen=8 + len(data))
    return ip6(source, "ff02::13", 17, datagram)


def ip6(source: str, destination: str, protocol: int, payload: Any) -> bytes:
    packed = [socket.inet_pton(socket.AF_INET6, each) for each in (source, destination)]
    packet = dpkt.ip6.IP6(src=packed[0], dst=packed[1], nxt=protocol, hlim=1, plen=len(payload), data=payload)
    packet.p = protocol
    packet.all_extension_headers = []
    return bytes(dpkt.ethernet.Ethernet(type=dpkt.ethernet.ETH_TYPE_IP6, data=packet))


def pcap(frames: list[bytes], **kw: Any) -> bytes:
    file = io.BytesIO()
    writer = dpkt.pcap.Writer(file, **kw)
    for number, frame in enumerate(frames):
        writer.writepkt(frame, ts=1_700_000_000 + number)
    return file.getvalue()


def pcapng(frames: list[bytes]) -> bytes:
    file = io.BytesIO()
    writer = dpkt.pcapng.Writer(file)
    for number, frame in enumerate(frames):
        writer.writepkt(frame, ts=1_700_000_000 + number)
    return file.getvalue()


def read(data: bytes) -> list[Captured]:
    capture = Capture()
    capture.read(io.BytesIO(data))
    return capture.messages()


def messages(data: bytes) -> list[Any]:
    return [each.item.message for each in read(data)]


REQUEST, COUNTER = proposal(500, RequestNegotiation), proposal(410)
ACCEPT = End(7, Accept())


def negotiation(isn: int = 1000, reply_isn: int = 0xFFFF_FFF0) -> list[bytes]:
    """A session whose responder's sequence numbers wrap, with messages across segments."""
    request, counter, accept = map(bytes_of, (REQUEST, COUNTER, ACCEPT))
    both = request + accept
    back = (5000, 40000)
    return [
        tcp(A, B, isn, b"", SYN),
        tcp(B, A, reply_isn, b"", SYN | ACK, back),
        tcp(A, B, isn + 1, both[:5]),
        tcp(A, B, isn + 6, both[5 : len(request)]),
        tcp(B, A, reply_isn + 1, counter[:9], ACK, back),
        tcp(B, A, reply_isn + 10, counter[9:], ACK, back),
        tcp(A, B, isn + 1 + len(request), both[len(request) :]),
    ]


@pytest.mark.parametrize("form", [pcap, pcapng, lambda frames: pcap(frames, nano=True)])
def test_messages_across_segments_are_put_together(form: Any) -> None:
    found = read(form(negotiation()))
    assert [each.item.message for each in found] == [REQUEST, COUNTER, ACCEPT]
    assert [int(each.item.time) - 1_700_000_000 for each in found] == [3, 5, 6]
    assert found[1].source == (IPv6Address(B), 5000)
    assert found[1].destination == (IPv6Address(A), 40000)


@pytest.mark.parametrize("seed", range(20))
def test_order_and_repetition_do_not_matter(seed: int) -> None:
    rng = random.Random(seed)
    frames = negotiation() + rng.choices(negotiation(), k=4)
    rng.shuffle(frames)
    assert sorted(map(str, messages(pcap(frames)))) == sorted(map(str, [REQUEST, COUNTER, ACCEPT]))


@pytest.mark.parametrize("seed", range(5))
def test_a_capture_may_begin_in_the_middle_of_a_connection(seed: int) -> None:
    frames = negotiation()[2:]
    random.Random(seed).shuffle(frames)
    assert sorted(map(str, messages(pcap(frames)))) == sorted(map(str, [REQUEST, COUNTER, ACCEPT]))


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_cut_of_a_stream_gives_its_messages(data: st.DataObject) -> None:
    said = [proposal(number) for number in range(data.draw(st.integers(1, 6)))]
    stream_bytes = b"".join(map(bytes_of, said))
    isn = data.draw(st.sampled_from([0, 1, 0xFFFF_FFFF, 0xFFFF_FFC0, 0x7FFF_FFFF]))
    size = len(stream_bytes)
    # Overlapping pieces that together cover everything, in any order.
    edges = sorted({0, size, *data.draw(st.lists(st.integers(0, size), max_size=8))})
    pieces = [(start, min(size, end + data.draw(st.integers(0, 9)))) for start, end in itertools.pairwise(edges)]
    pieces += data.draw(st.lists(st.sampled_from(pieces), max_size=3))
    stream = Stream()
    stream.add(0.0, isn, True, b"")
    for start, end in data.draw(st.permutations(pieces)):
        stream.add(1.0, (isn + 1 + start) % (1 << 32), False, stream_bytes[start:end])
    stream.finish()
    assert [item.message for item in stream.items] == said


def test_ports_used_again_are_another_connection() -> None:
    assert messages(pcap(negotiation() + negotiation(isn=90_000, reply_isn=5))) == 2 * [REQUEST, COUNTER, ACCEPT]


def test_bytes_that_were_not_captured_are_reported_once() -> None:
    frames = negotiation()
    del frames[3]
    lost, counter = messages(pcap(frames))
    assert counter == COUNTER
    assert f"{len(bytes_of(REQUEST)) - 5} bytes are missing" in str(lost)


def test_connections_that_are_not_grasp_are_left_out() -> None:
    web = [
        tcp(A, B, 1, b"GET / HTTP/1.1\r\n\r\n", ports=(40001, 80)),
        tcp(B, A, 1, b"HTTP/1.1 200 OK\r\n\r\n", ports=(80, 40001)),
        tcp(A, B, 1, bytes.fromhex("160301020001"), ports=(40002, 443)),
    ]
    assert messages(pcap(web)) == []


def test_nonsense_to_a_known_node_is_shown() -> None:
    discovery = Discovery(1, IPv6Address(A), Objective("EX3"))
    frames = [udp(B, 5000, bytes_of(discovery)), tcp(A, B, 1, b"\x83\x03\x01\xff nonsense")]
    found = messages(pcap(frames))
    assert found[0] == discovery
    assert "break" in str(found[1])


def test_only_the_multicast_port_is_looked_at_in_udp() -> None:
    discovery = bytes_of(Discovery(1, IPv6Address(A), Objective("EX3")))
    assert len(messages(pcap([udp(A, 5000, discovery), udp(A, 5000, discovery, dport=53)]))) == 1


def test_raw_ip_link_type_is_read() -> None:
    frames = [frame[14:] for frame in negotiation()]
    assert messages(pcap(frames, linktype=101)) == [REQUEST, COUNTER, ACCEPT]


@given(st.binary(max_size=200), st.integers(0, 400))
@settings(max_examples=200, deadline=None)
def test_damage_is_an_error_and_never_more(noise: bytes, at: int) -> None:
    data = bytearray(pcap(negotiation()))
    data[24 + at : 24 + at + len(noise)] = noise
    capture = Capture()
    with contextlib.suppress(LocalError):
        capture.read(io.BytesIO(bytes(data)))
    capture.messages()


def test_decode_shows_a_capture(tmp_path: Path, call: Any) -> None:
    file = tmp_path / "session.pcap"
    file.write_bytes(pcap(negotiation()))
    outcome = call("decode", str(file), "--json")
    assert outcome.status == 0
    assert [each["message"]["type"] for each in outcome.json] == ["M_REQ_NEG", "M_NEGOTIATE", "M_END"]
    assert outcome.json[1]["from"] == "[fd00::b]:5000"
    assert outcome.json[1]["message"]["objective"]["value"] == ["NZD", 410]
    text = call("decode", str(file))
    assert text.status == 0
    assert len(text.stdout.splitlines()) == 3


def test_a_capture_cut_short_shows_what_it_has(tmp_path: Path, call: Any) -> None:
    file = tmp_path / "cut.pcap"
    file.write_bytes(pcap(negotiation())[:-20])
    outcome = call("decode", str(file), "--json")
    assert outcome.status == 1
    assert [each.get("message", {}).get("type") for each in outcome.json["messages"]] == ["M_REQ_NEG", "M_NEGOTIATE"]


def test_an_empty_capture_is_an_empty_list(tmp_path: Path, call: Any) -> None:
    file = tmp_path / "empty.pcap"
    file.write_bytes(pcap([]))
    assert call("decode", str(file), "--json") == (0, "[]\n", "")


def test_without_dpkt_the_error_says_what_to_install(tmp_path: Path, call: Any, monkeypatch: Any) -> None:
    file = tmp_path / "session.pcap"
    file.write_bytes(pcap(negotiation()))
    monkeypatch.setitem(__import__("sys").modules, "dpkt", None)
    outcome = call("decode", str(file), "--json")
    assert outcome.status == 1
    assert "pip install 'grasp-asa[pcap]'" in outcome.json["error"]["detail"]


def test_messages_in_hex_are_shown_one_by_one(call: Any) -> None:
    text = (bytes_of(REQUEST) + bytes_of(ACCEPT)).hex(" ")
    outcome = call("--json", "decode", text)
    assert outcome.status == 0
    assert [each["offset"] for each in outcome.json] == [0, len(bytes_of(REQUEST))]
    assert outcome.json[1]["message"] == {"type": "M_END", "session_id": 7, "accept": True}


def test_a_binary_file_and_a_hex_file_are_told_apart(tmp_path: Path, call: Any) -> None:
    binary, text = tmp_path / "binary", tmp_path / "text"
    binary.write_bytes(bytes_of(REQUEST))
    text.write_text("0x" + bytes_of(REQUEST).hex(":") + "\n")
    assert call("decode", str(binary), "--json") == call("decode", str(text), "--json")
    assert json.loads(call("decode", str(text), "--json").stdout)[0]["bytes"] == len(bytes_of(REQUEST))
