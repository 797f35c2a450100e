"""What the randomness of a fold comes from: known to the coordinator alone, and the same after a restart.

It is no part of a config, which clients know: noise that a client could compute would hide nothing from it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from pathlib import Path

from antiphon.core.config import RunConfig
from antiphon.core.errors import RunFolderError
from antiphon.core.home import write_private

_BYTES = 32


def kept_secret(folder: Path, draw: Callable[[int], bytes] = secrets.token_bytes) -> bytes:
    """Return the secret of a coordinator's folder, 32 bytes; it is made when it is first asked for.

    Raises RunFolderError where the file is not what was written.
    """
    file = folder / "fold.secret"
    if not file.exists():
        write_private(file, draw(_BYTES))
    secret = file.read_bytes()
    if len(secret) != _BYTES:
        raise RunFolderError(
            f"{file} has {len(secret)} bytes, expected {_BYTES}: restore it from a copy. A run that "
            "goes on with another one could not fold an open round to the same bits"
        )
    return secret


def simulated_secret(config: RunConfig) -> bytes:
    """Return the secret of a simulation, which hides nothing from anybody: it follows from the seed."""
    return hashlib.sha256(f"simulated fold {config.seed}".encode()).digest()
