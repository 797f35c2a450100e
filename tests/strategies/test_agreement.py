"""Whose update points against the others counts next to nothing, by seeds and by deltas."""

import numpy as np
import pytest
from tests.strategies.served import lora, seeds, walk
from tests.strategies.served import sent as sent_delta

from antiphon.core.errors import ConfigError
from antiphon.core.types import Update
from antiphon.strategies.aggregation.product import product
from antiphon.strategies.protection.agree import LEAST, agree
from antiphon.strategies.protection.agreement import UNKNOWN, Agreement, agreements
from antiphon.strategies.protection.protection import Share, Usual, protected
from antiphon.strategies.server_opt.optimizers import sgd

K, CLIENTS, STEPS, POOL = 400, 10, 50, 250
A, B = "m.lora_A.weight", "m.lora_B.weight"


def points(*, noise=1.0, clients=CLIENTS):
    """What clients found along seeds of their own out of a pool: a common slope, and noise of the batch."""
    rng = np.random.default_rng(3)
    slope, found = rng.normal(size=K), np.zeros((clients, K))
    for each in found:
        tried = rng.permutation(POOL)[:STEPS]
        each[tried] = slope[tried] + noise * rng.normal(size=STEPS)
    return found


def counts(found):
    """What is left of equal weights."""
    cohort = [Share(f"c{at}", 1.0, agreement=each) for at, each in enumerate(agreements(found))]
    return np.array([each.weight for each in agree().limit(cohort, Usual())])


@pytest.mark.parametrize("liars", [1, 2, 3])
def test_the_way_back_counts_next_to_nothing(liars):
    """Up to three of ten who send what they found with the other sign; the others keep their say."""
    found = points()
    found[:liars] *= -1

    left = counts(found)

    assert left[:liars].max() < 0.2
    assert left[liars:].mean() > 0.95


def test_honest_clients_count_in_full():
    """Chance makes single ones agree less, hardly any so much less that it shows."""
    assert counts(points()).mean() > 0.95


def test_two_who_agree_on_purpose_do_not_outvote_the_others():
    """They move along the seeds that both have tried, and along no others, far and against the slope."""
    found = points()
    shared = (found[0] != 0) & (found[1] != 0)
    found[:2] = -10 * np.where(shared, np.sign(found[0] + found[1]), 0.0)

    assert counts(found)[:2].max() < 0.6


def test_length_changes_no_agreement():
    """Whoever sends ten thousand times as much has one voice."""
    found = points()
    longer = found.copy()
    longer[0] *= 1e4

    np.testing.assert_allclose(counts(longer), counts(found), rtol=1e-9)


def test_nothing_in_common_is_unknown():
    """A client whose seeds nobody else has tried keeps its say, as does one that found nothing."""
    found = points()
    found[0] = 0
    found[1] = np.where(np.arange(K) == K - 1, 5.0, 0.0)

    assert agreements(found)[:2] == [UNKNOWN, UNKNOWN]
    assert counts(found)[:2].tolist() == [1.0, 1.0]


def test_a_cohort_that_agrees_on_nothing_condemns_nobody():
    """Without a common slope nobody is known to be wrong."""
    cohort = [Share(f"c{at}", 1.0, agreement=Agreement(v, 0.5)) for at, v in enumerate([-2, -1, 3])]

    assert agree().limit(cohort, Usual()) == cohort


def test_two_clients_cannot_say_who_is_wrong():
    """They disagree with each other, both alike."""
    cohort = [Share(f"c{at}", 1.0, agreement=Agreement(0.4, 0.1)) for at in range(2)]

    assert protected([agree()], cohort, Usual()).held_back == ()


def by_seeds(updates):
    method = seeds(num_seeds=K, key=5, optimizer=sgd(), protections=[agree()])
    return method.fold(method.init({}), updates, 1.0)


def test_a_round_by_seeds_goes_on_as_if_the_attacker_were_not_there():
    """The mean is that of the nine others, and the journal names who was held back."""
    found = points()
    found[0] *= -1
    index = np.arange(K, dtype=np.uint32)
    sent = [
        Update(f"c{at}", 1, 100, STEPS, walk(index, each.astype(np.float32)))
        for at, each in enumerate(found)
    ]

    folded = by_seeds(sent)

    others = -found[1:].mean(axis=0)
    apart = np.linalg.norm(folded.state["params/coefficients"] - others) / np.linalg.norm(others)
    assert apart < 0.01
    assert "c0" in folded.held_back


def test_a_round_of_deltas_can_be_protected_too():
    """Of LoRA factors the changes of the products are compared."""
    rng = np.random.default_rng(1)
    start = {A: rng.normal(size=(4, 16)), B: rng.normal(size=(24, 4))}
    start = {name: value.astype(np.float32) for name, value in start.items()}
    common = {name: 0.02 * rng.normal(size=value.shape) for name, value in start.items()}
    method = lora(
        aggregation=product(), optimizer=sgd(), lora_alpha=8.0, r=4, protections=[agree()]
    )
    sent = [
        Update(f"c{at}", 1, 100, 1, sent_delta({
            name: ((-1 if at == 0 else 1) * (value + 0.01 * rng.normal(size=value.shape))).astype("f4")
            for name, value in common.items()
        }))
        for at in range(5)
    ]  # fmt: skip

    assert method.fold(method.init(start), sent, 0.0).held_back == ("c0",)


def test_runs_by_seeds_have_it_by_default(tiny_config):
    """Runs of deltas do not, and what a config says goes."""
    kinds = [
        [each.kind for each in tiny_config(*given).protection]
        for given in (("method=seeds",), (), ("method=seeds", "protection=[clip]"))
    ]

    assert kinds == [["clip", "cap", "agree"], ["clip", "cap"], ["clip"]]


def test_mixed_rounds_cannot_have_it(tiny_config):
    """Scalars and deltas of honest clients stand nearly at right angles."""
    with pytest.raises(ConfigError, match="mixed"):
        tiny_config(
            "method=mixed", "seeds.space=adapter", "mixed.seeds=[a]", "protection=[clip, agree]"
        )


def test_what_is_left_is_above_zero():
    """A mean cannot take a weight of nothing."""
    found = points(noise=0.1)
    found[0] *= -1

    assert counts(found)[0] == LEAST
