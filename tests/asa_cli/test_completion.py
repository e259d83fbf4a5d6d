"""The completion scripts in the shells themselves; a shell that is not here is a test that is skipped."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from asa.cli.commands import COMMANDS, KINDS, STATES
from tests.asa_cli import views
from tests.asa_cli.conftest import PATIENCE, Run, environment
from tests.asa_cli.fake import Fake, as_json

TOP = [name for name, _, _ in COMMANDS]


@pytest.fixture
def path(tmp_path: Path, fake: Fake) -> str:
    """A PATH with this asa in front, and an agent with something to complete."""
    script = tmp_path / "asa"
    # The scripts give an agent 1 s to answer, this one more.
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m asa "$@" --timeout 50s\n')
    script.chmod(0o755)
    hostile = as_json(views.POOL) | {"name": "$(touch pwned)"}
    fake.answers["GET", "/v1/pools"] = [views.POOL, as_json(views.POOL) | {"name": "lan"}, hostile]
    fake.answers["GET", "/v1/reservations"] = lambda asked: (
        views.page(views.reservation("r1"), views.reservation("r2")) if "after" in asked.query
        else views.page(following="r0")
    )  # fmt: skip
    fake.answers["GET", "/v1/transfers"] = [views.TRANSFER]
    fake.answers["GET", "/v1/params"] = views.PARAMS
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "origin.toml").touch()
    return f"{tmp_path}:{os.environ['PATH']}"


class Shell:
    def __init__(self, name: str, path: str, fake: Fake, cwd: Path) -> None:
        self.name = name
        self._path = path
        self._fake = fake
        self._cwd = cwd

    def _run(self, text: str) -> list[str]:
        options = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"], "fish": ["--no-config"]}[self.name]
        done = subprocess.run(
            [self.name, *options, "-c", text], env=environment(self._fake.socket, PATH=self._path),
            capture_output=True, text=True, timeout=PATIENCE, cwd=self._cwd, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.stderr == ""
        assert sorted(each.name for each in self._cwd.iterdir()) == ["origin.toml"]
        return [line for line in done.stdout.split("\n") if line]

    def complete(self, *words: str) -> list[str]:
        """What may stand for the last of ``words``, which were typed behind ``asa``; sorted."""
        line = ["asa", *words]
        if self.name == "bash":
            found = self._run(
                'eval "$(asa completion bash)"; '
                f"COMP_WORDS=({shlex.join(line)}); COMP_CWORD={len(words)}; _asa; "
                "[[ ${#COMPREPLY[@]} -eq 0 ]] || printf '%s\\n' \"${COMPREPLY[@]}\""
            )
        elif self.name == "zsh":
            # compadd and its like work inside the line editor only; what they are given is what counts.
            found = self._run(
                "compdef() { :; }; compadd() { print -rl -- ${(P)2} }; _describe() { print -rl -- ${(P)2} }\n"
                "_files() { print -rl -- * }; source <(asa completion zsh)\n"
                f"words=({shlex.join(line)}); CURRENT={len(line)}; _asa"
            )
            found = [each.partition(":")[0] for each in found if each.startswith(words[-1])]
        else:
            typed = " ".join(line)
            found = self._run(f"asa completion fish | source; complete -C {shlex.quote(typed)}")
            found = [each.partition("\t")[0] for each in found]
        return sorted(found)


@pytest.fixture(params=["bash", "zsh", "fish"])
def shell(request: pytest.FixtureRequest, path: str, fake: Fake, tmp_path: Path) -> Shell:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return Shell(request.param, path, fake, tmp_path / "files")


def test_commands_are_completed(shell: Shell) -> None:
    assert shell.complete("") == sorted(TOP)
    assert shell.complete("re") == ["refresh", "remove", "reserve", "resize", "restart", "resume"]
    assert shell.complete("caps", "") == ["list", "remove", "set"]
    assert shell.complete("--json", "pool", "") == ["add", "list", "show"]
    assert shell.complete("completion", "") == ["bash", "fish", "zsh"]


def test_options_are_completed(shell: Shell) -> None:
    assert shell.complete("reserve", "wan", "1Gbit", "--s") == ["--secret-file", "--socket", "--source", "--start"]
    assert shell.complete("list", "--state", "") == sorted(STATES)
    assert shell.complete("reserve", "--kind", "") == sorted(KINDS)
    assert shell.complete("list", "--kind", "s") == ["steering"]
    assert shell.complete("cancel", "--") == [
        "--all", "--cacert", "--cert", "--cert-key", "--help", "--json", "--node", "--owner", "--secret-file",
        "--socket", "--tcp", "--timeout", "--token-file",
    ]  # fmt: skip
    assert shell.complete("pool", "list", "--j") == ["--json"]


def test_names_are_asked_for(shell: Shell) -> None:
    assert shell.complete("reserve", "") == ["lan", "wan"]
    assert shell.complete("list", "--pool", "w") == ["wan"]
    assert shell.complete("cancel", "") == ["r1", "r2"]
    assert shell.complete("cancel", "r1", "r9", "") == ["r1", "r2"]
    assert shell.complete("confirm", "") == shell.complete("refresh", "") == ["r1", "r2"]
    assert shell.complete("caps", "set", "p1", "10%", "--resource", "") == ["lan", "wan"]
    assert shell.complete("import-tegu", "--pool", "w") == ["wan"]
    assert shell.complete("resize", "r1", "") == []
    assert shell.complete("forfeit", "") == ["00ff"]
    assert shell.complete("params", "set", "lea") == ["lease", "least_grant"]


def test_the_agent_asked_is_the_one_the_line_is_for(shell: Shell, fake: Fake) -> None:
    other = Fake()
    try:
        other.answers["GET", "/v1/pools"] = [as_json(views.POOL) | {"name": "elsewhere"}]
        assert shell.complete("--socket", other.socket, "pool", "show", "") == ["elsewhere"]
        assert shell.complete("availability", "--socket", "/nowhere", "") == []
    finally:
        other.close()


def test_files_are_completed(shell: Shell) -> None:
    assert shell.complete("config", "check", "") == ["origin.toml"]
    assert shell.complete("run", "-c", "") == ["origin.toml"]
    assert shell.complete("import-tegu", "") == ["origin.toml"]
    assert shell.complete("cancel", "r1", "--secret-file", "") == ["origin.toml"]


def test_bash_splits_an_option_from_its_value(path: str, fake: Fake, tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    bash = Shell("bash", path, fake, tmp_path / "files")
    assert bash.complete("list", "--pool", "=", "l") == ["lan"]
    assert bash.complete("list", "--pool", "=") == ["lan", "wan"]


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_a_script_in_json_is_the_script(asa: Run, name: str) -> None:
    found = asa("completion", name, "--json").json
    assert found == {"shell": name, "script": asa("completion", name).stdout}
    assert found["script"].isascii()
    for command in TOP:
        assert command in found["script"]


def test_values_without_an_agent_are_an_error_the_scripts_do_not_show(asa: Run) -> None:
    assert asa("completion", "--values", "pools", "--socket", "/nowhere").status == 3
    assert asa("completion", "--values", "pools", "bash").status == 2
    assert asa("completion", "--values", "gold").status == 2
