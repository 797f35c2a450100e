"""A trainer of numpy alone, for tests and benchmarks: it "trains" in no time, and the same way every time.

What it returns follows from the assignment and the model it was given, so that a run whose processes are
killed at any step ends with the same adapter as one that was left alone. Its space is set by the data
file: {"factors": {name: [rows, columns]}} or {"weights": {...}}, with `examples`, `step_s` to be slow, and
`constant` to send the same number everywhere, which takes no time to draw.

    trainer: [python, -m, tests.network.numpy_trainer]
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.client.data.clients import ClientData
from antiphon.client.exchanges.exchange import Kept, answered, half
from antiphon.client.rebuilding import rebuilt
from antiphon.client.secure.at_site import site_of
from antiphon.client.secure.masking import MaskingPlace, masking_of
from antiphon.client.sender import Sender
from antiphon.client.site_config import site_config
from antiphon.client.trainer_protocol import (
    Evaluate,
    Evaluated,
    OnStepped,
    Prepare,
    Prepared,
    Rebuild,
    Rebuilt,
    Respond,
    Responded,
    Stepped,
    Train,
    Trained,
)
from antiphon.client.worker_process import Answers, Requests, claim_streams, serve
from antiphon.core import golden
from antiphon.core.directions import run_key
from antiphon.core.files import write_bytes
from antiphon.core.run_sections import CompressionConfig
from antiphon.core.seed_choice import given
from antiphon.core.space import SpaceShapes
from antiphon.core.types import Assignment, Package, Update
from antiphon.core.wire import as_tensors, unpack_assignment, unpack_model
from antiphon.strategies.forms.scalars import packed
from antiphon.strategies.forms.walk import Walk
from antiphon.strategies.methods.method import method_of
from antiphon.v1 import coordinator_pb2, update_pb2

SIDES = ("factors", "weights")


class NumpySession:
    """See worker_process.Session."""

    def prepare(self, request: Prepare) -> Prepared:
        """Read the shapes; take part as a machine that draws the golden directions."""
        self._client, self._request = request.client, request
        self._key = run_key(int(request.config.get("seed", 0)))
        self._num_seeds = int(request.config.get("seeds", {}).get("num_seeds", 4096))
        self._compression = CompressionConfig(**request.config.get("compression", {}))
        self._data: Mapping[str, Any] = json.loads(Path(request.data["dataset"]).read_text())
        shapes = {
            kind: [
                coordinator_pb2.MatrixShape(name=name, rows=rows, columns=columns)
                for name, (rows, columns) in self._data.get(kind, {}).items()
            ]
            for kind in SIDES
        }
        space = coordinator_pb2.SpaceReport(**shapes, model_parameters=1, model_digest=b"\0" * 32)
        told = coordinator_pb2.Capabilities(
            device_kind="cpu", device_name="numpy", tokens_per_s=1e6, golden=dict(golden.GOLDEN)
        )
        return Prepared(
            int(self._data["examples"]),
            10,
            told.SerializeToString(),
            space.SerializeToString(),
            method_of(site_config(request)).work,
        )

    def train(self, request: Train, on_step: OnStepped) -> Trained:
        """Write an update that follows from the assignment and the model."""
        message = Path(request.assignment).read_bytes()
        run_id = update_pb2.Assignment.FromString(message).run_id
        assignment, blob = unpack_assignment(message, self._client, run_id)
        factors = self._data.get("factors", {})
        shapes = {name: tuple(shape) for name, shape in factors.items()} or None
        model = unpack_model(Path(request.model), blob.encoding, shapes)
        for step in range(1, assignment.steps + 1):
            time.sleep(float(self._data.get("step_s", 0.0)))
            on_step(Stepped(step, assignment.steps, 1.0))
        update = Update(
            self._client,
            assignment.round,
            int(self._data["examples"]),
            assignment.steps,
            self._payload(assignment, model),
            {"loss": 1.0},
        )
        if masking := masking_of(site_config(self._request)):
            kept = Kept(Path(request.keep) / "exchanges")
            place = MaskingPlace(run_id, blob.sha256, kept)
            update = masking.masked(update, assignment, model, place)
        inline = ("seeds",)
        letter = Sender(Path(request.keep), self._compression, inline).pack(
            update, assignment, run_id
        )
        out = Path(request.out)
        write_bytes(out / f"update-{assignment.round}.binpb", letter.message)
        content = None
        if letter.content is not None:
            content = out / f"update-{assignment.round}.blob"
            write_bytes(content, letter.content)
        name = str(content) if content else None
        return Trained(str(out / f"update-{assignment.round}.binpb"), name, assignment.steps)

    def _payload(self, assignment: Assignment, model: Package) -> Package:
        constant = self._data.get("constant")
        if constant is None or is_of_seeds(model):
            return payload_of(assignment, model, self._key, self._num_seeds)
        value, factors = np.float32(constant), model.arrays
        return Package(
            "delta", {name: np.full(factors[name].shape, value) for name in sorted(factors)}
        )

    def evaluate(self, request: Evaluate, on_batch: Callable[[], None]) -> Evaluated:
        """Call the model's hash its loss."""
        digest = hashlib.sha256(Path(request.model).read_bytes()).digest()
        return Evaluated(10, {"loss": 1.0 + digest[0] / 256})

    def rebuild(self, request: Rebuild) -> Rebuilt:
        """Make a model as any trainer does."""
        factors, weights = ({n: tuple(s) for n, s in self._data.get(k, {}).items()} for k in SIDES)
        space = SpaceShapes(factors, weights, "tiny", 1)
        return rebuilt(request, site_config(self._request), space)

    def respond(self, request: Respond) -> Responded:
        """Answer with the installed half of the exchange."""
        data = ClientData(self._client, (None,) * int(self._data["examples"]), ())  # type: ignore[arg-type]
        answer = answered(
            half(request.exchange, site_config(self._request), {}),
            number=request.round,
            exchange=request.exchange,
            message=Path(request.question).read_bytes(),
            kept=Kept(Path(request.keep) / "exchanges"),
            data=data,
            site=site_of(request),
        )
        file = Path(request.out) / "answer"
        write_bytes(file, answer)
        return Responded(str(file))


def is_of_seeds(model: Package) -> bool:
    """Whether a model is coefficients of seeds."""
    return "value" in model.arrays


def payload_of(assignment: Assignment, model: Package, key: int, num_seeds: int) -> Package:
    """Return what a client sends: it follows from the assignment and the model.

    key: of the run; num_seeds: K.
    """
    rng = np.random.Generator(np.random.Philox(key=[assignment.seed, assignment.round]))
    if is_of_seeds(model):
        index = given(assignment, key, num_seeds)
        return packed(Walk(index, rng.normal(size=assignment.steps).astype(np.float32)))
    factors = as_tensors(model)
    moved = {
        name: np.float32(0.9) * rng.standard_normal(factors[name].shape, dtype=np.float32)
        + np.float32(0.1) * factors[name]
        for name in sorted(factors)
    }
    return Package("delta", moved)


def main() -> None:
    """Serve until stdin ends."""
    import os

    lines, out = claim_streams()
    serve(NumpySession(), Requests(lines, on_end=lambda: os._exit(0)), Answers(out))


if __name__ == "__main__":
    main()
