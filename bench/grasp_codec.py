"""Decoding with full validation and encoding, beside bare cbor2 on the same bytes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import cbor2

from bench.report import Result
from grasp.wire import decode_message, encode_message

# RFC 8990 Appendix A, and a flood of two objectives with a map.
MESSAGES = {
    "M_DISCOVERY": "84011a00d4d7485020010db8f000baaa28ccdc4c970367818463455831050200",
    "M_RESPONSE": "85021a00d4d7485020010db8f000baaa28ccdc4c9703678119ea60"
    "8418675020010db8f000baaaf000baaaf000baaa0619c123",
    "M_REQ_NEG": "83031a000c3ffd8463455833030682634e5a44182f",
    "M_NEGOTIATE": "83051a00d214628463455833030582634e5a44190133",
    "M_END": "83061a00d2146282186672496e73756666696369656e742066756e6473",
    "M_SYNCH": "83081a003da10e8463455832050582704578616d706c6520322076616c75653d18c8",
    "M_FLOOD": cbor2.dumps(
        [9, 3504974, bytes(range(16)), 10000,
         [["EX1.Params", 5, 6, {"serial": 12, "low": 1000, "names": ["a", "b", "c"], "lease": 3600, "x": 2.5}],
          [103, bytes(range(16)), 6, 49443]],
         [["EX2", 5, 2, ["Example 1 value=", 100]], []]]
    ).hex(),
}  # fmt: skip
LOOPS, ROUNDS = 4_000, 7


def seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    for _ in range(LOOPS):
        call()
    return time.perf_counter() - begun


def main() -> None:
    totals: dict[str, list[float]] = {"ours": [], "bare": [], "ours back": [], "bare back": []}
    ratios: dict[str, float] = {}
    for name, text in MESSAGES.items():
        data = bytes.fromhex(text)
        message, item = decode_message(data), cbor2.loads(data)
        calls: dict[str, Callable[[], object]] = {
            "ours": lambda data=data: decode_message(data),  # type: ignore[misc]
            "bare": lambda data=data: cbor2.loads(data),  # type: ignore[misc]
            "ours back": lambda message=message: encode_message(message, 2048),  # type: ignore[misc]
            "bare back": lambda item=item: cbor2.dumps(item),  # type: ignore[misc]
        }
        measured = {key: min(seconds(call) for _ in range(ROUNDS)) for key, call in calls.items()}
        for key, value in measured.items():
            totals[key].append(value)
        ratios[name] = measured["bare"] / measured["ours"]
    for name, ratio in ratios.items():
        Result(f"decode {name} over cbor2.loads", round(ratio, 3), "").print()
    ours, bare = (LOOPS * len(MESSAGES) / sum(totals[key]) for key in ("ours", "bare"))
    Result("decode with full validation, all of them", round(ours), "1/s", floor=bare, aim=0.15).print()
    ours, bare = (LOOPS * len(MESSAGES) / sum(totals[key]) for key in ("ours back", "bare back"))
    Result("encode, all of them", round(ours), "1/s", floor=bare).print()
    both = statistics.mean(a + b for a, b in zip(totals["ours"], totals["ours back"], strict=True))
    bare_both = statistics.mean(a + b for a, b in zip(totals["bare"], totals["bare back"], strict=True))
    Result("decode and encode", round(LOOPS / both), "1/s", floor=LOOPS / bare_both).print()


if __name__ == "__main__":
    main()
