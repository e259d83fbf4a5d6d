"""What needs no agent: starting one, checking a configuration; and what a command loads."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from asa.cli.completion import tree
from tests.asa_cli import views
from tests.asa_cli.conftest import PATIENCE, ROOT, Run, environment
from tests.asa_cli.fake import Fake

GOOD = '[agent]\nname = "o"\nmode = "origin"\n[[pool]]\nname = "wan"\ncapacity = "10Gbit"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "asa.toml"


def test_a_good_configuration(asa: Run, file: Path) -> None:
    file.write_text(GOOD)
    done = asa("config", "check", str(file))
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{file}: ok\nagent       o, origin\n")
    found = asa("config", "check", str(file), "--json").json
    assert (found["file"], found["ok"]) == (str(file), True)
    assert found["config"]["pools"] == [{"name": "wan", "capacity": 10**10, "at": None}]
    assert found["config"]["api"]["socket"] == "/run/asa/asa.sock"


def test_rules_for_members_that_nobody_knows_are_told(asa: Run, file: Path) -> None:
    for substrate, told in (("plain", True), ("domain", False)):
        file.write_text(f'{GOOD}[grasp]\nsubstrate = "{substrate}"\n[[allow]]\nmembers = ["rack-*"]\nask = "1Gbit"\n')
        assert ("[[allow]] has no effect" in asa("config", "check", str(file)).stdout) == told


def test_every_problem_of_a_bad_one_is_on_a_line_of_its_own(asa: Run, file: Path) -> None:
    file.write_text('[agent]\nname = "\\u001b"\nmode = "orgin"\n[grasp]\nportt = 1\n')
    done = asa("config", "check", str(file))
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr == (
        f"asa: {file}: 3 problems\n"
        "     see docs/configuration.md\n"
        "  agent.name is '\\x1b'; allowed: 1..63 letters, digits, - _ or .\n"
        '  agent.mode is \'orgin\'; allowed: "origin" or "delegator"\n'
        "  grasp.portt does not exist; did you mean port?; allowed: interfaces, port, address, ipv4, objective_prefix,"
        " substrate\n"
    )
    error = asa("config", "check", str(file), "--json").json["error"]
    assert error["code"] == "bad-config"
    assert [each["key"] for each in error["details"]["problems"]] == ["agent.name", "agent.mode", "grasp.portt"]


@pytest.mark.parametrize("argv", [["config", "check"], ["run", "-c"]])
def test_a_file_that_cannot_be_used(asa: Run, file: Path, argv: list[str]) -> None:
    done = asa(*argv, str(file), "--json")
    assert (done.status, done.json["error"]["message"]) == (1, f"there is no file {file}")
    file.write_text("x")
    done = asa(*argv, str(file))
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr.startswith(f"asa: {file}, line 1, column 2: not TOML: ")


def test_every_command_and_option_is_documented() -> None:
    text = (ROOT / "docs" / "agent-cli.md").read_text()
    for each in tree():
        path = each.path.replace("/", " ")
        parent, _, name = path.strip().rpartition(" ")
        assert re.search(rf"\b{parent}\b.*\b{name}\b", text), path
        for option, _ in each.options:
            assert option in text or option in ("-h", "--help", "--config"), (path, option)


@pytest.mark.parametrize("words", [[], ["list"], ["--socket", "/nowhere"]])
def test_the_release(asa: Run, fake: Fake, words: list[str]) -> None:
    installed = metadata.version("grasp-asa")
    done = asa("--version", *words)
    assert (done.status, done.stdout, done.stderr) == (0, f"asa {installed}\n", "")
    assert asa("--version", *words, "--json").json == {"version": installed}
    assert fake.asked == []
    assert asa("list", "--version").status == 2


IMPORTED = """
import json, sys
from asa.cli import main
status = main(sys.argv[1:])
print(json.dumps([status, sorted(sys.modules)]), file=sys.stderr)
"""
HEAVY = {
    "falcon", "msgspec", "cheroot", "sqlite3", "cryptography", "cbor2", "netifaces", "grasp", "objectives", "asyncio",
    "tomllib", "asa.config", "asa.main", "asa.northbound.server", "logging", "subprocess", "xml", "unittest",
    "asa.version", "importlib.metadata", "asa.tegu",
}  # fmt: skip


@pytest.mark.parametrize(
    "words", ["list --json", "list", "completion --values pools", "completion bash", "reserve wan 1Gbit", "caps"]
)
def test_a_command_loads_only_what_it_needs(fake: Fake, words: str) -> None:
    fake.answers["GET", "/v1/reservations"] = views.page(views.reservation())
    fake.answers["POST", "/v1/reservations"] = views.reservation()
    fake.answers["GET", "/v1/pools"] = [views.POOL]
    fake.answers["GET", "/v1/caps"] = views.CAPS
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *words.split()], env=environment(fake.socket), capture_output=True, text=True,
        timeout=PATIENCE, cwd=ROOT,
    )  # fmt: skip
    status, modules = json.loads(done.stderr)
    assert status == 0
    assert HEAVY & set(modules) == set()


STAND_IN = """
import signal, sys, types
module = types.ModuleType("asa.main")
def run(config, **chosen):
    left = [signal.getsignal(each) is signal.SIG_DFL for each in (signal.SIGINT, signal.SIGTERM)]
    print(config.agent.name, chosen, left)
    return RETURNED
module.run = run
sys.modules["asa.main"] = module
from asa.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("returned", "status", "words", "chosen"),
    [("None", 0, [], {}), ("0", 0, ["--salvage"], {"salvaged": True}), ("1", 1, [], {})],
)
def test_running_hands_over_the_configuration_and_the_signals(
    file: Path, returned: str, status: int, words: list[str], chosen: dict[str, bool]
) -> None:
    file.write_text(GOOD)
    done = subprocess.run(
        [sys.executable, "-c", STAND_IN.replace("RETURNED", returned), "run", "-c", str(file), *words],
        env=environment("/nowhere"), capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (status, f"o {chosen} [True, True]\n", "")
