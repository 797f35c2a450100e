"""What every installed policy has in common."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies.members import fleets
from tests.strategies.members.installed import cases

from antiphon.core import registry
from antiphon.core.event_json import decode, encode
from antiphon.core.events import RoundPlanned, RunStopped
from antiphon.core.space import SpaceShapes
from antiphon.core.types import CodecChoice
from antiphon.server.planning.plans import assignment_of, plan_round
from antiphon.strategies.policy.costs import Costs
from antiphon.strategies.policy.policy import Decision, Draft, Stop
from antiphon.strategies.scheduling.telemetry import Telemetry
from antiphon.strategies.scheduling.work import balanced

SPACE = SpaceShapes({"m.lora_A.weight": (8, 100), "m.lora_B.weight": (100, 8)}, {}, "tiny", 10_000)
KNOWN = fleets.known_from(fleets.told())
MOST_STEPS = 10


@pytest.fixture(scope="module", params=cases("policy"), ids=str)
def case(request):
    return request.param


@pytest.fixture(scope="module")
def policy(case):
    return case.build()


def rng():
    """A generator that always begins alike."""
    return np.random.Generator(np.random.Philox(1))


def bytes_up(client, codec, steps):
    bits = float((codec and codec.arguments.get("bits")) or 32.0)
    return int(1000 * bits)


def draft(telemetry, **fields):
    """Eight clients of ten steps at most, of which two are enough; their work ends together."""
    costs = Costs(down=lambda client: 5000, up=bytes_up, evaluation=100)

    def work(cohort, codec, most):
        steps = min(most, MOST_STEPS)
        return balanced([costs.worker(telemetry.of(each), codec, steps) for each in cohort])

    usual = Draft(
        round=max(1, telemetry.run.round),
        rounds=fleets.ROUNDS,
        size=8,
        smallest=2,
        max_steps=MOST_STEPS,
        deadline_s=900.0,
        codec=CodecChoice("bf16"),
        costs=costs,
        cohort=lambda size: fleets.NAMES[:size],
        work=work,
    )
    return replace(usual, **fields)


drafts = st.fixed_dictionaries(
    {
        "size": st.integers(2, 8),
        "smallest": st.integers(1, 2),
        "deadline_s": st.floats(1e-3, 1e6),
        "codec": st.none() | st.just(CodecChoice("bf16")),
    }
)
few = settings(max_examples=25)


def decide(policy, telemetry=KNOWN, **fields):
    return policy.decide(telemetry, draft(telemetry, **fields), rng())


def planned(case, tiny_config, telemetry=KNOWN):
    """The round that a run with this policy plans next."""
    kind = json.dumps({"kind": case.name, **case.arguments})
    config = tiny_config(f"policy={kind}", "cohort={scheduler: random, size: 5}", "rounds=9")
    return config, plan_round(config, 4, fleets.NAMES, 1.0, telemetry, space=SPACE)


def words_of(reason):
    """Fail unless it is one clause on one line; return it."""
    assert reason == reason.strip()
    assert reason.isprintable()
    assert not reason.endswith((".", ",", ";", ":"))
    assert ". " not in reason
    return reason


@few
@given(telemetry=fleets.telemetries, fields=drafts)
def test_a_decision_can_be_carried_out(policy, telemetry, fields):
    """Whatever was measured: known clients, steps and sizes within the draft, a deadline, a codec."""
    decision = decide(policy, telemetry, **fields)

    if isinstance(decision, Stop):
        return
    least = min(fields["smallest"], policy.smallest or fields["smallest"])
    assert least <= decision.size <= fields["size"]
    assert decision.steps.keys() <= set(fleets.NAMES)
    assert all(1 <= steps <= MOST_STEPS for steps in decision.steps.values())
    assert 0 < decision.deadline_s < float("inf")
    if decision.codec:
        registry.build("codec", decision.codec.kind, decision.codec.arguments)


@few
@given(telemetry=fleets.telemetries, fields=drafts)
def test_the_same_telemetry_gives_the_same_decision(policy, telemetry, fields):
    """A policy is pure: asked again with an equal generator, it decides the same."""
    first, second = (decide(policy, telemetry, **fields) for _ in range(2))

    assert first == second


def test_nothing_is_kept_between_decisions(policy):
    """Nine rounds, decided a second time, are the same rounds."""
    first, second = (
        [decide(policy, round=number) for number in range(1, fleets.ROUNDS + 1)] for _ in range(2)
    )

    assert first == second


@few
@given(telemetry=fleets.telemetries, fields=drafts)
def test_a_reason_is_one_clause(policy, telemetry, fields):
    """It ends a sentence of the plan: some words on one line, and no full stop."""
    assert words_of(decide(policy, telemetry, **fields).reason)


@few
@given(telemetry=fleets.telemetries, fields=drafts)
def test_what_a_decision_rests_on_can_be_journaled(policy, telemetry, fields):
    """Its steps, its reason and the rows of what it saw come back from an event's JSON as they were."""
    decision = decide(policy, telemetry, **fields)
    if isinstance(decision, Stop):
        event = RunStopped(decision.reason)
    else:
        rows = {each: {"steps": steps} for each, steps in decision.steps.items()}
        members, deadline_s = tuple(rows), decision.deadline_s
        event = RoundPlanned(
            1, members, 1, deadline_s, decision.reason, rows, telemetry=decision.seen
        )

    assert decode(*encode(event)) == event


@few
@given(key=st.integers(0, 10**6))
def test_a_decision_rests_on_the_fields_that_it_names(policy, key):
    """The plan keeps what `uses` names: with nothing else known of the clients, it decides the same."""
    clients = {each.client: each for each in fleets.honest(key)}
    whole = Telemetry(KNOWN.run, clients)
    named = Telemetry(KNOWN.run, {k: fleets.only(v, policy.uses) for k, v in clients.items()})

    one, other = (policy.decide(each, draft(whole), rng()) for each in (named, whole))

    assert one == other


def test_uses_are_fields_of_a_client(policy):
    """Names that no client has would be rows of nothing."""
    assert set(policy.uses) <= set(fleets.MEASURED)


def test_no_codec_where_nobody_sends_tensors(policy):
    """A run of seeds has nothing to pack."""
    decision = decide(policy, codec=None)

    assert isinstance(decision, Decision)
    assert decision.codec is None


def test_a_plan_read_back_asks_for_what_was_decided(case, tiny_config):
    """The event of the journal is equal, and each client's assignment follows from it alone."""
    config, plan = planned(case, tiny_config)

    again = decode(*encode(plan))

    assert again == plan
    assert isinstance(again, RoundPlanned)
    assert plan.cohort
    for client in plan.cohort:
        assert assignment_of(config, again, client) == assignment_of(config, plan, client)
        assert assignment_of(config, again, client).steps == plan.plan[client]["steps"]


def test_a_resumed_run_decides_the_same(case, tiny_config):
    """Telemetry of events that went through the journal's JSON leads to an equal plan."""
    replayed = [(decode(*encode(event)), at_s) for event, at_s in fleets.told()]

    _, plan = planned(case, tiny_config, fleets.known_from(replayed))

    assert plan == planned(case, tiny_config)[1]


@few
@given(heard=fleets.journals)
def test_no_journal_stops_a_policy_from_deciding(policy, heard):
    """Whatever clients claim and however clocks jump, the next round is decided, and the same after a
    restart."""
    replayed = [(decode(*encode(event)), at_s) for event, at_s in heard]

    one, other = (decide(policy, fleets.known_from(each)) for each in (heard, replayed))

    assert one == other
