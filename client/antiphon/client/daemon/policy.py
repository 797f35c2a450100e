"""What the owner of a site allows. The coordinator is told of a refusal; it cannot overrule it.

What no key forbids is allowed. A task that was begun within the hours is finished and handed
in; none is begun outside them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, model_validator
from pydantic_core import PydanticCustomError

from antiphon.client.daemon.work import Work
from antiphon.client.reason import Reason
from antiphon.core.refusals import Refusal
from antiphon.core.section import Section

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_TIME = r"([01]\d|2[0-3]):[0-5]\d"
_HOURS = re.compile(rf"{_TIME}-({_TIME}|24:00)")

_MB = 1_000_000


def _checked(text: str) -> str:
    if _HOURS.fullmatch(text) is None:
        raise PydanticCustomError("hours", "expected such as 22:00-06:00")
    return text


Hours = Annotated[str, AfterValidator(_checked)]
"""A window of local time."""


class SitePolicy(Section):
    """The owner's word. What is left out is not limited, but for what protects single rows."""

    methods: list[str] | None = Field(
        None, description="Methods that may be used; none: all of them."
    )
    models: list[str] | None = Field(
        None,
        description="Base models that may be trained, exact names or globs (`smollm2-*`, `owner/*`); a `*` "
        "does not match `/`. none: all.",
    )
    hours: list[Hours] = Field(
        default_factory=list,
        description='Local times of day at which a task may begin: `["22:00-06:00"]`. The end lies on the '
        "next day where it is not after the start. Empty: at any time.",
    )
    days: list[Day] = Field(
        default_factory=list,
        description="Days on which a task may begin: `[sat, sun]`. The hours after midnight count to the "
        "day on which their window began. Empty: on any day.",
    )
    max_upload_mb_per_round: PositiveFloat | None = Field(
        None, description="Largest update that may leave the machine, in 10⁶ bytes."
    )
    max_upload_mb_per_day: PositiveFloat | None = Field(
        None,
        description="Updates that may leave the machine within a local day, in 10⁶ bytes, what had to be "
        "sent again included.",
    )
    min_cohort: PositiveInt | None = Field(
        None, description="Clients that every round must have at least."
    )
    max_steps: PositiveInt | None = Field(
        None,
        description="Local steps that a round may ask for at most, counted as steps of 16 examples: larger "
        "batches and gradient accumulation count for more.",
    )
    min_examples: PositiveInt = Field(
        50, description="Training examples below which this site takes part in no run."
    )
    min_batch: PositiveInt = Field(
        8, description="Examples that a step takes together at least, accumulation included."
    )
    max_passes: PositiveFloat | None = Field(
        4.0, description="How often a round may go through this site's examples; none: no limit."
    )
    max_example_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.1, description="Largest share of a round's draws that one example may have; 1: no limit."
    )

    approve: Literal["auto", "manual"] = Field(
        "auto",
        description="`manual`: a run, and each change of its config, waits for `antiphon client "
        "approve RUN`.",
    )

    @model_validator(mode="before")
    @classmethod
    def _one_window_is_a_list(cls, value: object) -> object:
        if isinstance(value, dict) and isinstance(value.get("hours"), str):
            return {**value, "hours": [value["hours"]]}
        return value


@dataclass(frozen=True)
class TaskTerms:
    """What a run, or one task of it, asks of a client.

    works: what it asks by each method that it may use (more than one: of a mixed run); examples: that the
    site trains on, none: not known yet; upload_bytes: of the update, as far as it is known (0: it is not);
    uploaded_today: bytes that have left the machine since midnight.
    """

    method: str
    model: str
    min_cohort: int
    works: tuple[Work, ...]
    examples: int | None = None
    upload_bytes: int = 0
    uploaded_today: int = 0


def permits(policy: SitePolicy, terms: TaskTerms, now: datetime) -> tuple[Reason, ...]:
    """Return every reason why the owner does not allow this at local time `now`; none: it is allowed."""
    return (*_work_refused(policy, terms), *_upload_refused(policy, terms), *_hours(policy, now))


def is_allowed_model(patterns: Sequence[str], model: str) -> bool:
    """Whether a model's name is one of the patterns; `*` does not match the `/` of a hub id.

    So `smollm2-*` allows `smollm2-135m`, and not somebody's `smollm2-x/anything` or `evil/smollm2-135m`.
    """
    parts = model.split("/")
    return any(
        len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))
        for wanted in (each.split("/") for each in patterns)
    )


def _work_refused(policy: SitePolicy, terms: TaskTerms) -> Iterator[Reason]:
    # A run of several roles asks for one or the other, task by task.
    asked = {terms.method, *(work.method for work in terms.works)}
    if policy.methods is not None and asked.isdisjoint(policy.methods):
        allowed = ", ".join(policy.methods) or "none"
        yield Reason(
            Refusal.METHOD, f"the site's policy allows the methods {allowed}, not {terms.method}"
        )
    if policy.models is not None and not is_allowed_model(policy.models, terms.model):
        yield Reason(Refusal.MODEL, f"the site's policy does not allow the model {terms.model}")
    if policy.min_cohort is not None and terms.min_cohort < policy.min_cohort:
        yield Reason(
            Refusal.COHORT,
            f"the site's policy wants {policy.min_cohort} clients or more in a round, the run promises "
            f"{terms.min_cohort}",
        )
    if terms.examples is not None and terms.examples < policy.min_examples:
        yield Reason(
            Refusal.EXAMPLES,
            f"the site's policy wants {policy.min_examples} training examples, this site has "
            f"{terms.examples}",
        )
    yield from _amount_refused(policy, terms)


def _amount_refused(policy: SitePolicy, terms: TaskTerms) -> Iterator[Reason]:
    """Yield what is against all work that the run may ask for; a mixed run has two kinds, one is enough."""
    allowed = [w for w in terms.works if policy.methods is None or w.method in policy.methods]
    refused = [tuple(_limits(policy, work, terms.examples)) for work in allowed or terms.works]
    if refused and all(refused):
        yield from {each.code: each for found in refused for each in found}.values()


def rows_refused(
    policy: SitePolicy, works: Iterable[Work], examples: int | None
) -> Iterator[Reason]:
    """Yield what the owner has against work on the site's rows, whatever comes of it. examples: here."""
    for each in works:
        yield from _limits(policy, each, examples)


def _limits(policy: SitePolicy, work: Work, examples: int | None) -> Iterator[Reason]:
    if policy.max_steps is not None and work.counted_steps > policy.max_steps:
        yield Reason(
            Refusal.STEPS,
            f"the site's policy allows {policy.max_steps} steps in a round, not {work.counted_steps} "
            f"({work.steps} of {work.per_step} examples)",
        )
    if work.per_step < policy.min_batch:
        yield Reason(
            Refusal.BATCH,
            f"the site's policy wants {policy.min_batch} examples in a step, not {work.per_step}",
        )
    if policy.max_passes is not None and examples and work.passes(examples) > policy.max_passes:
        yield Reason(
            Refusal.PASSES,
            f"the site's policy allows {policy.max_passes:g} passes over its examples in a round, not "
            f"{work.passes(examples):.3g} ({work.draws} draws from {examples})",
        )
    if (share := work.largest_share(examples)) > policy.max_example_share:
        yield Reason(
            Refusal.SHARE,
            f"the site's policy lets one example be {policy.max_example_share:.3g} of an update, not "
            f"{share:.3g} ({work.draws} draws)",
        )


def is_open(policy: SitePolicy, now: datetime) -> bool:
    """Whether a task may begin at local time `now`."""
    windows = [_span(text) for text in policy.hours] or [(0, 24 * 60)]
    days = policy.days or DAYS
    minute = now.hour * 60 + now.minute
    yesterday = DAYS[(now - timedelta(days=1)).weekday()]
    return any(
        (DAYS[now.weekday()] in days and start <= minute < end)
        or (yesterday in days and start <= minute + 24 * 60 < end)
        for start, end in windows
    )


def _upload_refused(policy: SitePolicy, terms: TaskTerms) -> Iterator[Reason]:
    yield from upload_refused(policy, terms.upload_bytes, terms.upload_bytes, terms.uploaded_today)


def upload_refused(
    policy: SitePolicy, size: int, sending: int, uploaded_today: int
) -> Iterator[Reason]:
    """Yield why an update of `size` bytes may not leave, of which `sending` are still to be sent."""
    today = uploaded_today + sending
    most, daily = policy.max_upload_mb_per_round, policy.max_upload_mb_per_day
    if most is not None and size > most * _MB:
        yield Reason(
            Refusal.UPLOAD_ROUND,
            f"the site's policy lets {most:g} MB leave in a round; this is {size / _MB:.1f} MB",
        )
    if daily is not None and today > daily * _MB:
        yield Reason(
            Refusal.UPLOAD_DAY,
            f"the site's policy lets {daily:g} MB leave in a day; with this round it would be "
            f"{today / _MB:.1f} MB",
        )


def _hours(policy: SitePolicy, now: datetime) -> Iterator[Reason]:
    if not is_open(policy, now):
        when = " ".join([*policy.days, *policy.hours])
        yield Reason(Refusal.HOURS, f"the site's policy allows work only at {when} (local time)")


def _span(text: str) -> tuple[int, int]:
    """Return start and end of a window in minutes; the end may be past midnight (24 · 60)."""
    first, last = text.split("-")
    start = _minutes(first)
    end = 24 * 60 if last == "24:00" else _minutes(last)
    return start, end if end > start else end + 24 * 60


def _minutes(text: str) -> int:
    moment = time.fromisoformat(text)
    return moment.hour * 60 + moment.minute
