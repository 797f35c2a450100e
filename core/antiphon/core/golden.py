"""Golden vectors of directions and of the order of seeds: what every machine of a federation must draw.

A client whose bits differ would move along other directions than the coordinator believes, and nobody
would see an error. So the draws below are fixed here, compared by the tests on every backend, and compared
again by each worker before it trains by seeds. `tests/golden/make_directions.py` prints them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from antiphon.core import directions
from antiphon.core.errors import AntiphonError
from antiphon.core.seed_choice import given
from antiphon.core.types import Assignment, FloatArray

KEY = directions.run_key(2024)
NAME = "model.layers.0.self_attn.q_proj"
SHAPE = (192, 576)
RANK = 2
SEEDS = (0, 7, 4095)
ASKED = Assignment(3, "anybody", "any", 200, 0, 600, 1e-3, 8, seed=2**62 + 5, pool=96)

GOLDEN: Mapping[str, str] = {
    "rademacher-0": "94798668988f0be716d388e4dbdf4b7698d9a206fae8d9ce691862108de25969",
    "gaussian-0": "7c46c43ae5c99e0f02016527835d75c480da0312e6b9705f10fb2473fafcc32e",
    "lowrank-0": "397790c5d5766cb8e612719c291ca70e1718694e9adbefaa39f081a8ec3e5c70",
    "rademacher-7": "577afb0ca6f54dac67d68dd31c1f16ffa4ecade6ba02b3e57822fb641306c42b",
    "gaussian-7": "982d59a4c7d75a80d041ceb19971d8aacdcf061ef4b8f39a7b09ac935ce44558",
    "lowrank-7": "6beae75ac99886c64976eb205aec3d2da86afd7a45fea7793816ac888c6b9709",
    "rademacher-4095": "c154d283057dd040e930da5a8f177f38b827e176976c9bb73a7f74200de49ac1",
    "gaussian-4095": "5a9d186a43c9b55922f8c5c1438a10b96e7762b41505e59679085cd61efdf845",
    "lowrank-4095": "56f5a7f8961d969f6f18cdd603d68d32fe3a7dd0230e11126e31191277078332",
    "order-of-seeds": "3f1322ab57d63e4f5747978881cead43e060abd642534aac6498488206014987",
}


class Draws(Protocol):
    """A backend's draws of the golden directions, as numpy float32."""

    def dense(self, kind: str, seed: int, start: int, count: int) -> FloatArray:
        """Return elements start … start+count of a dense direction."""
        ...

    def low_rank(self, seed: int) -> tuple[FloatArray, FloatArray]:
        """Return u (m, r) and v (n, r)."""
        ...


class NumpyDraws:
    """The reference backend."""

    def dense(self, kind: str, seed: int, start: int, count: int) -> FloatArray:
        """Return elements start … start+count of a dense direction."""
        draw = directions.rademacher if kind == "rademacher" else directions.gaussian
        return draw(KEY, seed, NAME, start, count)

    def low_rank(self, seed: int) -> tuple[FloatArray, FloatArray]:
        """Return u (m, r) and v (n, r)."""
        u, v = directions.low_rank(KEY, np.array([seed]), NAME, SHAPE, RANK)
        return u[0], v[0]


def fingerprints(draws: Draws) -> dict[str, str]:
    """Return the SHA-256 of each golden draw, by name."""
    found = {}
    for seed in SEEDS:
        for kind in ("rademacher", "gaussian"):
            found[f"{kind}-{seed}"] = _sha(draws.dense(kind, seed, 1000, 5000))
        u, v = draws.low_rank(seed)
        found[f"lowrank-{seed}"] = _sha(np.concatenate([u.ravel(), v.ravel()]))
    found["order-of-seeds"] = _sha(given(ASKED, KEY, 4096).astype(np.float32))
    return found


def check(draws: Draws, backend: str) -> None:
    """Raise AntiphonError unless the backend draws exactly the golden directions."""
    wrong = [name for name, digest in fingerprints(draws).items() if digest != GOLDEN[name]]
    if wrong:
        raise AntiphonError(
            f"{backend} draws other random directions than this federation: {', '.join(wrong)} differ "
            "from the golden vectors. Training by seeds here would corrupt the model; use another "
            "device or report the versions of torch and numpy"
        )


def _sha(values: FloatArray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values, dtype="<f4").tobytes()).hexdigest()
