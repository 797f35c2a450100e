"""Sentences rated by people, from four kinds of writing: a federation of four unlike clients.

Hutto & Gilbert, "VADER: A parsimonious rule-based model for sentiment analysis of social media
text" (ICWSM 2014): the mean of twenty ratings from -4 (extremely negative) to 4 (extremely
positive).
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from antiphon.client.assets.unpack import unpack
from antiphon.core.errors import DownloadError

_DOMAINS = {
    "movie": "movieReviewSnippets_GroundTruth.txt",
    "amazon": "amazonReviewSnippets_GroundTruth.txt",
    "nyt": "nytEditorialSnippets_GroundTruth.txt",
    "tweets": "tweets_GroundTruth.txt",
}


def convert(unpacked: Path, target: Path) -> None:
    """Write `target/rows.jsonl` with rows {domain, id, text, rating, strength, polarity}.

    strength is |rating|; polarity is `positive` above a rating of 0, else `negative`. A strength of
    0 has no polarity worth learning: leave it out with a filter on strength.
    """
    sentences = unpacked / "sentences"
    for archive in unpacked.rglob("*.tar.gz"):
        unpack(archive, ["*_GroundTruth.txt"], sentences)
    with (target / "rows.jsonl").open("w", encoding="utf-8") as file:
        for domain, name in _DOMAINS.items():
            found = next(unpacked.rglob(name), None)
            if found is None:
                raise DownloadError(f"the package holds no {name}: fetch again")
            for row in _rows(domain, found):
                file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def _rows(domain: str, path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").split("\n"):
        if not line.strip():
            continue
        number, rating, text = line.rstrip("\r").split("\t", 2)
        value = round(float(rating), 6)
        yield {
            "domain": domain,
            "id": number,
            # Tweets were collected as HTML; the other three are plain text.
            "text": (html.unescape(text) if domain == "tweets" else text).strip(),
            "rating": value,
            "strength": abs(value),
            "polarity": "positive" if value > 0 else "negative",
        }
