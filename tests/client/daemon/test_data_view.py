"""Rows are read as the site says; of the run's wishes only what the owner accepts counts."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.client.daemon.data_view import SiteData, data_view, missing
from antiphon.core.refusals import Refusal

FIFTY: dict[str, Any] = {
    "dataset": "theirs",
    "format": {"kind": "alpaca"},
    "filter": {"patient": "Smith"},
    "on_bad_rows": "skip",
    "eval_examples": 50,
    "max_train_examples": 7,
}


def site(**keys: Any) -> SiteData:
    """A site's section `data`."""
    return SiteData.model_validate({"dataset": "ours", **keys})


def test_nothing_of_the_run_is_taken_by_default() -> None:
    """A site with a format of its own is read by it, whole, with the usual share held out."""
    view = data_view(site(format="text"), FIFTY)

    assert view.values == {
        "dataset": "ours",
        "format": {"kind": "text"},
        "filter": {},
        "on_bad_rows": "fail",
        "eval_examples": None,
        "max_train_examples": None,
    }


@pytest.mark.parametrize("key", ["format", "eval_examples", "max_train_examples"])
def test_what_is_accepted_is_taken(key: str) -> None:
    """A key that `accept` names is the run's, and the others are not."""
    view = data_view(site(accept=[key]), FIFTY)

    assert view.values[key] == FIFTY[key]
    assert [each for each, said in view.origins.items() if said == "the run, accepted"] == [key]


def test_the_sites_own_word_comes_before_what_it_accepts() -> None:
    """A key that client.yaml sets is not the run's, accepted or not."""
    view = data_view(site(eval_examples=3, accept=["eval_examples"]), FIFTY)

    assert (view.values["eval_examples"], view.origins["eval_examples"]) == (3, "client.yaml")


@pytest.mark.parametrize("key", ["filter", "on_bad_rows", "dataset"])
def test_some_keys_cannot_be_accepted(key: str) -> None:
    """How many rows pass a filter would answer whether somebody is in the data."""
    with pytest.raises(ValueError, match="accept"):
        site(accept=[key])


def test_a_filter_of_the_sites_own_is_applied() -> None:
    """The run's is not, whatever it is."""
    view = data_view(site(format="text", filter={"year": 2026}), FIFTY)

    assert view.values["filter"] == {"year": 2026}


def test_without_a_format_the_run_is_declined() -> None:
    """Nobody who may has said how rows are read: a code, and a text that names the keys to set."""
    (reason,) = missing(site(), FIFTY)

    assert reason.code == Refusal.DATA_VIEW
    assert "data.format" in reason.text
    assert "accept: [format]" in reason.text


@pytest.mark.parametrize("keys", [{"format": "text"}, {"accept": ["format"]}])
def test_a_format_of_either_is_enough(keys: dict[str, Any]) -> None:
    """The site's own, or the run's where it is accepted."""
    assert missing(site(**keys), FIFTY) == ()


@pytest.mark.parametrize("proposed", [None, [], "data", 7, {}, {"format": None}])
def test_a_run_that_proposes_nothing_is_no_crash(proposed: object) -> None:
    """Whatever stands in the run's section, the site's word holds."""
    view = data_view(site(format="text", accept=["eval_examples"]), proposed)

    assert (view.values["format"], view.proposed) == ({"kind": "text"}, {})
    assert missing(site(accept=["format"]), proposed) != ()


def test_the_owner_reads_who_said_what() -> None:
    """Each key with its value and its origin, and what the run proposed in vain."""
    lines = data_view(site(format="text", accept=["eval_examples"]), FIFTY).lines()

    assert lines["format"] == "{'kind': 'text'} (client.yaml)"
    assert lines["eval_examples"] == "50 (the run, accepted)"
    assert lines["filter"] == "{} (default)"
    assert lines["filter_of_the_run"] == "{'patient': 'Smith'} (not taken)"
