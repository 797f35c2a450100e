"""Flower's side of a run: the only file that imports `flwr`, and only its public modules (1.41, 1.42).

The round machine drives a `Grid` through `push_messages` and `pull_messages`, neither of which blocks, so
the same code runs on Flower's simulation (Ray) and on a SuperLink with SuperNodes. A letter is a message of
type query, train or evaluate with up to three records: `letter`, our serialised message, and `blob` and
`frames`, the bytes of tensors as one array each, which Flower sends in chunks.
"""

from __future__ import annotations

import logging
import math
import os
import shlex
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from typing import Any, Final

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

from antiphon.core.config import RunConfig, load
from antiphon.core.errors import AntiphonError, UpdateError
from antiphon.simulation.flower.grid_run import serve_on_grid
from antiphon.simulation.flower.letters import Kind, Letter, NodeReply, Parcel
from antiphon.simulation.place import Place, place_of

_STYPE: Final = "antiphon/bytes"
_ASK: Final = "ask"  # an action of type query, beside the plain one
_TYPES: Final[Mapping[Kind, str]] = {
    "join": MessageType.QUERY,
    "ask": f"{MessageType.QUERY}.{_ASK}",
    "train": MessageType.TRAIN,
    "evaluate": MessageType.EVALUATE,
}
_PULLED_AT_ONCE = 8  # replies held in memory at a time
_PULL_ATTEMPTS = 3
_START_S = 120.0

Handler = Callable[[Kind, Parcel, RunConfig, Place], Parcel]
"""What a node does with a letter: node.answer, but for tests."""

ConfigOf = Callable[[Mapping[str, object]], RunConfig]
"""The run's config, given Flower's run config (the settings of `flwr run --run-config`)."""


class FlowerPost:
    """A grid as the driver sees it: see letters.Post."""

    def __init__(self, grid: Grid, check: Callable[[], None] = lambda: None) -> None:
        """check: raises where nobody is behind the grid any more."""
        self._grid, self._check = grid, check
        self._pending: dict[str, Letter] = {}
        self._lost: list[tuple[Letter, str]] = []
        self._failures: Counter[str] = Counter()

    def nodes(self) -> Collection[int]:
        """Return the nodes that are online."""
        self._check()
        return list(self._grid.get_node_ids())

    def send(self, letters: Sequence[Letter]) -> None:
        """Push letters to the grid. A model that goes to many nodes is one array."""
        if not letters:
            return
        arrays: dict[int, ArrayRecord] = {}
        messages = [_message(letter, arrays) for letter in letters]
        try:
            taken = set(self._grid.push_messages(messages))
        except Exception as error:  # of many kinds; the journal says it of each client
            self._lost += [(each, f"Flower did not take the message: {error}") for each in letters]
            return
        # By the messages' own ids: a grid may leave one that it refuses out of its answer.
        for letter, message in zip(letters, messages, strict=True):
            if message.metadata.message_id in taken:
                self._pending[message.metadata.message_id] = letter
            else:
                self._lost.append((letter, "Flower refused the message: its node has gone"))

    def answers(self) -> Iterator[tuple[Letter, NodeReply]]:
        """Pull what has arrived."""
        ids = list(self._pending)
        for start in range(0, len(ids), _PULLED_AT_ONCE):
            for message in self._pulled(ids[start : start + _PULLED_AT_ONCE]):
                letter = self._pending.pop(message.metadata.reply_to_message_id, None)
                if letter is not None:
                    yield letter, _answer(message)
        lost, self._lost = self._lost, []
        yield from lost

    def _pulled(self, ids: Sequence[str]) -> list[Message]:
        try:
            return list(self._grid.pull_messages(ids))
        except Exception as error:
            # One reply that cannot be read must not hold up the others.
            if len(ids) > 1:
                return [message for each in ids for message in self._pulled([each])]
            self._failures[ids[0]] += 1
            if self._failures[ids[0]] >= _PULL_ATTEMPTS:
                self._lost.append((self._pending.pop(ids[0]), f"its answer is broken: {error}"))
            return []


def client_app(config_of: ConfigOf, handler: Handler | None = None) -> ClientApp:
    """Return the app that a node runs for each message. handler: instead of node.answer."""
    app = ClientApp()

    def handle(kind: Kind, message: Message, context: Context) -> Message:
        config = config_of(context.run_config)
        place = place_of(context.node_config)
        parcel = _parcel(message.content)
        return Message(
            _records((handler or _answered)(kind, parcel, config, place), {}), reply_to=message
        )

    @app.query()
    def join(message: Message, context: Context) -> Message:
        return handle("join", message, context)

    @app.query(_ASK)
    def ask(message: Message, context: Context) -> Message:
        return handle("ask", message, context)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return handle("train", message, context)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        return handle("evaluate", message, context)

    return app


def server_app(config_of: ConfigOf) -> ServerApp:
    """Return the app that a SuperLink runs: a whole run, with its journal and its report."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        settings = context.run_config
        wanted = int(settings.get("from-round", -1))
        serve_on_grid(
            FlowerPost(grid),
            config_of(settings),
            resume=bool(settings.get("resume", False)),
            from_round=None if wanted < 0 else wanted,
        )

    return app


def config_from(run_file: Path) -> ConfigOf:
    """Return a reader of a run's YAML with the overrides of `--run-config 'overrides="rounds=3"'`."""

    def config_of(settings: Mapping[str, object]) -> RunConfig:
        return load(run_file, shlex.split(str(settings.get("overrides", ""))))

    return config_of


@contextmanager
def on_ray(app: ClientApp, nodes: int, *, cpus: float, gpus: float) -> Iterator[FlowerPost]:
    """Start Flower's simulation with so many nodes in the background; stop it at the end of the block.

    cpus, gpus: of each actor, may be fractions; an actor serves one node after the other.
    """
    grids: Queue[Grid] = Queue()
    over = threading.Event()
    simulation = _Simulation(
        lambda: _simulate(app, nodes, _resources(nodes, cpus, gpus), grids, over)
    )
    with _quiet():
        simulation.start()
        try:
            yield FlowerPost(_first(grids, simulation), simulation.check)
        finally:
            over.set()
            # Flower's threads wait for the clients at work; a Ray that is shut down under them hangs.
            simulation.join()


class _Simulation(threading.Thread):
    """Flower's simulation in a thread of its own, so that the driver has the main one and its signals."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__(name="flower-simulation", daemon=True)
        self._work = work
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # SystemExit too: Flower exits where it cannot go on
            self._error = error

    def check(self) -> None:
        """Raise AntiphonError where the simulation has ended by itself."""
        if not self.is_alive():
            raise AntiphonError(f"Flower's simulation has ended: {self._error!r}") from self._error


def _simulate(
    app: ClientApp,
    nodes: int,
    backend: dict[str, Any],
    grids: Queue[Grid],
    over: threading.Event,
) -> None:
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        grids.put(grid)
        over.wait()

    run_simulation(server, app, num_supernodes=nodes, backend_config=backend)


def _first(grids: Queue[Grid], simulation: _Simulation) -> Grid:
    for _ in range(int(_START_S / 0.1)):
        try:
            return grids.get(timeout=0.1)
        except Empty:
            simulation.check()
    raise AntiphonError(f"Flower's simulation has not started within {_START_S:.0f} s")


def _resources(nodes: int, cpus: float, gpus: float) -> dict[str, dict[str, object]]:
    # As many actors as nodes at most: each holds a base model.
    actors = max(1, min(nodes, int((os.cpu_count() or 1) / cpus)))
    return {
        "client_resources": {"num_cpus": cpus, "num_gpus": gpus},
        "init_args": {
            "num_cpus": math.ceil(
                actors * cpus
            ),  # of the whole simulation; Ray takes no fraction here
            "include_dashboard": False,
            "log_to_driver": False,
            "logging_level": logging.ERROR,
        },
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Let Flower say errors only, and undo what it does to the environment."""
    flower, path = logging.getLogger("flwr"), os.environ.get("PYTHONPATH")
    level = flower.level
    flower.setLevel(logging.ERROR)
    try:
        yield
    finally:
        flower.setLevel(level)
        if path is None:
            os.environ.pop("PYTHONPATH", None)
        else:
            os.environ["PYTHONPATH"] = path


def _message(letter: Letter, arrays: dict[int, ArrayRecord]) -> Message:
    return Message(
        _records(letter.parcel, arrays),
        letter.node,
        _TYPES[letter.kind],
        ttl=letter.ttl_s,
        group_id=str(letter.round),
    )


def _records(parcel: Parcel, arrays: dict[int, ArrayRecord]) -> RecordDict:
    """Return a parcel as records. arrays: of contents that have been seen, by identity."""
    said = ConfigRecord({"message": parcel.message, "client": parcel.client, "run": parcel.run})
    records = RecordDict({"letter": said})
    for name, content in (("blob", parcel.content), ("frames", parcel.frames)):
        if content:
            size, key = len(content), id(content)
            if key not in arrays:
                arrays[key] = ArrayRecord({"content": Array("uint8", (size,), _STYPE, content)})
            records[name] = arrays[key]
    return records


def _parcel(records: RecordDict) -> Parcel:
    """Return the parcel in records. Raises UpdateError for anything else than `_records` makes."""
    said = records.get("letter")
    message = said.get("message") if isinstance(said, ConfigRecord) else None
    client = said.get("client") if isinstance(said, ConfigRecord) else None
    run = said.get("run", "") if isinstance(said, ConfigRecord) else ""
    if not (isinstance(message, bytes) and isinstance(client, str) and isinstance(run, str)):
        raise UpdateError(
            f"records {sorted(map(str, records))[:5]}, expected a message in 'letter'"
        )
    content, frames = (_content(records, name) for name in ("blob", "frames"))
    return Parcel(message, content, client, frames, run)


def _content(records: RecordDict, name: str) -> bytes:
    """Return the bytes of a record, empty where there is none of this name. Raises UpdateError."""
    blob = records.get(name)
    if blob is None:
        return b""
    array = blob.get("content") if isinstance(blob, ArrayRecord) else None
    if array is None:
        raise UpdateError(f"the record {name!r} holds no array 'content'")
    return bytes(array.data)


def _answer(message: Message) -> NodeReply:
    if message.has_error():
        return _reason(message.error.reason or f"Flower's error {message.error.code}")
    try:
        return _parcel(message.content)
    except UpdateError as error:
        return f"its answer is not Antiphon's: {error}"


def _reason(said: str) -> str:
    """Return one line of what Flower says of an app that raised."""
    _, _, told = said.rpartition("Message: ")
    return " ".join((told or said).split()).strip("'<> ")


def _answered(kind: Kind, parcel: Parcel, config: RunConfig, place: Place) -> Parcel:
    # Imported here: a server has no use for torch.
    from antiphon.simulation.flower.node import answer

    return answer(kind, parcel, config, place)
