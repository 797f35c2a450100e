"""A delta on seeded directions: unbiased, of the right length, and never the same directions twice."""

import numpy as np
import pytest
from tests.strategies.members.installed import CONFIG

from antiphon.core.errors import UpdateError
from antiphon.core.run_sections import ProjectionConfig
from antiphon.core.types import Assignment, Package, Update
from antiphon.strategies.forms.form import Arrived
from antiphon.strategies.forms.projection import projected, projection, seeds_of

SHAPES = {"m.lora_A.weight": (4, 30), "m.lora_B.weight": (20, 4)}
NUMBERS = 4 * 30 + 20 * 4
ASKED = Assignment(1, "north", "ferret", 5, 0, 5, 1e-3, 4, 0)


def config_of(directions):
    """A run that projects on so many directions."""
    return CONFIG.model_copy(update={"projection": ProjectionConfig(directions=directions)})


def delta(seed=0):
    """What a client has learnt."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def flat(tensors):
    """All numbers as one vector."""
    return np.concatenate([np.asarray(tensors[name]).ravel() for name in sorted(SHAPES)])


def rebuilt(config, package, client="north", number=1):
    """What a coordinator makes of a package."""
    start = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    update = Update(client, number, 10, 5, package)
    return projection(config=config).delta(Arrived(update, start, 1.0, 1.0, None))


def test_the_mean_over_many_directions_is_the_delta():
    """Unbiased, with the right scale: three times too small would show."""
    config, sent = config_of(40), delta()
    rounds = range(1, 1500)

    mean = np.mean(
        [flat(rebuilt(config, projected(sent, "north", n, config), number=n)) for n in rounds],
        axis=0,
    )

    along = mean @ flat(sent) / (flat(sent) @ flat(sent))
    assert along == pytest.approx(1.0, abs=0.03)
    assert np.linalg.norm(mean - flat(sent)) < 0.1 * np.linalg.norm(flat(sent))


@pytest.mark.parametrize("directions", [20, 200, 2000])
def test_the_cosine_is_that_of_the_paper(directions):
    """√(K / (K + d)), for more and fewer directions than numbers."""
    config, found = config_of(directions), []
    for at in range(30):
        one, other = (
            flat(delta(at)),
            flat(rebuilt(config, projected(delta(at), "north", 1, config))),
        )
        found.append(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))

    assert np.mean(found) == pytest.approx((directions / (directions + NUMBERS)) ** 0.5, rel=0.06)


def test_directions_are_new_for_each_client_and_round():
    """So that a mean over them loses the noise."""
    seen = [seeds_of(client, n, 50) for client in ("north", "south") for n in (1, 2)]

    assert len(np.unique(np.concatenate(seen))) == 4 * 50


def test_as_many_bytes_travel_as_is_said():
    """Four for each direction, whatever the adapter."""
    config = config_of(64)

    package = projected(delta(), "north", 1, config)

    assert package.arrays["value"].nbytes == projection(config=config).size(10**9, None, 5) == 256


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"value": np.zeros(63, np.float32)}, "expected 64"),
        ({"value": np.full(64, np.nan, np.float32)}, "finite"),
        ({"value": np.zeros(64, np.uint32)}, "float32 value"),
        ({"index": np.zeros(64, np.float32)}, "float32 value"),
    ],
)
def test_what_was_not_asked_for_is_refused(arrays, reason):
    """Another number of numbers, no numbers, other arrays."""
    update = Update("north", 1, 10, 5, Package("projection", arrays))

    with pytest.raises(UpdateError, match=reason):
        projection(config=config_of(64)).check(update, ASKED)
