"""Draw one simulated round of twelve drawn phones, from its journal: docs/pictures/fleet-round.png.

The phones come and go every minute instead of every hour, so that a round has some of it.

python -m benchmarks.fleet_round [OUT.png]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from antiphon.core.config import load
from antiphon.core.events import (
    BytesMoved,
    ClientFailed,
    ClientJoined,
    ClientLeft,
    RoundFolded,
    RoundPlanned,
)
from antiphon.core.journal import Entry, Journal
from antiphon.simulation.fleet import SimulatedFleet
from antiphon.simulation.fleet_file import fleet_text
from antiphon.simulation.fleets import generate
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import load_split

ROOT = Path(__file__).parent.parent
DEADLINE_S, PHONES, SEED, DRAWN_ROUND, STEPS = 50.0, 12, 1, 2, 10
COLOURS = {
    "download": "#56b4e9",
    "training": "#009e73",
    "upload": "#e69f00",
    "lost work": "#c9a3bd",
    "off line": "#dddddd",
}
_SHOWN = (BytesMoved, ClientFailed, ClientJoined, ClientLeft, RoundFolded, RoundPlanned)


def simulated(folder: Path) -> tuple[SimulatedFleet, list[Entry]]:
    """Run the tiny model on the phones; return them and what happened."""
    file = folder / "phones.yaml"
    phones = [
        each.model_copy(update={"mean_on_s": 60.0}) for each in generate("phones", PHONES, SEED)
    ]
    file.write_text(fleet_text(phones, ""))
    overrides = [
        f"engine.fleet={file}",
        f"output.runs_dir={folder}",
        f"data.clients={PHONES}",
        f"cohort={{min_clients: 4, quorum: 3, deadline_s: {DEADLINE_S}}}",
        f"seed={SEED}",
        f"rounds={DRAWN_ROUND}",
        "data.partition=iid",
        "data.eval_examples=5",
        f"training.max_steps={STEPS}",
    ]
    config = load(ROOT / "examples" / "tiny.yaml", overrides)
    split = load_split(config)
    assert split.fleet is not None
    done = simulate(config, split)
    with Journal.reading(done.journal_file) as journal:
        return split.fleet, list(journal.read(kinds=_SHOWN))


def draw(fleet: SimulatedFleet, entries: list[Entry], out: Path) -> None:
    """Draw the round: one bar for each client, in virtual seconds since the plan."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    rows = {name: row for row, name in enumerate(sorted(fleet.traits, reverse=True))}
    plans = [each for each in entries if isinstance(each.event, RoundPlanned)]
    start = next(each.at_s for each in plans if _round(each) == DRAWN_ROUND)
    folded = [each.at_s for each in entries if isinstance(each.event, RoundFolded)][-1] - start
    _draw_absences(axes, fleet, rows, start, folded)
    at_work: dict[str, float] = {}
    for entry in entries:
        if entry.at_s >= start:
            _draw_event(axes, fleet, rows, entry, start, at_work)
    for client, since in at_work.items():
        _bar(axes, rows[client], since, folded - since, "lost work")
    axes.axvline(folded, color="black", linestyle="--", linewidth=1)
    axes.text(folded, PHONES - 0.3, " the round closes", va="bottom", ha="right", fontsize=9)
    axes.set(yticks=list(rows.values()), yticklabels=list(rows), ylim=(-0.6, PHONES + 0.4))
    axes.set(xlabel="virtual seconds since the plan", xlim=(0, folded * 1.01))
    axes.set_title(f"Round {DRAWN_ROUND} of twelve phones, ten local steps", fontsize=11)
    handles = [Patch(color=colour, label=name) for name, colour in COLOURS.items()]
    died = axes.scatter([], [], marker="x", color="#d55e00", label="died while it trained")
    figure.legend(handles=[*handles, died], loc="outside lower center", ncols=6, frameon=False)
    figure.savefig(out, dpi=130)


def _round(entry: Entry) -> int | None:
    number: int | None = getattr(entry.event, "round", None)
    return number


def _draw_absences(
    axes: Axes, fleet: SimulatedFleet, rows: Mapping[str, int], start: float, seconds: float
) -> None:
    for client, row in rows.items():
        now = start
        while now < start + seconds:
            change = fleet.next_change(client, now) or float("inf")
            if not fleet.is_on(client, now):
                end = min(change, start + seconds)
                axes.barh(row, end - now, left=now - start, height=0.8, color=COLOURS["off line"])
            now = change


def _draw_event(
    axes: Axes,
    fleet: SimulatedFleet,
    rows: Mapping[str, int],
    entry: Entry,
    start: float,
    at_work: dict[str, float],
) -> None:
    """at_work: since when each client trains, in seconds since the plan."""
    event, now = entry.event, entry.at_s - start
    match event:
        case BytesMoved(direction="down"):
            takes = fleet.download_s(event.client, event.bytes)
            _bar(axes, rows[event.client], now - takes, takes, "download")
            at_work[event.client] = now
        case BytesMoved():
            since, takes = at_work.pop(event.client), fleet.upload_s(event.client, event.bytes)
            _bar(axes, rows[event.client], since, now - takes - since, "training")
            _bar(axes, rows[event.client], now - takes, takes, "upload")
        case ClientFailed() | ClientLeft() if event.client in at_work:
            since = at_work.pop(event.client)
            _bar(axes, rows[event.client], since, now - since, "lost work")
            if isinstance(event, ClientFailed):
                axes.scatter([now], [rows[event.client]], marker="x", color="#d55e00", zorder=3)


def _bar(axes: Axes, row: int, left: float, width: float, what: str) -> None:
    axes.barh(row, width, left=left, height=0.55, color=COLOURS[what])


def main() -> None:
    """Simulate and draw."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures" / "fleet-round.png"
    with TemporaryDirectory() as folder:
        draw(*simulated(Path(folder)), out)


if __name__ == "__main__":
    main()
