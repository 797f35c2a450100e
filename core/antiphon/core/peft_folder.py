"""A folder that `peft.PeftModel.from_pretrained` loads, written without peft or torch.

adapter_config.json says the shape, adapter_model.safetensors holds the factors under PEFT's names and
README.md is the model card; the tokenizer's files lie beside them where the writer has any.

Where modules have different ranks (an exact export of seed directions, say), `rank_pattern` and
`alpha_pattern` tell PEFT each one's.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.core import fault_points
from antiphon.core.files import written_whole
from antiphon.core.json_text import json_text
from antiphon.core.tensors import to_bytes
from antiphon.core.types import Params

_PREFIX = "base_model.model."


@dataclass(frozen=True)
class AdapterShape:
    """What PEFT must know beside the factors. scale: the product B·A counts this many times."""

    base_model: str
    scale: float
    lora_dropout: float = 0.0


def factor_name(module: str, factor: str) -> str:
    """Return PEFT's name of a module's factor; factor: `A` or `B`."""
    return f"{_PREFIX}{module}.lora_{factor}.weight"


def module_of(name: str) -> str:
    """Return the module's dotted name from a factor's name."""
    return name.removeprefix(_PREFIX).rsplit(".lora_", 1)[0]


def write_peft_folder(
    path: Path,
    factors: Params,
    shape: AdapterShape,
    *,
    card: str = "",
    tokenizer: Path | None = None,
) -> None:
    """Write the folder, whole or not at all; factors: A (r, d_in) and B (d_out, r) by PEFT's names.

    card: the text of README.md; tokenizer: a folder of files on the disk, which get a second name where the
    file system has that, and else are copied.
    """
    with written_whole(path) as part:
        part.mkdir()
        if card:
            (part / "README.md").write_text(card, encoding="utf-8")
        for file in sorted(tokenizer.iterdir()) if tokenizer is not None else ():
            _placed(file, part / file.name)
        config = json_text(adapter_config(factors, shape), indent=2, sort_keys=True)
        (part / "adapter_config.json").write_text(config + "\n", encoding="utf-8")
        fault_points.reached("during publish")
        (part / "adapter_model.safetensors").write_bytes(to_bytes(factors))


def _placed(file: Path, path: Path) -> None:
    try:
        os.link(file, path)
    except OSError:
        shutil.copyfile(file, path)


def adapter_config(factors: Params, shape: AdapterShape) -> dict[str, Any]:
    """Return the content of adapter_config.json."""
    ranks = {module_of(name): int(factors[name].shape[0]) for name in factors if ".lora_A." in name}
    r = Counter(ranks.values()).most_common(1)[0][0]
    other = {module: rank for module, rank in ranks.items() if rank != r}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": shape.base_model,
        "inference_mode": True,
        "r": r,
        "lora_alpha": shape.scale * r,
        "lora_dropout": shape.lora_dropout,
        "bias": "none",
        "target_modules": _targets(ranks),
        "rank_pattern": other,
        "alpha_pattern": {module: shape.scale * rank for module, rank in other.items()},
    }


def _targets(ranks: Mapping[str, int]) -> list[str]:
    # Full names: an ending such as `q_proj` could match modules that were not trained.
    return sorted(ranks)
