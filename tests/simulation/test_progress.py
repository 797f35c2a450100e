"""What the terminal shows of a run."""

import io
from pathlib import Path

from rich.console import Console

from antiphon.core import config as configs
from antiphon.core.events import RoundPlanned
from antiphon.simulation.progress import TerminalMonitor

TINY = Path(__file__).parents[2] / "examples" / "tiny.yaml"
CONFIG = configs.load(TINY, ["rounds=2", "training.max_steps=3"])


def shown(*, steps: int) -> str:
    """Return the last line of a run of two rounds of three steps, of which `steps` were taken."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    with TerminalMonitor(console, CONFIG, 1) as monitor:
        for step in range(steps):
            monitor.client_stepped("meadow", step + 1, 3, 0.5)
        monitor.evaluated(2, {"loss": 0.25})
    return screen.getvalue()


def test_a_resumed_run_counts_on():
    """What was sent before the interruption is part of what has been sent so far."""
    screen = io.StringIO()

    with TerminalMonitor(Console(file=screen, width=100), CONFIG, 1) as monitor:
        monitor.started(3_000_000)
        monitor.evaluated(2, {"loss": 0.25})

    assert "3 MB up so far" in screen.getvalue()


def test_eighty_columns_hold_the_bar_and_its_numbers():
    """Nothing wraps, and round, step, loss and bytes are whole; a long name is what is cut."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, color_system=None)
    with TerminalMonitor(console, CONFIG, 1) as monitor:
        monitor.started(987_000_000)
        monitor.round_planned(RoundPlanned(2, ("a",), 1, 60.0))
        monitor.client_stepped("a-client-with-quite-a-long-name", 3, 3, 10.25)

    (line,) = {each for each in screen.getvalue().splitlines() if "step 3/3" in each}
    assert "round 2/2 · step 3/3 · loss 10.25 · 987 MB up" in line
    assert "left" in line


def test_a_loss_that_rises_is_answered():
    """The first sign is told with what to do about it."""
    screen = io.StringIO()

    with TerminalMonitor(Console(file=screen, width=100), CONFIG, 1) as monitor:
        monitor.evaluated(0, {"loss": 2.0})
        monitor.evaluated(1, {"loss": 3.0})

    assert "lower training.learning_rate" in screen.getvalue()


def test_the_bar_is_full_at_the_end():
    """Also where clients have taken fewer steps than were counted on."""
    assert "100%" in shown(steps=6)
    assert "100%" in shown(steps=4)
