import json

import pytest

from antiphon.client.assets import vader
from antiphon.core.errors import DownloadError

LINES = {
    "movieReviewSnippets": "1\t-2.5\tDull &amp; long",
    "amazonReviewSnippets": "1_1\t0\tIt is a cable.",
    "nytEditorialSnippets": "1_1\t0.4\tAround noon, tabs\tand all.",
    "tweets": "1\t3.5\tlove &amp; joy\r",
}


@pytest.fixture
def rows(tmp_path):
    for name, line in LINES.items():
        (tmp_path / f"{name}_GroundTruth.txt").write_text(line + "\n", newline="")
    vader.convert(tmp_path, tmp_path)
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    return {row["domain"]: row for row in map(json.loads, lines)}


def test_a_line_becomes_a_row(rows):
    """Rating, its strength and its polarity are in the row."""
    assert rows["movie"] == {
        "domain": "movie",
        "id": "1",
        "text": "Dull &amp; long",
        "rating": -2.5,
        "strength": 2.5,
        "polarity": "negative",
    }


def test_tweets_are_unescaped(rows):
    """The HTML entities of tweets become characters, and line ends go."""
    assert rows["tweets"]["text"] == "love & joy"


def test_a_rating_of_zero_has_no_strength(rows):
    """A rating of zero can be left out by its strength."""
    assert rows["amazon"]["strength"] == 0


def test_a_missing_file_is_said(tmp_path):
    """A package without the sentences is an error that names them."""
    with pytest.raises(DownloadError, match="holds no movieReviewSnippets"):
        vader.convert(tmp_path, tmp_path)
