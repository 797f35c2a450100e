"""What a run's config means where it says nothing: the one file that names members of other files."""

from __future__ import annotations

from typing import Final

METHOD: Final = "lora"
WRITTEN: Final = "written"
"""The method that takes its parts from the config, where the config names parts and no preset."""

SCHEDULER: Final = "all"
POLICY: Final = "fixed"
AGGREGATION: Final = "product"
PROTECTION: Final = ("clip", "cap")
FRAMES: Final = "seeded"
SERVER_OPT: Final = "sgd"

DENSE: Final = "float32"
"""The codec that leaves tensors as they are."""

RATED: Final = "ecdq"
"""The codec that a policy packs with where it may choose how many bits a number has."""
