"""Held-out measurements against what they are defined to be."""

import math

import pytest

from antiphon.client.data.clients import ClientExamples, encode_client
from antiphon.client.data.examples import Example
from antiphon.client.data.tokens import collate
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
