"""What a run's YAML may say, and what is said back when it is wrong."""

import re
from pathlib import Path

import pytest

from antiphon.core import config as configs
from antiphon.core.config import RunConfig
from antiphon.core.errors import ConfigError
from antiphon.core.section import Section

TINY = Path(__file__).parent.parent.parent / "examples" / "tiny.yaml"

MISTAKES = {
    "rouns=3": "did you mean 'rounds'",
    "training.learning_rat=1": "did you mean 'learning_rate'",
    "rounds=many": "rounds: .*got 'many'",
    "rounds=0": "rounds: .*greater than 0.*got 0",
    "cohort={size: 2, quorum: 3}": "quorum is 3 but cohort.size is 2.*Lower the quorum",
    "server_opt=sdg": "no server_opt 'sdg'.*Did you mean 'sgd'",
    "server_opt={kind: sgd, lrr: 1}": "sgd takes .*not \\['lrr'\\]",
    "server_opt.lr=fast": "sgd.lr.*got 'fast'",
    "lora.client_ranks={meadow: 99}": "above lora.r",
    "rounds.x=1": "'x' lies below 5",
    "name=a/b": "name: .*got 'a/b'",
    "data.partition=dirichlett": "Did you mean 'dirichlet'",
    "cohort={scheduler: all, size: 2}": "scheduler: random",
    "cohort={scheduler: random, size: 2, over_selection: 11}": "over_selection: .*10 .got 11",
    "cohort={quorum: 4, asynchronous: {buffer: 2}}": "buffer is 2.*Lower the quorum or raise the buffer",
    "cohort={size: 2, scheduler: random, over_selection: 2, asynchronous: {}}": "nobody is waited for",
    "cohort.over_selection=2": "asks everybody already",
    "policy={kind: staged, stages: [3]}": "stage",
}

COMBINATIONS = {
    ("method=mixed", "seeds.space=adapter", "mixed.seeds=[a]", "lora.client_ranks={a: 2}"): (
        "a: in mixed.seeds and in lora.client_ranks"
    ),
    (
        "cohort={size: 4, quorum: 3, scheduler: random}",
        "policy={kind: staged, stages: [{from_round: 2, size: 1}]}",
    ): "a smaller cohort size",
}


@pytest.mark.parametrize(("override", "message"), MISTAKES.items(), ids=MISTAKES)
def test_mistakes_are_explained(override, message):
    """Each mistake is named with what was got and what to do."""
    with pytest.raises(ConfigError, match=message):
        configs.load(TINY, [override])


KEYS_OF_FLOATS = [
    f"{section}.{key}"
    for section, field in RunConfig.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    for key, value in field.annotation.model_fields.items()
    if re.search(r"\bfloat\b", str(value.annotation))
]


@pytest.mark.parametrize("value", [".inf", "[1, .nan]", "{a: -.inf}"])
def test_arguments_of_a_strategy_are_finite(value):
    """Neither does a strategy: its arguments travel as JSON, which has neither."""
    with pytest.raises(ConfigError, match="lr: a number must be finite"):
        configs.load(TINY, [f"server_opt={{kind: adam, lr: {value}}}"])


@pytest.mark.parametrize("key", KEYS_OF_FLOATS)
@pytest.mark.parametrize("value", [".inf", ".nan"])
def test_numbers_are_finite(key, value):
    """No key takes an infinity or a NaN: nothing that is computed with one has a meaning."""
    with pytest.raises(ConfigError, match=f"{key}: Input should be a finite number"):
        configs.load(TINY, [f"{key}={value}"])


def test_contradicting_method_and_optimizer():
    """An optimizer that is not linear cannot act on seed-scalars."""
    with pytest.raises(ConfigError, match=r"adam is not linear.*use sgd"):
        configs.load(TINY, ["method=seeds", "server_opt=adam"])


def test_plain_averaging_needs_equal_ranks():
    """`factors` with clients of other ranks is refused before anybody trains."""
    with pytest.raises(ConfigError, match="use aggregation: product"):
        configs.load(TINY, ["aggregation=factors", "lora.client_ranks={meadow: 2}"])


def test_overrides_reach_into_a_strategy_given_by_name():
    """`server_opt.lr=0.5` on `server_opt: sgd` means {kind: sgd, lr: 0.5}."""
    config = configs.load(TINY, ["server_opt=sgd", "server_opt.lr=0.5"])

    assert config.server_opt.arguments == {"lr": 0.5}


def test_scientific_notation_is_a_number():
    """YAML 1.2's 1e-3 is a number, although PyYAML alone reads text."""
    assert configs.load(TINY, ["training.learning_rate=1e-3"]).training.learning_rate == 0.001


def test_the_resolved_config_is_the_same_run():
    """What is printed and stored, read again, has the same hash."""
    config = configs.load(TINY)

    assert configs.config_hash(configs.validate(configs.resolved(config))) == configs.config_hash(
        config
    )


def test_the_hash_leaves_the_place_of_the_output_out():
    """Where the run folder lies does not make it another run; the seed does."""
    here, there = (configs.load(TINY, [f"output.runs_dir={place}"]) for place in ("a", "b"))

    assert configs.config_hash(here) == configs.config_hash(there)
    assert configs.config_hash(here) != configs.config_hash(configs.load(TINY, ["seed=8"]))


def test_a_missing_file_is_said(tmp_path):
    """The error names the file."""
    with pytest.raises(ConfigError, match=r"no such file: .*nothing\.yaml"):
        configs.load(tmp_path / "nothing.yaml")


def test_every_field_is_described():
    """No key of a config lacks a description in the schema."""
    schema = configs.json_schema()
    models = [schema, *schema["$defs"].values()]

    missing = [
        f"{model['title']}.{name}"
        for model in models
        for name, field in model.get("properties", {}).items()
        if "description" not in field
    ]

    assert missing == []


@pytest.mark.parametrize(("overrides", "message"), COMBINATIONS.items())
def test_what_does_not_go_together_is_explained(overrides, message):
    """Keys that are right alone are refused together, with what to do."""
    with pytest.raises(ConfigError, match=message):
        configs.load(TINY, overrides)
