"""A round's work is counted in examples, so that no key of a run's config makes it look smaller."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.client.daemon.policy import SitePolicy, TaskTerms, permits
from antiphon.client.daemon.work import Work, told_works
from antiphon.client.data.batches import batches
from antiphon.core.config import load
from antiphon.strategies.methods.method import method_of

NOON = datetime(2026, 3, 2, 12, 0)
EXAMPLES = Path(__file__).parents[3] / "examples"
SMALL = st.integers(1, 40)


def codes(work: Work, examples: int | None, **keys: Any) -> tuple[str, ...]:
    """What the default policy, with some keys changed, has against some work."""
    terms = TaskTerms(work.method, "tiny", 2, (work,), examples)
    return tuple(each.code for each in permits(SitePolicy.model_validate(keys), terms, NOON))


@pytest.mark.parametrize(
    ("file", "overrides", "fewest"),
    [
        ("quickstart.yaml", (), 50),
        ("lora.yaml", (), 50),
        ("seeds.yaml", (), 64),
        ("tiny.yaml", (), 50),
        ("tiny.yaml", ("method=seeds",), 200),
    ],
)
def test_the_examples_pass_the_default_policy(
    file: str, overrides: tuple[str, ...], fewest: int
) -> None:
    """Nobody has to loosen anything to try the project, from so many rows on as operations.md says."""
    config = load(EXAMPLES / file, overrides)

    (work,) = told_works(method_of(config).work)

    assert [codes(work, each) for each in (fewest, 100_000)] == [(), ()]
    assert codes(work, fewest - 1)


@pytest.mark.parametrize(
    ("work", "examples", "code"),
    [
        (Work("lora", 6), 49, "policy.examples"),
        (Work("lora", 100, 4), 400, "policy.batch"),
        (Work("lora", 100), 399, "policy.passes"),
        (Work("lora", 1, 8), 50, "policy.share"),
        (Work("lora", 1, 8), None, "policy.share"),
        (Work("lora", 0), 400, "policy.share"),
    ],
)
def test_what_gives_single_rows_away_is_refused_by_default(
    work: Work, examples: int | None, code: str
) -> None:
    """Too few rows, small batches, many passes, few draws: an update of these tells of single rows."""
    assert code in codes(work, examples)


@pytest.mark.parametrize(
    "work", [Work("lora", 8), Work("lora", 2, 16, 4), Work("lora", 2, 64), Work("seeds", 8, 16)]
)
def test_steps_are_counted_by_their_examples(work: Work) -> None:
    """Four passes a step, or batches four times as large, are four times the steps."""
    assert codes(work, None, max_steps=7) == ("policy.steps",)
    assert codes(work, None, max_steps=8) == ()


def test_a_mixed_run_needs_one_kind_of_work_that_is_allowed() -> None:
    """What it asks for beyond that is declined task by task."""
    works = (Work("lora", 6), Work("seeds", 5000))
    terms = TaskTerms("mixed", "tiny", 2, works, 400)

    assert permits(SitePolicy(), terms, NOON) == ()
    (reason,) = permits(SitePolicy(methods=["seeds"]), terms, NOON)
    assert reason.code == "policy.passes"


@given(steps=SMALL, batch=SMALL, accumulation=SMALL, examples=SMALL)
def test_shares_and_passes_are_those_of_the_draws(
    steps: int, batch: int, accumulation: int, examples: int
) -> None:
    """Those of what training really draws from the first step on."""
    work = Work("lora", steps, batch, accumulation)

    drawn = list(chain(*islice(batches(7, examples, batch), steps * accumulation)))

    assert len(drawn) == work.draws
    assert work.passes(examples) == len(drawn) / examples
    assert max(Counter(drawn).values()) / len(drawn) == work.largest_share(examples)


@pytest.mark.parametrize("amount", [{"batch": 0}, {"steps": -1}, {"accumulation": 0}])
def test_work_that_cannot_be_is_no_work(amount: dict[str, int]) -> None:
    """A coordinator or a trainer that says so is not understood."""
    with pytest.raises(ValueError, match="steps of"):
        told_works({"lora": {"steps": 3, "batch": 8, "accumulation": 1, **amount}})


def test_a_task_is_counted_by_its_own_steps() -> None:
    """An assignment of other steps than the run's is other work."""
    assert codes(replace(Work("lora", 6), steps=400), 400) == ("policy.passes",)
