"""What the round machine asks of the engine that drives it (server/round.py)."""

from __future__ import annotations

from dataclasses import dataclass

from antiphon.server.verdict import Verdict


@dataclass(frozen=True)
class PlanRound:
    """Ask the policy for a plan over these clients (sorted); answer with RoundPlanned."""

    round: int
    clients: tuple[str, ...]


@dataclass(frozen=True)
class Assign:
    """Give a client its part of the round. deadline: absolute seconds on the engine's clock."""

    client: str
    round: int
    deadline: float


@dataclass(frozen=True)
class Reply:
    """Answer the client's update: accepted and duplicate are good news, the rest says why not."""

    client: str
    round: int
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True)
class CancelAssignment:
    """Tell a client that its round has closed: what it still computes is not wanted."""

    client: str
    round: int


@dataclass(frozen=True)
class Fold:
    """Fold the updates of these clients, in this order (sorted); answer with RoundFolded/Undone."""

    round: int
    clients: tuple[str, ...]


@dataclass(frozen=True)
class Evaluate:
    """Measure the model after this round (0: untouched) if the config says so; RoundEvaluated."""

    round: int


@dataclass(frozen=True)
class Finish:
    """Nothing is left to do: write the report. complete: all rounds are over, one was folded."""

    complete: bool
    reason: str


Action = PlanRound | Assign | Reply | CancelAssignment | Fold | Evaluate | Finish
