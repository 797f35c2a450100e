"""A round's plan: who takes part, what each is asked to do, and one sentence of reason."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from antiphon.core import registry
from antiphon.core.config import RunConfig
from antiphon.core.errors import ConfigError
from antiphon.core.events import RoundPlanned
from antiphon.core.section import Choice
from antiphon.core.types import DENSE, Assignment, CodecChoice, Plain
from antiphon.strategies.learning_rate import rate
from antiphon.strategies.scheduling.scheduler import Scheduler


def plan_round(
    config: RunConfig, number: int, clients: Sequence[str], learning_rate_scale: float
) -> RoundPlanned:
    """Return the plan of round `number` over the clients that are here.

    learning_rate_scale: what the stability guard leaves of the configured rate, in (0, 1].
    """
    size = min(config.cohort.size or len(clients), len(clients))
    scheduler = _scheduler(config.cohort.scheduler)
    rng = np.random.Generator(np.random.Philox(key=[config.seed, number]))
    cohort = scheduler.choose(clients, size, rng)
    rounds_rate = learning_rate_scale * round_learning_rate(config, number)
    return RoundPlanned(
        round=number,
        cohort=cohort,
        quorum=min(config.cohort.quorum or size, len(cohort)),
        deadline_s=config.cohort.deadline_s,
        reason=_reason(config, cohort, clients, learning_rate_scale),
        plan={client: _task(config, client, rounds_rate) for client in cohort},
    )


def assignment_of(
    config: RunConfig, plan: RoundPlanned, client: str, folded_round: int = 0
) -> Assignment:
    """Return what the plan asks of one client. folded_round: see Assignment."""
    task = plan.plan[client]
    steps = int(task["steps"] or 0)
    return Assignment(
        round=plan.round,
        client=client,
        method=str(task["method"]),
        steps=steps,
        first_step=(plan.round - 1) * steps,
        total_steps=config.rounds * steps,
        learning_rate=float(task["learning_rate"] or 0.0),
        r=int(task["r"] or 0),
        seed=client_seed(config.seed, client),
        max_tokens=int(task.get("max_tokens") or 0),
        codec=_codec(task),
        folded_round=folded_round,
    )


_ARGUMENT = "codec."


def codec_row(choice: Choice) -> dict[str, Plain]:
    """Return what a plan's row says of a codec: `codec`, and `codec.<argument>` for each argument."""
    return {"codec": choice.kind} | {_ARGUMENT + k: v for k, v in choice.arguments.items()}


def _codec(task: Mapping[str, Plain]) -> CodecChoice:
    arguments = {k.removeprefix(_ARGUMENT): v for k, v in task.items() if k.startswith(_ARGUMENT)}
    return CodecChoice(str(task.get("codec") or DENSE), arguments)


def client_seed(run_seed: int, client: str) -> int:
    """Return the 63-bit seed of one client's shuffling and draws, the same in every engine."""
    digest = hashlib.sha256(f"{run_seed}/{client}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def round_learning_rate(config: RunConfig, number: int) -> float:
    """Return the rate of a `seeds` round (constant within it); for `lora`, the peak of its schedule."""
    if config.method == "lora":
        return config.training.learning_rate
    seeds = config.seeds
    return rate(seeds.lr_scheduler_type, seeds.learning_rate, number - 1, config.rounds)


def clients_needed(config: RunConfig) -> int:
    """Return how many clients a run on a network waits for before it plans a round."""
    cohort = config.cohort
    return cohort.min_clients or cohort.size or config.data.clients or 2


def fewest_folded(config: RunConfig) -> int:
    """Return the least number of updates that a round folds together, whoever drops out."""
    needed = clients_needed(config)
    smallest_cohort = min(config.cohort.size or needed, needed)
    return min(config.cohort.quorum or smallest_cohort, smallest_cohort)


def check_cohort(config: RunConfig, clients: Sequence[str]) -> None:
    """Raise ConfigError where the config asks for more clients than there are, or for unknown ones."""
    for key, wanted in (("size", config.cohort.size), ("quorum", config.cohort.quorum)):
        if wanted is not None and wanted > len(clients):
            raise ConfigError(
                f"cohort.{key} is {wanted}, but the data has {len(clients)} clients "
                f"({', '.join(clients)}): lower it, or split the data over more clients"
            )
    unknown = sorted(set(config.lora.client_ranks) - set(clients))
    if unknown:
        raise ConfigError(
            f"lora.client_ranks names {', '.join(unknown)}, but the clients are {', '.join(clients)}"
        )


def _scheduler(choice: Choice) -> Scheduler:
    scheduler: Scheduler = registry.build("scheduler", choice.kind, choice.arguments)
    return scheduler


def _task(config: RunConfig, client: str, learning_rate: float) -> dict[str, Plain]:
    steps = config.training.max_steps if config.method == "lora" else config.seeds.max_steps
    return {
        "method": config.method,
        "steps": steps,
        "learning_rate": learning_rate,
        "r": config.lora.client_ranks.get(client, config.lora.r),
        "max_tokens": config.cohort.max_tokens,
        **codec_row(config.compression.uplink),
    }


def _reason(config: RunConfig, cohort: Sequence[str], clients: Sequence[str], scale: float) -> str:
    chosen = f"{config.cohort.scheduler.kind}: {len(cohort)} of {len(clients)} clients"
    guarded = f"; the stability guard left {scale:g} of the learning rate" if scale < 1 else ""
    return f"{chosen}, as the config fixes it{guarded}"
