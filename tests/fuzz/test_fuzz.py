"""Decoders of bytes that somebody else has written: any bytes give a value or a documented error."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fuzz.campaign import ENGINE, Outcome, fuzz
from tests.fuzz.effort import Effort
from tests.fuzz.found import FOUND
from tests.fuzz.judge import TooMuchMemory, judge, judge_traced
from tests.fuzz.mutation import mutated
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS
from tests.fuzz.toy import TOY

# Strange certificates make cryptography warn, strange numbers numpy: neither is a defect.
pytestmark = pytest.mark.filterwarnings("ignore")

QUICKLY = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
EXECUTIONS = 500


@pytest.mark.parametrize("name", TARGETS)
def test_valid_inputs_keep_to_the_property(name: str) -> None:
    """What a fuzzing begins with is judged like all that follows."""
    for content in TARGETS[name].seeds():
        judge_traced(TARGETS[name], content)


@pytest.mark.parametrize("name", FOUND)
def test_what_once_broke_a_decoder_does_so_no_more(name: str) -> None:
    """Every input that has shown a defect is kept."""
    for content in FOUND[name]:
        judge_traced(TARGETS[name], content)


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_give_a_value_or_a_documented_error(name: str) -> None:
    """Random bytes, within the memory that their number allows."""

    @QUICKLY
    @given(content=st.binary(max_size=300))
    def judged(content: bytes) -> None:
        judge_traced(TARGETS[name], content)

    judged()


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_changed_input_gives_a_value_or_a_documented_error(name: str) -> None:
    """Valid inputs with a few edits, within the memory that their size allows."""

    @QUICKLY
    @given(content=mutated(TARGETS[name]))
    def judged(content: bytes) -> None:
        judge_traced(TARGETS[name], content)

    judged()


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """What came of fuzzing each decoder a little, the same inputs each time."""
    return {each.target: each for each in fuzz(list(TARGETS), Effort(executions=EXECUTIONS))}


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_fuzzing_finds_no_defect(name: str, outcomes: dict[str, Outcome]) -> None:
    """No undocumented error, no crash, no hang, bounded memory."""
    outcome = outcomes[name]

    assert outcome.crash is None, outcome.explained
    assert outcome.executions >= EXECUTIONS


@pytest.mark.slow
@pytest.mark.parametrize("engine", sorted({ENGINE, "mutation"}))
def test_a_planted_defect_is_found(engine: str) -> None:
    """A decoder that believes the length it reads meets an IndexError; the input is handed over."""
    (outcome,) = fuzz(["toy"], Effort(executions=200_000), engine)

    assert outcome.crash is not None
    assert "IndexError" in outcome.said
    assert outcome.crash.hex() in outcome.explained
    with pytest.raises(IndexError):
        judge(TOY, outcome.crash)


def test_memory_beyond_the_bound_is_a_defect() -> None:
    """A decoder that allocates what a length field says is caught, though it raises nothing."""
    greedy = Target(lambda content: bytes(200 << 20), lambda: [b""], ())

    with pytest.raises(TooMuchMemory, match="210 MB for 4 bytes"):
        judge_traced(greedy, b"\xff\xff\xff\xff")
