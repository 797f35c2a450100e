"""The frozen base model: loaded once per process, however many clients it serves.

A causal language model of Hugging Face with its tokenizer, on the best device there is. Losses need
logits only where labels are: for a classification that is one position in forty, and the vocabulary is
the widest layer of a small model.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from antiphon.client.assets.names import model_folder
from antiphon.client.bases.base import chosen
from antiphon.client.data.tokens import Batch
from antiphon.core.errors import DeviceError, ModelError, first_line
from antiphon.core.run_sections import AUTO, DEFAULT_BASE
from antiphon.core.section import Choice
from antiphon.strategies.bases.base import Base, Need

IGNORED = -100


@dataclass(frozen=True)
class LanguageModel:
    """A base model ready to compute.

    base: how it is held; whole_logits: its head is more than one linear layer.
    """

    network: Any
    tokenizer: Any
    device: torch.device
    base: Base
    whole_logits: bool
    name: str


def load(
    name_or_path: str,
    device: str = AUTO,
    base: Choice = DEFAULT_BASE,
    wanted: frozenset[Need] = frozenset(),
) -> LanguageModel:
    """Load a hub id, a local folder, a GGUF file or a name that `antiphon fetch` knows.

    base: how it is held, wanted: what of a base the choice `auto` looks for. Raises ModelError where
    nothing of that name can be read, ConfigError where there is no such base.
    """
    where = pick_device(device)
    held, half = chosen(base, where, wanted)
    network = half.load(model_folder(name_or_path), where)
    tokenizer = load_tokenizer(name_or_path)
    if tokenizer.pad_token_id is None:
        # Any token will do: padding is masked and never a label.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    whole_logits = _head_is_more_than_linear(network, where)
    return LanguageModel(network, tokenizer, where, held, whole_logits, name_or_path)


def pick_device(wish: str) -> torch.device:
    """Return the device to compute on; `auto` prefers CUDA, then MPS, then the CPU."""
    usable = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wish == AUTO:
        return torch.device(next((name for name, there in usable.items() if there), "cpu"))
    if not usable.get(wish, True):
        raise DeviceError(f"model.device is {wish!r}, but this machine has none: use auto or cpu")
    return torch.device(wish)


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
