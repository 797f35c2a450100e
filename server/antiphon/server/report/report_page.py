"""report.md: the page of a run for people, made of the report's numbers.

It also holds the words for amounts (bytes, seconds, shares), which the pictures use too.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from antiphon.core.events import BY_POLICY
from antiphon.core.json_text import json_text
from antiphon.server.report.comparison import Score, clients_said, compared
from antiphon.server.report.divergence import advice_of
from antiphon.server.report.report_types import Problem, Report, RoundReport

_NONE = "–"
_MOST_ROUNDS = 50  # rows; the first and the last ones are shown, report.json has them all
_MOST_CLIENTS = 50
_MOST_PROBLEMS = 30
_MOST_HELD_BACK = 5
_LEAST_WAITING = 0.001  # as a share; less is what the clocks differ by

WAITING = "waiting for clients"
"""The time that no phase tells of: the coordinator waits while the clients train."""


def page(report: Report, pictures: Mapping[str, str]) -> str:
    """Return report.md. pictures: relative links and what each picture shows."""
    sections = [
        f"# Run {_cell(report['run_id'] or 'without a start')}",
        _summary(report),
        _facts(report),
        *[f"![{_cell(title)}]({link})" for link, title in pictures.items()],
        f"## Rounds\n\n{_rounds(report['rounds'])}",
        f"## Clients\n\n{_clients(report)}",
        f"## Bytes\n\n{_bytes(report)}",
        f"## Time by phase\n\n{_phases(report)}",
        f"## What went wrong\n\n{_problems(report)}",
        f"## Settings\n\n{_settings(report)}" if report["settings"] else "",
        f"## Use the adapter\n\n{_usage(report)}",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def bytes_said(count: float | None) -> str:
    """Return a number of bytes for people: `41.3 kB` (1 kB = 1000 bytes)."""
    if count is None:
        return _NONE
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB" if count < 1000 else f"{count:,.0f} TB"


def duration(seconds: float | None) -> str:
    """Return seconds for people: `350 ms`, `42 s`, `3.5 min`, `2.1 h`."""
    if seconds is None:
        return _NONE
    if 0 < seconds < 0.9995:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 119.5:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def share(value: float | None) -> str:
    """Return a share in [0, 1] for people: `82.3 %`."""
    return _NONE if value is None else f"{value * 100:.3g} %"


def times_less(count: int | None, reference: int | None) -> str:
    """Return `120 times less than` or `1.3 times more than`; empty where one is zero or unknown."""
    if not count or not reference:
        return ""
    factor = max(count, reference) / min(count, reference)
    if factor < 1.005:
        return "as much as"
    return f"{_factor(factor)} times {'less' if count < reference else 'more'} than"


def with_waiting(phases: Mapping[str, float | None], whole: float | None) -> dict[str, float]:
    """Return the timed phases, and as one more the rest of `whole`: clients were waited for."""
    timed = {name: seconds or 0.0 for name, seconds in phases.items()}
    rest = (whole or 0.0) - sum(timed.values())
    # A simulation's whole is the sum of its phases.
    return {**timed, WAITING: rest} if rest > _LEAST_WAITING * (whole or 0.0) else timed


def _summary(report: Report) -> str:
    advice = advice_of(report)
    warned = f"**{advice[0].upper()}{advice[1:]}.**" if advice else ""
    said = [_ending(report), _result(report), warned, _cost(report)]
    return " ".join(each for each in said if each)


def _ending(report: Report) -> str:
    ended = sum(each["outcome"] != "open" for each in report["rounds"])
    folded = sum(each["outcome"] == "folded" for each in report["rounds"])
    rounds = f"{_count(ended, 'round')} ended, {folded} of them with a new model"
    reason = f" ({_cell(report['reason'])})" if report["reason"] else ""
    if report["complete"]:
        short = reason if (report["reason"] or "").startswith(BY_POLICY) else ""
        return f"The run is complete{short}: {rounds}."
    if report["reason"]:
        return f"**The run stopped early**{reason}: {rounds}."
    return f"**The run is not over; it was interrupted, or goes on still**: {rounds}."


def _result(report: Report) -> str:
    after = report["final"]
    if after is None:
        return "No trained model was evaluated, so nothing can be said about what was learned."
    clients, others = len(after["per_client"]), clients_said(report)
    whose = f"clients ({others})" if others else _count(clients, "client")
    over = f"on held-out data, mean over {whose}" if clients else "on held-out data"
    said = [f"After round {after['round']}, {over}"]
    scores: tuple[tuple[str, Callable[[float], str], Score], ...] = (
        ("accuracy", share, "accuracy"),
        ("exact match", share, "exact_match"),
        ("loss", _number, "loss"),
        ("Rouge-L", _number, "rouge_l"),
    )
    for name, words, score in scores:
        pair = compared(report, score)
        if pair.last is not None:
            was = f"{words(pair.first)} → " if pair.first is not None else ""
            said.append(f"{name} {was}**{words(pair.last)}**")
    return ", ".join(said) + "." if len(said) > 1 else f"{said[0]}, no finite number was measured."


def _cost(report: Report) -> str:
    moved, said = report["bytes"], []
    if moved["up"] is not None and moved["down"] is not None:
        whole, training = moved["up"] + moved["down"], moved["training"]
        less = times_less(training, moved["dense_float32"])
        saving = f" (**{less}** sending the trained numbers as dense float32)" if less else ""
        part = "" if training == whole else f", {bytes_said(training)} of them for training"
        said.append(f"it moved {bytes_said(whole)}{part}{saving}")
    if report["seconds"].get("total") is not None:
        said.append(f"took {duration(report['seconds']['total'])}")
    if report["peak_memory_bytes"] is not None:
        said.append(f"needed {bytes_said(report['peak_memory_bytes'])} of memory at its peak")
    return _sentence(said)


def _facts(report: Report) -> str:
    shown = {
        name: value
        for name, value in report["facts"].items()
        if value is not None and name not in ("peak_memory_bytes", "skipped_rows")
    }
    words = [f"{name.replace('_', ' ')}: {_cell(_plain(value))}" for name, value in shown.items()]
    return " · ".join(words)


def _rounds(rounds: Sequence[RoundReport]) -> str:
    if not rounds:
        return "No round was planned."
    rows = [_round_row(each) for each in rounds]
    names = ["round", "result", "loss", "accuracy", "updates", "up", "down", "time"]
    return _table([*names, "aggregation error", "plan"], _ends(rows, _MOST_ROUNDS))


def _round_row(each: RoundReport) -> list[str]:
    return [
        str(each["round"]),
        each["outcome"],
        _number(each["loss"]),
        share(each["accuracy"]),
        f"{len(each['accepted'])} of {len(each['cohort'])}",
        bytes_said(each["bytes_up"]),
        bytes_said(each["bytes_down"]),
        duration(each["seconds"]),
        _number(each["aggregation_error"]),
        each["reason"] or _NONE,
    ]


def _clients(report: Report) -> str:
    before = report["initial"]["per_client"] if report["initial"] else {}
    after = report["final"]["per_client"] if report["final"] else {}
    traffic, examples = report["bytes"]["by_client"], report["train_examples"]
    names = sorted({*before, *after, *traffic, *examples})
    if not names:
        return "No client joined."
    rows = []
    for name in names:
        first, last, moved = before.get(name), after.get(name), traffic.get(name)
        held_out = last or first
        rows.append(
            [
                name,
                _plain(examples.get(name)),
                _plain(held_out["examples"] if held_out else None),
                _number(first["loss"] if first else None),
                _number(last["loss"] if last else None),
                share(first["accuracy"] if first else None),
                share(last["accuracy"] if last else None),
                bytes_said(moved["up"] if moved else None),
                bytes_said(moved["down"] if moved else None),
            ]
        )
    header = ["client", "training examples", "held out", "loss before", "loss after"]
    header += ["accuracy before", "accuracy after", "up", "down"]
    return _table(header, _ends(rows, _MOST_CLIENTS)) + _held_back(report["rounds"])


def _held_back(rounds: Sequence[RoundReport]) -> str:
    """Return whose updates counted less than they asked for, the most often first."""
    times = Counter(client for each in rounds for client in each["held_back"])
    if not times:
        return ""
    often = sorted(times, key=lambda name: (-times[name], name))
    named = [
        f"`{_code(each)}` in {_count(times[each], 'round')}" for each in often[:_MOST_HELD_BACK]
    ]
    more = f", and {len(often) - _MOST_HELD_BACK} more" if len(often) > _MOST_HELD_BACK else ""
    return f"\n\nCounted less than they asked for, by `protection`: {', '.join(named)}{more}."


def _bytes(report: Report) -> str:
    moved = report["bytes"]
    if moved["up"] is None or moved["down"] is None:
        return "No bytes were counted."
    whole = moved["up"] + moved["down"]
    rows = [["up", bytes_said(moved["up"]), ""], ["down", bytes_said(moved["down"]), ""]]
    rows.append(["**this run**", f"**{bytes_said(whole)}**", ""])
    training = whole if moved["training"] is None else moved["training"]
    if training != whole:
        rows.append(["of them for training", bytes_said(training), ""])
        rows.append(["for evaluation and messages", bytes_said(whole - training), ""])
    for name, size in (
        ("the trained numbers as dense float32", moved["dense_float32"]),
        ("A and B of its rank as dense float32", moved["adapter_float32"]),
        ("the full model as dense float32", moved["full_model_float32"]),
    ):
        factor = f"{_factor(size / training)} times" if size and training else _NONE
        rows.append([name, bytes_said(size), factor])
    told = "The last three are what FedAvg would have moved for the same updates and assignments."
    beside = "beside this run" if training == whole else "beside its training"
    return f"{_table(['what', 'bytes', beside], rows)}\n\n{told}"


def _phases(report: Report) -> str:
    timed = {name: each for name, each in report["seconds"].items() if name != "total"}
    phases = with_waiting(timed, report["seconds"].get("total"))
    if not phases:
        return "No phase was timed."
    whole = sum(phases.values())
    by_time = sorted(phases.items(), key=lambda each: -each[1])
    rows = [
        [name, duration(each), share(each / whole if each and whole else None)]
        for name, each in by_time
    ]
    virtual = report["simulated_seconds"]
    note = f"\n\nOn the simulation's clock the run took {duration(virtual)}." if virtual else ""
    return _table(["phase", "time", "share"], rows) + note


def _problems(report: Report) -> str:
    problems, skipped = report["problems"], report["skipped_rows"]
    said = [f"- {_count(skipped, 'broken row')} of the data skipped."] if skipped else []
    said += [_problem(each) for each in problems[:_MOST_PROBLEMS]]
    if len(problems) > _MOST_PROBLEMS:
        said.append(f"- and {len(problems) - _MOST_PROBLEMS} more, in report.json.")
    return "\n".join(said) or "Nothing."


def _settings(report: Report) -> str:
    rows = [[name, _plain(value)] for name, value in report["settings"].items()]
    return f"{_table(['key', 'value'], rows)}\n\nThe whole config is in config.yaml."


def _problem(each: Problem) -> str:
    who = f"`{_code(each['client'])}` " if each["client"] is not None else ""
    reason = f": {_cell(each['reason'])}" if each["reason"] else ""
    return f"- Round {each['round']}: {who}{each['what']}{reason}"


def _usage(report: Report) -> str:
    if report["adapter"] is None or report["run_dir"] is None:
        return "No adapter was saved."
    adapter = os.path.relpath(report["adapter"], report["run_dir"])
    imported, base = _base(report)
    return f"""In the folder of this page, in Python:

```python
{imported}
from transformers import AutoModelForCausalLM

adapter = "{adapter}"
base = {base}
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
```

or copy it to a place of your own:

```sh
antiphon export . --out DIR
```"""


def _base(report: Report) -> tuple[str, str]:
    """Return what finds the base model: imports, and an expression."""
    name = report["facts"].get("model")
    ours = isinstance(name, str) and "/" not in name and not Path(name).is_dir()
    if report["facts"].get("engine") != "simulation" and ours:
        # A real run's coordinator has no model: its adapter says the name that the config says.
        quoted = json_text(name)
        told = f"the folder that `antiphon fetch {_code(str(name))}` prints"
        imported = (
            "from antiphon.client.assets.names import model_folder\nfrom peft import PeftModel"
        )
        return imported, f"model_folder({quoted})  # {told}"
    found = "PeftConfig.from_pretrained(adapter).base_model_name_or_path"
    return "from peft import PeftConfig, PeftModel", found


def _sentence(parts: Sequence[str]) -> str:
    if not parts:
        return ""
    said = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"{said[0].upper()}{said[1:]}."


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; numbers are aligned to the right."""
    rule = ["---", *["---" if name in ("result", "plan") else "---:" for name in names[1:]]]
    lines = [names, rule, *[[_cell(each) for each in row] for row in rows]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _ends(rows: list[list[str]], most: int) -> list[list[str]]:
    if len(rows) <= most:
        return rows
    half = most // 2
    return [*rows[:half], ["…"] * len(rows[0]), *rows[-half:]]


def _cell(text: str) -> str:
    """Return text that cannot break out of a table's cell, nor be taken for HTML or a formula."""
    safe = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return safe.replace("\\", "\\\\").replace("|", "\\|").replace("$", "\\$")


def _code(text: str) -> str:
    return " ".join(text.split()).replace("`", "'")


def _factor(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:.4g}"


def _plain(value: str | float | None) -> str:
    if value is None or isinstance(value, str):
        return _NONE if value is None else value
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
