"""What the round machine asks of the engine that drives it (server/machine/round.py)."""

from __future__ import annotations

from dataclasses import dataclass, field

from antiphon.core.events import TRAINING
from antiphon.server.machine.run_state import RunState
from antiphon.server.machine.verdict import Verdict


@dataclass(frozen=True)
class PlanRound:
    """Ask the policy for a plan over these clients (sorted); answer with RoundPlanned.

    busy: who has a part of the round already, and is not to be planned with: clients at work since an
    earlier, asynchronous round, or whose update came since then; on_trial: those of the clients that
    have failed since their last accepted update.
    """

    round: int
    clients: tuple[str, ...]
    busy: tuple[str, ...] = ()
    on_trial: tuple[str, ...] = ()


@dataclass(frozen=True)
class Assign:
    """Give a client its part of a round's exchange; of an earlier round, if it is still to finish that.

    deadline: absolute seconds on the engine's clock; infinite in asynchronous rounds, whose deadline
    calls nobody off. To measure (MEASURING), it is given the model after the round (0: untouched).
    """

    client: str
    round: int
    deadline: float
    exchange: str = TRAINING


@dataclass(frozen=True)
class Reply:
    """Answer what the client has sent: accepted and duplicate are good news, the rest says why not."""

    client: str
    round: int
    verdict: Verdict
    reason: str = ""
    exchange: str = TRAINING


@dataclass(frozen=True)
class CancelAssignment:
    """Tell a client that what it still computes for this exchange is not wanted any more.

    reason: why, where that is something which went wrong; empty where others were enough, or the run ends.
    """

    client: str
    round: int
    reason: str = field(default="", compare=False)
    exchange: str = TRAINING


@dataclass(frozen=True)
class Fold:
    """Fold the updates of these clients, in this order (sorted); answer with RoundFolded/Undone.

    The receipt of each tells in which round its update began.
    """

    round: int
    clients: tuple[str, ...]


@dataclass(frozen=True)
class Combine:
    """Bring together what these clients (sorted) have answered to an exchange; ExchangeCombined."""

    round: int
    exchange: str
    clients: tuple[str, ...]


@dataclass(frozen=True)
class Conclude:
    """Take together what was measured after this round (0: untouched); RoundEvaluated/Undone."""

    round: int


@dataclass(frozen=True)
class Finish:
    """Nothing is left to do: journal the end, and write the report.

    complete: all rounds are over, or the policy ended the run, and one was folded.
    """

    complete: bool
    reason: str


Action = PlanRound | Assign | Reply | CancelAssignment | Fold | Combine | Conclude | Finish

Step = tuple[RunState, tuple[Action, ...]]
"""The state after an event, and what the engine must do about it."""
