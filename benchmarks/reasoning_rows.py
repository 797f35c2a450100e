"""Rows of the second task: questions of four generators of reasoning-gym, one generator for each client.

    python benchmarks/reasoning_rows.py ROWS.jsonl

Needs `reasoning-gym` (Stojanovski et al., 2025, arXiv 2505.24760) and nothing of this project, so that it
can run in an environment of its own: benchmarks/second_task.py makes one. A question occurs once, so that
none of those that are held out is trained on. The rows are those of the data format `prompt_completion`,
with the field `task` beside: `{"task": "chain_sum", "prompt": "…\\nAnswer:", "completion": " 7"}`.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

_SEED = 7
_ROWS = 1000
"""Of each generator."""
_DRAWN = 4000
"""Questions drawn at most, to find so many that differ."""
_GENERATORS: dict[str, dict[str, int]] = {
    "chain_sum": {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2},
    "letter_counting": {"min_words": 3, "max_words": 4},
    "number_sequence": {"max_terms": 6, "max_value": 50},
    "family_relationships": {"min_family_size": 3, "max_family_size": 4},
}


def rows() -> Iterator[dict[str, str]]:
    """Draw the rows, generator by generator, always the same ones. Raises ValueError for too few."""
    library = importlib.import_module("reasoning_gym")  # not of the project's own environment
    for task, options in _GENERATORS.items():
        answers: dict[str, str] = {}
        for drawn in library.create_dataset(task, seed=_SEED, size=_DRAWN, **options):
            answers.setdefault(drawn["question"].strip(), str(drawn["answer"]))
            if len(answers) == _ROWS:
                break
        if len(answers) < _ROWS:
            raise ValueError(f"{task} gave {len(answers)} unlike questions, expected {_ROWS}")
        for question, answer in answers.items():
            yield {"task": task, "prompt": f"{question}\nAnswer:", "completion": f" {answer}"}


def main() -> None:
    """Write the rows to the file that the command line names."""
    lines = (f"{json.dumps(each)}\n" for each in rows())
    Path(sys.argv[1]).write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
