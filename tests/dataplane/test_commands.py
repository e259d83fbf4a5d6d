"""The system's programs, as they are run: what they are given and write, and that no end of it is waited for."""

from __future__ import annotations

import pytest

from asa.dataplane import commands
from asa.dataplane.backend import EnforcementFailed
from asa.dataplane.commands import CommandFailed

from .between import Between


def test_more_than_fits_into_pipes_goes_in_and_comes_out(bridged: Between) -> None:
    count = 20_000
    told = commands.run("tc", ["-batch", "-"], "qdisc show dev eth0\n" * count)
    assert told.count("\n") == count
    assert len(told) > 500_000


def test_a_program_that_fails_is_quoted(bridged: Between) -> None:
    with pytest.raises(CommandFailed) as failed:
        commands.run("tc", ["-batch", "-"], "qdisc show dev eth9\n" + "qdisc show\n" * 100_000)
    assert "eth9" in failed.value.said
    assert commands.needed(failed.value.said) == ""
    with pytest.raises(CommandFailed, match="tc failed with"):
        commands.run("tc", ["nothing"])


def test_output_is_bounded(bridged: Between, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "MOST_OUTPUT", 1_000)
    assert "eth0" in commands.run("ip", ["-o", "link", "show", "dev", "eth0"])
    with pytest.raises(EnforcementFailed, match="tc wrote more than 1000 bytes"):
        commands.run("tc", ["-batch", "-"], "qdisc show dev eth0\n" * 10_000)


def test_a_program_that_does_not_end_is_killed(bridged: Between) -> None:
    with pytest.raises(EnforcementFailed, match=r"ip did not end within 0\.3 s"):
        commands.run("ip", ["monitor"], time_limit_s=0.3)
