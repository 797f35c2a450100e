"""The page of one run: where it stands and why it waits, what it learns, who works, what it costs."""

from __future__ import annotations

import sys
import time
from typing import Literal

import streamlit as st

from antiphon.core.errors import RunFolderError
from antiphon.core.run_folder import RunFolder
from antiphon.dashboard import charts, run_tables
from antiphon.dashboard.learning import MEASURES, MOST_LINES, Curve
from antiphon.dashboard.options import Options, parsed
from antiphon.dashboard.plain_text import ago, escaped, shown
from antiphon.dashboard.reading import Stamp, stamp_of
from antiphon.dashboard.run_view import RunView
from antiphon.dashboard.runs_list import RunLine
from antiphon.dashboard.session import EVERY_S, chosen_run, runs_list, shelf
from antiphon.dashboard.shelf import spans
from antiphon.dashboard.standing import Life, asked, life_of
from antiphon.server.machine.waiting import why_waiting
from antiphon.server.report.report_page import bytes_said, share, times_less

_METRIC_WIDTH = 172  # pixels: two of them stand beside each other on a telephone
_NEWEST = "newest"
_COLOURS: dict[Life, Literal["green", "blue", "orange", "gray", "red"]] = {
    "running": "green",
    "complete": "blue",
    "stopped": "orange",
    "interrupted": "orange",
    "empty": "gray",
    "unreadable": "red",
}


def show(options: Options) -> None:
    """Show the run that is chosen, and look again when its journal has grown."""
    lines = runs_list().lines(options.runs, time.time())
    folder = chosen_run(options, lines)
    if folder is None:
        _watch_for_another(options, lines)
        return
    stamp = stamp_of(folder)
    try:
        view = shelf().view(folder)
        _pulse(folder, stamp, view)
        if view is not None:
            _body(folder, view)
    except RunFolderError as error:
        st.error(escaped(error))


def _body(folder: RunFolder, view: RunView) -> None:
    life = life_of(folder, stamp_of(folder), view.end, time.time())
    _headline(view, is_live=life == "running")
    _learning(folder, view)
    number = _round(view)
    if number is not None:
        _gantt(folder, view, number)
        _plan(view, number)
    _traffic(view)
    st.subheader("Rounds")
    st.dataframe(run_tables.rounds(view), hide_index=True, column_config=run_tables.ROUND_COLUMNS)
    _problems(view)


def _watch_for_another(options: Options, before: tuple[RunLine, ...]) -> None:
    names = [each.name for each in before]

    @st.fragment(run_every=EVERY_S)
    def watch() -> None:
        if [each.name for each in runs_list().lines(options.runs, time.time())] != names:
            st.rerun()

    watch()


def _pulse(folder: RunFolder, stamp: Stamp | None, view: RunView | None) -> None:
    """Say where the run stands at this moment; have the whole page drawn anew when there is news."""

    @st.fragment(run_every=EVERY_S)
    def pulse() -> None:
        now, newest = time.time(), stamp_of(folder)
        if newest != stamp:
            st.rerun()
        life = life_of(folder, newest, view.end if view else None, now)
        live = asked(folder, view.run_id) if view is not None and life == "running" else None
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge(life, color=_COLOURS[life])
            st.markdown(f"**{escaped(_why(view, now, live.why if live else None, life))}**")
        if newest is not None:
            st.caption(f"last event {ago(now - newest.changed_at)}")
        if life == "interrupted":
            st.caption("Nothing is at work on this run. It goes on with --resume.")

    pulse()


def _why(view: RunView | None, now: float, live: str | None, life: Life) -> str:
    if view is None:
        return "nothing has happened in this run yet"
    return live or why_waiting(view.state, _clock(view, now), at_work=life == "running")


def _clock(view: RunView, now: float) -> float:
    """Return the time on the engine's clock: a virtual one stands where the last event left it."""
    return (view.last_at or 0.0) if view.is_simulated else now


def _headline(view: RunView, *, is_live: bool) -> None:
    planned, newest = view.state.run.rounds, max(view.rounds, default=0)
    folded = sum(each.outcome == "folded" for each in view.rounds.values())
    here = sum(each.present for each in view.clients)
    dense = view.sums.dense
    with st.container(horizontal=True):
        _fact("Round", f"{newest}/{planned}", f"{folded} folded")
        for curve in view.means:
            _score(view, curve)
        part = "" if view.sums.training == view.sums.all else "training in "
        compared = f"{part}float32: {bytes_said(dense)}" if dense else "nothing to compare with"
        _fact("Moved", bytes_said(view.sums.all), compared)
        there = f"{here}/{len(view.clients)}" if is_live else f"{len(view.clients)} joined"
        name = "Clients there" if is_live else "Clients"
        _fact(name, there, f"{len(view.problems)} problems")


def _fact(name: str, value: str, note: str) -> None:
    st.metric(
        name, value, note, delta_color="off", delta_arrow="off", border=True, width=_METRIC_WIDTH
    )


def _score(view: RunView, curve: Curve) -> None:
    """Show the last value of a measure whose model stands, and the change since the untouched model.

    Where the two are of different clients, that is said instead of a change.
    """
    points = zip(curve.rounds, curve.values, strict=True)
    standing = [value for number, value in points if number not in view.undone]
    if not standing:
        return
    first, last = standing[0], standing[-1]
    if not view.same_clients:  # a change would be that of the clients
        value = share(last) if curve.measure == "accuracy" else f"{last:.4f}"
        _fact(curve.measure.capitalize(), value, "not the clients of the start")
        return
    if curve.measure == "accuracy":
        _change("Accuracy", share(last), f"{(last - first) * 100:+.1f}", " points", "normal")
    else:
        _change("Loss", f"{last:.4f}", f"{last - first:+.4f}", "", "inverse")


def _change(
    name: str, value: str, change: str, unit: str, colour: Literal["normal", "inverse"]
) -> None:
    """Show a value and its change: red or green only where the change that is shown is not zero."""
    if float(change) == 0:
        _fact(name, value, "unchanged")
    else:
        st.metric(name, value, change + unit, delta_color=colour, border=True, width=_METRIC_WIDTH)


def _learning(folder: RunFolder, view: RunView) -> None:
    st.subheader("Learning")
    curves = view.curves
    if view.spreads:
        names = [each.name for each in view.clients]
        label = f"Clients to draw beside the mean and the middle 80 % of all {len(names)}"
        picked = st.multiselect(
            label,
            names,
            key=f"clients of {folder.path.name}",
            max_selections=MOST_LINES,
            format_func=shown,
        )
        curves = shelf().curves(folder, picked) if picked else ()
    drawn = 0
    for place, measure in zip(st.columns(2), MEASURES, strict=True):
        mean = next(each for each in view.means if each.measure == measure)
        of_clients = [each for each in curves if each.measure == measure]
        spread = next((each for each in view.spreads if each.measure == measure), None)
        chart = charts.learning(measure, mean, of_clients, spread)
        if chart is not None:
            drawn += 1
            place.markdown(f"**{_TITLES[measure]}**")
            place.altair_chart(chart, key=f"{measure} chart")
    if not drawn:
        st.caption("Nothing has been evaluated yet.")


_TITLES = {"loss": "Held-out loss, nats per token", "accuracy": "Held-out accuracy"}


def _round(view: RunView) -> int | None:
    """Let the user choose a round; `newest` follows the run."""
    if not view.rounds:
        return None
    st.subheader("One round")
    choices = [_NEWEST, *(str(number) for number in sorted(view.rounds, reverse=True))]
    picked = st.selectbox(
        "Round",
        choices,
        key="round",
        format_func=lambda each: f"newest: {max(view.rounds)}" if each == _NEWEST else each,
        width=420,
    )
    number = max(view.rounds) if picked == _NEWEST else int(picked)
    each = view.rounds[number]
    reason = escaped(each.planned.reason or "no reason was given")
    st.markdown(f"Round {number} is **{each.outcome}**. Why this plan: {reason}")
    return number


def _gantt(folder: RunFolder, view: RunView, number: int) -> None:
    each = view.rounds[number]
    is_open = each.closed_at is None

    @st.fragment(run_every=EVERY_S * 2 if is_open and not view.is_simulated else None)
    def drawn() -> None:
        try:
            found = spans(folder, view, number, _until(folder, view))
        except RunFolderError:
            return  # the folder was removed while it was shown: the page says so itself
        if any(span.end_s > span.start_s for span in found):
            longest = max(span.end_s for span in found)
            due = each.planned.deadline_s
            st.altair_chart(
                charts.gantt(found, due if due <= 2 * longest else None), key="gantt chart"
            )
        st.caption(run_tables.round_caption(found, each.planned.quorum))

    drawn()


def _until(folder: RunFolder, view: RunView) -> float:
    """Return until when work in progress is drawn: now, or the last event where nothing is at work."""
    now = time.time()
    is_live = life_of(folder, stamp_of(folder), view.end, now) == "running"
    return now if is_live and not view.is_simulated else view.last_at or 0.0


def _plan(view: RunView, number: int) -> None:
    plan = view.rounds[number].planned.plan
    if plan:
        with st.expander(f"What the plan asks of each of {len(plan)} clients"):
            st.dataframe(run_tables.plan(plan), hide_index=True)


def _traffic(view: RunView) -> None:
    st.subheader("Bytes")
    chart = charts.traffic(view.moved)
    if chart is None:
        st.caption("Nothing has moved yet.")
        return
    sums = view.sums
    less = times_less(sums.training, sums.dense)
    if less:
        other = sums.training != sums.all
        part = f"; {bytes_said(sums.training)} of them for training" if other else ""
        st.markdown(
            f"{bytes_said(sums.all)} in all{part}: **{less}** the {bytes_said(sums.dense)} that the "
            "same models and updates take as dense float32."
        )
    st.altair_chart(chart, key="bytes chart")


def _problems(view: RunView) -> None:
    if view.problems:
        st.subheader("What went wrong")
        st.dataframe(
            run_tables.problems(view), hide_index=True, column_config=run_tables.PROBLEM_COLUMNS
        )
        if len(view.problems) > run_tables.MOST_PROBLEMS:
            st.caption(
                f"The newest {run_tables.MOST_PROBLEMS} of {len(view.problems)}; report.json has all."
            )


if __name__ == "__main__":
    show(parsed(sys.argv[1:]))
