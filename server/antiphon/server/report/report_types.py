"""The shape of report.json: what a run's report says, and in which units.

None (JSON null) means: not measured, or no finite number. Means over clients are unweighted
(macro), so that a small site counts as much as a large one. Seconds are real ones, without the time
in which no engine was running. A simulation's clock is virtual, so its real seconds are the sum of
its phases, one after the other in one process; what the clock says is `simulated_seconds`.
"""

from __future__ import annotations

from typing import Literal, TypedDict

from antiphon.core.types import Plain
from antiphon.server.machine.run_state import Ending

RoundOutcome = Ending | Literal["open"]
"""How a round ended, in the round machine's words; `open`: it has not ended."""


class Scores(TypedDict):
    """Held-out numbers. loss: nats per token; accuracy, rouge_l, exact_match: shares in [0, 1]."""

    loss: float | None
    accuracy: float | None
    perplexity: float | None
    rouge_l: float | None
    exact_match: float | None


class Measurement(Scores):
    """One client's scores. examples: held-out examples measured."""

    examples: int


class Evaluation(Scores):
    """One model's scores: means over clients, and each client's. round: the model is of."""

    round: int
    per_client: dict[str, Measurement]


class Problem(TypedDict):
    """One thing that went wrong. client: None where it is about the whole round.

    what: rejected, late, failed, left, unfinished, unmeasured, diverged, declined, revoked; of a round:
    undone, failed, stopped, rewound (the run went back to it); of the journal: out of place (an engine
    erred).
    """

    round: int
    client: str | None
    what: str
    reason: str


class RoundReport(TypedDict):
    """One round. cohort, accepted, rejected, late: names of clients; held_back: those whose updates counted
    less than they asked for; fold: all numbers that its stages have reported; reason: the policy's.
    """

    round: int
    outcome: RoundOutcome
    loss: float | None
    accuracy: float | None
    per_client: dict[str, Measurement]
    bytes_up: int | None
    bytes_down: int | None
    seconds: float | None
    simulated_seconds: float | None
    seconds_by_phase: dict[str, float]
    cohort: list[str]
    accepted: list[str]
    rejected: list[str]
    late: list[str]
    held_back: list[str]
    aggregation_error: float | None
    fold: dict[str, float]
    plan: dict[str, dict[str, Plain]]
    reason: str


class Traffic(TypedDict):
    """Bytes on the wire; up is towards the coordinator."""

    up: int
    down: int


class ByteReport(TypedDict):
    """Bytes of the whole run, all purposes; None: no event tells of bytes.

    training: of updates, and of models that were trained from; the rest is for models that were only
    measured, and for messages. What training takes otherwise stands beside it:
    dense_float32: 4 bytes × trained parameters × (updates accepted + places in cohorts): FedAvg of
    the same rounds, uncompressed; adapter_float32: likewise with A and B of the run's rank, whatever of
    them moves; full_model_float32: with all the model's parameters; None
    where no update was accepted, and rounds that are still open are left out.
    """

    up: int | None
    down: int | None
    training: int | None
    dense_float32: int | None
    adapter_float32: int | None
    full_model_float32: int | None
    by_client: dict[str, Traffic]


class Report(TypedDict):
    """The content of report.json.

    run_dir, adapter: absolute paths; adapter: the last saved one that was not undone; initial: the
    untouched model; final: the last evaluated model that was not undone; seconds: `total`, and each
    phase by name; settings: what of the config decides the training, by dotted key;
    complete: every round is over, or the policy ended the run, and one was
    folded; reason: why the run ended.
    """

    run_id: str | None
    run_dir: str | None
    adapter: str | None
    initial: Evaluation | None
    final: Evaluation | None
    rounds: list[RoundReport]
    bytes: ByteReport
    seconds: dict[str, float | None]
    simulated_seconds: float | None
    peak_memory_bytes: int | None
    facts: dict[str, Plain]
    settings: dict[str, Plain]
    train_examples: dict[str, int]
    skipped_rows: int | None
    problems: list[Problem]
    complete: bool
    reason: str | None
