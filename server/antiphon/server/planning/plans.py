"""A round's plan: who takes part, what each is asked to do, and one sentence of reason."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from antiphon.core.config import RunConfig
from antiphon.core.defaults import DENSE
from antiphon.core.errors import ConfigError
from antiphon.core.events import BY_POLICY, MEASURING, TRAINING, RoundPlanned, RunStopped
from antiphon.core.run_sections import AUTO, SeedsConfig
from antiphon.core.section import Choice
from antiphon.core.space import SpaceShapes
from antiphon.core.types import Assignment, CodecChoice, Plain
from antiphon.server.planning.costs import costs_of
from antiphon.server.planning.due import measuring_of
from antiphon.server.planning.members import member
from antiphon.strategies.methods.method import Method, method_of
from antiphon.strategies.methods.ranks import ranks_of
from antiphon.strategies.methods.role import Role
from antiphon.strategies.policy.policy import Decision, Draft, Policy, Stop
from antiphon.strategies.protection.protection import FEWEST
from antiphon.strategies.scheduling.scheduler import Scheduler
from antiphon.strategies.scheduling.telemetry import ClientTelemetry, Telemetry, used_values
from antiphon.strategies.scheduling.work import MemberWork, balanced, equal

_NOTHING = Telemetry()
_NO_SPACE = SpaceShapes({}, {}, "", 0)
_BALANCED_USES = ("step_s", "uplink_bytes_per_s", "downlink_bytes_per_s")


def plan_round(
    config: RunConfig,
    number: int,
    clients: Sequence[str],
    learning_rate_scale: float,
    telemetry: Telemetry = _NOTHING,
    busy: Sequence[str] = (),
    space: SpaceShapes = _NO_SPACE,
    on_trial: Sequence[str] = (),
    settled: Collection[str] = (),
) -> RoundPlanned | RunStopped:
    """Return the plan of round `number`, or that the policy ends the run before it.

    clients: who is here and idle; busy: who has a part of the round already, of an earlier assignment;
    learning_rate_scale: what the stability guard leaves of the configured rate, in (0, 1]; on_trial: who
    has failed since its last accepted update, so that no quorum which the config leaves out counts on it;
    settled: exchanges that need not be asked any more.
    """
    cohort = _Cohort(config, number, clients, busy, telemetry, space)
    policy: Policy = member("policy", config.policy.kind, config.policy.arguments)
    # Another stream than the scheduler's, which is drawn from afresh for each size.
    rng = np.random.Generator(np.random.Philox(key=[config.seed, number], counter=1 << 128))
    decision = policy.decide(telemetry, cohort.draft(), rng)
    if isinstance(decision, Stop):
        return RunStopped(f"{BY_POLICY}: {decision.reason}", by_policy=True)
    members = tuple(sorted(decision.steps))
    enough = cohort.enough(decision.size, len(members))
    scale, asynchronous = learning_rate_scale, config.cohort.asynchronous
    uses = (*cohort.uses, *policy.uses)
    quorum = cohort.quorum(decision.size, len(members), len(set(members) & set(on_trial)))
    return RoundPlanned(
        round=number,
        cohort=members,
        quorum=quorum,
        deadline_s=decision.deadline_s,
        reason=_reason(config, members, clients, decision.reason, scale),
        plan=_tasks(config, number, telemetry, decision, scale),
        enough=enough,
        max_staleness=None if asynchronous is None else asynchronous.max_staleness,
        telemetry=_telemetry(telemetry, members, uses, decision.seen),
        exchanges=_exchanges(
            config, number, quorum, decision.deadline_s, settled, telemetry.run.simulated
        ),
    )


def check_exchanges(config: RunConfig) -> None:
    """Raise ConfigError for an asynchronous run whose method has several exchanges."""
    names = [each.name for each in method_of(config).every_exchange]
    if config.cohort.asynchronous and len(names) > 1:
        raise ConfigError(
            f"method {config.method} has several exchanges in a round ({', '.join(names)}), which all of a "
            "cohort go through together: leave out cohort.asynchronous"
        )


def _exchanges(
    config: RunConfig,
    number: int,
    quorum: int,
    deadline_s: float,
    settled: Collection[str],
    everyone: bool,
) -> dict[str, dict[str, Plain]]:
    check_exchanges(config)
    rows: dict[str, dict[str, Plain]] = {
        each.name: {
            "fewest": each.fewest or quorum,
            "deadline_s": each.deadline_s or deadline_s,
        }
        for each in method_of(config).every_exchange
        if each.name not in settled
    }
    measuring = measuring_of(config, number, everyone=everyone)
    return rows | {TRAINING: {}} | ({MEASURING: measuring} if measuring else {})


class _Cohort:
    """What the config and the scheduler say of one round's cohort."""

    def __init__(
        self,
        config: RunConfig,
        number: int,
        clients: Sequence[str],
        busy: Sequence[str],
        telemetry: Telemetry,
        space: SpaceShapes,
    ) -> None:
        self._config, self._number, self._telemetry = config, number, telemetry
        self._method = method_of(config)
        self._candidates = [telemetry.of(each) for each in sorted(clients)]
        self._busy, here = len(busy), len(clients) + len(busy)
        self._wanted = min(config.cohort.size or here, here)
        self._scheduler: Scheduler = member(
            "scheduler", config.cohort.scheduler.kind, config.cohort.scheduler.arguments
        )
        known = sorted({*telemetry.clients, *clients, *busy})
        simulated = telemetry.run.simulated
        self._costs = costs_of(config, space, number, known, simulated=simulated)
        self._chosen: dict[int, tuple[str, ...]] = {}

    @property
    def uses(self) -> tuple[str, ...]:
        """Fields of ClientTelemetry that the choice and the work rest on."""
        balanced = self._config.cohort.work == "balanced"
        return (*self._scheduler.uses, *(_BALANCED_USES if balanced else ()))

    def draft(self) -> Draft:
        """Return what the policy may change."""
        config = self._config
        size = max(0, min(self._wanted - self._busy, len(self._candidates)))
        uplink = config.compression.uplink
        fewest = min(size, max(1, self.quorum(size, size) - self._busy))
        return Draft(
            round=self._number,
            rounds=config.rounds,
            size=size,
            smallest=size if self._scheduler.whole else fewest,
            max_steps=self._method.most_steps,
            deadline_s=config.cohort.deadline_s,
            codec=CodecChoice(uplink.kind, uplink.arguments) if self._method.packs else None,
            costs=self._costs,
            cohort=self._choose,
            work=self._work,
            busy=self._busy,
            buffer=self._buffer if config.cohort.asynchronous else None,
        )

    def quorum(self, size: int, members: int, on_trial: int = 0) -> int:
        """Return the updates that a round of this size needs: without a quorum, of all not on trial."""
        most = self._buffer if self._config.cohort.asynchronous else min(size, members)
        most = min(most, members + self._busy)
        certain = max(most - on_trial, min(majority(most), most))
        if (asked := self._config.privacy.secure_aggregation) is not None:
            certain = math.ceil(asked.threshold * members)
            return max(1, certain, min(self._config.cohort.quorum or certain, most))
        return max(1, min(self._config.cohort.quorum or certain, most))

    def enough(self, size: int, members: int) -> int:
        """Return the updates that close the round at once; 0: it waits for all."""
        cohort = self._config.cohort
        if cohort.asynchronous:
            return max(1, min(self._buffer, members + self._busy))
        return min(size, members) if cohort.over_selection > 1 else 0

    @property
    def _buffer(self) -> int:
        asynchronous = self._config.cohort.asynchronous
        half = math.ceil(self._wanted / 2)
        return (asynchronous and asynchronous.buffer) or max(half, self._config.cohort.quorum or 1)

    def _choose(self, size: int) -> tuple[str, ...]:
        """Return the scheduler's choice, asked for once: a policy looks at many codecs for a size."""
        if size not in self._chosen:
            self._chosen[size] = self._choose_afresh(size)
        return self._chosen[size]

    def _choose_afresh(self, size: int) -> tuple[str, ...]:
        asked = math.ceil(size * self._config.cohort.over_selection)
        rng = np.random.Generator(np.random.Philox(key=[self._config.seed, self._number]))
        run = replace(self._telemetry.run, round=self._number)
        at_most = min(asked, len(self._candidates))
        return self._scheduler.choose(self._candidates, at_most, run, rng)

    def _work(self, cohort: Sequence[str], codec: CodecChoice | None, most: int) -> dict[str, int]:
        workers = [self._worker(client, codec, most) for client in cohort]
        return balanced(workers) if self._config.cohort.work == "balanced" else equal(workers)

    def _worker(self, client: str, codec: CodecChoice | None, most: int) -> MemberWork:
        known = self._telemetry.of(client)
        steps = min(most, _role(self._config, self._method, known).trainer.steps)
        return self._costs.worker(known, codec, steps)


def assignment_of(
    config: RunConfig, plan: RoundPlanned, client: str, folded_round: int = 0
) -> Assignment:
    """Return what the plan asks of one client. folded_round: see Assignment.

    The learning-rate schedule is of the config's steps: whoever takes fewer in a round begins the next
    one where the others do.
    """
    task = plan.plan[client]
    role = method_of(config).role(str(task["method"]))
    usual = role.trainer.steps
    return Assignment(
        round=plan.round,
        client=client,
        method=role.name,
        steps=int(task["steps"] or 0),
        first_step=(plan.round - 1) * usual,
        total_steps=config.rounds * usual,
        learning_rate=float(task["learning_rate"] or 0.0),
        r=int(task["r"] or 0),
        seed=client_seed(config.seed, client),
        max_tokens=int(task.get("max_tokens") or 0),
        codec=_codec(task),
        folded_round=folded_round,
        pool=int(task.get("pool") or 0),
    )


_ARGUMENT = "codec."


def codec_row(choice: Choice | CodecChoice) -> dict[str, Plain]:
    """Return what a plan's row says of a codec: `codec`, and `codec.<argument>` for each argument."""
    return {"codec": choice.kind} | {_ARGUMENT + k: v for k, v in choice.arguments.items()}


def _codec(task: Mapping[str, Plain]) -> CodecChoice:
    arguments = {k.removeprefix(_ARGUMENT): v for k, v in task.items() if k.startswith(_ARGUMENT)}
    return CodecChoice(str(task.get("codec") or DENSE), arguments)


def client_seed(run_seed: int, client: str) -> int:
    """Return the 63-bit seed of one client's shuffling and draws, the same in every engine."""
    digest = hashlib.sha256(f"{run_seed}/{client}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def clients_needed(config: RunConfig) -> int:
    """Return how many clients a run on a network waits for before it plans a round."""
    cohort = config.cohort
    return max(cohort.min_clients or cohort.size or config.data.clients or 2, cohort.quorum or 1)


def majority(clients: int) -> int:
    """Return the least number that is more than half of these."""
    return clients // 2 + 1


def fewest_folded(config: RunConfig, needed: int | None = None) -> int:
    """Return the least number of updates that a round folds together, whoever drops out or is benched.

    It is the quorum, and without one a majority of the smallest cohort: a client that keeps failing does
    not stop the others. needed: clients without whom no round is planned; none: as on a network.
    """
    needed = clients_needed(config) if needed is None else needed
    smallest_cohort = min(config.cohort.size or needed, needed)
    policy: Policy = member("policy", config.policy.kind, config.policy.arguments)
    if policy.smallest is not None:
        smallest_cohort = min(smallest_cohort, policy.smallest)
    if asynchronous := config.cohort.asynchronous:
        half = max(math.ceil(smallest_cohort / 2), config.cohort.quorum or 1)
        smallest_cohort = min(asynchronous.buffer or half, smallest_cohort)
    return min(config.cohort.quorum or majority(smallest_cohort), smallest_cohort)


def check_cohort(config: RunConfig, clients: Sequence[str]) -> None:
    """Raise ConfigError where the config asks for more clients than there are, or for unknown ones."""
    for key, wanted in (("size", config.cohort.size), ("quorum", config.cohort.quorum)):
        if wanted is not None and wanted > len(clients):
            raise ConfigError(
                f"cohort.{key} is {wanted}, but the data has {len(clients)} clients "
                f"({', '.join(clients)}): lower it, or split the data over more clients"
            )
    groups = [each.who for each in method_of(config).roles if each.who]
    named = {each.key: each.clients for each in groups}
    for key, names in {"lora.client_ranks": config.lora.client_ranks, **named}.items():
        if unknown := sorted(set(names) - set(clients)):
            raise ConfigError(
                f"{key} names {', '.join(unknown)}, but the clients are {', '.join(clients)}"
            )


def _role(config: RunConfig, method: Method, client: ClientTelemetry) -> Role:
    asked = config.model.base.kind
    facts: dict[str, Plain] = {
        "memory_bytes": client.memory_bytes,
        "device": client.device,
        "base": client.base or (None if asked == AUTO else asked),
    }
    return method.role_of(client.client, facts)


def _tasks(
    config: RunConfig, number: int, telemetry: Telemetry, decision: Decision, scale: float
) -> dict[str, dict[str, Plain]]:
    """Return what each member of the cohort does."""
    members = sorted(decision.steps)
    tasks = {each: _task(config, number, telemetry.of(each), decision, scale) for each in members}
    if method_of(config).space.num_seeds is not None:
        size = pool_size(config.seeds, list(decision.steps.values()))
        tasks = {client: {**task, "pool": size} for client, task in tasks.items()}
    return tasks


def pool_size(seeds: SeedsConfig, steps: Sequence[int]) -> int:
    """Return how many of the K seeds a round of clients with these steps uses; 0: all of them.

    Each is tried by `seeds.overlap` of the clients on average, and no client has to repeat one. Two
    clients cannot say which of them is unusual, so that they need no seeds in common.
    """
    if len(steps) < FEWEST or seeds.overlap <= 1:
        return 0
    size = max(max(steps), math.ceil(sum(steps) / seeds.overlap))
    return 0 if size >= seeds.num_seeds else size


def _task(
    config: RunConfig, number: int, client: ClientTelemetry, decision: Decision, scale: float
) -> dict[str, Plain]:
    role, codec = _role(config, method_of(config), client), decision.codec
    return {
        "method": role.name,
        "steps": decision.steps[client.client],
        "learning_rate": scale * role.trainer.learning_rate(number),
        "r": ranks_of(config.lora).of(client.client, role.form),
        "max_tokens": config.cohort.max_tokens,
        **(codec_row(codec) if role.form.packs and codec else {}),
    }


def _reason(
    config: RunConfig, cohort: Sequence[str], clients: Sequence[str], why: str, scale: float
) -> str:
    chosen = f"{config.cohort.scheduler.kind}: {len(cohort)} of {len(clients)} clients"
    guarded = f"; the stability guard left {scale:g} of the learning rate" if scale < 1 else ""
    return f"{chosen}, {why}{guarded}"


def _telemetry(
    telemetry: Telemetry,
    cohort: Sequence[str],
    uses: Sequence[str],
    seen: Mapping[str, Mapping[str, Plain]],
) -> dict[str, dict[str, Plain]]:
    """Return what the plan rests on: a row per member, where anything of it was used, and the run's."""
    rows = {client: used_values(telemetry.of(client), set(uses)) for client in cohort}
    for name, row in seen.items():
        rows[name] = rows.get(name, {}) | dict(row)
    return {name: row for name, row in rows.items() if row}
