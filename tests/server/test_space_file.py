"""A space as a file: what was written is read, and what is damaged or false is refused with a sentence."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.config import validate
from antiphon.core.errors import RunFolderError
from antiphon.core.run_folder import RunFolder
from antiphon.core.space import SpaceShapes
from antiphon.server.folding.space_file import read_space, write_space

LORA = validate(
    {
        "name": "one",
        "rounds": 1,
        "model": {"model_name_or_path": "tiny"},
        "data": {"dataset": "d", "format": "alpaca"},
        "lora": {"r": 4, "target_modules": "all-linear"},
    }
)
SPACE = SpaceShapes(
    {"m.lora_A.weight": (4, 6), "m.lora_B.weight": (8, 4)}, {}, "tiny", 48, "01" * 32
)
FALSE = {
    "no JSON": "{",
    "nothing": "{}",
    "a list": "[]",
    "an unpaired factor": json.dumps(asdict(replace(SPACE, factors={"x": (4, 64)}))),
    "another rank": json.dumps(
        asdict(replace(SPACE, factors={"m.lora_A.weight": (8, 6), "m.lora_B.weight": (8, 8)}))
    ),
    "weights": json.dumps(asdict(SpaceShapes({}, {"m": (8, 6)}, "tiny", 48, ""))),
    "a size of the model in words": json.dumps({**asdict(SPACE), "model_parameters": "many"}),
    "an infinite size": json.dumps({**asdict(SPACE), "model_parameters": float("inf")}),
    "a base that is no name": json.dumps({**asdict(SPACE), "base_model": None}),
    "sides that are no numbers": json.dumps({**asdict(SPACE), "factors": {"m": [True, 4]}}),
    "one field more": json.dumps({**asdict(SPACE), "more": 1}),
    "another digest": json.dumps({**asdict(SPACE), "model_digest": "z" * 64}),
}


def test_what_was_written_is_read(tmp_path):
    """The same space."""
    write_space(tmp_path / "space.json", SPACE)

    assert read_space(tmp_path / "space.json", LORA) == SPACE


@pytest.mark.parametrize("what", FALSE)
def test_what_cannot_be_is_refused_with_a_sentence(tmp_path, what):
    """It names the file and what to do."""
    file = RunFolder(tmp_path).space_file
    file.write_text(FALSE[what])

    with pytest.raises(RunFolderError, match=r"space\.json is .*start a new run") as refused:
        read_space(file, LORA)

    assert len(str(refused.value)) < 700


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
FIELDS = st.sampled_from(list(asdict(SPACE)))


@given(changes=st.dictionaries(FIELDS, VALUES, min_size=1, max_size=2))
def test_whatever_a_file_says_is_read_or_refused(tmp_path_factory, changes):
    """Nothing else is raised: no operator sees a traceback for a file that was changed."""
    file = tmp_path_factory.mktemp("space") / "space.json"
    file.write_text(json.dumps({**asdict(SPACE), **changes}))

    with suppress(RunFolderError):
        assert parameters_of(file) > 0


def parameters_of(file) -> int:
    return sum(rows * columns for rows, columns in read_space(file, LORA).factors.values())
