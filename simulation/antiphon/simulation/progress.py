"""Progress in the terminal: round, client, step, loss, bytes, time left. Everything goes to stderr."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from antiphon.core.config import RunConfig
from antiphon.core.events import RoundPlanned
from antiphon.server.machine.actions import Reply
from antiphon.server.report.divergence import advice_on, rates_of
from antiphon.server.report.report_page import bytes_said
from antiphon.simulation.monitor import Monitor
from antiphon.strategies.methods.method import method_of

_BAR = 10  # columns: what is said beside it needs the room of a terminal of 80
_CUT = Column(no_wrap=True, overflow="ellipsis", ratio=1)  # what gives way where there is no room


class TerminalMonitor(Monitor):
    """Bars for the run and for the client at work, and one line for each finished round.

    The run's bar counts local steps and measured clients: each is about as long as the next of its kind.
    """

    def __init__(self, console: Console, config: RunConfig, clients: int) -> None:
        """Show nothing yet; the bars appear within `with`."""
        self._config = config
        self._bytes = 0
        self._first_loss: float | None = None
        self._progress = Progress(
            BarColumn(bar_width=_BAR),
            TaskProgressColumn(table_column=Column(no_wrap=True, min_width=4)),
            TextColumn("{task.fields[now]}", table_column=_CUT),
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True, min_width=5)),
            TextColumn("left", table_column=Column(no_wrap=True, min_width=4)),
            console=console,
            expand=True,
        )
        method = method_of(config)
        self._rates, steps = rates_of(method), method.most_steps
        cohort = min(config.cohort.size or clients, clients)
        self._run = self._progress.add_task(
            config.name, total=config.rounds * cohort * steps, now="before the first round"
        )

    def __enter__(self) -> Self:
        """Show the bars."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the bars as they are."""
        self._progress.stop()

    def started(self, bytes_up: int) -> None:
        """Count on from what had been sent."""
        self._bytes = bytes_up

    def advised(self, sentence: str) -> None:
        """Say what is probably not meant."""
        self._progress.console.print(f"[yellow]{escape(sentence)}", highlight=False, soft_wrap=True)

    def round_planned(self, plan: RoundPlanned) -> None:
        """Name the round on the bar."""
        self._say(f"round {plan.round}/{self._config.rounds}")
        self._reach(plan.round - 1)  # a resumed run starts where its rounds do, not at zero

    def client_stepped(self, client: str, done: int, steps: int, loss: float) -> None:
        """Move the bar and show the client's loss."""
        self._progress.advance(self._run)
        sent = f"{bytes_said(self._bytes)} up"
        # The numbers first: a narrow terminal cuts the end, and that is where the name is.
        self._say(f"{self._round} · step {done}/{steps} · loss {loss:.2f} · {sent} · {client}")

    def replied(self, reply: Reply, size_bytes: int) -> None:
        """Count the bytes; say why an update was refused."""
        self._bytes += size_bytes
        if reply.verdict not in ("accepted", "duplicate"):
            self._progress.console.print(
                f"[yellow]{escape(f'{reply.client}: update {reply.verdict}: {reply.reason}')}"
            )

    def evaluating(self, number: int, done: int, clients: int) -> None:
        """Say that the model is being measured."""
        self._say(f"{_round_name(number)} · measuring client {done + 1}/{clients}")

    def evaluated(self, number: int, metrics: Mapping[str, float]) -> None:
        """Print the round's line."""
        shown = [f"held-out loss {metrics['loss']:.3f}"]
        if "accuracy" in metrics:
            shown.append(f"accuracy {metrics['accuracy']:.3f}")
        if "exact_match" in metrics:
            shown.append(f"exact match {metrics['exact_match']:.3f}")
        if "rouge_l" in metrics:
            shown.append(f"Rouge-L {metrics['rouge_l']:.3f}")
        if number:
            shown.append(f"{bytes_said(self._bytes)} up so far")
        self._progress.console.print(f"{_round_name(number):>15}: {', '.join(shown)}")
        self._first_loss = self._first_loss or metrics["loss"]
        if advice := advice_on(self._rates, self._first_loss, metrics["loss"]):
            self._progress.console.print(f"[yellow]{'':>15}  {advice}", soft_wrap=True)
        self._reach(number)  # whose clients may have taken fewer steps than were counted on

    def round_undone(self, number: int, reason: str) -> None:
        """Say that the guard stepped in."""
        self._progress.console.print(
            f"[yellow]{_round_name(number):>15}: undone, {escape(reason)}; the learning rate is halved"
        )

    def _reach(self, rounds: int) -> None:
        """Move the bar to where it is when so many rounds are over, if it is not there yet."""
        task = self._progress.tasks[0]
        there = rounds / self._config.rounds * (task.total or 0)
        self._progress.update(self._run, completed=max(task.completed, there))

    @property
    def _round(self) -> str:
        return str(self._progress.tasks[0].fields["now"]).split(" · ")[0]

    def _say(self, now: str) -> None:
        self._progress.update(self._run, now=escape(now))


def _round_name(number: int) -> str:
    return f"round {number}" if number else "untouched model"
