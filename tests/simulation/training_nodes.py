"""Nodes that train, in one process and without Flower: what the actors of a simulation do, in order."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from antiphon.client.shapes import space_of
from antiphon.core.config import RunConfig, config_hash, resolved
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder, create
from antiphon.simulation.flower.grid_run import run_over
from antiphon.simulation.flower.letters import Letter, NodeReply, Parcel
from antiphon.simulation.flower.node import Node
from antiphon.simulation.monitor import Monitor
from antiphon.simulation.place import Place


class TrainingPost:
    """Every client of a run's split, one after the other on the same loaded model."""

    def __init__(self, node: Node, clients: int) -> None:
        self._node, self._clients = node, clients
        self._waiting: list[Letter] = []

    def nodes(self) -> Collection[int]:
        """See letters.Post."""
        return range(self._clients)

    def send(self, letters: Sequence[Letter]) -> None:
        """See letters.Post."""
        self._waiting += letters

    def answers(self) -> Iterator[tuple[Letter, NodeReply]]:
        """See letters.Post."""
        letters, self._waiting = self._waiting, []
        for letter in letters:
            yield letter, self._answer(letter)

    def _answer(self, letter: Letter) -> Parcel:
        place = Place(letter.node)
        match letter.kind:
            case "join":
                return self._node.join(place)
            case "ask":
                return self._node.ask(letter.parcel, place)
            case "train":
                return self._node.train(letter.parcel, place)
            case "evaluate":
                return self._node.evaluate(letter.parcel, place)


def run_on_letters(config: RunConfig, clients: int) -> RunFolder:
    """Run a config to the end as Flower's engine does, but for Flower; return the run's folder."""
    runs, hashed = Path(config.output.runs_dir), config_hash(config)
    folder = create(runs, config.name, resolved(config), hashed)
    with closing(Node(config)) as node, Journal.writing(folder.journal_file) as journal:
        run_over(
            TrainingPost(node, clients),
            config,
            folder,
            journal,
            space_of(config),
            min_clients=clients,
            monitor=Monitor(),
            on_refused=_refuse,
            poll_s=0.0,
            facts={},
            secret=b"",
        )
    return folder


def _refuse(node: int, reason: str) -> None:
    raise AssertionError(f"node {node}: {reason}")
