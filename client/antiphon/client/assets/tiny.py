"""The asset that needs no download: a 2-layer Llama, its tokenizer and its task, from fixed seeds.

Small enough for tests and for machines with nothing, real enough for every code path: a folder that
transformers loads, and rows that LoRA learns within a few rounds.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from antiphon.client.assets.tiny_task import lexicon, rows_as_jsonl, uniform
from antiphon.core.tensors import write_tensors
from antiphon.core.types import FloatArray

_SPECIAL = ("<unk>", "<pad>", "<eos>", "<user>", "<assistant>", "<system>")
_COMMON = ("yes", "no", "bright", "dark", "text", "label", "answer", "question", ":", "?", ".", ",")
_HIDDEN, _INNER, _LAYERS, _HEADS = 64, 128, 2, 4
_MAX_POSITION = 512
# Words that mean the same lie together, as training would have placed them: without that, eighty
# words would have to be learned one by one.
_KINSHIP = 1.0
_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<{{ message['role'] }}> {{ message['content'] }} <eos> "
    "{% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)


def convert(unpacked: Path, target: Path) -> None:
    """Write `target/model` and `target/rows.jsonl`; the same bytes on every machine."""
    folder = target / "model"
    folder.mkdir()
    vocabulary = _vocabulary()
    _write_tokenizer(folder, vocabulary)
    _write_json(folder / "config.json", _config(len(vocabulary)))
    write_tensors(folder / "model.safetensors", _weights(vocabulary))
    (target / "rows.jsonl").write_text(rows_as_jsonl(), encoding="utf-8")


def _vocabulary() -> list[str]:
    made_up = [word for site in lexicon().values() for words in site.values() for word in words]
    return [*_SPECIAL, *_COMMON, *made_up]


def _config(vocabulary: int) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "vocab_size": vocabulary,
        "hidden_size": _HIDDEN,
        "intermediate_size": _INNER,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _HEADS,
        "max_position_embeddings": _MAX_POSITION,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": _SPECIAL.index("<eos>"),
        "pad_token_id": _SPECIAL.index("<pad>"),
    }


def _weights(vocabulary: list[str]) -> dict[str, FloatArray]:
    weights = {
        "model.embed_tokens.weight": _embeddings(vocabulary),
        "model.norm.weight": np.ones(_HIDDEN, dtype=np.float32),
    }
    shapes = {
        **{f"self_attn.{name}_proj": (_HIDDEN, _HIDDEN) for name in "qkvo"},
        "mlp.gate_proj": (_INNER, _HIDDEN),
        "mlp.up_proj": (_INNER, _HIDDEN),
        "mlp.down_proj": (_HIDDEN, _INNER),
    }
    for layer in range(_LAYERS):
        for name, shape in shapes.items():
            key = f"model.layers.{layer}.{name}.weight"
            weights[key] = _random(key, shape, shape[1] ** -0.5)
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"model.layers.{layer}.{name}.weight"] = np.ones(_HIDDEN, dtype=np.float32)
    return weights


def _embeddings(vocabulary: list[str]) -> FloatArray:
    table = _random("embeddings", (len(vocabulary), _HIDDEN), 1.0)
    for words in lexicon().values():
        for kind in ("bright", "dark"):
            rows = [vocabulary.index(word) for word in words[kind]]
            table[rows] += np.float32(_KINSHIP) * _random(kind, (_HIDDEN,), 1.0)
    return table * np.float32(_HIDDEN**-0.5)


def _random(key: str, shape: tuple[int, ...], std: float) -> FloatArray:
    # Uniform, not normal: a normal's last bits depend on the machine's logarithm.
    values = uniform(zlib.crc32(key.encode()), int(np.prod(shape))).reshape(shape)
    return ((values - 0.5) * (12**0.5 * std)).astype(np.float32)


def _write_tokenizer(folder: Path, vocabulary: list[str]) -> None:
    ids = {word: index for index, word in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(list(_SPECIAL))
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": "<unk>",
            "pad_token": "<pad>",
            "eos_token": "<eos>",
            "model_max_length": _MAX_POSITION,
            "chat_template": _CHAT_TEMPLATE,
        },
    )


def _write_json(path: Path, values: dict[str, object]) -> None:
    path.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n", encoding="utf-8")
