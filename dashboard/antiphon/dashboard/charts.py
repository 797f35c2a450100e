"""The dashboard's charts. No colour is that of a background or of text: both themes show all of them.

The hues follow Okabe and Ito (2002), which colour-blind people can tell apart, in a lightness that stands
off from white and from near-black alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from antiphon.dashboard.gantt import MOST_NAMED, BarEnding, Span
from antiphon.dashboard.learning import Curve, Measure, Spread
from antiphon.dashboard.plain_text import shown
from antiphon.dashboard.traffic import TrafficRow

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = (
    "#2f83c5",
    "#dd8a1e",
    "#1f9f78",
    "#d9572f",
    "#b06fc4",
    "#8b9099",
)
_CLIENT_COLOURS = (ORANGE, GREEN, PURPLE, RED, "#4fb3d9", "#a08a3c")
_HEIGHT = 340  # pixels, axes and legend included
_MOST_BARS = 40  # rounds that are drawn as bars; of more, an area is drawn
_AROUND_ROWS = 110  # pixels that the axis and the legend of the Gantt chart take
_LONGEST_NAME = 420  # pixels: 64 characters, which a name in a fleet has at most
_ENDINGS: dict[BarEnding, str] = {
    "accepted": BLUE,
    "working": "#7fb8e0",
    "carried on": GREEN,
    "late": PURPLE,
    "cut off": GREY,
    "left": "#a08a3c",
    "failed": RED,
    "rejected": "#b8434e",
}
"""A colour for each ending, the same in every round; who is slow has an orange edge besides."""

_WAYS = {"down": "to the clients", "up": "to the coordinator"}
_PURPOSES = {
    ("model", "down"): BLUE,
    ("update", "up"): ORANGE,
    ("frames", "down"): "#9ecae1",
    ("exchange", "up"): "#fdae6b",
    ("control", "down"): GREEN,
    ("control", "up"): PURPLE,
}
"""A colour for each purpose and direction, the same in every run, whatever else has moved."""


Drawing = alt.Chart | alt.LayerChart | alt.FacetChart
"""What Streamlit draws."""


def learning(
    measure: Measure, mean: Curve, curves: Sequence[Curve], spread: Spread | None
) -> Drawing | None:
    """Return one measure over the rounds: the mean bold, clients thin; none: nothing was measured."""
    thin = [each for each in curves if each.rounds]
    if not mean.rounds and not thin:
        return None
    layers: list[Any] = []
    if spread is not None and spread.rounds:
        layers.append(_band(spread))
    if thin:
        layers.append(_thin_lines(measure, thin, [shown(each.client, 120) for each in curves]))
    layers.append(_bold_line(measure, mean))
    drawn: Drawing = alt.layer(*layers).resolve_scale(color="independent")
    return drawn.properties(height=_HEIGHT)


def traffic(moved: Sequence[TrafficRow]) -> Drawing | None:
    """Return the bytes of each round, by direction and purpose; none: no event tells of bytes."""
    if not moved:
        return None
    colours = {_what(purpose, way): colour for (purpose, way), colour in _PURPOSES.items()}
    data = pd.DataFrame(
        {
            "round": [each.round for each in moved],
            "what": [_what(each.purpose, each.direction) for each in moved],
            "bytes": [each.bytes for each in moved],
        }
    )
    few = data["round"].nunique() <= _MOST_BARS
    there = set(data["what"])
    known = [each for each in (*colours, *sorted(there - set(colours))) if each in there]
    chart = alt.Chart(data).mark_bar() if few else alt.Chart(data).mark_area(interpolate="step")
    x = alt.X("round:O", title="round", axis=alt.Axis(labelAngle=0, labelOverlap=True))
    drawn: Drawing = chart.encode(
        x=x if few else _rounds(),
        y=alt.Y("bytes:Q", title=None, stack="zero", axis=alt.Axis(labelExpr=_BYTES)),
        color=alt.Color(
            "what:N",
            title=None,
            scale=alt.Scale(domain=known, range=[colours.get(each, GREY) for each in known]),
            legend=alt.Legend(orient="top", labelLimit=260),
        ),
        tooltip=["round:Q", "what:N", alt.Tooltip("bytes:Q", format=",")],
    )
    return drawn.properties(height=_HEIGHT)


def gantt(spans: Sequence[Span], deadline_s: float | None) -> Drawing:
    """Return a round's spans, one row for each client; deadline_s: a line there, seconds after the plan."""
    data = pd.DataFrame(
        {
            "client": [shown(each.client, 120) for each in spans],
            "from": [each.start_s for each in spans],
            "until": [each.end_s for each in spans],
            "seconds": [round(each.end_s - each.start_s, 1) for each in spans],
            "ended": [each.ending for each in spans],
            "slow": ["slow" if each.slow else "" for each in spans],
            "model": [each.model_s for each in spans],
            "why": [shown(each.reason, 160) for each in spans],
        }
    )
    height, names = _rows(data["client"].nunique())
    used = [name for name in _ENDINGS if name in set(data["ended"])]
    y = alt.Y(
        "client:N",
        title=None,
        sort=list(dict.fromkeys(data["client"])),
        axis=alt.Axis(labelLimit=_LONGEST_NAME, ticks=False, labels=names, domain=False),
    )
    colour = alt.Color(
        "ended:N",
        title=None,
        scale=alt.Scale(domain=used, range=[_ENDINGS[name] for name in used]),
        legend=alt.Legend(orient="top", columns=4),
    )
    edge = alt.condition("datum.slow === 'slow'", alt.value(ORANGE), alt.value(None))
    tooltip = ["client:N", "ended:N", "slow:N", "seconds:Q", "why:N"]
    x = alt.X("from:Q", title="seconds after the plan", scale=alt.Scale(zero=True))
    bars = alt.Chart(data).mark_bar(height=alt.RelativeBandSize(0.72), strokeWidth=2.5)
    drawn_bars = bars.encode(x=x, x2="until:Q", y=y, color=colour, stroke=edge, tooltip=tooltip)
    layers: list[Any] = [drawn_bars]
    if names and data["model"].notna().any():
        layers.append(_model_marks(data, y))
    if deadline_s is not None:
        layers.append(_deadline(deadline_s))
    drawn: Drawing = alt.layer(*layers)
    return drawn.properties(height=height)


def _what(purpose: str, direction: str) -> str:
    return f"{shown(purpose)}, {_WAYS.get(direction, direction)}"


_BYTES = (
    "datum.value === 0 ? '0' : replace(replace(format(datum.value, '.2~s'), 'G', ' G'), /([kMT])$/, ' $1')"
    " + 'B'"
)


def _rows(clients: int) -> tuple[int, bool]:
    """Return a height in pixels for so many rows, and whether their names fit."""
    row = 24 if clients <= 12 else 16 if clients <= MOST_NAMED else 4
    return _AROUND_ROWS + row * clients, clients <= MOST_NAMED


def _model_marks(data: pd.DataFrame, y: alt.Y) -> Drawing:
    marks = alt.Chart(data.dropna(subset=["model"])).mark_tick(
        color=GREY, thickness=2, bandSize=12, orient="vertical"
    )
    tooltip = ["client:N", alt.Tooltip("model:Q", title="has the model after, s", format=".1f")]
    drawn: Drawing = marks.encode(x="model:Q", y=y, tooltip=tooltip)
    return drawn


def _deadline(seconds: float) -> Drawing:
    data = pd.DataFrame({"deadline": [seconds]})
    rule = alt.Chart(data).mark_rule(color=RED, strokeDash=[4, 4], strokeWidth=1.5)
    tooltip = alt.Tooltip("deadline:Q", title="deadline, s")
    drawn: Drawing = rule.encode(x="deadline:Q", tooltip=tooltip)
    return drawn


def _bold_line(measure: Measure, mean: Curve) -> Drawing:
    data = pd.DataFrame({"round": mean.rounds, "value": mean.values})
    line = alt.Chart(data).mark_line(
        color=BLUE, strokeWidth=3.5, point=alt.OverlayMarkDef(color=BLUE, size=36)
    )
    tooltip = ["round:Q", alt.Tooltip("value:Q", title=f"mean {measure}", format=".4f")]
    drawn: Drawing = line.encode(x=_rounds(), y=_values(measure), tooltip=tooltip)
    return drawn


def _thin_lines(measure: Measure, curves: Sequence[Curve], names: Sequence[str]) -> Drawing:
    """names: of all clients that could be drawn, so that each keeps its colour when another appears."""
    data = pd.DataFrame(
        {
            "round": [number for each in curves for number in each.rounds],
            "value": [value for each in curves for value in each.values],
            "client": [shown(each.client, 120) for each in curves for _ in each.rounds],
        }
    )
    line = alt.Chart(data).mark_line(strokeWidth=1.3, opacity=0.75)
    drawn: Drawing = line.encode(
        x=_rounds(),
        y=_values(measure),
        detail="client:N",
        tooltip=["client:N", "round:Q", alt.Tooltip("value:Q", title=measure, format=".4f")],
    )
    few = len(names) <= len(_CLIENT_COLOURS)
    scale = alt.Scale(domain=list(names), range=list(_CLIENT_COLOURS[: len(names)]))
    legend = alt.Legend(orient="bottom", columns=_columns(curves), labelLimit=_LONGEST_NAME)
    colour = alt.Color("client:N", title=None, scale=scale, legend=legend)
    return drawn.encode(color=colour if few else alt.value(GREY))


def _columns(curves: Sequence[Curve]) -> int:
    """Return how many names fit beside each other below a chart of half a page."""
    longest = max(len(each.client or "") for each in curves)
    return max(1, min(4, 60 // (longest + 4)))


def _band(spread: Spread) -> Drawing:
    data = pd.DataFrame({"round": spread.rounds, "low": spread.low, "high": spread.high})
    area = alt.Chart(data).mark_area(color=BLUE, opacity=0.22)
    drawn: Drawing = area.encode(
        x=_rounds(),
        y=alt.Y("low:Q", title=None, scale=alt.Scale(zero=False)),
        y2="high:Q",
        tooltip=[
            "round:Q",
            alt.Tooltip("low:Q", title="10th percentile", format=".4f"),
            alt.Tooltip("high:Q", title="90th percentile", format=".4f"),
        ],
    )
    return drawn


def _rounds() -> alt.X:
    return alt.X("round:Q", title="round", axis=alt.Axis(tickMinStep=1, format="d", grid=False))


def _values(measure: Measure) -> alt.Y:
    axis = alt.Axis(format="%") if measure == "accuracy" else alt.Axis()
    return alt.Y("value:Q", title=None, scale=alt.Scale(zero=False, nice=True), axis=axis)
