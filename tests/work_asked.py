"""What a round of a made-up config asks of a client: what a coordinator and a trainer say of a real one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from antiphon.v1 import coordinator_pb2

_SECTIONS = {
    "lora": {"lora": "training"},
    "seeds": {"seeds": "seeds"},
    "mixed": {"lora": "training", "seeds": "seeds"},
}


def work_asked(config: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Return steps, batch and accumulation by role, as far as the config has them."""
    sections = _SECTIONS.get(str(config.get("method")), {})
    return {
        role: {
            "steps": config[section]["max_steps"],
            "batch": config[section]["per_device_train_batch_size"],
            "accumulation": config[section].get("gradient_accumulation_steps", 1),
        }
        for role, section in sections.items()
        if section in config
    }


def asks(config: Mapping[str, Any]) -> list[coordinator_pb2.RoleWork]:
    """Return the same as a coordinator says it."""
    return [
        coordinator_pb2.RoleWork(role=role, **each) for role, each in work_asked(config).items()
    ]
