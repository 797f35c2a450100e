"""The frozen base model: loaded once per process, however many clients it serves.

A causal language model of Hugging Face with its tokenizer, on the best device there is. Losses need
logits only where labels are: for a classification that is one position in forty, and the vocabulary is
the widest layer of a small model.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from antiphon.client.assets.names import model_folder
from antiphon.client.data.tokens import Batch
from antiphon.core.errors import DeviceError, ModelError

IGNORED = -100


@dataclass(frozen=True)
class LanguageModel:
    """A base model ready to compute. `whole_logits`: its head is more than one linear layer."""

    network: Any
    tokenizer: Any
    device: torch.device
    precision: torch.dtype
    whole_logits: bool
    name: str


def load(name_or_path: str, device: str = "auto", precision: str = "auto") -> LanguageModel:
    """Load a hub id, a local folder, a GGUF file or a name that `antiphon fetch` knows.

    Raises ModelError where nothing of that name can be read.
    """
    where = pick_device(device)
    dtype = pick_precision(precision, where)
    network, tokenizer = _read(model_folder(name_or_path), dtype)
    network.requires_grad_(False)
    network.eval().to(where)
    if tokenizer.pad_token_id is None:
        # Any token will do: padding is masked and never a label.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    return LanguageModel(
        network, tokenizer, where, dtype, _head_is_more_than_linear(network, where), name_or_path
    )


def pick_device(wish: str) -> torch.device:
    """Return the device to compute on; `auto` prefers CUDA, then MPS, then the CPU."""
    usable = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wish == "auto":
        return torch.device(next((name for name, there in usable.items() if there), "cpu"))
    if not usable.get(wish, True):
        raise DeviceError(f"model.device is {wish!r}, but this machine has none: use auto or cpu")
    return torch.device(wish)


def pick_precision(wish: str, device: torch.device) -> torch.dtype:
    """Return the dtype of the frozen base; `auto` takes bfloat16 only where matrix units gain by it.

    AVX-512 BF16 without AMX is slower here than float32 (docs/benchmarks.md), so it does not count.
    """
    if wish != "auto":
        chosen: torch.dtype = getattr(torch, wish)
        return chosen
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.bfloat16
    if device.type == "cpu" and torch.cpu._is_amx_tile_supported():
        return torch.bfloat16
    return torch.float32


def _read(source: Path | str, dtype: torch.dtype) -> tuple[Any, Any]:
    # transformers is imported here: reading a config or a journal must not wait seconds for it.
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # other people's deprecations are not our user's concern
            # A model is data: no code of its own is run, no pickle is read.
            network = AutoModelForCausalLM.from_pretrained(
                source, dtype=dtype, trust_remote_code=False, use_safetensors=True
            )
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # transformers and safetensors raise kinds of their own
        raise ModelError(
            f"cannot load the model {str(source)!r}: {first_line(error)}. Give a hub id, a "
            "folder with config.json and safetensors, a GGUF file, or a name known to `antiphon fetch`"
        ) from error
    return network, tokenizer


def load_tokenizer(name_or_path: str) -> Any:
    """Return the tokenizer of a model without its weights. Raises ModelError where there is none."""
    from transformers import AutoTokenizer

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return AutoTokenizer.from_pretrained(
                model_folder(name_or_path), trust_remote_code=False
            )
    except ModelError:
        raise
    except Exception as error:  # transformers and tokenizers raise kinds of their own
        raise ModelError(
            f"cannot read the tokenizer of {name_or_path!r}: {first_line(error)}"
        ) from error


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its kind where it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)


@torch.no_grad()
def _head_is_more_than_linear(network: Any, device: torch.device) -> bool:
    """Whether logits differ from head(hidden): soft-capping and logit scales of some families."""
    tokens = torch.arange(2, 6, device=device)[None] % network.config.vocab_size
    direct = network.get_output_embeddings()(network.get_decoder()(tokens).last_hidden_state)
    return not torch.allclose(direct, network(tokens).logits, rtol=1e-2, atol=1e-2)


def completion_logits(model: LanguageModel, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits (n, vocabulary), float32, of the n label positions, and their row (n,) in the batch.

    Row-major over the batch: the first rows' positions come first. Where the batch has candidates, the
    logits are of those only, (n, k).
    """
    predicts = batch.labels[:, 1:] != IGNORED
    rows = predicts.nonzero()[:, 0]
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    if model.whole_logits:
        logits = model.network(**inputs, use_cache=False).logits[:, :-1][predicts]
    else:
        hidden = model.network.get_decoder()(**inputs, use_cache=False).last_hidden_state
        head: nn.Module = model.network.get_output_embeddings()
        logits = head(hidden[:, :-1][predicts])
    if batch.candidates is not None:
        logits = logits.gather(1, batch.candidates[rows])
    return logits.float(), rows


def label_targets(batch: Batch, rows: torch.Tensor) -> torch.Tensor:
    """Return the index (n,) of each label among the logits of `completion_logits`."""
    labels = batch.labels[:, 1:]
    labels = labels[labels != IGNORED]
    if batch.candidates is None:
        return labels
    return (batch.candidates[rows] == labels[:, None]).int().argmax(dim=1)


def token_losses(model: LanguageModel, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the cross-entropy (n,) of each label token, in nats, and its row (n,) in the batch."""
    logits, rows = completion_logits(model, batch)
    return functional.cross_entropy(logits, label_targets(batch, rows), reduction="none"), rows
