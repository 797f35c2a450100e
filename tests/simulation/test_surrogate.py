"""Runs without a model: quadratics that clients minimise, on the real rounds, folds, bytes and times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon.client.shapes import space_of
from antiphon.core.config import RunConfig
from antiphon.core.errors import ConfigError, UpdateError
from antiphon.core.events import BytesMoved
from antiphon.core.journal import Journal
from antiphon.core.types import Assignment, Package, Update
from antiphon.server.report.report import read
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import load_split
from antiphon.simulation.surrogate import Surrogate
from antiphon.strategies.methods.method import method_of

CLIENTS = 6


@pytest.fixture
def config(tiny_config: Any, tmp_path: Path) -> Any:
    """Return a config of such a run, with overrides."""

    def made(*overrides: str) -> RunConfig:
        config: RunConfig = tiny_config(
            "method=fedsb",
            "engine.surrogate={}",
            f"data.clients={CLIENTS}",
            "training.learning_rate=0.2",
            "output.plots=false",
            f"output.runs_dir={tmp_path / 'runs'}",
            *overrides,
        )
        return config

    return made


def assignment(config: RunConfig, *, client: str = "client-00", number: int = 1) -> Assignment:
    """Return what a round asks of a client."""
    role = method_of(config).roles[0]
    steps = role.trainer.steps
    return Assignment(
        round=number,
        client=client,
        method=role.name,
        steps=steps,
        first_step=(number - 1) * steps,
        total_steps=config.rounds * steps,
        learning_rate=config.training.learning_rate,
        r=config.lora.r,
        seed=1,
    )


def untouched(config: RunConfig) -> Package:
    """Return the model before the first round."""
    numbers = method_of(config).space.numbers(space_of(config))
    return Package("", {name: np.zeros(shape, np.float32) for name, shape in numbers.items()})


def trained(config: RunConfig, *, client: str = "client-00", number: int = 1) -> Update:
    """Return what one client makes of the untouched model."""
    split = load_split(config)
    surrogate = Surrogate(config, space_of(config))
    data = surrogate.encoded(next(each for each in split.clients if each.name == client))
    asked = assignment(config, client=client, number=number)
    return surrogate.train(asked, untouched(config), data, lambda done, loss: None, Path("none"))


def flat(update: Update) -> Any:
    """Return an update's numbers side by side, float64."""
    arrays = update.payload.arrays
    return np.concatenate([arrays[name].ravel() for name in sorted(arrays)]).astype(np.float64)


@pytest.mark.slow
def test_a_run_without_a_model_learns(config: Any) -> None:
    """The held-out loss falls to less than half in four rounds, and a report says so."""
    run = config("rounds=4")

    found = read(simulate(run, load_split(run)))

    before, after = found["initial"], found["final"]
    assert before
    assert after
    assert after["loss"] < before["loss"] / 2


@pytest.mark.slow
def test_a_surrogate_run_moves_the_bytes_of_a_real_one(config: Any, tiny_config: Any) -> None:
    """With the same space and codec, a client's messages are as long as those of a trained model."""
    same = ("rounds=1", "evaluation.before_first_round=false", "output.plots=false")
    without = config(*same, "data.clients=2")
    runs = f"output.runs_dir={without.output.runs_dir}"
    trains = ("method=fedsb", "data.partition=iid", "data.clients=2", "name=real", runs)
    real = tiny_config(*trains, *same)

    moved = [read(simulate(each, load_split(each)))["bytes"] for each in (without, real)]

    assert moved[0]["up"] == pytest.approx(moved[1]["up"], rel=0.01)
    assert moved[0]["down"] == pytest.approx(moved[1]["down"], rel=0.01)


def test_steps_without_noise_are_gradient_steps(config: Any) -> None:
    """Ten steps down a quadratic of curvature 1 go 1 − (1 − η)¹⁰ of the way to the client's optimum."""
    quadratic = "engine.surrogate={noise: 0, condition: 1}"
    one = flat(trained(config(quadratic, "training.max_steps=1")))
    ten = flat(trained(config(quadratic, "training.max_steps=10")))

    assert np.allclose(ten, one / 0.2 * (1 - 0.8**10), rtol=1e-4)


def test_curvatures_fill_the_range_that_is_asked_for(config: Any) -> None:
    """Beside a round quadratic, each number moves between 1/condition and 1 of the way in one step."""
    step = "training.max_steps=1"
    even = flat(trained(config("engine.surrogate={noise: 0, condition: 1}", step)))
    uneven = flat(trained(config("engine.surrogate={noise: 0, condition: 50}", step)))

    share = uneven / even

    assert 1 / 50 * 0.99 < share.min() < 1 / 25
    assert 0.8 < share.max() < 1.001


def test_a_round_s_noise_has_the_variance_of_its_steps(config: Any) -> None:
    """Drawn once for the round, it spreads as noise that is added at each step and shrinks after it."""
    noisy = config("engine.surrogate={noise: 0.5, condition: 1}", "training.max_steps=7")
    quiet = config("engine.surrogate={noise: 0, condition: 1}", "training.max_steps=7")

    apart = flat(trained(noisy)) - flat(trained(quiet))

    eta, kept = 0.2, 1 - 0.2  # every λ is 1
    expected = (eta * 0.5) ** 2 * sum(kept ** (2 * step) for step in range(7))
    assert np.var(apart) == pytest.approx(expected, rel=0.2)


def test_what_a_client_sends_depends_on_its_name_and_round_only(config: Any) -> None:
    """The same client and round give the same bits; another client, or another round, gives others."""
    run = config()

    first, again = flat(trained(run)), flat(trained(run))
    other, later = flat(trained(run, client="client-01")), flat(trained(run, number=2))

    assert first.tobytes() == again.tobytes()
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, later)


@pytest.mark.parametrize(
    "override",
    [
        "method=seeds",
        "method=lora",
        "frames=gradient",
        "engine.kind=flower",
    ],
)
def test_runs_that_need_a_model_are_refused(config: Any, override: str) -> None:
    """What looks at losses, asks for gradients or does not add is refused before anything is written."""
    run = config(override)

    with pytest.raises(ConfigError, match=r"engine\.surrogate"):
        load_split(run)


def test_how_many_clients_there_are_must_be_said(config: Any) -> None:
    """No data are read that could tell."""
    run = config("data.clients=null")

    with pytest.raises(ConfigError, match=r"data\.clients"):
        load_split(run)


def test_a_fleet_shares_out_the_examples(config: Any, tmp_path: Path) -> None:
    """A client with half of its share counts half in the mean."""
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(
        "clients:\n- {name: client-00, step_s: 1, data_share: 0.5}\n- {name: '*', step_s: 1}\n"
    )
    run = config(f"engine.fleet={fleet}")

    held = [len(each.train) for each in load_split(run).clients]

    assert held == [50, *[100] * (CLIENTS - 1)]


def test_a_diverging_client_says_that_the_rate_is_too_high(config: Any) -> None:
    """An update that is not finite never leaves the client."""
    run = config("training.learning_rate=1e30")

    with pytest.raises(UpdateError, match="lower the learning rate"):
        trained(run)


def test_a_simulation_keeps_its_budget_with_the_last_measurement(config: Any) -> None:
    """What a run under a budget of bytes moves is within it, the model measured at the end included."""
    chosen = config("rounds=2", "lora.r=32", "policy={kind: adaptive, bytes: 1_100_000}")

    folder = simulate(chosen, load_split(chosen))

    with Journal.reading(folder.journal_file) as journal:
        moved = sum(entry.event.bytes for entry in journal.read(kinds=[BytesMoved]))
    assert 0 < moved <= 1_100_000
