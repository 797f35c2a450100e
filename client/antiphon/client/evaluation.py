"""Measuring a model on held-out examples: loss, perplexity, accuracy, exact match, Rouge-L.

* Loss: mean cross-entropy over the tokens of the right completions, nats; perplexity = exp(loss).
* Accuracy: the verbalizer with the largest log-probability after the prompt is the right one. Where every
  verbalizer is one token, one pass per example gives loss and accuracy together.
* Exact match, of examples without choices: a greedy completion would be the reference, token by token, its
  end included. Nothing is generated for it: greedy decoding takes the likeliest token after what it has
  said so far, so that it says the whole reference if and only if each of the reference's tokens is the
  likeliest one after those before it. The pass that gives the loss says that of all of them.
* Rouge-L: greedy completions against the references.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from antiphon.client.data.clients import HeldOut
from antiphon.client.data.tokens import Batch, Encoded, collate
from antiphon.client.language_model import (
    IGNORED,
    LanguageModel,
    completion_logits,
    label_targets,
    token_losses,
)
from antiphon.client.rouge import rouge_l


@dataclass(frozen=True)
class HeldOutScores:
    """What held-out examples say of a model; a value that was not measured is none."""

    examples: int
    loss: float
    perplexity: float
    accuracy: float | None
    rouge_l: float | None
    exact_match: float | None = None


@dataclass(frozen=True)
class EvaluationPlan:
    """What to measure. rouge_examples: how many are generated; none: no Rouge-L."""

    batch_size: int
    rouge_examples: int | None
    max_new_tokens: int


@dataclass(frozen=True)
class _Sums:
    nats: float
    tokens: int
    right: int
    classified: int
    exact: int = 0
    completed: int = 0


@torch.no_grad()
def evaluate(
    model: LanguageModel,
    held: Sequence[HeldOut],
    what: EvaluationPlan,
    on_batch: Callable[[], None] = lambda: None,
) -> HeldOutScores:
    """Measure the model as it stands on a client's held-out examples.

    on_batch: called before each batch and each generated example; an exception of it passes through.
    """
    sums = []
    for batch in _batches(held, what.batch_size):
        on_batch()
        sums.append(_measure(model, batch))
    classified = sum(each.classified for each in sums)
    completed = sum(each.completed for each in sums)
    loss = sum(each.nats for each in sums) / sum(each.tokens for each in sums)
    return HeldOutScores(
        examples=len(held),
        loss=loss,
        perplexity=_exp(loss),
        accuracy=sum(each.right for each in sums) / classified if classified else None,
        rouge_l=_rouge(model, held, what, on_batch),
        exact_match=sum(each.exact for each in sums) / completed if completed else None,
    )


def _exp(loss: float) -> float:
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def _batches(held: Sequence[HeldOut], size: int) -> Iterator[list[HeldOut]]:
    """Batches of examples of similar length: less padding is less work."""
    by_length = sorted(held, key=lambda each: len(each.reference.input_ids))
    for start in range(0, len(by_length), size):
        yield by_length[start : start + size]


def _measure(model: LanguageModel, batch: list[HeldOut]) -> _Sums:
    if all(_one_token_each(each) for each in batch):
        return _measure_single_tokens(model, batch)
    encoded = _collated(model, [each.reference for each in batch])
    logits, rows = completion_logits(model, encoded)
    targets = label_targets(encoded, rows)
    losses = functional.cross_entropy(logits, targets, reduction="none")
    choices = [each for each in batch if each.example.choices]
    right = sum(_choose(model, each) == each.example.label for each in choices)
    exact, completed = _exact(model, batch, encoded, logits.argmax(dim=1) == targets)
    nats = float(losses.double().sum())
    return _Sums(nats, len(rows), right, len(choices), exact, completed)


def _exact(
    model: LanguageModel, batch: list[HeldOut], encoded: Batch, likeliest: torch.Tensor
) -> tuple[int, int]:
    """Return how many of a batch would be completed exactly, and how many have one right completion.

    likeliest: (n,) whether each label is what the model would say there, in the order of
    `completion_logits`. Of a conversation it is the last reply that is completed.
    """
    said = encoded.labels[:, 1:] != IGNORED
    missed = torch.zeros_like(said).masked_scatter(said, ~likeliest).cpu()
    asked = [at for at, each in enumerate(batch) if _is_completed(each)]
    exact = sum(not missed[at, _completion_of(model, batch[at])].any() for at in asked)
    return exact, len(asked)


def _is_completed(held: HeldOut) -> bool:
    return not held.example.choices and bool(held.example.prompt or held.example.messages)


def _completion_of(model: LanguageModel, held: HeldOut) -> slice:
    """Where a reference's last completion stands in its labels without the first, its end included."""
    ids, begin = held.reference.input_ids, max(held.reference.prompt, 1)
    ends = (at for at in range(begin, len(ids)) if ids[at] == model.tokenizer.eos_token_id)
    return slice(begin - 1, next(ends, len(ids) - 1))


def _measure_single_tokens(model: LanguageModel, batch: list[HeldOut]) -> _Sums:
    encoded = _collated(model, [each.reference for each in batch])
    logits, rows = completion_logits(model, encoded)
    targets = label_targets(encoded, rows)
    right = 0
    for each, row in zip(batch, logits, strict=True):
        among = row if encoded.candidates is not None else row[_answers(each)]
        right += int(among.argmax()) == each.example.label
    nats = functional.cross_entropy(logits, targets, reduction="sum")
    return _Sums(float(nats), len(batch), right, len(batch))


def _answers(held: HeldOut) -> list[int]:
    return [option.input_ids[-1] for option in held.options]


def _one_token_each(held: HeldOut) -> bool:
    return bool(held.example.choices) and all(
        len(option.input_ids) == option.prompt + 1 and sum(option.trained) == 1
        for option in held.options
    )


def _choose(model: LanguageModel, held: HeldOut) -> int:
    losses, rows = _losses(model, held.options)
    totals = losses.new_zeros(len(held.options)).index_add_(0, rows, losses)
    return int(totals.argmin())


def _losses(model: LanguageModel, examples: Sequence[Encoded]) -> tuple[torch.Tensor, torch.Tensor]:
    return token_losses(model, _collated(model, examples))


def _collated(model: LanguageModel, examples: Sequence[Encoded]) -> Batch:
    return collate(examples, model.tokenizer.pad_token_id).to(model.device)


def _rouge(
    model: LanguageModel,
    held: Sequence[HeldOut],
    what: EvaluationPlan,
    on_batch: Callable[[], None],
) -> float | None:
    if what.rouge_examples is None:
        return None
    chosen = [each for each in held if not each.example.choices and each.prompt_ids][
        : what.rouge_examples
    ]
    if not chosen:
        return None
    scores = []
    for each in chosen:
        on_batch()
        answer = generate(model, each.prompt_ids, what.max_new_tokens)
        scores.append(rouge_l(answer, _reference(model, each)))
    return sum(scores) / len(scores)


def generate(model: LanguageModel, prompt_ids: Sequence[int], max_new_tokens: int) -> str:
    """Return the greedy continuation of a prompt as text."""
    ids = torch.tensor([list(prompt_ids)], device=model.device)
    out = model.network.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        pad_token_id=model.tokenizer.pad_token_id,
    )
    return str(model.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))


def _reference(model: LanguageModel, held: HeldOut) -> str:
    answer = held.reference.input_ids[held.reference.prompt :]
    return str(model.tokenizer.decode(answer, skip_special_tokens=True))
