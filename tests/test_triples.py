"""Every space with every trainer and every form: it trains, or is refused with a sentence."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from antiphon.core import registry
from antiphon.core.config import load
from antiphon.core.errors import ConfigError
from antiphon.core.run_folder import RunFolder
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import load_split

TINY = Path(__file__).parent.parent / "examples" / "tiny.yaml"
SHORT = (
    "rounds=1",
    "training.max_steps=1",
    "seeds.max_steps=2",
    "seeds.space=adapter",
    "projection.directions=64",
    "data.eval_examples=4",
    "data.max_train_examples=20",
    "evaluation.before_first_round=false",
    "evaluation.every=2",
    "output.plots=false",
)
KINDS = ("space", "trainer", "form")
TRIPLES = tuple(product(*(registry.members(kind) for kind in KINDS)))


def config_of(triple: tuple[str, ...], *overrides: str) -> Any:
    """A short run of the tiny task."""
    space, trainer, form = triple
    written = f"method={{space: {space}, trainer: {trainer}, form: {form}}}"
    return load(TINY, (*SHORT, written, *overrides))


def fits(triple: tuple[str, ...]) -> bool:
    """Whether a config may name the three together."""
    try:
        config_of(triple)
    except ConfigError:
        return False
    return True


LEGAL = tuple(each for each in TRIPLES if fits(each))


def named(triple: tuple[str, ...]) -> str:
    """A test's name."""
    return "-".join(triple)


@pytest.mark.slow
@pytest.mark.parametrize("triple", LEGAL, ids=named)
def test_what_fits_trains(triple: tuple[str, ...], tmp_path: Path) -> None:
    """One round moves the model, and leaves an adapter that says so."""
    config = config_of(triple, f"output.runs_dir={tmp_path}")

    simulate(config, load_split(config))

    folder = RunFolder(tmp_path / config.name)
    factors = load_file(folder.adapter(1) / "adapter_model.safetensors")
    assert any(each.any() for name, each in factors.items() if ".lora_B." in name)


@pytest.mark.parametrize("triple", sorted(set(TRIPLES) - set(LEGAL)), ids=named)
def test_what_does_not_fit_is_refused(triple: tuple[str, ...]) -> None:
    """The sentence names the part that is wrong, and what to do."""
    with pytest.raises(ConfigError, match="choose") as refused:
        config_of(triple)

    assert any(part in str(refused.value) for part in triple)


def test_what_fits_is_what_the_parts_declare() -> None:
    """Scalars need a trainer that walks, and coefficients of seeds need scalars."""
    spaces = {space for space, _, _ in LEGAL}

    assert spaces == set(registry.members("space"))
    assert ("span", "adamw", "delta") not in LEGAL
    assert ("core", "spsa", "scalars") in LEGAL
    assert ("lora_b", "adamw", "projection") in LEGAL
