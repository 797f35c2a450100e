"""Held-out measurements against what they are defined to be."""

import math
from dataclasses import replace

import pytest
import torch

from antiphon.client.data.clients import ClientExamples, HeldOut, encode_client
from antiphon.client.data.examples import Example
from antiphon.client.data.tokens import Encoded, collate
from antiphon.client.evaluation import EvaluationPlan, evaluate, generate
from antiphon.client.language_model import token_losses
from antiphon.client.rouge import longest_common_subsequence, rouge_l

PLAIN = EvaluationPlan(batch_size=7, rouge_examples=None, max_new_tokens=8)


def test_loss_is_the_mean_over_completion_tokens(model, client):
    """Batches and sorting by length change nothing."""
    references = [held.reference for held in client.evaluation]
    losses, _ = token_losses(model, collate(references, 0))

    measured = evaluate(model, client.evaluation, PLAIN)

    assert measured.loss == pytest.approx(float(losses.mean()), rel=1e-4)
    assert measured.perplexity == pytest.approx(math.exp(measured.loss))
    assert measured.examples == 30


def test_one_token_and_many_token_verbalizers_agree(model, client):
    """Scoring every choice by its own pass gives the accuracy of the single pass."""
    fast = evaluate(model, client.evaluation, PLAIN)

    right = 0
    for held in client.evaluation:
        losses, rows = token_losses(model, collate(held.options, 0))
        totals = losses.new_zeros(len(held.options)).index_add_(0, rows, losses)
        right += int(totals.argmin()) == held.example.label

    assert fast.accuracy == pytest.approx(right / 30)


def test_without_choices_there_is_no_accuracy(model):
    """What was not measured is none, not zero."""
    examples = (Example(prompt="ba de", completion=" fi"),) * 3
    client = encode_client(model.tokenizer, ClientExamples("c", examples, examples), 64)

    measured = evaluate(model, client.evaluation, PLAIN)

    assert measured.accuracy is None
    assert measured.rouge_l is None


def test_rouge_is_measured_on_generation(model):
    """With Rouge-L on, completions are generated and scored in [0, 1]."""
    examples = (Example(prompt="ba de", completion=" fi"),) * 3
    client = encode_client(model.tokenizer, ClientExamples("c", examples, examples), 64)

    measured = evaluate(model, client.evaluation, EvaluationPlan(8, 2, 4))

    assert 0.0 <= measured.rouge_l <= 1.0


def greedy(model, prompt_ids, tokens):
    """Return the next tokens of a prompt, by greedy decoding that no end stops."""
    ids = torch.tensor([prompt_ids])
    out = model.network.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=tokens,
        do_sample=False,
        eos_token_id=None,
    )
    return out[0, ids.shape[1] :].tolist()


def held_out(prompt_ids, answer):
    """A held-out example of these tokens."""
    ids = [*prompt_ids, *answer]
    trained = [False] * len(prompt_ids) + [True] * len(answer)
    return HeldOut(Example("a prompt", "an answer"), (Encoded(ids, trained, len(prompt_ids)),))


def test_exact_match_is_what_greedy_decoding_says(model, client):
    """Counted without generating, it is the share of references that greedy decoding gives."""
    prompts = [held.prompt_ids for held in client.evaluation[:8]]
    answers = [greedy(model, prompt, 2 + at % 4) for at, prompt in enumerate(prompts)]
    for at, answer in enumerate(
        answers[:5]
    ):  # one token is another: the first, the last, one between
        answer[at % len(answer)] = (answer[at % len(answer)] + 1) % 50
    held = [held_out(*each) for each in zip(prompts, answers, strict=True)]
    said = [greedy(model, each.prompt_ids, len(a)) for each, a in zip(held, answers, strict=True)]

    measured = evaluate(model, held, PLAIN)

    matches = sum(each == answer for each, answer in zip(said, answers, strict=True))
    assert measured.exact_match == matches / 8 == 3 / 8


def test_exact_match_asks_for_the_end(model, client):
    """Who goes on where the reference ends has not said the reference."""
    prompt = client.evaluation[0].prompt_ids
    answer = [*greedy(model, prompt, 3), model.tokenizer.eos_token_id]

    said = greedy(model, prompt, 4)

    assert said[3] != model.tokenizer.eos_token_id
    assert evaluate(model, [held_out(prompt, answer)], PLAIN).exact_match == 0.0


def test_exact_match_ends_at_the_end(model, client):
    """What a chat template puts behind the end of a reply is not generated."""
    prompt = client.evaluation[0].prompt_ids
    answer = greedy(model, prompt, 3)
    model.tokenizer.eos_token = model.tokenizer.convert_ids_to_tokens(answer[-1])
    end = answer.index(answer[-1]) + 1
    behind = (greedy(model, prompt, end + 1)[-1] + 1) % 50

    held = held_out(prompt, [*answer[:end], behind])

    assert evaluate(model, [held], PLAIN).exact_match == 1.0


def test_exact_match_is_of_the_last_reply(model, client):
    """What the assistant has said earlier in a conversation is given, and may be unlikely."""
    prompt = client.evaluation[0].prompt_ids
    held = held_out(prompt, greedy(model, prompt, 3))
    earlier = replace(held.reference, trained=[False, *[True] * (len(prompt) + 2)])

    measured = evaluate(model, [replace(held, options=(earlier,))], PLAIN)

    assert measured.exact_match == 1.0


@pytest.mark.parametrize(
    "example",
    [Example(completion="ba de fi"), Example("ba", " dark", choices=(" bright", " dark"), label=1)],
    ids=["text", "choices"],
)
def test_without_one_right_completion_there_is_no_exact_match(model, example):
    """A text has no prompt to complete, and choices are compared with each other."""
    client = encode_client(model.tokenizer, ClientExamples("c", (example,), (example,)), 64)

    assert evaluate(model, client.evaluation, PLAIN).exact_match is None


def test_generation_is_bounded(model, client):
    """No more than max_new_tokens are generated, and the same each time."""
    prompt = client.evaluation[0].prompt_ids

    text = generate(model, prompt, 5)

    assert len(text.split()) <= 5
    assert text == generate(model, prompt, 5)


@pytest.mark.parametrize(
    ("candidate", "reference", "expected"),
    [
        ("the cat sat", "the cat sat", 1.0),
        ("", "the cat", 0.0),
        ("dogs bark", "the cat", 0.0),
        ("the cat was found under the bed", "the cat was under the bed", 2 * 6 / 13),
        ("The CAT!", "the cat", 1.0),
    ],
)
def test_rouge_l(candidate, reference, expected):
    """F1 of the longest common subsequence of words, case and punctuation aside."""
    assert rouge_l(candidate, reference) == pytest.approx(expected)


def test_longest_common_subsequence_keeps_order():
    """Elements count in the order of both."""
    assert longest_common_subsequence("ABCBDAB", "BDCABA") == 4
