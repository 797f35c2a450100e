"""The pictures of a report: learning.svg, bytes.svg and time.svg.

Each title says what the picture shows. The colours are those of Okabe and Ito (2002), which
colour-blind people can tell apart. A picture for which there is no data is not drawn.
"""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import structlog

from antiphon.core.errors import RunFolderError
from antiphon.core.files import written_whole
from antiphon.server.report.comparison import clients_said, compared
from antiphon.server.report.report_page import bytes_said, duration, share, times_less, with_waiting
from antiphon.server.report.report_types import Report

log = structlog.get_logger()

_BLUE, _GREY = "#0072B2", "#767676"
_COLOURS = ("#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
_MOST_LABELS = len(_COLOURS)  # with more clients, their lines are grey and have no names
_MOST_LINES = 50  # with more clients, a band is drawn within which nine of ten lie
_MOST_ROWS = 24
_STYLE = {
    "axes.labelcolor": "#333333",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "font.size": 10,
    "svg.fonttype": "none",  # text stays text: it can be searched, and any script is readable
    "svg.hashsalt": "antiphon",  # the same report gives the same bytes
    "text.parse_math": False,  # a client may have a $ in its name
}

Suffix = Literal["svg", "png"]
Key = Literal["loss", "accuracy"]
Points = dict[int, float]
"""Round → value."""


def draw(report: Report, folder: Path, suffix: Suffix = "svg") -> dict[str, str]:
    """Draw what there is data for into `folder`, each file whole or not at all.

    Returns the titles by file name. A picture that cannot be drawn is left out, and logged. Raises
    RunFolderError if the disk is full.
    """
    import matplotlib as mpl

    drawn = {}
    for name, figure_of in (("learning", _learning), ("bytes", _bytes), ("time", _time)):
        try:
            with mpl.rc_context(_STYLE):
                figure = figure_of(report)
                if figure is not None:
                    _save(figure, folder / f"{name}.{suffix}", suffix)
                    drawn[f"{name}.{suffix}"] = _title_of(figure)
        except RunFolderError:
            raise
        except (
            Exception
        ) as error:  # of numbers that clients have sent: the run is over all the same
            log.warning("a picture could not be drawn", picture=name, reason=str(error)[:200])
    return drawn


def _learning(report: Report) -> Any:
    """Loss and accuracy by round: the mean as a bold line, each client as a thin one, many as a band."""
    keys: tuple[Key, ...] = ("loss", "accuracy")
    means = {key: found for key in keys if (found := _means(report, key))}
    if not means:
        return None
    figure = _figure(3.9)
    panels = figure.subplots(1, len(means), squeeze=False)[0]
    for axes, (key, points) in zip(panels, means.items(), strict=True):
        _lines(axes, points, _by_client(report, key))
        _mark_undone(axes, report)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set(xlabel="round (0: before training)", title=_trend(report, key, points))
    if "loss" in means:
        # Only of a language model is it in nats.
        unit = "" if "objective" in report["facts"] else " (nats per token)"
        panels[0].set_ylabel(f"held-out loss{unit}")
    if "accuracy" in means:
        panels[-1].set_ylabel("held-out accuracy")
        panels[-1].yaxis.set_major_formatter(lambda value, _: share(value))
    return figure


def _bytes(report: Report) -> Any:
    """Bytes by client and direction beside dense float32, on a log scale."""
    clients = report["bytes"]["by_client"]
    if not clients:
        return None
    by_size = sorted(clients, key=lambda name: (clients[name]["up"] + clients[name]["down"], name))
    names = by_size[-_MOST_ROWS:]
    up, down = _dense(report)
    figure = _figure(1.8 + 0.25 * len(names))
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    rising = [(name, clients[name]["up"], up.get(name)) for name in names]
    falling = [(name, clients[name]["down"], down.get(name)) for name in names]
    _dots(left, rising)
    _dots(right, falling)
    left.set_xlim(_whole_decades(rising + falling))
    left.set_title("up: client to coordinator", fontsize=10, color="#333333")
    right.set_title("down: coordinator to client", fontsize=10, color="#333333")
    figure.suptitle(_traffic_said(report), x=0.01, ha="left", fontsize=11)
    some = f"; {len(names)} of {len(clients)} clients: those that moved most"
    label = "bytes in the whole run, log scale" + (some if len(names) < len(clients) else "")
    figure.supxlabel(label, fontsize=10, color="#333333")
    return figure


def _time(report: Report) -> Any:
    """The time of each round, stacked by phase; what no phase tells of is waiting for clients."""
    rounds = {
        each["round"]: with_waiting(each["seconds_by_phase"], each["seconds"])
        for each in report["rounds"]
    }
    totals: defaultdict[str, float] = defaultdict(float)
    for timed in rounds.values():
        for phase, seconds in timed.items():
            totals[phase] += seconds
    names = sorted((name for name in totals if totals[name] > 0), key=lambda name: -totals[name])
    if not names:
        return None
    stacks = {phase: [timed.get(phase, 0.0) for timed in rounds.values()] for phase in names}
    figure = _figure(3.9)
    axes = figure.subplots()
    _stack(axes, list(rounds), _few(stacks))
    whole = sum(totals.values())
    most = f"{names[0].capitalize()} takes {share(totals[names[0]] / whole)}"
    axes.set(xlabel="round", title=f"{most} of the {duration(whole)} that the rounds took")
    return figure


def _figure(height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(8, height), dpi=100, layout="constrained")


def _save(figure: Any, path: Path, suffix: Suffix) -> None:
    stamp = {"Date": None} if suffix == "svg" else {}
    with warnings.catch_warnings(), written_whole(path) as part:
        # The viewer's fonts have the glyphs that matplotlib's own lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(part, format=suffix, metadata=stamp)


def _title_of(figure: Any) -> str:
    titles = [figure.get_suptitle()] if figure.get_suptitle() else []
    return ". ".join(titles or [axes.get_title(loc="left") for axes in figure.axes])


def _means(report: Report, key: Key) -> Points:
    before = report["initial"]
    points = {0: before[key] if before else None}
    points |= {each["round"]: each[key] for each in report["rounds"]}
    return {number: value for number, value in points.items() if value is not None}


def _by_client(report: Report, key: Key) -> dict[str, Points]:
    before = report["initial"]
    evaluations = {0: before["per_client"] if before else {}}
    evaluations |= {each["round"]: each["per_client"] for each in report["rounds"]}
    lines: defaultdict[str, Points] = defaultdict(dict)
    for number, per_client in evaluations.items():
        for name, measured in per_client.items():
            value = measured[key]
            if value is not None:
                lines[name][number] = value
    return dict(sorted(lines.items()))


def _lines(axes: Any, means: Points, clients: Mapping[str, Points]) -> None:
    named, ends = len(clients) <= _MOST_LABELS, []
    if len(clients) > _MOST_LINES:
        _band(axes, clients.values())
        clients = {}
    for each, (name, points) in enumerate(clients.items()):
        colour = _COLOURS[each] if named else "#BBBBBB"
        _line(axes, points, colour, 1.0)
        if named:
            ends.append((points[max(points)], name, colour))
    _line(axes, means, _BLUE, 3.0)
    ends.append((means[max(means)], "mean", _BLUE))
    _label_ends(axes, max(means), ends)


def _band(axes: Any, clients: Iterable[Points]) -> None:
    by_round: defaultdict[int, list[float]] = defaultdict(list)
    for points in clients:
        for number, value in points.items():
            by_round[number].append(value)
    cuts = {number: np.quantile(values, (0.05, 0.95)) for number, values in by_round.items()}
    rounds = sorted(cuts)
    low, high = ([float(cuts[number][end]) for number in rounds] for end in (0, 1))
    axes.fill_between(rounds, low, high, color="#DDDDDD", linewidth=1.0)


def _line(axes: Any, points: Points, colour: str, width: float) -> None:
    marker = "o" if len(points) == 1 else None
    axes.plot(list(points), list(points.values()), color=colour, linewidth=width, marker=marker)


def _label_ends(axes: Any, last: int, ends: list[tuple[float, str, str]]) -> None:
    """Write each line's name beside its end, moved apart where two would overlap."""
    ends.sort()
    low, high = axes.get_ylim()
    step = (high - low) * 0.055
    places = _spread([value for value, _, _ in ends], low, high - step, step)
    for place, (_, name, colour) in zip(places, ends, strict=True):
        axes.annotate(
            _short(name),
            (last, place),
            xytext=(6, 0),
            textcoords="offset points",
            color=colour,
            fontsize=9,
            fontweight="bold" if name == "mean" else "normal",
            va="center",
            annotation_clip=False,
        )


def _spread(values: Sequence[float], low: float, high: float, step: float) -> list[float]:
    """Return places for labels at these sorted values, `step` apart and within the axis."""
    rising: list[float] = []
    for value in values:
        rising.append(max(value, rising[-1] + step) if rising else max(value, low))
    # What was pushed up is centred again, so that no label is far above its line.
    shift = sum(place - value for place, value in zip(rising, values, strict=True)) / len(values)
    falling: list[float] = []
    for place in reversed(rising):
        falling.append(min(place - shift, falling[-1] - step if falling else high))
    return falling[::-1]


def _mark_undone(axes: Any, report: Report) -> None:
    undone = [
        each["round"] for each in report["rounds"] if each["outcome"] in ("undone", "rewound")
    ]
    for number in undone:
        axes.axvline(number, color=_GREY, linewidth=0.8, linestyle=":")
        axes.annotate(
            "undone",
            (number, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-3, -2),
            textcoords="offset points",
            color=_GREY,
            fontsize=8,
            ha="right",
            va="top",
            rotation=90,
        )


def _trend(report: Report, key: Key, points: Points) -> str:
    said: Callable[[float], str] = share if key == "accuracy" else (lambda value: f"{value:.3g}")
    pair = compared(report, key)
    first = points[min(points)] if pair.first is None else pair.first
    last = points[max(points)] if pair.last is None else pair.last
    others = clients_said(report)
    whose = f" (clients: {others})" if others else ""
    if len(points) == 1:
        return f"{key.capitalize()} is {said(last)}, measured once"
    if others and pair.first is None:
        return f"{key.capitalize()} ends at {said(last)}{whose}"
    if said(first) == said(last):
        return f"{key.capitalize()} stayed at {said(last)}{whose}"
    went = "rose" if last > first else "fell"
    return f"{key.capitalize()} {went} from {said(first)} to {said(last)}{whose}"


def _dense(report: Report) -> tuple[dict[str, int], dict[str, int]]:
    """Return what dense float32 would have moved by client, up and down; empty if not known."""
    trained = report["facts"].get("trained_parameters")
    up: defaultdict[str, int] = defaultdict(int)
    down: defaultdict[str, int] = defaultdict(int)
    if isinstance(trained, int) and trained > 0:
        for each in report["rounds"]:
            for name in each["accepted"]:
                up[name] += 4 * trained
            for name in each["cohort"]:
                down[name] += 4 * trained
    return dict(up), dict(down)


def _dots(axes: Any, rows: Sequence[tuple[str, int, int | None]]) -> None:
    """One row per client: a dot for what moved, a ring for dense float32, a line between them."""
    axes.set_xscale("log")
    for row, (_, moved, dense) in enumerate(rows):
        ends = [each for each in (moved, dense) if each]
        axes.plot(ends, [row] * len(ends), color="#CCCCCC", linewidth=1.5, zorder=1)
        if moved:
            axes.plot(moved, row, "o", color=_BLUE, markersize=6)
        if dense:
            axes.plot(dense, row, "o", color=_COLOURS[4], markersize=6, markerfacecolor="white")
    axes.set_yticks(range(len(rows)), [_short(name) for name, _, _ in rows])
    axes.set_ylim(-0.6, len(rows) - 0.1)
    axes.xaxis.set_major_formatter(lambda value, _: bytes_said(value))
    axes.xaxis.set_minor_formatter(lambda value, _: "")
    axes.grid(axis="x", color="#EEEEEE")
    axes.tick_params(axis="y", length=0)
    _label_dots(axes, rows)


def _label_dots(axes: Any, rows: Sequence[tuple[str, int, int | None]]) -> None:
    _, moved, dense = rows[-1]
    near = moved and dense and max(moved, dense) < 8 * min(moved, dense)
    left, right = ("right", "left") if near else ("center", "center")
    sides = (left, right) if moved < (dense or 0) else (right, left)
    labels = ((moved, "moved", _BLUE), (dense, "dense float32", _COLOURS[4]))
    for (value, text, colour), side in zip(labels, sides, strict=True):
        if value:
            axes.annotate(
                text,
                (value, len(rows) - 1),
                xytext=(0, 6),
                textcoords="offset points",
                color=colour,
                fontsize=9,
                ha=side,
                va="bottom",
            )


def _whole_decades(rows: Iterable[tuple[str, int, int | None]]) -> tuple[float, float]:
    """Return limits with a labelled tick at both ends, however close together the values are."""
    sizes = [size for _, *both in rows for size in both if size]
    low, high = (min(sizes), max(sizes)) if sizes else (1, 1)
    first = math.floor(math.log10(low * 0.8))
    return 10.0**first, 10.0 ** max(math.ceil(math.log10(high * 1.2)), first + 1)


def _traffic_said(report: Report) -> str:
    moved = report["bytes"]
    whole = (moved["up"] or 0) + (moved["down"] or 0)
    training = moved["training"]
    less = times_less(training, moved["dense_float32"])
    said = f"The run moved {bytes_said(whole)}"
    if less and training != whole:
        return f"{said}, {bytes_said(training)} of them for training: {less} dense float32"
    return f"{said}, {less} dense float32" if less else said


def _few(stacks: dict[str, list[float]]) -> dict[str, list[float]]:
    """Keep the largest phases and add the others up: there are not more colours."""
    names = list(stacks)
    if len(names) <= _MOST_LABELS + 1:
        return stacks
    rest = [stacks[name] for name in names[_MOST_LABELS:]]
    others = [sum(values) for values in zip(*rest, strict=True)]
    return {**{name: stacks[name] for name in names[:_MOST_LABELS]}, "other phases": others}


def _stack(axes: Any, rounds: list[int], stacks: Mapping[str, Sequence[float]]) -> None:
    highest = max(sum(values) for values in zip(*stacks.values(), strict=True))
    unit, seconds = next(
        each
        for each in (("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))
        if highest >= 2 * each[1] or each[1] == 1
    )
    base = [0.0] * len(rounds)
    for (name, values), colour in zip(stacks.items(), (_BLUE, *_COLOURS), strict=False):
        heights = [value / seconds for value in values]
        axes.bar(rounds, heights, bottom=base, color=colour, width=0.8, label=name)
        base = [low + height for low, height in zip(base, heights, strict=True)]
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel(f"time ({unit})")
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1, 0.5), frameon=False
    )


def _short(name: str) -> str:
    return name if len(name) <= 20 else f"{name[:19]}…"
