"""The base model: logits only where labels are, and what may go wrong when it is loaded."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from antiphon.client.assets.names import model_folder
from antiphon.client.data.tokens import collate
from antiphon.client.language_model import (
    completion_logits,
    load,
    pick_device,
    token_losses,
)
from antiphon.core.errors import ConfigError, ModelError
from antiphon.core.section import Choice


@pytest.fixture
def batch(model, client):
    return collate(client.train[:8], model.tokenizer.pad_token_id)


def test_losses_are_the_models_own(model, batch):
    """The mean over label tokens is the loss that the model itself computes from all its logits."""
    ours = token_losses(model, batch)[0].mean()

    own = model.network(
        batch.input_ids, attention_mask=batch.attention_mask, labels=batch.labels
    ).loss

    assert float(ours) == pytest.approx(float(own), rel=1e-5)


def test_logits_are_computed_only_where_labels_are(model, batch):
    """A classification of eight rows gives eight rows of logits, whatever the lengths."""
    logits, rows = completion_logits(model, batch)

    assert logits.shape == (8, model.network.config.vocab_size)
    assert rows.tolist() == list(range(8))


def test_a_head_that_is_more_than_linear_takes_the_long_way(model, batch):
    """With whole logits the losses are the same."""
    whole = replace(model, whole_logits=True)

    assert torch.allclose(token_losses(whole, batch)[0], token_losses(model, batch)[0], atol=1e-5)


def test_a_plain_head_is_recognised(model):
    """Llama's head is one linear layer."""
    assert not model.whole_logits


def test_padding_changes_no_loss(model, client):
    """A row's loss is the same alone and beside longer rows."""
    short = min(client.train, key=lambda each: len(each.input_ids))
    long = max(client.train, key=lambda each: len(each.input_ids))

    alone = token_losses(model, collate([short], 0))[0]
    beside = token_losses(model, collate([short, long], 0))[0]

    assert float(beside[0]) == pytest.approx(float(alone[0]), abs=1e-4)


def test_candidates_narrow_the_loss(model, client, batch):
    """Among two words the loss is the softmax over their two logits."""
    answers = [option.input_ids[-1] for option in client.evaluation[0].options]
    narrow = replace(batch, candidates=torch.tensor([answers] * 8))

    losses, _ = token_losses(model, narrow)

    logits, _ = completion_logits(model, batch)
    golds = batch.labels[batch.labels != -100]
    expected = logits[:, answers].logsumexp(dim=1) - logits[torch.arange(8), golds]
    assert torch.allclose(losses, expected, atol=1e-5)


def test_a_missing_model_is_said():
    """The error names what was asked for and what exists."""
    with pytest.raises(ModelError, match="smollm2"):
        load("smollm2-136m")


def test_a_folder_that_is_no_model_is_said(tmp_path):
    """An empty folder is refused with what a model folder holds."""
    with pytest.raises(ModelError, match=r"config\.json"):
        load(str(tmp_path))


def test_pickled_weights_are_not_read(tmp_path):
    """A model whose weights are no safetensors is refused: a pickle runs what it says."""
    folder = shutil.copytree(model_folder("tiny"), tmp_path / "model")
    network = load(str(folder)).network
    for file in folder.glob("*.safetensors"):
        file.unlink()
    torch.save(network.state_dict(), folder / "pytorch_model.bin")

    with pytest.raises(ModelError, match="safetensors"):
        load(str(folder))


def test_code_beside_a_model_is_not_run(tmp_path):
    """A config that names classes of its own is refused, and their file is not imported."""
    folder = shutil.copytree(model_folder("tiny"), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    classes = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    named = {**config, "model_type": "own", "auto_map": classes}
    (folder / "config.json").write_text(json.dumps(named))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")

    with pytest.raises(ModelError):
        load(str(folder))

    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_said():
    """Asking for CUDA where there is none is an error, not a silent change."""
    with pytest.raises(ModelError, match="use auto or cpu"):
        pick_device("cuda")


def test_a_wish_for_a_base_is_obeyed():
    """What the config says counts on any hardware."""
    model = load("tiny", "cpu", Choice(kind="bfloat16"))

    assert model.base.kind == "bfloat16"
    assert {each.dtype for each in model.network.parameters()} == {torch.bfloat16}


def test_a_base_that_nobody_has_is_said():
    """The error names what is installed."""
    with pytest.raises(ConfigError, match="installed: bfloat16, float32"):
        load("tiny", "cpu", Choice(kind="bfloat17"))
