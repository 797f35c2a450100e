"""A GGUF file as a folder of float32 weights: dequantised once, because that is slow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from antiphon.core.errors import ModelError


def convert(unpacked: Path, target: Path) -> None:
    """Convert the one GGUF file below `unpacked` to `target/model`."""
    convert_file(next(unpacked.rglob("*.gguf")), target)


def convert_file(gguf: Path, target: Path) -> None:
    """Convert a GGUF file to `target/model`: config, weights in float32 safetensors, tokenizer.

    Raises ModelError for a file that transformers cannot read.
    """
    # Imported here because they take seconds and only this conversion needs them.
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where, name = str(gguf.resolve().parent), gguf.name
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, gguf_file=name)
        model = AutoModelForCausalLM.from_pretrained(where, gguf_file=name, dtype=torch.float32)
    except Exception as error:
        # The reader raises whatever its parser meets in the bytes.
        raise ModelError(
            f"cannot read {gguf} as a GGUF model ({type(error).__name__}: {error}): use a causal "
            "language model of an architecture that transformers converts from GGUF"
        ) from error
    pad_id = _pad(tokenizer)
    _as_plain(model, pad_id)
    model.save_pretrained(target / "model")
    tokenizer.save_pretrained(target / "model")


def _pad(tokenizer: Any) -> int:
    # Padding with the end-of-sequence token would hide that token from anything that masks padding.
    if tokenizer.unk_token is not None:
        tokenizer.pad_token = tokenizer.unk_token
    elif tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    # The reader keeps these from its own call; they describe no tokenizer.
    for key in ("is_local", "local_files_only", "gguf_file", "name_or_path"):
        tokenizer.init_kwargs.pop(key, None)
    return int(tokenizer.pad_token_id)


def _as_plain(model: Any, pad_id: int) -> None:
    """Forget that the weights came from a quantised file: they are float32 now."""
    for owner, attribute in (
        (model.config, "quantization_config"),
        (model.config, "_model_name_or_path"),
    ):
        if hasattr(owner, attribute):
            delattr(owner, attribute)
    model.hf_quantizer = None
    model.is_quantized = False
    model.config.pad_token_id = pad_id
    model.generation_config.pad_token_id = pad_id
