"""A made-up task in four dialects: do bright words outnumber dark ones?

Each site has its own names for bright, dark and neutral things, knows some of its neighbour's,
writes longer or shorter sentences and has its own share of bright ones: a federation that is not
identically distributed, from nothing but seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from antiphon.core.json_text import json_text

Lexicon = dict[str, tuple[str, ...]]

SITES = ("harbour", "meadow", "quarry", "summit")
ROWS_PER_SITE = 600
_WORDS = {"bright": 6, "dark": 6, "plain": 10}  # per site
_BORROWED = 0.25  # share of words taken from the next site's dialect
_DRAWS = 64  # random numbers per sentence, more than the longest one needs
_SYLLABLES = ("ba", "de", "fi", "go", "ku", "la", "me", "ni", "po", "ru", "sa", "te", "vi", "zo")


@dataclass(frozen=True)
class Dialect:
    """One site's way of writing. bright_share: of its sentences; extra: most plain words."""

    site: str
    bright_share: float
    extra: int


DIALECTS = (
    Dialect("harbour", 0.50, 4),
    Dialect("meadow", 0.65, 6),
    Dialect("quarry", 0.35, 3),
    Dialect("summit", 0.55, 8),
)


def uniform(seed: int, count: int) -> npt.NDArray[np.float64]:
    """Return `count` float64 in [0, 1) that depend on the seed alone, in every release of numpy."""
    raw = np.random.Philox(key=seed).random_raw(count)
    return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53


def lexicon() -> dict[str, Lexicon]:
    """Return site → kind → words; no word occurs twice."""
    words = iter(_made_up_words())
    return {
        site: {kind: tuple(next(words) for _ in range(count)) for kind, count in _WORDS.items()}
        for site in SITES
    }


def rows_as_jsonl() -> str:
    """Return every row {site, text, label} as JSON lines; label is `bright` or `dark`."""
    words = lexicon()
    lines = []
    for at, dialect in enumerate(DIALECTS):
        own, other = words[dialect.site], words[SITES[(at + 1) % len(SITES)]]
        draws = uniform(1000 + at, ROWS_PER_SITE * _DRAWS).reshape(ROWS_PER_SITE, _DRAWS)
        for row in draws:
            text, label = _sentence(dialect, own, other, row.tolist())
            lines.append(json_text({"site": dialect.site, "text": text, "label": label}))
    return "\n".join(lines) + "\n"


def _made_up_words() -> list[str]:
    pairs = [first + second for first in _SYLLABLES for second in _SYLLABLES]
    return [pairs[index] for index in np.argsort(uniform(999, len(pairs)), kind="stable")]


def _sentence(
    dialect: Dialect, own: Lexicon, other: Lexicon, draws: list[float]
) -> tuple[str, str]:
    left = iter(draws)
    winner, loser = ("bright", "dark") if next(left) < dialect.bright_share else ("dark", "bright")
    more = 2 + int(next(left) * 3)
    kinds = [winner] * more + [loser] * int(next(left) * more)
    kinds += ["plain"] * int(next(left) * (dialect.extra + 1))
    words = []
    for kind in kinds:
        options = (other if next(left) < _BORROWED else own)[kind]
        words.append((next(left), options[int(next(left) * len(options))]))
    return " ".join(word for _, word in sorted(words)), winner
