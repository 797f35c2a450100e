"""What may go wrong at a site, and what a coordinator may ask of it: cases for the search for leaks.

Every row, field, file name and environment variable of the site holds MARK. A case says what the site has
and allows, what the run proposes, and what fails; `case` draws one.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from antiphon.core import errors
from antiphon.core.config import resolved, validate

MARK = "SECRET-DIAGNOSIS"
FIELD = f"{MARK}-field"
ROWS = 80

_TEXT = {"kind": "text"}
_CHOICE = {"kind": "classification", "template": "{text} is", "verbalizers": {"a": " a", "b": " b"}}
FORMATS: tuple[Any, ...] = (
    _TEXT,
    {**_CHOICE, "text": "text", "label": "label"},
    {**_CHOICE, "text": FIELD, "label": FIELD},
    {"kind": "messages"},
    {"kind": "alpaca"},
    {"kind": MARK},
    {"kind": "classification"},
    None,
    "text",
    ["text"],
    7,
)
FILTERS: tuple[Any, ...] = ({}, {FIELD: [1, 2]}, {FIELD: MARK}, {"label": ["a"]}, {FIELD: []}, 3)
SIZES: tuple[Any, ...] = (None, 0, 1, 20, 10_000, -1, 2**63, "many", 0.5)
MODELS = ("tiny", "smollm2-135m", "/etc/passwd", f"/data/{MARK}", f"owner/{MARK}", "", "../..")

Error = Callable[[], BaseException]
ERRORS: tuple[Error, ...] = (
    lambda: OSError(errno.ENOSPC, f"{MARK} full", f"/data/{MARK}"),
    lambda: PermissionError(errno.EACCES, MARK, f"/data/{MARK}"),
    lambda: MemoryError(MARK),
    lambda: errors.ConfigError(MARK),
    lambda: errors.RowError(f"{MARK}.jsonl:3: {MARK}"),
    lambda: errors.ModelError(f"/data/{MARK}"),
    lambda: errors.DownloadError(MARK),
    lambda: errors.UpdateError(MARK),
    lambda: errors.RunFolderError(MARK),
    lambda: errors.ProtocolError(MARK),
    lambda: ValueError(MARK),
    lambda: KeyError(MARK),
    lambda: RuntimeError(f"CUDA: {MARK}"),
)
PLACES = ("prepare", "train", "evaluate", "outbox", "download", "report")
"""Where something fails; report: what the trainer says of its machine or its update is damaged."""


@dataclass(frozen=True)
class Case:
    """One site before one run. error: raised at `place`; tasks: what the coordinator gives, in order."""

    settings: Mapping[str, Any]
    config: bytes
    place: str | None
    error: Error
    tasks: tuple[str, ...]
    assignment: Mapping[str, Any] = field(default_factory=dict)


def row_files(folder: Path) -> tuple[str, ...]:
    """Write data sets of every kind below a folder whose name holds MARK; return their names."""
    folder.mkdir(parents=True)
    good = [
        json.dumps({FIELD: f"{MARK}-{n}", "text": f"{MARK} {n}", "label": "ab"[n % 2]})
        for n in range(ROWS)
    ]
    contents: dict[str, bytes] = {
        "good": "\n".join(good).encode(),
        "short": "\n".join(good[:3]).encode(),
        "empty": b"",
        "no-json": f"{good[0]}\n{{ {MARK} broken\n".encode(),
        "no-object": f'["{MARK}"]\n'.encode(),
        "no-utf8": MARK.encode() + b"\xff\xfe",
        "other-label": "\n".join([*good, json.dumps({"text": MARK, "label": MARK})]).encode(),
        "no-text": json.dumps({FIELD: MARK, "text": [MARK], "label": "a"}).encode(),
        "deep": b'{"text": ' + b"[" * 5000 + MARK.encode(),
    }
    names = []
    for name, content in contents.items():
        path = folder / f"{MARK}-{name}.jsonl"
        path.write_bytes(content)
        names.append(str(path))
    (folder / f"{MARK}-folder").mkdir()
    return (*names, str(folder / f"{MARK}-folder"), str(folder / f"{MARK}-missing.jsonl"), MARK)


def base_config() -> dict[str, Any]:
    """The config of an honest run, plain values."""
    data = {"dataset": "theirs", "format": "text"}
    values = {"name": "run", "rounds": 1, "model": {"model_name_or_path": "tiny"}, "data": data}
    return resolved(validate(values))


def case(rng: Random, files: tuple[str, ...], config: Mapping[str, Any]) -> Case:
    """Draw a case. files: of `row_files`; config: of `base_config`."""
    good = rng.random() < 0.6  # most of these come as far as rounds
    dataset = files[0] if good else rng.choice(files)
    return Case(
        settings=_settings(rng, dataset, good),
        config=_config(rng, dict(config), good),
        place=rng.choice(PLACES) if rng.random() < 0.5 else None,
        error=rng.choice(ERRORS),
        tasks=tuple(rng.choices(("train", "evaluate"), k=rng.randrange(4))),
        assignment=_assignment(rng) if rng.random() < 0.3 else {},
    )


def _settings(rng: Random, dataset: str, good: bool) -> dict[str, Any]:
    data: dict[str, Any] = {"dataset": dataset}
    acceptable = ("format", "eval_examples", "max_train_examples")
    data["accept"] = [key for key in acceptable if rng.random() < (0.1 if good else 0.5)]
    if good or rng.random() < 0.3:
        data["format"] = rng.choice(FORMATS[:2] if good else FORMATS[:3])
    if rng.random() < 0.2:
        data["filter"] = rng.choice(FILTERS[:4])
    if rng.random() < 0.3:
        data["on_bad_rows"] = "skip"
    tell = {
        "examples": rng.choice(("rounded", "exact", "hidden")),
        **{key: rng.random() < 0.7 for key in ("hardware", "training_metrics", "scores")},
    }
    return {"data": data, "tell": tell, "policy": _policy(rng) if rng.random() < 0.2 else {}}


def _policy(rng: Random) -> dict[str, Any]:
    policies: tuple[dict[str, Any], ...] = (
        {"methods": ["seeds"]},
        {"models": [f"{MARK}-*"]},
        {"max_steps": 1},
        {"hours": ["01:00-02:00"]},
        {"min_cohort": 99},
        {"max_upload_mb_per_round": 1e-6},
        {"max_upload_mb_per_day": 1e-6},
    )
    return dict(rng.choice(policies))


def _config(rng: Random, config: dict[str, Any], good: bool) -> bytes:
    data = dict(config["data"])
    data["filter"] = rng.choice(FILTERS)
    data["on_bad_rows"] = rng.choice(("fail", "skip", MARK))
    data["eval_examples"], data["max_train_examples"] = rng.choice(SIZES), rng.choice(SIZES)
    data["format"] = rng.choice(FORMATS)
    config["data"] = data if rng.random() < 0.95 else rng.choice((None, [], MARK, 3))
    config["method"] = rng.choice(("lora", "lora", "lora", "seeds"))
    if not good:
        config["model"] = {**config["model"], "model_name_or_path": rng.choice(MODELS)}
        dropped = rng.choice(list(config))
        if rng.random() < 0.2:
            del config[dropped]
        elif rng.random() < 0.2:
            config[dropped] = rng.choice((None, {}, [], MARK, -1, {"kind": MARK}))
    content = json.dumps(config).encode()
    return content if rng.random() < 0.95 else content[: rng.randrange(len(content))]


def _assignment(rng: Random) -> dict[str, Any]:
    oddities: tuple[dict[str, Any], ...] = (
        {"run_id": "another"},
        {"method": MARK},
        {"method": "seeds"},
        {"steps": 0},
        {"steps": 2**32 - 1},
        {"upload_bytes": 2**60},
        {"learning_rate": float("nan")},
    )
    return dict(rng.choice(oddities))
