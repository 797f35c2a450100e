"""Rouge-L: how much of a reference the longest common subsequence of words covers (Lin, 2004)."""

from __future__ import annotations

import re
from collections.abc import Sequence


def rouge_l(candidate: str, reference: str) -> float:
    """Return the F1 of the longest common subsequence of lower-cased words, in [0, 1]."""
    ours, theirs = _words(candidate), _words(reference)
    common = longest_common_subsequence(ours, theirs)
    return 2 * common / (len(ours) + len(theirs)) if common else 0.0


def longest_common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the length of the longest common subsequence; O(len·len) time, one row of memory."""
    row = [0] * (len(other) + 1)
    for item in one:
        diagonal = 0
        for column, each in enumerate(other, 1):
            above = row[column]
            row[column] = diagonal + 1 if item == each else max(above, row[column - 1])
            diagonal = above
    return row[-1]


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())
