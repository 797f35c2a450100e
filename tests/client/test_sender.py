"""What a client sends, and what it keeps for the next time."""

from pathlib import Path

import numpy as np
import pytest
from tests.strategies.served import sent as sent_delta

from antiphon.client.sender import Sender
from antiphon.core.errors import UpdateError
from antiphon.core.run_sections import CompressionConfig
from antiphon.core.tensors import from_bytes
from antiphon.core.types import Assignment, CodecChoice, Update
from antiphon.core.wire import pack_update
from antiphon.strategies.compression.blockwise import int8
from antiphon.strategies.compression.topk import topk

TOP = CodecChoice("topk", {"fraction": 0.1, "values": "float32"})
SHAPES = {"a": (8, 40), "b": (40, 8)}


def delta(number: int) -> dict[str, np.ndarray]:
    """The delta of a round."""
    rng = np.random.default_rng(number)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def assignment(number: int, folded: int, codec: CodecChoice = TOP) -> Assignment:
    """What the coordinator asks for in a round."""
    return Assignment(
        number, "north", "lora", 1, 0, 9, 1e-3, 8, 5, codec=codec, folded_round=folded
    )


def send(folder: Path, number: int, folded: int, decay: float = 1.0) -> bytes:
    """Pack a round's update as a process that has just started would; return the blob."""
    sender = Sender(folder, CompressionConfig(residual_decay=decay))
    update = Update("north", number, 10, 1, sent_delta(delta(number)))
    content = sender.pack(update, assignment(number, folded), "run").joined
    assert content is not None
    return content


def decoded(content: bytes) -> dict[str, np.ndarray]:
    """What the coordinator reads."""
    return topk(fraction=0.1, values="float32").decode(content, SHAPES)


def kept(folder: Path, number: int) -> dict[str, np.ndarray]:
    """What is left out so far: what a round of zeros would send, densely."""
    sender = Sender(folder, CompressionConfig())
    whole = CodecChoice("topk", {"fraction": 1.0, "values": "float32"})
    zeros = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    update = Update("north", number + 1, 10, 1, sent_delta(zeros))
    packed = sender.pack(update, assignment(number + 1, number, whole), "run")
    return topk(fraction=1.0, values="float32").decode(packed.joined, SHAPES)


def test_without_a_codec_tensors_travel_as_they_are(tmp_path):
    """float32 is a plain safetensors blob, and nothing is kept."""
    update = Update("north", 1, 10, 1, sent_delta(delta(1)))

    packed = Sender(tmp_path, CompressionConfig()).pack(
        update, assignment(1, 0, CodecChoice()), "run"
    )

    assert packed == pack_update(update, "run")
    assert list(tmp_path.iterdir()) == []


def test_what_is_sent_and_what_is_kept_is_all_there_was(tmp_path):
    """Σ decoded + the residual = Σ deltas, over ten rounds with a new process for each."""
    sent = [decoded(send(tmp_path, number, number - 1)) for number in range(1, 11)]

    residual = kept(tmp_path, 10)

    for name in SHAPES:
        total = np.sum([delta(number)[name] for number in range(1, 11)], axis=0)
        got = np.sum([each[name] for each in sent], axis=0) + residual[name]
        np.testing.assert_allclose(got, total, atol=1e-5 * np.abs(total).max())


def test_a_change_to_float32_sends_what_was_kept(tmp_path):
    """Σ sent = Σ deltas as soon as a round goes out as it is, and nothing is kept any more."""
    packed = [decoded(send(tmp_path, number, number - 1)) for number in (1, 2, 3)]
    update = Update("north", 4, 10, 1, sent_delta(delta(4)))

    last = Sender(tmp_path, CompressionConfig()).pack(
        update, assignment(4, 3, CodecChoice()), "run"
    )

    for name in SHAPES:
        total = np.sum([delta(number)[name] for number in (1, 2, 3, 4)], axis=0)
        sent = np.sum([each[name] for each in (*packed, from_bytes(last.joined))], axis=0)
        np.testing.assert_allclose(sent, total, rtol=1e-5, atol=1e-5)


def test_a_change_to_an_unbiased_codec_sends_what_was_kept(tmp_path):
    """int8 packs the delta and the residual together: its own rounding is all that is lost."""
    packed = [decoded(send(tmp_path, number, number - 1)) for number in (1, 2, 3)]
    update = Update("north", 4, 10, 1, sent_delta(delta(4)))

    last = Sender(tmp_path, CompressionConfig()).pack(
        update, assignment(4, 3, CodecChoice("int8")), "run"
    )

    received = int8().decode(last.joined, SHAPES)
    for name in SHAPES:
        total = np.sum([delta(number)[name] for number in (1, 2, 3, 4)], axis=0)
        sent = np.sum([each[name] for each in (*packed, received)], axis=0)
        np.testing.assert_allclose(sent, total, atol=0.1)


def test_a_damaged_residual_costs_no_more_than_itself(tmp_path):
    """The file is dropped with a warning, and the client sends its delta."""
    send(tmp_path / "north", 1, 0)
    (file,) = (tmp_path / "north").iterdir()
    file.write_bytes(file.read_bytes()[:20])

    content = send(tmp_path / "north", 2, 1)

    assert content == send(tmp_path / "other", 2, 0)


def test_an_update_that_was_not_folded_leaves_no_trace(tmp_path):
    """After a round that failed the client goes on from what it had kept before."""
    send(tmp_path / "lucky", 1, 0)
    expected = send(tmp_path / "lucky", 3, 1)
    send(tmp_path / "unlucky", 1, 0)
    send(tmp_path / "unlucky", 2, 1)

    assert send(tmp_path / "unlucky", 3, 1) == expected


def test_the_same_round_again_gives_the_same_bytes(tmp_path):
    """A trainer that was killed after packing repeats itself."""
    send(tmp_path, 1, 0)

    assert send(tmp_path, 2, 1) == send(tmp_path, 2, 1)


def test_a_residual_fades_with_its_age(tmp_path):
    """With a decay of zero, every round begins anew."""
    send(tmp_path / "old", 1, 0, decay=0.0)

    assert send(tmp_path / "old", 2, 1, decay=0.0) == send(tmp_path / "new", 2, 0)


def test_residuals_do_not_pile_up(tmp_path):
    """Two files at most: of the folded round and of the one in work."""
    for number in range(1, 6):
        send(tmp_path, number, number - 1)

    assert len(list(tmp_path.iterdir())) == 2


def test_an_unknown_codec_is_said(tmp_path):
    """A coordinator with a plug-in that is not installed here gets a reason."""
    update = Update("north", 1, 10, 1, sent_delta(delta(1)))

    with pytest.raises(UpdateError, match="no codec 'magic'"):
        Sender(tmp_path, CompressionConfig()).pack(
            update, assignment(1, 0, CodecChoice("magic")), "run"
        )
