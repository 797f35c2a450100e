import hashlib
import json
from collections import Counter

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from antiphon.client.assets import tiny
from antiphon.client.assets.tiny_task import SITES, lexicon


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    target = tmp_path_factory.mktemp("tiny")
    tiny.convert(target, target)
    return target


@pytest.fixture(scope="module")
def rows(folder):
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


def test_it_is_the_same_everywhere(folder):
    """The weights and the rows are the recorded bytes: made twice, they are the same."""
    digests = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()[:16]
        for name in ("model/model.safetensors", "rows.jsonl")
    }

    assert digests == {
        "model/model.safetensors": "94e4d8982d0ee39e",
        "rows.jsonl": "225df250e5c60d4d",
    }


def test_the_label_is_the_majority(rows):
    """Bright words outnumber dark ones exactly in the rows labelled bright."""
    kinds = {
        word: kind for site in lexicon().values() for kind, words in site.items() for word in words
    }

    for row in rows:
        counts = Counter(kinds[word] for word in row["text"].split())
        assert row["label"] == ("bright" if counts["bright"] > counts["dark"] else "dark")


def test_sites_are_alike_in_size_and_unlike_in_labels(rows):
    """Each site has 600 rows, and their shares of bright rows differ by over a quarter."""
    sizes = Counter(row["site"] for row in rows)
    bright = Counter(row["site"] for row in rows if row["label"] == "bright")

    assert sizes == dict.fromkeys(SITES, 600)
    assert (max(bright.values()) - min(bright.values())) / 600 > 0.25


def test_transformers_loads_it(folder):
    """The folder is a Llama whose output has one logit per word of the vocabulary."""
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")

    ids = tokenizer("yes no bright", return_tensors="pt")["input_ids"]
    logits = model(input_ids=ids).logits

    assert tuple(logits.shape) == (1, 3, len(tokenizer))
    assert bool(torch.isfinite(logits).all())


def test_the_tokenizer_knows_every_word(folder, rows):
    """No word of the task is unknown, and the words come back from their tokens."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")

    ids = tokenizer(rows[0]["text"])["input_ids"]

    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids) == rows[0]["text"]
