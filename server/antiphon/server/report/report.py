"""The report of a run, in numbers, from its journal alone.

`build` reads the events once, in time linear in their number. `write` puts report.json, report.md
and plots/ into the run's folder; a run that was cut off gets a report too.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import cast

from antiphon.core.files import write_text
from antiphon.core.journal import Entry, Journal
from antiphon.core.json_text import finite, json_text
from antiphon.core.run_folder import RunFolder
from antiphon.core.types import Plain
from antiphon.server.report import plots, report_page
from antiphon.server.report.chronicle import Chronicle, RoundRecord
from antiphon.server.report.observed import integer_fact
from antiphon.server.report.report_types import (
    ByteReport,
    Evaluation,
    Measurement,
    Report,
    RoundReport,
    Scores,
    Traffic,
)
from antiphon.server.report.settings import training_settings

_FLOAT32_BYTES = 4


def build(
    entries: Iterable[Entry],
    run_dir: str | None = None,
    adapters: Mapping[int, str] | None = None,
    settings: Mapping[str, Plain] | None = None,
) -> Report:
    """Return the report of a journal's entries.

    run_dir, adapters (folders of saved adapters by round) and settings (see settings.py) are what a journal
    cannot know.
    """
    run = Chronicle()
    for entry in entries:
        run.read(entry)
    report = _report(run)
    report["run_dir"], report["settings"] = run_dir, dict(settings or {})
    standing = {number: path for number, path in (adapters or {}).items() if run.stands(number)}
    report["adapter"] = standing[max(standing)] if standing else None
    return cast(Report, finite(report))


def read(folder: RunFolder) -> Report:
    """Return the report that lies in a run's folder; where none does, or no whole one, it is made.

    Raises as `write` does.
    """
    try:
        found: Report = json.loads(folder.report_json.read_bytes())
    except (FileNotFoundError, ValueError):
        return write(folder)
    return found


def remove(folder: RunFolder) -> None:
    """Remove the report's texts, if there are any: the journal makes them again."""
    for file in (folder.report_json, folder.report_md):
        file.unlink(missing_ok=True)


def write(folder: RunFolder, *, with_plots: bool = True) -> Report:
    """Read a run's journal; write plots/, report.md and report.json, each whole or not at all.

    with_plots: draw them; else those that are there are kept. Returns the report. Raises RunFolderError
    where there is no journal, or the disk is full.
    """
    with Journal.reading(folder.journal_file) as journal:
        where = str(folder.path.resolve())
        report = build(journal.read(), where, _adapters(folder), _settings(folder))
    drawn = plots.draw(report, folder.plots) if with_plots else {}
    others = {path.name: path.stem for path in sorted(folder.plots.glob("*.svg"))}
    titles = drawn | others | drawn  # ours first, then what others put there (the data's split)
    links = {f"{folder.plots.name}/{name}": title for name, title in titles.items()}
    write_text(folder.report_md, report_page.page(report, links))
    write_text(folder.report_json, json_text(report, indent=1) + "\n")
    return report


def _adapters(folder: RunFolder) -> dict[int, str]:
    found = [path.parent for path in folder.path.glob("rounds/*/adapter/adapter_config.json")]
    numbered = {path.parent.name: str(path.resolve()) for path in found}
    return {int(number): path for number, path in numbered.items() if number.isdecimal()}


def _settings(folder: RunFolder) -> dict[str, Plain]:
    return training_settings(folder.config_values()) if folder.config_file.is_file() else {}


def _report(run: Chronicle) -> Report:
    evaluations = {
        number: each for number in run.observed.means if (each := _evaluation(run, number))
    }
    final = max((number for number in evaluations if run.stands(number)), default=0)
    phases: defaultdict[str, float] = defaultdict(float)
    for timed in run.observed.phases.values():
        for phase, seconds in timed.items():
            phases[phase] += seconds
    real, simulated = _seconds(run, run.observed.seconds if run.run else None, phases)
    complete, reason = run.end or (False, None)
    return Report(
        run_id=run.run.run_id if run.run else None,
        run_dir=None,
        adapter=None,
        initial=evaluations.get(0),
        final=evaluations[final] if final else None,
        rounds=[
            _round(run, each, evaluations.get(number))
            for number, each in sorted(run.rounds.items())
        ],
        bytes=_bytes(run),
        seconds={**phases, "total": real},
        simulated_seconds=simulated,
        peak_memory_bytes=run.observed.peak,
        facts=run.observed.facts,
        settings={},
        train_examples={
            name: member.examples for name, member in sorted(run.machine.clients.items())
        },
        skipped_rows=integer_fact(run.observed.facts, "skipped_rows"),
        problems=run.problems,
        complete=complete,
        reason=reason,
    )


def _seconds(
    run: Chronicle, clock: float | None, phases: Mapping[str, float]
) -> tuple[float | None, float | None]:
    """Return real and simulated seconds."""
    if run.observed.facts.get("engine") != "simulation":
        return clock, None
    return (sum(phases.values()) if phases else None), clock


def _round(run: Chronicle, each: RoundRecord, evaluation: Evaluation | None) -> RoundReport:
    number = each.planned.round
    phases = run.observed.phases.get(number, {})
    clock = run.observed.seconds - each.began if each.seconds is None else each.seconds
    real, simulated = _seconds(run, clock, phases)
    return RoundReport(
        round=number,
        outcome=each.outcome,
        loss=evaluation["loss"] if evaluation else None,
        accuracy=evaluation["accuracy"] if evaluation else None,
        per_client=evaluation["per_client"] if evaluation else {},
        bytes_up=_sum(run, "up", number),
        bytes_down=_sum(run, "down", number),
        seconds=real,
        simulated_seconds=simulated,
        seconds_by_phase=phases,
        cohort=list(each.planned.cohort),
        accepted=list(each.accepted),
        rejected=list(each.rejected),
        late=each.late,
        held_back=list(each.held_back),
        aggregation_error=each.fold.get("aggregation_error"),
        fold=dict(each.fold),
        plan={client: dict(asked) for client, asked in each.planned.plan.items()},
        reason=each.planned.reason,
    )


def _evaluation(run: Chronicle, number: int) -> Evaluation | None:
    """Return the evaluation of a round unless it was cut off."""
    means, clients = run.observed.means.get(number), run.observed.evaluated.get(number, {})
    if means is None or not (means or clients):
        return None
    per_client = {
        name: Measurement(
            examples=each.examples,
            loss=each.loss,
            accuracy=each.accuracy,
            perplexity=each.perplexity,
            rouge_l=each.rouge_l,
            exact_match=each.exact_match,
        )
        for name, each in sorted(clients.items())
    }
    scores = {
        name: _mean([getattr(each, name) for each in clients.values()])
        if clients
        else means.get(name)
        for name in Scores.__annotations__
    }
    return cast(Evaluation, {"round": number, **scores, "per_client": per_client})


def _bytes(run: Chronicle) -> ByteReport:
    sent, by_client = run.tensors_sent(), run.observed.by_client
    trained, adapter, model = (
        integer_fact(run.observed.facts, f"{each}_parameters")
        for each in ("trained", "adapter", "model")
    )
    return ByteReport(
        up=_sum(run, "up"),
        down=_sum(run, "down"),
        training=run.observed.training.whole() if run.observed.moved else None,
        dense_float32=_FLOAT32_BYTES * trained * sent if trained and sent else None,
        adapter_float32=_FLOAT32_BYTES * adapter * sent if adapter and sent else None,
        full_model_float32=_FLOAT32_BYTES * model * sent if model and sent else None,
        by_client={
            client: Traffic(up=by_client[client, "up"], down=by_client[client, "down"])
            for client in sorted({client for client, _ in by_client})
        },
    )


def _sum(run: Chronicle, direction: str, number: int | None = None) -> int | None:
    """Return the bytes that went one way, in a round or in all; None: no event tells of bytes."""
    moved = run.observed.moved.items()
    sizes = [size for way, size in moved if way[1] == direction and number in (None, way[0])]
    return sum(sizes) if moved else None


def _mean(values: list[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    return sum(measured) / len(measured) if measured else None
