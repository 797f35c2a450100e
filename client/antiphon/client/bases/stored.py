"""Weights in memory as the model's file has them, in one number format of torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from antiphon.core.errors import ModelError, first_line


class Stored:
    """A base whose weights are all of one dtype."""

    def __init__(self, dtype: torch.dtype, gains: Callable[[torch.device], bool]) -> None:
        """dtype: of the weights, and of what is computed with them; gains: see Base.gains."""
        self._dtype, self._gains = dtype, gains

    def gains(self, device: torch.device) -> bool:
        """Whether `auto` may take it on this device."""
        return self._gains(device)

    def load(self, source: Path | str, device: torch.device) -> Any:
        """Return the model with its weights in this dtype. Raises ModelError."""
        # transformers is imported here: reading a config or a journal must not wait seconds for it.
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()
        try:
            with warnings.catch_warnings():
                # Other people's deprecations are not our user's concern.
                warnings.simplefilter("ignore")
                # A model is data: no code of its own is run, no pickle is read.
                network = AutoModelForCausalLM.from_pretrained(
                    source, dtype=self._dtype, trust_remote_code=False, use_safetensors=True
                )
        except Exception as error:  # transformers and safetensors raise kinds of their own
            raise ModelError(
                f"cannot load the model {str(source)!r}: {first_line(error)}. Give a hub id, a "
                "folder with config.json and safetensors, a GGUF file, or a name known to `antiphon fetch`"
            ) from error
        network.requires_grad_(False)
        return network.eval().to(device)
