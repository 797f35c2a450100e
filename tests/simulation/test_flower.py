"""Runs on Flower's own simulation: the same adapter as in one process, and faults that cost one client.

Ray takes half a minute to start, so these run at night. By day, test_flower_driver.py and
test_flower_methods.py hold the same facts without Ray, and test_flower_superlink.py runs Flower itself.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from antiphon.core.config import RunConfig, validate
from antiphon.core.errors import UserError
from antiphon.core.events import ClientFailed, RoundFolded, UpdateRejected
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder
from antiphon.simulation.flower.letters import Kind, Parcel
from antiphon.simulation.flower.node import residuals_of
from antiphon.simulation.place import Place
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import load_split

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.slow,
    pytest.mark.network,
    # Ray forgets the processes that it has ended, and leaves sockets to the collector.
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What Ray leaves behind is collected while its warnings are still ignored."""
    yield
    gc.collect()


EVERYTHING: dict[str, Any] = {
    "method": "mixed",
    "mixed": {"seeds": ["meadow"]},
    "seeds": {"space": "adapter", "max_steps": 2, "num_seeds": 64, "learning_rate": 1e-3},
    "compression": {"uplink": {"kind": "topk", "fraction": 0.1}, "downlink": "int8"},
    "cohort": {"asynchronous": {"buffer": 4}},
}


def on(engine: str, values: dict[str, Any], **changes: Any) -> RunConfig:
    return validate(values | changes | {"engine": {"kind": engine, "threads": 1}})


def adapter(folder: RunFolder) -> bytes:
    return (folder.adapter(2) / "adapter_model.safetensors").read_bytes()


def faulty(kind: Kind, parcel: Parcel, config: RunConfig, place: Place) -> Parcel:
    """Train as ever, but for two of the four clients: one raises, one answers with garbage."""
    from antiphon.simulation.flower.node import answer

    if kind == "train" and place.partition == 1:
        raise ValueError("a made-up fault")
    if kind == "train" and place.partition == 2:
        return Parcel(b"\xff\xff", b"not safetensors")
    return answer(kind, parcel, config, place)


def test_flower_ends_with_the_simulations_adapter(tiny_values: dict[str, Any]) -> None:
    """The same YAML gives the same bits on Ray's actors as in one process, and leaves no residual.

    Both methods, a codec with error feedback each way and asynchronous rounds at once; without Ray,
    test_flower_methods.py takes them one by one.
    """
    ours, theirs = (on(each, tiny_values, **EVERYTHING) for each in ("simulation", "flower"))

    here = simulate(ours, load_split(ours))
    there = simulate(theirs, load_split(theirs))

    assert adapter(there) == adapter(here)
    assert Path(there.report_md).exists()
    assert not residuals_of(there.path.name, theirs).exists()


def test_a_faulty_client_app_costs_its_client_only(tiny_values: dict[str, Any]) -> None:
    """An app that raises and a reply of garbage: both sit out a round, the others are folded."""
    from antiphon.simulation.flower.run import simulate_on_flower

    config = on("flower", tiny_values, cohort={"quorum": 2})

    folder = simulate_on_flower(config, load_split(config), handler=faulty)

    with Journal.reading(folder.journal_file) as journal:
        events = [entry.event for entry in journal.read()]
    failed = [each for each in events if isinstance(each, ClientFailed)]
    refused = [each for each in events if isinstance(each, UpdateRejected)]
    assert [each.round for each in events if isinstance(each, RoundFolded)] == [1, 2]
    assert [("a made-up fault" in each.reason, each.client) for each in failed] == [
        (True, "meadow")
    ]
    assert [("protobuf" in each.reason, each.client) for each in refused] == [(True, "quarry")]


def test_a_simulated_client_that_cannot_join_ends_the_run(tiny_values: dict[str, Any]) -> None:
    """Every client of a simulation is the user's own: what is wrong is said at once."""
    from antiphon.simulation.flower.run import simulate_on_flower

    config = on("flower", tiny_values)
    before = dict(os.environ)

    with pytest.raises(UserError, match="a made-up fault"):
        simulate_on_flower(config, load_split(config), handler=never_joins)

    assert os.environ.get("PYTHONPATH") == before.get("PYTHONPATH")


def never_joins(kind: Kind, parcel: Parcel, config: RunConfig, place: Place) -> Parcel:
    raise ValueError("a made-up fault")
