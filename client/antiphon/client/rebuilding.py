"""A model made at the client, with the very bytes that the coordinator's file of it has."""

from __future__ import annotations

from pathlib import Path

from antiphon.client.trainer_protocol import Rebuild, Rebuilt
from antiphon.core.config import RunConfig
from antiphon.core.errors import UpdateError
from antiphon.core.files import write_cache
from antiphon.core.space import SpaceShapes
from antiphon.core.types import Package
from antiphon.core.wire import as_tensors, pack_model, unpack_model
from antiphon.strategies.compression.downlink import added
from antiphon.strategies.methods.method import method_of

_PACKED, _DENSE = "packed", "safetensors"


def rebuilt(request: Rebuild, config: RunConfig, shapes: SpaceShapes) -> Rebuilt:
    """Make a model of a run and write its file. shapes: of the base model.

    The file is as good as its hash: whoever asked compares it. Raises UpdateError for files that are not of
    this run's model.
    """
    if request.held is None or request.change is None:
        served = method_of(config).serve()
        model = served.download(served.begin(shapes), config.lora.r)
    else:
        held = unpack_model(Path(request.held), _DENSE)
        wanted = method_of(config).space.numbers(shapes)
        if {name: each.shape for name, each in held.arrays.items()} != dict(wanted):
            raise UpdateError(
                "a model of other shapes than those that the run trains: fetch it whole"
            )
        change = unpack_model(Path(request.change), _PACKED, wanted)
        model = Package("", added(as_tensors(held), as_tensors(change)))
    content, _ = pack_model(model)
    file = Path(request.out) / "model"
    write_cache(file, content)
    return Rebuilt(str(file))
