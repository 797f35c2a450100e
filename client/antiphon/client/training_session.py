"""A run as one client's machine carries it out: its data, its worker, and files in and out."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from google.protobuf.message import DecodeError

from antiphon.client.budget import Budget
from antiphon.client.capabilities import describe
from antiphon.client.data.clients import ClientData, encode_client
from antiphon.client.data.local import load_local
from antiphon.client.exchanges.exchange import Kept
from antiphon.client.model_digest import model_digest
from antiphon.client.rebuilding import rebuilt
from antiphon.client.secure.at_site import site_of
from antiphon.client.secure.masking import MaskingPlace
from antiphon.client.sender import Sender
from antiphon.client.shapes import space_of, space_report
from antiphon.client.site_config import site_config
from antiphon.client.trainer_protocol import (
    Evaluate,
    Evaluated,
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
from antiphon.client.worker import Worker
from antiphon.core import registry
from antiphon.core.blob import Blob
from antiphon.core.config import RunConfig
from antiphon.core.defaults import DENSE
from antiphon.core.errors import ProtocolError, UpdateError
from antiphon.core.files import write_bytes
from antiphon.core.space import Shape, SpaceShapes
from antiphon.core.types import Assignment
from antiphon.core.wire import unpack_assignment, unpack_model
from antiphon.strategies.compression.codec import Codec
from antiphon.strategies.methods.method import Method, method_of
from antiphon.v1 import update_pb2


@dataclass(frozen=True)
class _Loaded:
    client: str
    config: RunConfig
    data: ClientData
    worker: Worker
    numbers: Mapping[str, Shape]
    shapes: SpaceShapes


class TrainingSession:
    """See `worker_process.Session`. Holds one run at a time."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Hold nothing yet. now: a clock that never goes back, in seconds."""
        self._now = now
        self._loaded: _Loaded | None = None

    def prepare(self, request: Prepare) -> Prepared:
        """Load the data and the model, and measure this machine.

        Raises UserError where the config, the data and the model do not fit together.
        """
        self._let_go()
        try:
            return self._prepare(request)
        except BaseException:
            self._let_go()
            raise

    def _prepare(self, request: Prepare) -> Prepared:
        config = site_config(request)
        # Data and shapes first: what is wrong with them is found before a model is loaded.
        said = request.data.get("eval_examples") is not None
        local = load_local(request.client, config.data, config.seed, held_out_said=said)
        shapes, method = space_of(config), method_of(config)
        numbers = method.space.numbers(shapes)
        with _memory_errors():
            worker = Worker(config)
            data = encode_client(worker.model.tokenizer, local.examples, config.model.max_length)
            self._loaded = _Loaded(request.client, config, data, worker, numbers, shapes)
            capabilities = describe(worker, config, shapes, data, self._now)
        space = space_report(shapes, model_digest(config.model.model_name_or_path))
        return Prepared(
            examples=len(data.train),
            evaluation_examples=len(data.evaluation),
            capabilities=capabilities.SerializeToString(deterministic=True),
            space=space.SerializeToString(deterministic=True),
            work=method.work,
            exchanges=method.exchange_work,
            download_bytes=_most_bytes(method, shapes),
        )

    def train(self, request: Train, on_step: Callable[[Stepped], None]) -> Trained:
        """Carry out an assignment; the files appear whole. Raises UpdateError where it does not fit."""
        loaded = self._ready("train")
        run_id, assignment, model = _read_assignment(Path(request.assignment), loaded)
        download = unpack_model(
            Path(request.model), model.encoding, loaded.numbers, frames=_file(request.frames)
        )
        with _memory_errors():
            update = loaded.worker.train(
                assignment,
                download,
                loaded.data,
                lambda done, loss: on_step(Stepped(done, assignment.steps, loss)),
                Budget(request.seconds, self._now),
                Path(request.keep),
                MaskingPlace(run_id, model.sha256, Kept(Path(request.keep) / "exchanges")),
            )
        inline = method_of(loaded.config).inline
        sender = Sender(Path(request.keep), loaded.config.compression, inline)
        packed = sender.pack(update, assignment, run_id)
        out, blob = Path(request.out), None
        if packed.content is not None:
            blob = out / f"update-{assignment.round}.blob"
            write_bytes(blob, packed.content)
        message = out / f"update-{assignment.round}.binpb"
        write_bytes(message, packed.message)
        return Trained(str(message), None if blob is None else str(blob), update.steps)

    def evaluate(self, request: Evaluate, on_batch: Callable[[], None]) -> Evaluated:
        """Measure a model on the held-out examples. Raises UpdateError where it does not fit."""
        loaded = self._ready("evaluate")
        with _memory_errors():
            model = unpack_model(
                Path(request.model),
                request.encoding,
                loaded.numbers,
                frames=_file(request.frames),
            )
            loaded.worker.load(model)
            measured: dict[str, Any] = asdict(loaded.worker.evaluate(loaded.data, on_batch))
        examples = measured.pop("examples")
        return Evaluated(examples, {k: v for k, v in measured.items() if v is not None})

    def rebuild(self, request: Rebuild) -> Rebuilt:
        """Make a model; its file appears whole. Raises UpdateError where these files are of no such one."""
        loaded = self._ready("rebuild")
        return rebuilt(request, loaded.config, loaded.shapes)

    def respond(self, request: Respond) -> Responded:
        """Answer an exchange of a round; the file appears whole. Raises UpdateError where it cannot."""
        loaded = self._ready("respond")
        kept = Kept(Path(request.keep) / "exchanges")
        question = Path(request.question).read_bytes()
        with _memory_errors():
            answer = loaded.worker.answer(
                request.exchange, request.round, question, kept, loaded.data, site_of(request)
            )
        file = Path(request.out) / "answer.safetensors"
        write_bytes(file, answer)
        return Responded(str(file))

    def _ready(self, what: str) -> _Loaded:
        if self._loaded is None:
            raise ProtocolError(f"{what} before a prepare that succeeded: send prepare first")
        return self._loaded

    def _let_go(self) -> None:
        if self._loaded is not None:
            self._loaded.worker.close()
            self._loaded = None
            _give_memory_back()


def _file(name: str | None) -> Path | None:
    return None if name is None else Path(name)


def _most_bytes(method: Method, shapes: SpaceShapes) -> int:
    """Return the bytes of a global model at most, where no codec packs it; of what stands still, too."""
    codec: Codec = registry.build("codec", DENSE, {})
    space = method.space
    return max(math.ceil(space.size(space.trained(shapes), codec)), space.frames.most(shapes))


def _read_assignment(file: Path, loaded: _Loaded) -> tuple[str, Assignment, Blob]:
    content = file.read_bytes()
    try:
        run_id = update_pb2.Assignment.FromString(content).run_id
    except DecodeError as error:
        raise UpdateError(f"{file.name} is no serialised Assignment: {error}") from None
    assignment, model = unpack_assignment(content, loaded.client, run_id)
    known = method_of(loaded.config).names
    if assignment.method not in known or assignment.steps < 1:
        raise UpdateError(
            f"an assignment of {assignment.steps} steps of method {assignment.method[:64]!r}, expected "
            f"at least one of method {' or '.join(known)}"
        )
    return run_id, assignment, model


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Turn a full GPU into MemoryError, after giving back what can be."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        _give_memory_back()
        raise MemoryError(str(error).split("\n", 1)[0]) from None


def _give_memory_back() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
