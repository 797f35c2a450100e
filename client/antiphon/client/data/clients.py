"""What one client holds: examples split into a training and a held-out part, then their tokens.

The simulator and the daemon call the same functions with the same seed, so that a client's data
does not depend on which engine runs it.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from antiphon.client.data.examples import Example
from antiphon.client.data.tokens import Encoded, Tokenizer, encode, encode_choices
from antiphon.core.errors import DataError, RowError, TooFewRowsError


@dataclass(frozen=True)
class ClientExamples:
    """A client's examples; `evaluation` is never trained on."""

    name: str
    train: tuple[Example, ...]
    evaluation: tuple[Example, ...]


@dataclass(frozen=True)
class HeldOut:
    """One held-out example.

    options: the prompt with each of example.choices (example.label is the right one), or with the
    reference completion alone where there are no choices.
    """

    example: Example
    options: tuple[Encoded, ...]

    @property
    def reference(self) -> Encoded:
        """The right answer's tokens, prompt included."""
        return self.options[self.example.label or 0]

    @property
    def prompt_ids(self) -> list[int]:
        """Tokens from which the answer is generated."""
        return self.reference.input_ids[: self.reference.prompt]


@dataclass(frozen=True)
class ClientData:
    """A client's examples as tokens; cut: training examples that were too long and lost tokens."""

    name: str
    train: tuple[Encoded, ...]
    evaluation: tuple[HeldOut, ...]
    cut: int = 0


def usual_hold_out(examples: int) -> int:
    """Return how many of a site's examples are held out where nobody says: a fifth, 1 to 100."""
    return max(1, min(100, examples // 5))


def hold_out(
    name: str,
    examples: Sequence[Example],
    *,
    eval_examples: int,
    max_train_examples: int | None,
    seed: int,
) -> ClientExamples:
    """Shuffle a client's examples, hold out `eval_examples`, train on the rest up to the cap.

    The shuffle depends on the seed and the client's name only. Raises DataError where nothing is
    left to train on.
    """
    if len(examples) < eval_examples + 1:
        raise TooFewRowsError(
            f"client {name!r} has {len(examples)} examples, but holding out {eval_examples} needs "
            f"at least {eval_examples + 1}: lower data.eval_examples, or use fewer clients"
        )
    rng = np.random.Generator(np.random.Philox([seed, zlib.crc32(name.encode())]))
    shuffled = [examples[index] for index in rng.permutation(len(examples))]
    end = None if max_train_examples is None else eval_examples + max_train_examples
    return ClientExamples(name, tuple(shuffled[eval_examples:end]), tuple(shuffled[:eval_examples]))


def encode_client(tokenizer: Tokenizer, client: ClientExamples, max_length: int) -> ClientData:
    """Tokenise a client's examples. Raises DataError as `tokens.encode` does, naming the client."""
    try:
        train = tuple(encode(tokenizer, example, max_length) for example in client.train)
        held = tuple(_held_out(tokenizer, example, max_length) for example in client.evaluation)
    except DataError as error:
        raise RowError(f"client {client.name!r}: {error}") from None
    return ClientData(client.name, train, held, sum(each.cut > 0 for each in train))


def _held_out(tokenizer: Tokenizer, example: Example, max_length: int) -> HeldOut:
    if example.choices:
        return HeldOut(example, encode_choices(tokenizer, example, max_length))
    return HeldOut(example, (encode(tokenizer, example, max_length),))
