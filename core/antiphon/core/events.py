"""What happens in a run, as values: all that a journal holds, and a dashboard or a report reads.

There are two families. *Inputs* drive the round machine (server/machine/round.py); replaying them gives its
state. *Observations* are measurements beside it; the machine passes over them. How an event is written
is in core/event_json.py. None always means: not measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from antiphon.core.types import Plain

TRAINING = "training"
"""The exchange in which the members of a cohort are given a model and send an update."""
MEASURING = "measuring"
"""The exchange in which whoever is free measures the model that has come of a round."""


@dataclass(frozen=True)
class RunStarted:
    """The first event that moves the machine, and what the run agreed to.

    rounds: rounds to run; min_clients: clients that must be present before a round is planned;
    max_failed_rounds: the run stops after this many failed rounds in a row. All are at least 1.
    fewest: updates that a round needs at least, whoever is benched (0: of an older version, which
    benched nobody out of a quorum); space: hash of what the run trains (empty: of an older version);
    measuring: how the untouched model is measured, as in RoundPlanned (empty: it is not).
    """

    run_id: str
    config_hash: str
    rounds: int
    min_clients: int
    max_failed_rounds: int
    fewest: int = 0
    space: str = ""
    measuring: Mapping[str, Plain] = field(default_factory=dict)


@dataclass(frozen=True)
class ClientJoined:
    """A client is there and can be given work; it holds `examples` training examples."""

    client: str
    examples: int


@dataclass(frozen=True)
class ClientLeft:
    """A client is gone: it said so, or its lease ran out."""

    client: str
    reason: str = ""


@dataclass(frozen=True)
class ClientRevoked:
    """The operator has revoked a client: it is gone, and an update of it that is not folded yet is void."""

    client: str


@dataclass(frozen=True)
class RoundPlanned:
    """The policy's decision for one round, with its reason.

    quorum: updates that the round needs; deadline_s: seconds from this event until it closes;
    plan: per client what it is asked to do, as plain values (method, steps, r, …); enough: it closes
    as soon as it has so many updates (0: when nobody is at work any more); max_staleness: it is an
    asynchronous round, which leaves whoever is still at work to a later one, up to this many rounds
    on (none: it cancels them); telemetry: what the policy saw, per client and of the run (`run`);
    exchanges: by name, in their order, what the machine must know of each: `fewest` answers, `deadline_s`
    seconds from its opening. Those of `training` are quorum and deadline_s; `measuring` asks whoever is
    idle, and with `everyone` those too who are at work or off line. Empty: training alone.
    """

    round: int
    cohort: tuple[str, ...]
    quorum: int
    deadline_s: float
    reason: str = ""
    plan: Mapping[str, Mapping[str, Plain]] = field(default_factory=dict)
    enough: int = 0
    max_staleness: int | None = None
    telemetry: Mapping[str, Mapping[str, Plain]] = field(default_factory=dict)
    exchanges: Mapping[str, Mapping[str, Plain]] = field(default_factory=dict)


@dataclass(frozen=True)
class UpdateReceived:
    """A whole update of valid content has arrived.

    digest: hex SHA-256 of its bytes; bytes: its size on the wire; examples: the client's weight;
    steps: local steps really taken; metrics: what the client measured while training, by name.
    """

    client: str
    round: int
    digest: str
    bytes: int
    examples: int
    steps: int
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class UpdateRejected:
    """An update has arrived whose content is invalid, or an answer to another exchange of the round: the
    engine looks before the machine does.
    """

    client: str
    round: int
    reason: str
    exchange: str = TRAINING


@dataclass(frozen=True)
class AnswerReceived:
    """A whole answer of valid content has arrived, to an exchange that is neither training nor measuring.

    digest: hex SHA-256 of its bytes; bytes: its size on the wire.
    """

    client: str
    round: int
    exchange: str
    digest: str
    bytes: int


@dataclass(frozen=True)
class ExchangeCombined:
    """The answers to an exchange have been combined, and what they have come to is on the disk.

    digest: hex SHA-256 of its file.
    """

    round: int
    exchange: str
    digest: str


@dataclass(frozen=True)
class ClientFailed:
    """A client could not do its part of a round's exchange. It may still deliver before that closes, but
    for a measurement.
    """

    client: str
    round: int
    reason: str
    exchange: str = TRAINING


@dataclass(frozen=True)
class Ticked:
    """Time has passed, nothing else: the engine's timer went off."""


@dataclass(frozen=True)
class RoundFolded:
    """The round's updates are in the model, and the new state is on the disk.

    digest: hex SHA-256 of the new state; report: what the fold measured, by name; held_back: clients whose
    updates counted less than they asked for, by the run's protections.
    """

    round: int
    digest: str
    report: Mapping[str, float] = field(default_factory=dict)
    held_back: tuple[str, ...] = ()


@dataclass(frozen=True)
class RoundUndone:
    """The stability guard rolled the model back in this round, before or after its own fold.

    digest: hex SHA-256 of the state that stands since then (empty: of an older version).
    """

    round: int
    reason: str
    digest: str = ""


@dataclass(frozen=True)
class RunRewound:
    """The run went back to the model as it was after a round (0: untouched): a newer one cannot be read.

    What came after that round does not count, and its numbers stay used up. reason: what is damaged.
    """

    round: int
    reason: str = ""


@dataclass(frozen=True)
class Evaluated:
    """One client's held-out measurement of the global model after a round (0: the untouched model).

    loss: mean cross-entropy, nats per token; accuracy, rouge_l, exact_match: shares in [0, 1];
    perplexity: exp(loss); examples: held-out examples measured. None: not measured.
    """

    round: int
    client: str
    examples: int
    loss: float | None = None
    accuracy: float | None = None
    perplexity: float | None = None
    rouge_l: float | None = None
    exact_match: float | None = None


@dataclass(frozen=True)
class RoundEvaluated:
    """What was measured after a round has been taken together; round 0 is the untouched model.

    metrics: means over all clients, by name. Empty: the config asks for none after this round.
    """

    round: int
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class RunResumed:
    """An engine took the run up again after the one before it had ended or crashed.

    clock_stood: its clock has stood still meanwhile, so that a deadline is where it was; config_hash,
    rounds, deadline_s, evaluation_deadline_s: of the config from now on, where it has changed (else empty
    and none); measuring: how the open round is measured, where that is not as planned (empty: as planned;
    without a deadline_s above 0: not at all).
    """

    clock_stood: bool = False
    config_hash: str = ""
    rounds: int | None = None
    deadline_s: float | None = None
    evaluation_deadline_s: float | None = None
    measuring: Mapping[str, Plain] = field(default_factory=dict)


BY_POLICY = "stopped by policy"
"""How the reason of a run begins that its policy ended."""


@dataclass(frozen=True)
class RunStopped:
    """The operator, the policy, or an engine that cannot go on, ended the run before its last round.

    by_policy: the config asked for it (a budget is spent). Such a run is complete if it has folded a
    round, and is not taken up again.
    """

    reason: str
    by_policy: bool = False


@dataclass(frozen=True)
class BytesMoved:
    """Bytes on the wire between the coordinator and one client.

    direction: `up` is towards the coordinator; purpose: what for (`update`, `model`, …).
    """

    round: int
    client: str
    direction: Literal["up", "down"]
    purpose: str
    bytes: int


@dataclass(frozen=True)
class PhaseTimed:
    """Real seconds that one phase of a round took (`training`, `fold`, …), whatever the engine's clock."""

    round: int
    phase: str
    seconds: float


@dataclass(frozen=True)
class RunDescribed:
    """Facts about a run that no other event tells, by name; a later event adds to an earlier one.

    method, space, model, device, base: as resolved; trained_parameters, adapter_parameters (of A and B),
    model_parameters: numbers of them; data_digest: of the clients' examples; skipped_rows: broken rows
    that were passed over; cut_examples: examples that were too long; peak_memory_bytes: of the process
    that trained.
    """

    facts: Mapping[str, Plain]


@dataclass(frozen=True)
class ClientDescribed:
    """What a client's machine said of itself when it joined: device, memory, rate, versions, by name."""

    client: str
    facts: Mapping[str, Plain]


@dataclass(frozen=True)
class ClientDeclined:
    """A client takes no part in the run; noted once for each change of what it says.

    codes: why, as in core/refusals.py; reason: in words, from a client of before version 0.4.
    """

    client: str
    codes: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class RunEnded:
    """The run is over; what is left to do is to tell of it. complete: every round is over, or the policy
    ended the run, and one was folded.
    """

    complete: bool
    reason: str


Input = (
    RunStarted
    | ClientJoined
    | ClientLeft
    | ClientRevoked
    | RoundPlanned
    | UpdateReceived
    | UpdateRejected
    | AnswerReceived
    | ExchangeCombined
    | ClientFailed
    | Ticked
    | RoundFolded
    | RoundUndone
    | RunRewound
    | Evaluated
    | RoundEvaluated
    | RunResumed
    | RunStopped
)
Observation = BytesMoved | PhaseTimed | RunDescribed | ClientDescribed | ClientDeclined | RunEnded
Event = Input | Observation
