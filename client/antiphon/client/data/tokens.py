"""Examples as tokens: which of them count in the loss, and batches of them as tensors.

Prompt and completion are tokenised separately and joined, so that a prompt gives the same tokens
whatever follows it. Conversations go through the tokenizer's chat template, rendered turn by turn
to find the assistant's spans. A tokenizer is any `PreTrainedTokenizer` of transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jinja2 import TemplateError

from antiphon.client.data.examples import Example, Message
from antiphon.core.errors import DataError

Tokenizer = Any
_IGNORED = -100  # the label that torch's cross entropy leaves out


@dataclass(frozen=True)
class Encoded:
    """One example as tokens.

    trained: per token, whether it counts in the loss (never the first: nothing comes before it);
    prompt: tokens before the last completion; cut: tokens dropped to fit max_length; candidates: the
    tokens among which the loss compares the one label, empty for the whole vocabulary.
    """

    input_ids: list[int]
    trained: list[bool]
    prompt: int
    cut: int = 0
    candidates: tuple[int, ...] = ()


@dataclass(frozen=True)
class Batch:
    """Examples side by side, padded at the right: int64 tensors (b, s); labels are -100 off the loss.

    candidates: (b, k), the tokens among which each row's one label is compared; none: the vocabulary.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    labels: torch.Tensor
    candidates: torch.Tensor | None = None

    @property
    def tokens(self) -> int:
        """Tokens in the batch, padding not counted."""
        return int(self.attention_mask.sum())

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        """Return the batch with every tensor changed in the same way."""
        candidates = None if self.candidates is None else change(self.candidates)
        return Batch(
            change(self.input_ids), change(self.attention_mask), change(self.labels), candidates
        )

    def to(self, device: torch.device) -> Batch:
        """Return the same batch on a device."""
        return self.map(lambda tensor: tensor.to(device))


@dataclass(frozen=True)
class _Pieces:
    """`head` is never cut, `prompt` is cut from the left, `completion` at the right."""

    head: list[int]
    prompt: list[int]
    prompt_trained: list[bool]
    completion: list[int]


def encode(tokenizer: Tokenizer, example: Example, max_length: int) -> Encoded:
    """Tokenise an example to at most `max_length` tokens, cutting its prompt from the left first.

    A generated completion ends with the end-of-sequence token, a verbalizer does not, a
    conversation ends as its template says. Raises DataError where no token is left to learn, or the
    tokenizer has no usable chat template.
    """
    if example.messages:
        pieces = _chat_pieces(tokenizer, example.messages)
    else:
        pieces = _plain_pieces(tokenizer, example, example.completion)
    encoded = _fit(pieces, max_length, len(pieces.completion))
    return replace(encoded, candidates=_candidates(tokenizer, example))


def encode_choices(tokenizer: Tokenizer, example: Example, max_length: int) -> tuple[Encoded, ...]:
    """Tokenise the prompt with each of the choices; all keep the same part of the prompt.

    Raises DataError for two choices that are the same tokens.
    """
    options = [_plain_pieces(tokenizer, example, choice) for choice in example.choices]
    _check_apart(example.choices, options)
    room = max(len(option.completion) for option in options)
    candidates = _candidates(tokenizer, example)
    return tuple(
        replace(_fit(option, max_length, room), candidates=candidates) for option in options
    )


def _check_apart(choices: Sequence[str], options: Sequence[_Pieces]) -> None:
    first: dict[tuple[int, ...], str] = {}
    for choice, option in zip(choices, options, strict=True):
        other = first.setdefault(tuple(option.completion), choice)
        if other != choice:
            raise DataError(
                f"the choices {other!r} and {choice!r} are the same tokens to this model's tokenizer, "
                "which cannot tell them apart: choose other words"
            )


def collate(batch: Sequence[Encoded], pad_id: int) -> Batch:
    """Put examples side by side, padded at the right to the longest: tensors (b, s)."""
    length = max(len(each.input_ids) for each in batch)
    shape = (len(batch), length)
    input_ids = torch.full(shape, pad_id, dtype=torch.int64)
    attention_mask = torch.zeros(shape, dtype=torch.int64)
    labels = torch.full(shape, _IGNORED, dtype=torch.int64)
    for row, each in enumerate(batch):
        ids = torch.tensor(each.input_ids, dtype=torch.int64)
        trained = torch.tensor(each.trained)
        input_ids[row, : len(ids)] = ids
        attention_mask[row, : len(ids)] = 1
        labels[row, : len(ids)][trained] = ids[trained]
    return Batch(input_ids, attention_mask, labels, _stacked_candidates(batch))


def _stacked_candidates(batch: Sequence[Encoded]) -> torch.Tensor | None:
    if not all(each.candidates for each in batch):
        return None
    return torch.tensor([each.candidates for each in batch])


def _candidates(tokenizer: Tokenizer, example: Example) -> tuple[int, ...]:
    if not example.among_choices:
        return ()
    tokens = [_ids(tokenizer, choice) for choice in example.choices]
    long = [choice for choice, ids in zip(example.choices, tokens, strict=True) if len(ids) != 1]
    if long:
        raise DataError(
            f"loss: verbalizers compares single tokens, but {long[0]!r} is "
            f"{len(_ids(tokenizer, long[0]))} tokens of this model: choose shorter words, or "
            "loss: vocabulary"
        )
    return tuple(ids[0] for ids in tokens)


def _plain_pieces(tokenizer: Tokenizer, example: Example, completion: str) -> _Pieces:
    ids = _ids(tokenizer, completion)
    if not example.choices and tokenizer.eos_token_id is not None:
        ids = [*ids, tokenizer.eos_token_id]
    prompt = _ids(tokenizer, example.prompt)
    return _Pieces(_beginning(tokenizer), prompt, [False] * len(prompt), ids)


def _beginning(tokenizer: Tokenizer) -> list[int]:
    # An ordinary call says whether this tokenizer begins a text with a token of its own.
    ids = tokenizer("a")["input_ids"]
    begins = tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]
    return [tokenizer.bos_token_id] if begins else []


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []


def _chat_pieces(tokenizer: Tokenizer, messages: Sequence[Message]) -> _Pieces:
    spans = _chat_spans(tokenizer, messages)
    encoded = [(_ids(tokenizer, text), trained) for text, trained in spans]
    last = max(at for at, (_, trained) in enumerate(encoded) if trained)
    prompt = [(token, trained) for ids, trained in encoded[:last] for token in ids]
    return _Pieces([], [t for t, _ in prompt], [on for _, on in prompt], encoded[last][0])


def _chat_spans(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[tuple[str, bool]]:
    """Cut the rendered conversation into pieces of text, up to the last turn of the assistant."""
    spans: list[tuple[str, bool]] = []
    done = ""
    for at, message in enumerate(messages):
        if message.role != "assistant":
            continue
        after = _render(tokenizer, messages[: at + 1], reply=False)
        before = _before_reply(tokenizer, messages[:at], after)
        if before is None or not before.startswith(done):
            raise DataError(
                "the tokenizer's chat template changes earlier turns when later ones follow, so "
                "the assistant's turns cannot be told apart: use another template, or "
                "prompt_completion"
            )
        spans += [(before[len(done) :], False), (after[len(before) :], True)]
        done = after
    return [span for span in spans if span[0]]


def _before_reply(tokenizer: Tokenizer, messages: Sequence[Message], after: str) -> str | None:
    if not messages:
        return ""
    # Some templates open a reply with more than they keep of it (an empty thought): then the loss
    # counts the reply from where the conversation so far ends.
    rendered = (_render(tokenizer, messages, reply=reply) for reply in (True, False))
    return next((text for text in rendered if after.startswith(text)), None)


def _render(tokenizer: Tokenizer, messages: Sequence[Message], *, reply: bool) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise DataError(
            "the model's tokenizer has no chat template, which conversations need: choose a model "
            "tuned for chat, or a prompt_completion data set"
        )
    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        text: str = tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=reply
        )
    except TemplateError as error:
        raise DataError(f"the chat template refuses the conversation: {error}") from None
    return text


def _fit(pieces: _Pieces, max_length: int, room: int) -> Encoded:
    """Cut the prompt from the left so that `room` tokens of completion fit, then the completion."""
    keep = max(0, max_length - len(pieces.head) - room)
    drop = max(0, len(pieces.prompt) - keep)
    before = pieces.head + pieces.prompt[drop:]
    completion = pieces.completion[: max(0, max_length - len(before))]
    ids = before + completion
    trained = [False] * len(pieces.head) + pieces.prompt_trained[drop:] + [True] * len(completion)
    if trained:
        trained[0] = False
    if not any(trained):
        raise DataError(
            "the example has no token to learn: give it a prompt and a completion, and a "
            f"model.max_length above {max_length} if they are long"
        )
    dropped = drop + len(pieces.completion) - len(completion)
    return Encoded(ids, trained, len(before), dropped)
