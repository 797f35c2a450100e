"""Why a site does not do what a run asks, as a coordinator may hear it: a code, and one fixed sentence.

What happened in detail (values of rows, paths, names, a library's own words) stays in the site's log. A
code says which kind of thing it was and nothing else: no row, no path and no count leaves a site with an
error. A refusal that is not foreseen is `trainer.failed`: never the words of an exception.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final


class Refusal(StrEnum):
    """A code. Those that begin with `policy.` are the owner's word, and hold until the owner changes it."""

    METHOD = "policy.method"
    MODEL = "policy.model"
    COHORT = "policy.cohort"
    STEPS = "policy.steps"
    PASSES = "policy.passes"
    BATCH = "policy.batch"
    EXAMPLES = "policy.examples"
    SHARE = "policy.share"
    UPLOAD_ROUND = "policy.upload_round"
    UPLOAD_DAY = "policy.upload_day"
    HOURS = "policy.hours"
    APPROVAL = "policy.approval"
    REFUSED = "policy.refused"
    CONFIG_CHANGED = "policy.config_changed"
    CONFIG_UNKNOWN = "config.unknown"
    DATA_VIEW = "data.view"
    DATA_UNREADABLE = "data.unreadable"
    DATA_ROW = "data.row"
    DATA_TOO_FEW = "data.too_few"
    MODEL_UNAVAILABLE = "model.unavailable"
    MODEL_DOWNLOAD = "model.download"
    DISK = "machine.disk"
    MEMORY = "machine.memory"
    DEVICE = "machine.device"
    TASK_UNREADABLE = "task.unreadable"
    TASK_UNEXPECTED = "task.unexpected"
    TASK_TOO_LATE = "task.too_late"
    UPDATE_TOO_LARGE = "update.too_large"
    TRAINER_FAILED = "trainer.failed"
    STOPPED = "client.stopped"
    UNSAID = "unsaid"


SENTENCES: Final[Mapping[Refusal, str]] = {
    Refusal.METHOD: "the site's policy does not allow the run's method",
    Refusal.MODEL: "the site's policy does not allow the run's model",
    Refusal.COHORT: "the site's policy wants more clients in a round than the run promises",
    Refusal.STEPS: "the site's policy allows fewer steps in a round",
    Refusal.PASSES: "the site's policy allows fewer passes over its rows in a round",
    Refusal.BATCH: "the site's policy wants larger batches",
    Refusal.EXAMPLES: "the site holds fewer examples than its policy asks for",
    Refusal.SHARE: "one example would have a larger share of an update than the site's policy allows",
    Refusal.UPLOAD_ROUND: "the site's policy lets fewer bytes leave in a round",
    Refusal.UPLOAD_DAY: "the site's policy lets no more bytes leave today",
    Refusal.HOURS: "the site's policy does not allow work at this time",
    Refusal.APPROVAL: "the site's owner has not approved the run yet",
    Refusal.REFUSED: "the site's owner has refused the run",
    Refusal.CONFIG_CHANGED: "the run's config has changed under the same run id",
    Refusal.CONFIG_UNKNOWN: "the site's version does not understand the run's config",
    Refusal.DATA_VIEW: "the site has not said how its rows are read, and does not take it from the run",
    Refusal.DATA_UNREADABLE: "the site's data cannot be read",
    Refusal.DATA_ROW: "a row of the site's data does not fit its format",
    Refusal.DATA_TOO_FEW: "the site has too few rows",
    Refusal.MODEL_UNAVAILABLE: "the base model cannot be loaded at the site",
    Refusal.MODEL_DOWNLOAD: "the global model could not be fetched or kept",
    Refusal.DISK: "the site's disk is full",
    Refusal.MEMORY: "the site's machine has too little memory",
    Refusal.DEVICE: "the site's device cannot do this work",
    Refusal.TASK_UNREADABLE: "a task that the site cannot read",
    Refusal.TASK_UNEXPECTED: "a task that is not of the run which the site has joined",
    Refusal.TASK_TOO_LATE: "the round was over before the site could begin",
    Refusal.UPDATE_TOO_LARGE: "the update is larger than the coordinator takes",
    Refusal.TRAINER_FAILED: "the training failed at the site; its log says why",
    Refusal.STOPPED: "the client was stopped",
    Refusal.UNSAID: "the site gave no reason",
}
"""What a coordinator shows for each code."""

_FORM = re.compile(r"[a-z0-9_]{1,32}(\.[a-z0-9_]{1,32})?")
_MOST = 16


def sentence(code: str) -> str:
    """Return the sentence of a code that a peer has sent; of a newer version's, one that names it."""
    known = next((each for each in Refusal if each.value == code), None)
    if known is not None:
        return SENTENCES[known]
    named = f" {code!r}" if _FORM.fullmatch(code) else ""
    return f"a reason{named} that this version does not know"


def read_codes(codes: Iterable[str]) -> tuple[str, ...]:
    """Return a peer's codes, well formed, each once, sixteen at most; `unsaid` where none is left."""
    formed = dict.fromkeys(each for each in codes if _FORM.fullmatch(each))
    return tuple(formed)[:_MOST] or (Refusal.UNSAID.value,)


def said_of(codes: Iterable[str], reason: str = "") -> str:
    """Return what a client that takes no part, or failed, has said of it: its codes with their sentences.

    reason: of a client before version 0.4, which sends no codes.
    """
    if reason and not any(codes):
        return reason
    return "; ".join(f"{code}: {sentence(code)}" for code in read_codes(codes))


def is_owners_word(code: str) -> bool:
    """Whether the site's owner has forbidden it: asking again cannot help."""
    return code.startswith("policy.")
