"""A node's half of a run that travels as letters: it says who it is, trains, measures.

What is loaded stays in this process for the next letter, one run at a time: where processes persist (a
simulation's actors) the base model is read once in each, whatever the number of clients.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from antiphon.client.assets.cache import cache_dir
from antiphon.client.capabilities import device_memory_bytes, device_name
from antiphon.client.data.clients import ClientData, ClientExamples, encode_client
from antiphon.client.data.local import load_local
from antiphon.client.exchanges.exchange import AtSite, Kept
from antiphon.client.model_digest import model_digest
from antiphon.client.sender import Sender
from antiphon.client.shapes import space_of, space_report
from antiphon.client.worker import Worker
from antiphon.core.blob import Blob, blob_of
from antiphon.core.config import RunConfig, config_hash
from antiphon.core.errors import ConfigError, UpdateError
from antiphon.core.run_folder import file_name_of
from antiphon.core.space import Shape
from antiphon.core.types import Package
from antiphon.core.wire import unpack_assignment, unpack_blob, unpack_model
from antiphon.simulation.flower.letters import Kind, Parcel
from antiphon.simulation.place import Place
from antiphon.strategies.methods.method import method_of
from antiphon.v1 import coordinator_pb2, update_pb2


def answer(kind: Kind, parcel: Parcel, config: RunConfig, place: Place) -> Parcel:
    """Do what a letter asks. Raises UserError or UpdateError where it cannot be done."""
    node = _loaded(config)
    match kind:
        case "join":
            return node.join(place)
        case "ask":
            return node.ask(parcel, place)
        case "train":
            return node.train(parcel, place)
        case "evaluate":
            return node.evaluate(parcel, place)


class Node:
    """A run loaded into this process, for as many of its clients as have letters here."""

    def __init__(self, config: RunConfig) -> None:
        """Load the base model."""
        self._config = config
        self._worker = Worker(config)
        self._shapes = space_of(config)
        self._numbers = method_of(config).space.numbers(self._shapes)
        self._split: tuple[ClientExamples, ...] | None = None
        self._clients: dict[Place, ClientData] = {}

    def join(self, place: Place) -> Parcel:
        """Say whose node this is, how many examples it holds and what the run trains here."""
        config, client, device = self._config, self._client(place), self._worker.model.device
        message = coordinator_pb2.JoinRequest(
            config_hash=config_hash(config),
            examples=len(client.train),
            evaluation_examples=len(client.evaluation),
            capabilities=coordinator_pb2.Capabilities(
                antiphon_version=version("antiphon"),
                device_kind=device.type,
                device_name=device_name(device),
                base=self._worker.model.base.kind,
                memory_bytes=device_memory_bytes(device),
            ),
            space=space_report(self._shapes, model_digest(config.model.model_name_or_path)),
        )
        return Parcel(message.SerializeToString(), client=client.name)

    def ask(self, parcel: Parcel, place: Place) -> Parcel:
        """Answer what an exchange asks before training."""
        client = self._client(place)
        task = coordinator_pb2.ExchangeTask.FromString(parcel.message)
        folder = residuals_of(parcel.run, self._config) / "kept" / file_name_of(client.name)
        site = AtSite(parcel.run)
        said = self._worker.answer(
            task.exchange, task.round, task.question, Kept(folder), client, site
        )
        message = coordinator_pb2.SubmitAnswerRequest(
            round=task.round, exchange=task.exchange, answer=said
        )
        return Parcel(message.SerializeToString())

    def train(self, parcel: Parcel, place: Place) -> Parcel:
        """Carry out an assignment."""
        client = self._client(place)
        run_id = update_pb2.Assignment.FromString(parcel.message).run_id
        assignment, blob = unpack_assignment(parcel.message, client.name, run_id)
        download = _model(parcel, blob, assignment.frames, self._numbers)
        folder = residuals_of(run_id, self._config) / file_name_of(client.name)
        update = self._worker.train(
            assignment, download, client, lambda done, loss: None, keep=folder
        )
        packed = self._sender(run_id, client.name).pack(update, assignment, run_id)
        return Parcel(packed.message, packed.joined)

    def evaluate(self, parcel: Parcel, place: Place) -> Parcel:
        """Measure a model on the client's held-out examples."""
        client = self._client(place)
        task = coordinator_pb2.EvaluateTask.FromString(parcel.message)
        frames = unpack_blob(task.frames) if task.HasField("frames") else None
        self._worker.load(_model(parcel, unpack_blob(task.model), frames, self._numbers))
        measured: dict[str, Any] = asdict(self._worker.evaluate(client))
        examples = measured.pop("examples")
        metrics = {name: value for name, value in measured.items() if value is not None}
        message = coordinator_pb2.SubmitEvaluationRequest(
            round=task.round, examples=examples, metrics=metrics
        )
        return Parcel(message.SerializeToString())

    def close(self) -> None:
        """Give the model back."""
        self._worker.close()

    def _sender(self, run_id: str, client: str) -> Sender:
        folder = residuals_of(run_id, self._config) / file_name_of(client)
        inline = method_of(self._config).inline
        return Sender(folder, self._config.compression, inline)

    def _client(self, place: Place) -> ClientData:
        if place not in self._clients:
            tokenizer = self._worker.model.tokenizer
            examples = self._examples(place)
            self._clients[place] = encode_client(tokenizer, examples, self._config.model.max_length)
        return self._clients[place]

    def _examples(self, place: Place) -> ClientExamples:
        if place.partition is None:
            data = self._config.data.model_copy(update={"dataset": place.dataset})
            return load_local(place.client, data, self._config.seed).examples
        if self._split is None:
            # Imported here: a node with rows of its own shares nothing out and draws no picture.
            from antiphon.simulation.shares import load_split

            self._split = load_split(self._config).clients
        if not 0 <= place.partition < len(self._split):
            raise ConfigError(
                f"partition-id is {place.partition}, but the run's split has {len(self._split)} clients: "
                "start as many nodes, with partition-id from 0 on"
            )
        return self._split[place.partition]


def residuals_of(run_id: str, config: RunConfig) -> Path:
    """Return the folder of what codecs have left out of a run's updates on this machine.

    It lies beside the fetched models: it outlives a process, which may end with the letter it answers.
    """
    return cache_dir() / "residuals" / file_name_of(f"{run_id}-{config_hash(config)}")


_held: dict[str, Node] = {}


def _loaded(config: RunConfig) -> Node:
    key = config_hash(config)
    if key not in _held:
        for other in _held.values():
            other.close()
        _held.clear()
        _held[key] = Node(config)
    return _held[key]


def _model(
    parcel: Parcel, named: Blob, beside: Blob | None, shapes: Mapping[str, Shape]
) -> Package:
    for content, blob in ((parcel.content, named), (parcel.frames, beside)):
        if blob is not None and blob_of(content, blob.encoding) != blob:
            raise UpdateError("the model that has arrived is not the one that the letter names")
    with tempfile.TemporaryDirectory(prefix="antiphon-") as folder:
        model, frames = Path(folder) / "model", Path(folder) / "frames"
        model.write_bytes(parcel.content)
        frames.write_bytes(parcel.frames)
        return unpack_model(
            model, named.encoding, shapes, frames=None if beside is None else frames
        )
