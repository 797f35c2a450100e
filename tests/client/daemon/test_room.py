"""A coordinator puts no more on a site's disk than a model of the run can have, and leaves room."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.client.daemon.scripted import proto
from tests.client.daemon.stage import Stage, over, run_to_the_end, train_task

from antiphon.client.daemon.room import (
    DownloadTooLarge,
    check_room,
    free_bytes,
    most_download_bytes,
)
from antiphon.core.coefficients import SeedCoefficients, as_package
from antiphon.core.config import RunConfig, validate
from antiphon.core.types import Package
from antiphon.core.wire import pack_model
from antiphon.strategies.spaces.span import span
from antiphon.v1 import coordinator_pb2 as pb

SIDES = st.integers(1, 300)
MB = 10**6
TINY = yaml.safe_load((Path(__file__).parents[3] / "examples" / "tiny.yaml").read_text())


def space(*shapes: tuple[int, int]) -> pb.SpaceReport:
    """What a trainer finds: factors of these shapes."""
    named = [pb.MatrixShape(name=f"m{n}", rows=r, columns=c) for n, (r, c) in enumerate(shapes)]
    return pb.SpaceReport(factors=named)


def seeds_run(seeds: int, pro: bool) -> RunConfig:
    """A run of so many candidate seeds."""
    said = {"space": "adapter", "num_seeds": seeds, "sampling": "pro" if pro else "uniform"}
    return validate({**TINY, "method": "seeds", "seeds": said})


@given(shapes=st.lists(st.tuples(SIDES, SIDES), max_size=8))
def test_every_adapter_of_the_shapes_is_let_in(shapes: list[tuple[int, int]]) -> None:
    """An honest model is below the bound, and the bound is close to it."""
    factors = {f"m{n}": np.ones(shape, np.float32) for n, shape in enumerate(shapes)}
    content, _ = pack_model(Package("lora", factors))

    most = most_download_bytes(space(*shapes), None)

    assert content.size <= most <= 1.1 * content.size + (1 << 20)


@given(seeds=st.integers(1, 5000), pro=st.booleans())
def test_all_coefficients_of_a_run_are_let_in(seeds: int, pro: bool) -> None:
    """Every seed touched, each with its probability."""
    every = np.arange(seeds, dtype=np.uint32)
    values = np.ones(seeds, np.float32)
    model = SeedCoefficients(seeds, every, values, values / seeds if pro else None)

    told = math.ceil(span(config=seeds_run(seeds, pro)).size(64, None))
    most = most_download_bytes(space((8, 8)), told)

    assert pack_model(as_package("span", model))[0].size <= most


def test_a_hostile_config_does_not_lift_the_bound() -> None:
    """A number of seeds is the coordinator's word: beyond what weights take it counts no more."""
    most = most_download_bytes(space((8, 8)), 2**62)

    assert most <= 65 << 20


def test_a_floor_of_free_disk_is_kept(tmp_path: Path) -> None:
    """What has arrived already takes no more room."""
    file = tmp_path / "model"
    file.with_name("model.part").write_bytes(bytes(MB))

    check_room(file, 3 * MB, floor_mb=8, free=lambda folder: 10 * MB)
    with pytest.raises(DownloadTooLarge, match="would leave 7 MB of the disk free, expected 8 MB"):
        check_room(file, 4 * MB, floor_mb=8, free=lambda folder: 10 * MB)


def test_a_folder_that_is_not_there_yet_has_a_disk(tmp_path: Path) -> None:
    """That of the nearest folder above it."""
    assert free_bytes(tmp_path / "a" / "b") > 0


def test_a_model_larger_than_the_run_is_refused_before_a_byte(stage: Stage) -> None:
    """Announced to be larger than the shapes that the trainer has found."""
    large = proto(stage.script.model(bytes(2 << 20)))
    stage.script.give(train_task(stage.script, model=large))
    stage.script.give(pb.NextTaskResponse(evaluate=pb.EvaluateTask(round=1, model=large)))
    stage.script.give(over())

    stage.play(run_to_the_end)

    assert [each.code for each in stage.script.seen("ReportFailure")] == ["model.download"] * 2
    assert stage.script.seen("Download") == []


def test_a_model_for_which_there_is_no_room_is_not_fetched(stage: Stage) -> None:
    """The default floor is 500 MB; what is free stays at the site."""
    stage.free_bytes = 500 * MB
    stage.script.give(train_task(stage.script))
    stage.script.give(over())

    stage.play(run_to_the_end)

    assert [each.code for each in stage.script.seen("ReportFailure")] == ["machine.disk"]
    assert stage.script.seen("Download") == []
