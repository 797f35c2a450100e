"""Clocks: one that nobody can set tells of every attempt, once."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from antiphon.core.clock import JUMP_S, SteadyClock

HOUR_S = 3600.0


@dataclass
class Machine:
    """A machine's two clocks: the one that can be set, and the one that counts since it was switched on."""

    wall_s: float = 1_800_000_000.0
    up_s: float = 77.0

    def passes(self, seconds: float) -> None:
        """Let time pass."""
        self.wall_s += seconds
        self.up_s += seconds

    def clock(self) -> SteadyClock:
        """Make a clock on this machine."""
        return SteadyClock(lambda: self.wall_s, lambda: self.up_s)


def test_begins_at_the_systems_time() -> None:
    """People can read its times."""
    machine = Machine()

    assert machine.clock().now() == pytest.approx(machine.wall_s)


@pytest.mark.parametrize("set_by_s", [-HOUR_S, HOUR_S])
def test_setting_the_systems_clock_moves_no_deadline(set_by_s: float) -> None:
    """What is due in a minute is due in a minute, whatever the system's clock is set to."""
    machine = Machine()
    clock = machine.clock()
    deadline = clock.now() + 60.0

    machine.wall_s += set_by_s
    machine.passes(59.0)
    before = clock.now()
    machine.passes(1.0)

    assert before < deadline
    assert clock.now() == pytest.approx(deadline)


def test_jump_is_told_once() -> None:
    """A clock that was set back by an hour is told of at the next look, and not at the one after."""
    machine = Machine()
    clock = machine.clock()
    machine.wall_s -= HOUR_S

    assert [clock.jump_s(), clock.jump_s()] == [pytest.approx(-HOUR_S), None]


def test_mending_is_another_jump() -> None:
    """A clock that is set back where it was is told of again."""
    machine = Machine()
    clock = machine.clock()
    machine.wall_s += HOUR_S
    clock.jump_s()

    machine.wall_s -= HOUR_S

    assert clock.jump_s() == pytest.approx(-HOUR_S)


def test_small_corrections_are_not_told() -> None:
    """What NTP does every day is no news."""
    machine = Machine()
    clock = machine.clock()

    machine.wall_s += JUMP_S - 1

    assert clock.jump_s() is None
