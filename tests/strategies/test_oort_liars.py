"""What a client claims to be chosen gains it little: shares of rounds over a long run."""

from dataclasses import replace

import numpy as np
import pytest

from antiphon.strategies.scheduling.oort import oort
from antiphon.strategies.scheduling.telemetry import ClientTelemetry, RunTelemetry

HELD_OUT = 1.0
CLIENTS, SIZE, ROUNDS = 10, 2, 400
FAIR = SIZE / CLIENTS
LIES = {
    "a loss of 1e6": {"rms_loss": 1e6},
    "a billion examples": {"examples": 10**9},
    "both": {"rms_loss": 1e6, "examples": 10**9},
    "what is just believed": {"rms_loss": 2.99 * HELD_OUT, "examples": 2 * 10**3},
}


def share_of_rounds(scheduler, lie):
    """The share of rounds that ask the first client, which always claims the lie."""
    rng = np.random.Generator(np.random.Philox(7))
    clients = {f"c{i}": ClientTelemetry(f"c{i}", examples=1000) for i in range(CLIENTS)}
    clients["c0"] = replace(clients["c0"], examples=lie.get("examples", 1000))
    asked = 0
    for number in range(1, ROUNDS + 1):
        run = RunTelemetry(round=number, rounds=ROUNDS, losses=((number - 1, HELD_OUT),))
        for name in scheduler.choose(list(clients.values()), SIZE, run, rng):
            before = clients[name]
            loss = float(rng.uniform(0.8, 1.2))
            claimed = lie.get("rms_loss", loss) if name == "c0" else loss
            clients[name] = replace(
                before, asked=before.asked + 1, last_round=number, loss=loss, rms_loss=claimed
            )
            asked += name == "c0"
    return asked / ROUNDS


@pytest.mark.parametrize("lie", LIES)
def test_a_liar_gets_no_more_than_twice_its_fair_share(lie):
    """Of 400 rounds with two of ten clients each."""
    assert share_of_rounds(oort(), LIES[lie]) <= 2.1 * FAIR


def test_a_claim_that_the_held_out_loss_does_not_confirm_gains_nothing():
    """A loss of 1e6 beside a held-out loss of one is forgotten."""
    assert share_of_rounds(oort(), LIES["a loss of 1e6"]) <= 1.3 * FAIR


def test_without_the_bounds_the_liar_is_asked_always():
    """What the tests above show is the bounds' doing."""
    believing = oort(most_examples=1e12, most_loss=1e12, most_share=1e12)

    assert share_of_rounds(believing, LIES["both"]) > 0.9


def test_an_unknown_client_gains_little_by_claiming():
    """A first draw: a billion examples and a millionth of a second a step are four chances."""
    usual = [ClientTelemetry(f"c{i}", examples=1000, step_s=1.0) for i in range(1, 10)]
    liar = ClientTelemetry("c0", examples=10**9, step_s=1e-6)
    rng = np.random.Generator(np.random.Philox(7))

    drawn = [oort().choose([liar, *usual], 1, RunTelemetry(), rng) for _ in range(1000)]

    assert drawn.count(("c0",)) / 1000 < 4.5 / 13


@pytest.mark.parametrize("said", [1.3e308, 5e-324])
def test_a_time_that_no_step_takes_is_no_number_to_reckon_with(said):
    """Two clients whose median would be infinite, or whose speed would be."""
    claims = [ClientTelemetry(f"c{i}", examples=1000, step_s=said) for i in range(2)]
    rng = np.random.Generator(np.random.Philox(7))

    drawn = oort().choose(claims, 1, RunTelemetry(round=1, rounds=ROUNDS), rng)

    assert len(drawn) == 1
