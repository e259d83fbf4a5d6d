"""The examples do what they say, where anybody would run them."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import time
from ipaddress import IPv6Network
from itertools import combinations
from pathlib import Path

import pytest

import examples
from examples.prefix_pool import Pool
from lab import unavailable_reason

ROOT = Path(examples.__file__).parent.parent
EXAMPLES = sorted(ROOT.glob("examples/*.py"))
ADDRESS = r"\[fe80::[0-9a-f:]+\]:\d+"


def run(name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"examples.{name}"],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def played(name: str) -> list[str]:
    """The transcript, without times."""
    if reason := unavailable_reason():
        pytest.skip(reason)
    start = time.monotonic()
    done = run(name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - start < 30
    return [re.sub(r"^ *[\d.]+ s +", "", line) for line in done.stdout.splitlines()]


def test_two_nodes_shows_everything_grasp_does():
    transcript = "\n".join(played("two_nodes"))
    for role in ("north", "south"):
        assert re.search(rf"^{role} +is a GRASP node at {ADDRESS}$", transcript, re.MULTILINE)
    in_order = {
        "north": [rf"discovered EX2 at {ADDRESS}", r"synchronized EX2: \{'mtu': 9000", "received EX3: south has .*::b"],
        "south": [
            rf"discovered EX1 at {ADDRESS}", "requests 800", "is offered 500 Mbit/s; wants 600", "agreed on 600",
            "received EX3: north has .*::a",
        ],
    }  # fmt: skip
    for role, steps in in_order.items():
        assert re.search(".*".join(rf"\n{role} +{step}" for step in steps), transcript, re.DOTALL), transcript
    assert re.search(r"\nnorth +asked by fe80::\S+ for 800.*\nnorth +counter-offer of 600", transcript, re.DOTALL)
    assert transcript.endswith("all done")


def test_prefixes_are_lent_declined_and_returned():
    said = [line.split(maxsplit=1)[1] for line in played("prefix_pool") if line.startswith("borrow")]
    assert said[-7:] == [
        "wanted a /56, borrowed 2001:db8:100::/56",
        "wanted a /44, borrowed 2001:db8:101::/48",
        "wanted a /64, borrowed 2001:db8:100:100::/64",
        "wanted a /32, is offered 2001:db8:102::/48, declines",
        "returned 2001:db8:100::/56",
        "returned 2001:db8:101::/48",
        "returned 2001:db8:100:100::/64",
    ]


def test_parameters_follow_the_publisher():
    said = [line for line in played("parameters_rfc8991") if line.startswith("apply")]
    serials = [int(serial) for line in said for serial in re.findall(r"'serial': (\d+)", line)]
    assert serials == list(range(serials[0], serials[0] + 4))
    assert "starts with" in said[-4]


def test_where_there_are_no_namespaces_it_says_so():
    done = run("two_nodes", PATH="/nonexistent")
    assert done.returncode == 1
    assert "no network namespaces" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failure_is_not_hidden(tmp_path):
    """A role that fails makes the whole fail, at once."""
    if reason := unavailable_reason():
        pytest.skip(reason)
    (tmp_path / "broken.py").write_text("import sys, time\ntime.sleep(60) if sys.argv[1] == 'a' else sys.exit('oh')\n")
    program = "import sys; from examples.stage import play; sys.exit(play('broken', ('a', 'b')))"
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{tmp_path}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "b        oh" in done.stdout
    assert "b failed" in done.stderr
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_use_public_names_only(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not [each.name for each in node.names if each.name.startswith("grasp.")]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "grasp":
            assert node.module in ("grasp", "grasp.rfc8991")
            public = {*sys.modules[node.module].__all__, "rfc8991"}
            assert {each.name for each in node.names} <= public
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            assert isinstance(node.value, ast.Name)
            assert node.value.id == "self"


def test_the_pool_is_always_partitioned():
    """What is free and what is lent never overlap and make up the whole."""
    whole = IPv6Network("2001:db8::/40")
    pool, lent = Pool(whole), []
    for step, length in enumerate((48, 64, 48, 56, 41, 60, 48, 48, 128, 42) * 3):
        taken = pool.take(length)
        if taken is not None:
            assert taken.prefixlen == length
            lent.append(taken)
        if step % 3 == 2:
            assert pool.give_back(lent.pop(0))
        everything = [*pool._free, *lent]
        assert not any(one.overlaps(other) for one, other in combinations(everything, 2))
        assert sum(each.num_addresses for each in everything) == whole.num_addresses
    assert not pool.give_back(whole)
