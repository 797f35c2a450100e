"""The base model with an adapter merged into its weights, as a folder that transformers loads."""

from __future__ import annotations

from pathlib import Path

import torch

from antiphon.client.language_model import load
from antiphon.strategies.bases.base import Need


def write_merged(name_or_path: str, adapter: Path, out: Path) -> None:
    """Merge the PEFT folder `adapter` into the base, and write model and tokenizer to `out`."""
    from peft import PeftModel

    base = load(name_or_path, device="cpu", wanted=frozenset({Need.WEIGHTS}))
    with torch.no_grad():
        merged = PeftModel.from_pretrained(base.network, adapter).merge_and_unload()
    merged.save_pretrained(out)
    base.tokenizer.save_pretrained(out)
