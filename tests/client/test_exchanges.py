"""What a client keeps of its exchanges: secrets, with the answers that they belong to."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import numpy as np
import pytest

from antiphon.client.data.clients import ClientData
from antiphon.client.exchanges.exchange import Answer, Asked, AtSite, Half, Kept, answered
from antiphon.core.errors import UpdateError
from antiphon.core.tensors import from_bytes, to_bytes

DATA = ClientData("north", (), ())
QUESTION = to_bytes({"of": np.zeros(1, np.uint64)})
OTHER = to_bytes({"of": np.ones(1, np.uint64)})


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    """Nothing yet."""
    return Kept(tmp_path / "kept")


def drawing() -> Half:
    """Return a half that draws a key each time it is asked, and sends the next number."""
    numbers = count(10)

    def answer(asked: Asked) -> Answer:
        key = np.array([next(numbers)], np.uint64)
        return Answer({"public": key + np.uint64(1)}, kept={**asked.kept, asked.exchange: key})

    return answer


def ask(half: Half, kept: Kept, number: int, exchange: str, question: bytes = QUESTION) -> bytes:
    return answered(
        half,
        number=number,
        exchange=exchange,
        message=question,
        kept=kept,
        data=DATA,
        site=AtSite("run"),
    )


def public(answer: bytes) -> int:
    return int(from_bytes(answer)["public"][0])


def test_what_is_kept_goes_to_the_round_s_later_exchanges(kept: Kept) -> None:
    """And it is not in the answer."""
    half = drawing()
    ask(half, kept, 1, "keys")
    ask(half, kept, 1, "shares")

    assert {name: int(value[0]) for name, value in kept.of(1).items()} == {"keys": 10, "shares": 11}


def test_asked_the_same_again_it_gives_the_same_answer(kept: Kept, tmp_path: Path) -> None:
    """Also in another process: the key that it has kept is that of the answer."""
    first = ask(drawing(), kept, 1, "keys")

    again = ask(drawing(), Kept(tmp_path / "kept"), 1, "keys")

    assert again == first
    assert int(kept.of(1)["keys"][0]) + 1 == public(first)


def test_another_question_is_answered_anew(kept: Kept) -> None:
    """The same exchange of a round that was planned again asks something else."""
    half = drawing()

    answers = [public(ask(half, kept, 1, "keys", each)) for each in (QUESTION, OTHER)]

    assert answers == [11, 12]


def test_another_round_finds_nothing(kept: Kept) -> None:
    """What a round has left is forgotten with the next one's first answer."""
    half = drawing()
    ask(half, kept, 1, "keys")

    ask(half, kept, 2, "keys")

    assert kept.of(1) == {}
    assert list(kept.of(2)) == ["keys"]


def test_a_question_that_cannot_be_read_is_refused(kept: Kept) -> None:
    """Nothing is kept of it."""
    with pytest.raises(UpdateError, match="not safetensors"):
        ask(drawing(), kept, 1, "keys", b"no arrays")

    assert kept.of(1) == {}
