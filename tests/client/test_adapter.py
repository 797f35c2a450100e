"""The adapter in the model: names, ranks, starts and mismatches."""

import numpy as np
import pytest
import torch
import yaml
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import AutoTokenizer

from antiphon.client.adapter import Adapter, target_linears
from antiphon.client.assets.names import model_folder
from antiphon.client.language_model import load_tokenizer
from antiphon.client.tokenizer_folder import write_tokenizer
from antiphon.core.errors import ModelError
from antiphon.core.peft_folder import AdapterShape, write_peft_folder
from antiphon.server.folding.model_card import model_card
from antiphon.strategies.initial_factors import initial_factors


@pytest.fixture
def adapter(model):
    return Adapter(model, r=4, lora_alpha=8, lora_dropout=0.0, target_modules=["q_proj", "v_proj"])


def start(adapter, seed=1):
    shapes = {name: tuple(linear.weight.shape) for name, linear in adapter.linears.items()}
    return initial_factors(shapes, seed)


def trained(adapter, seed=1):
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(size=value.shape).astype(np.float32) * 0.1
        for name, value in start(adapter).items()
    }


def test_a_fresh_adapter_changes_nothing(model, adapter):
    """B is zero, so the outputs are the base's."""
    ids = torch.arange(5, 15)[None]
    before = model.network(ids).logits

    adapter.write(start(adapter), 2.0)

    assert torch.allclose(model.network(ids).logits, before)


def test_a_folder_with_tokenizer_and_card_is_peft_s(tmp_path, adapter, tiny_config):
    """PEFT's own class loads model and adapter of it, transformers the tokenizer, the hub the card."""
    write_tokenizer(load_tokenizer("tiny"), tmp_path / "tokenizer")
    base = str(model_folder("tiny"))
    shape, card = AdapterShape(base, 2.0), model_card(tiny_config())
    folder = tmp_path / "adapter"

    write_peft_folder(folder, trained(adapter), shape, card=card, tokenizer=tmp_path / "tokenizer")

    loaded = AutoPeftModelForCausalLM.from_pretrained(folder)
    assert loaded.peft_config["default"].task_type == "CAUSAL_LM"
    words = "the lamp it was dark"
    assert AutoTokenizer.from_pretrained(folder)(words) == load_tokenizer("tiny")(words)
    _, front, _ = (folder / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "peft"


def test_what_is_written_is_read(adapter):
    """Factors come back bit for bit."""
    factors = trained(adapter)

    adapter.write(factors, 2.0)

    assert all((adapter.read()[name] == factors[name]).all() for name in factors)


def test_a_narrow_adapter_is_padded_with_zeros(model, adapter):
    """Rank 2 inside a rank-4 adapter gives what the product of the narrow factors gives."""
    ids = torch.arange(5, 15)[None]
    narrow = {n: (v[:2] if "lora_A" in n else v[:, :2]) for n, v in trained(adapter).items()}
    adapter.write(narrow, 4.0)
    padded = model.network(ids).logits

    wide = {n: np.where(adapter.read()[n] != 0, adapter.read()[n], 0) for n in narrow}
    adapter.write({n: v.astype(np.float32) for n, v in wide.items()}, 4.0)

    assert torch.equal(model.network(ids).logits, padded)


def test_the_peft_folder_gives_the_same_outputs(model, adapter, tmp_path):
    """peft loads the written folder and computes what the adapter inside our model computes."""
    ids = torch.arange(5, 15)[None]
    factors = trained(adapter)
    adapter.write(factors, 2.0)
    ours = model.network(ids).logits
    write_peft_folder(tmp_path / "adapter", factors, AdapterShape("tiny", 2.0))

    from antiphon.client.language_model import load

    theirs = PeftModel.from_pretrained(load("tiny", "cpu").network, tmp_path / "adapter")

    assert torch.allclose(theirs(ids).logits, ours, atol=1e-5)


def test_starts_are_the_same_everywhere():
    """A fresh adapter depends on the seed and the shapes only; A is uniform within 1/√d_in."""
    shapes = {"m.lora_A.weight": (4, 16), "m.lora_B.weight": (8, 4)}

    first, again, other = (initial_factors(shapes, seed) for seed in (3, 3, 4))

    assert (first["m.lora_A.weight"] == again["m.lora_A.weight"]).all()
    assert (first["m.lora_A.weight"] != other["m.lora_A.weight"]).any()
    assert np.abs(first["m.lora_A.weight"]).max() <= 0.25
    assert not first["m.lora_B.weight"].any()


def test_tensors_of_another_model_are_refused(adapter):
    """Names that are not this model's never reach its weights."""
    with pytest.raises(ModelError, match="not those of this model"):
        adapter.write({"other.lora_A.weight": np.zeros((4, 4), dtype=np.float32)}, 1.0)


def test_unknown_targets_list_the_models_modules(model):
    """A misspelt module is answered with the modules that exist."""
    with pytest.raises(ModelError, match=r"'query'; it has: .*q_proj.*all-linear"):
        target_linears(model, ["q_proj", "query"])


def test_all_linear_leaves_the_head_out(model):
    """The head is tied to the embeddings and is not adapted."""
    names = {name.rsplit(".", 1)[-1] for name in target_linears(model, "all-linear")}

    assert "lm_head" not in names
    assert {"q_proj", "down_proj"} <= names
