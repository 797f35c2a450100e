"""BIG-bench's JSON tasks as prompts and completions: one task can be one client.

Srivastava et al., "Beyond the imitation game" (TMLR 2023). The prompt is put together as the
benchmark's own JSON tasks define it: prefix, input, the choices where the task shows them, and the
answer's prefix.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_Task = Mapping[str, Any]


def convert(unpacked: Path, target: Path) -> None:
    """Write `target/rows/<task>.jsonl` for each task, with rows {task, prompt, completion, …}.

    choices: the options of a multiple choice; references: all right answers where there are
    several. Nothing is left out but tasks that are no plain text in, text out; `left_out.txt` names
    those and why.
    """
    (target / "rows").mkdir()
    left_out = []
    for path in sorted(unpacked.rglob("task.json")):
        name = ":".join(path.parent.relative_to(_root(path)).parts)
        task = json.loads(path.read_text(encoding="utf-8"))
        reason = _reason_to_leave_out(task)
        if reason:
            left_out.append(f"{name}: {reason}\n")
            continue
        _write(target / "rows" / f"{name.replace(':', '.')}.jsonl", name, task)
    (target / "left_out.txt").write_text("".join(left_out), encoding="utf-8")


def _root(path: Path) -> Path:
    return next(parent for parent in path.parents if parent.name == "benchmark_tasks")


def _write(path: Path, name: str, task: _Task) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in _rows(name, task):
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def _reason_to_leave_out(task: _Task) -> str | None:
    examples = task.get("examples")
    if not examples:
        return "has no examples of its own (its subtasks do)"
    for at, example in enumerate(examples):
        if not isinstance(example.get("input"), str):
            return f"example {at} has no input text"
        if _scores(example) is None and not _targets(example):
            return (
                f"example {at} has neither a target text nor target_scores of two choices or more"
            )
    return None


def _scores(example: _Task) -> dict[str, float] | None:
    scores = example.get("target_scores")
    usable = isinstance(scores, dict) and len(scores) > 1 and all(scores)
    return scores if usable else None


def _targets(example: _Task) -> list[str]:
    target = example.get("target")
    targets = target if isinstance(target, list) else [target]
    texts = [each for each in targets if isinstance(each, str) and each]
    return texts if len(texts) == len(targets) else []


def _rows(name: str, task: _Task) -> Iterator[dict[str, Any]]:
    answer_prefix = task.get("example_output_prefix", "\nA: ")
    # A space before the answer belongs to the answer's first token.
    space = " " if answer_prefix.endswith(" ") else ""
    for example in task["examples"]:
        prompt = _prompt(task, example) + answer_prefix.removesuffix(" ")
        scores = _scores(example)
        if scores is not None:
            best = max(scores, key=lambda choice: scores[choice])
            choices = [space + choice for choice in scores]
            yield {"task": name, "prompt": prompt, "completion": space + best, "choices": choices}
        else:
            targets = [space + target for target in _targets(example)]
            several = {"references": targets} if len(targets) > 1 else {}
            yield {"task": name, "prompt": prompt, "completion": targets[0], **several}


def _prompt(task: _Task, example: _Task) -> str:
    prompt = task.get("task_prefix", "") + task.get("example_input_prefix", "\nQ: ")
    prompt += example["input"]
    scores = _scores(example)
    if scores is not None and task.get("append_choices_to_input", True):
        prefix = task.get("choice_prefix", "\n  choice: ")
        prompt += "".join(prefix + choice for choice in scores)
    return prompt
