"""How this site's rows are read: its owner's word, and of the run's only what the owner accepts.

A run proposes a format and sizes. To apply them unasked would let a coordinator choose what it learns:
which field is trained on, how many rows are held out, whether a row fits. What `data.accept` of
client.yaml names is taken; filter and treatment of bad rows are never the run's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import Field, PositiveInt

from antiphon.client.reason import Reason
from antiphon.core.refusals import Refusal
from antiphon.core.section import Choice, Section

Acceptable = Literal["format", "eval_examples", "max_train_examples"]
"""Keys of a run's section `data` that a site may take over."""

Origin = Literal["client.yaml", "the run, accepted", "default"]

_MOST_SHOWN = 200


class SiteData(Section):
    """This site's own rows. They stay here; only what a run's method sends leaves the machine."""

    dataset: str = Field(
        description="A JSONL file, a folder of them (relative to client.yaml), or a name that "
        "`antiphon fetch` knows."
    )
    format: Choice | None = Field(
        None,
        description="How a row becomes a prompt and a completion; none: as the run says, if `data.accept` "
        "allows it.",
    )
    filter: dict[str, Any] = Field(
        default_factory=dict,
        description="Keep rows whose fields have these values. A run's own filter is never applied here: "
        "how many rows pass it would tell of them.",
    )
    on_bad_rows: Literal["fail", "skip"] = Field(
        "fail",
        description="What a broken row does here, whatever the run says.",
    )
    eval_examples: PositiveInt | None = Field(
        None, description="Rows held out and measured on; none: a fifth of them, 1 to 100."
    )
    max_train_examples: PositiveInt | None = Field(
        None, description="Rows trained on; none: all that are not held out."
    )
    accept: list[Acceptable] = Field(
        default_factory=list,
        description="What is taken from the run where client.yaml says nothing: `format`, `eval_examples`, "
        "`max_train_examples`.",
    )


@dataclass(frozen=True)
class DataView:
    """How rows are read in one run.

    values: for the trainer, eval_examples none where the usual share is held out; origins: who says each
    key; proposed: what the run says otherwise, and is not followed in.
    """

    values: Mapping[str, Any]
    origins: Mapping[str, Origin]
    proposed: Mapping[str, Any]

    def lines(self) -> dict[str, str]:
        """Return each key as the owner may read it: its value and who says so; and what is not taken."""
        told = {key: f"{_shown(self.values[key])} ({said})" for key, said in self.origins.items()}
        refused = {
            f"{key}_of_the_run": f"{_shown(v)} (not taken)" for key, v in self.proposed.items()
        }
        return told | refused


def missing(site: SiteData, proposed: object) -> tuple[Reason, ...]:
    """Return why rows cannot be read: nobody who may say so has said how."""
    values = _values(proposed)
    if site.format is not None or ("format" in site.accept and values.get("format") is not None):
        return ()
    return (
        Reason(
            Refusal.DATA_VIEW,
            "client.yaml does not say how a row becomes an example: set data.format, or take the run's "
            f"with `data: {{accept: [format]}}` (it proposes {_shown(values.get('format'))})",
        ),
    )


def data_view(site: SiteData, proposed: object) -> DataView:
    """Put the site's word and what it accepts of the run's together. proposed: the run's section `data`."""
    ours, theirs = site.model_dump(), _values(proposed)
    values: dict[str, Any] = {"dataset": site.dataset}
    origins: dict[str, Origin] = {}
    for key in ("format", "filter", "on_bad_rows", "eval_examples", "max_train_examples"):
        taken = key in site.accept and key in get_args(Acceptable) and theirs.get(key) is not None
        if key in site.model_fields_set and ours[key] is not None:
            values[key], origins[key] = ours[key], "client.yaml"
        elif taken:
            values[key], origins[key] = theirs[key], "the run, accepted"
        else:
            values[key], origins[key] = ours[key], "default"
    refused = {key: theirs[key] for key in origins if _differs(theirs.get(key), values[key])}
    return DataView(values, origins, refused)


def _values(proposed: object) -> Mapping[str, Any]:
    return proposed if isinstance(proposed, Mapping) else {}


def _differs(theirs: object, ours: object) -> bool:
    return theirs not in (None, {}) and theirs != ours


def _shown(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
