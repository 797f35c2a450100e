"""A simulated run on Flower's own simulation engine (Ray): `engine: {kind: flower}`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from importlib import util
from typing import TYPE_CHECKING, Any, Final

import torch

from antiphon.client.language_model import pick_device
from antiphon.client.shapes import space_of
from antiphon.core.config import RunConfig
from antiphon.core.errors import ConfigError, UserError
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder
from antiphon.core.types import Plain
from antiphon.server.folding.fold_secret import simulated_secret
from antiphon.server.run_begin import new_folder
from antiphon.simulation.flower.grid_run import check_engine, run_over
from antiphon.simulation.flower.node import residuals_of
from antiphon.simulation.monitor import Monitor, MonitorFor, OnFolder
from antiphon.simulation.shares import Split, refuse_other_data
from antiphon.simulation.split import draw_split

if TYPE_CHECKING:
    from antiphon.simulation.flower.engine import Handler

_POLL_S = 0.02
_ENVIRONMENT: Final = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # else an interrupted simulation starts a second Ray as it ends
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray warns of a change to come unless it is set
}


def check_installed() -> None:
    """Raise ConfigError where Flower or Ray is missing."""
    missing = [name for name in ("flwr", "ray") if util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"engine flower needs {' and '.join(missing)}: pip install 'antiphon[flower]', or choose "
            "engine: {kind: simulation}"
        )


def simulate_on_flower(
    config: RunConfig,
    split: Split,
    *,
    resumed: RunFolder | None = None,
    from_round: int | None = None,
    monitor_for: MonitorFor = lambda clients: nullcontext(Monitor()),
    on_folder: OnFolder = lambda folder: None,
    handler: Handler | None = None,
) -> RunFolder:
    """Run a config on Flower's simulation; return the run's folder. See run.simulate.

    handler: what a node does with a letter, instead of node.answer.
    """
    check_engine(config)
    check_installed()
    gpus = _gpus(config)
    for name, value in _ENVIRONMENT.items():  # read when flwr and ray are imported
        os.environ.setdefault(name, value)
    from antiphon.simulation.flower.engine import client_app, on_ray

    space, clients = space_of(config), len(split.clients)
    app = client_app(_Always(config), handler)
    with on_ray(app, clients, cpus=_cpus(config), gpus=gpus) as post:
        folder = resumed or new_folder(config)
        on_folder(folder)
        with Journal.writing(folder.journal_file) as journal, monitor_for(clients) as monitor:
            refuse_other_data(journal, split)
            if config.output.plots:
                draw_split(split.clients, folder.plots / "split.svg", split.labels)
            run_over(
                post,
                config,
                folder,
                journal,
                space,
                min_clients=clients,
                monitor=monitor,
                on_refused=_refuse,
                poll_s=_POLL_S,
                facts=_facts(split),
                from_round=from_round,
                secret=simulated_secret(config),
            )
            shutil.rmtree(residuals_of(folder.path.name, config), ignore_errors=True)
    return folder


class _Always:
    """The same config whatever Flower's run config says. A class, because actors unpickle it."""

    def __init__(self, config: RunConfig) -> None:
        self._config = config

    def __call__(self, settings: Mapping[str, Any]) -> RunConfig:
        return self._config


def _cpus(config: RunConfig) -> float:
    return config.engine.num_cpus or config.engine.threads or 1


def _gpus(config: RunConfig) -> float:
    """Return the GPUs of each actor. Raises ConfigError for more than there are: none could start."""
    asked = config.engine.num_gpus
    if asked is not None:
        here = torch.cuda.device_count()
        if asked > here:
            raise ConfigError(
                f"engine.num_gpus is {asked:g}, but this machine has {here} GPUs that torch can use: leave "
                "it out, or set it to 0"
            )
        return asked
    return 1.0 if pick_device(config.model.device).type == "cuda" else 0.0


def _facts(split: Split) -> dict[str, Plain]:
    return {"skipped_rows": len(split.skipped), "data_digest": split.digest}


def _refuse(node: int, reason: str) -> None:
    # Every client is ours: one that cannot take part is a mistake in the config, the data or the model.
    raise UserError(f"a simulated client cannot take part: {reason}")
