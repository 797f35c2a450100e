"""What this machine is and how fast it trains this run, as it says when it joins."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch

from antiphon.client.data.clients import ClientData
from antiphon.client.golden import TorchDraws
from antiphon.client.worker import Worker
from antiphon.core import golden
from antiphon.core.config import RunConfig
from antiphon.core.space import SpaceShapes
from antiphon.core.types import Assignment, Package
from antiphon.strategies.methods.method import method_of
from antiphon.v1 import coordinator_pb2

_LIBRARIES = ("torch", "transformers", "numpy")


def describe(
    worker: Worker,
    config: RunConfig,
    shapes: SpaceShapes,
    data: ClientData,
    now: Callable[[], float],
) -> coordinator_pb2.Capabilities:
    """Return what the machine of `worker` is. now: a clock for the speed, in seconds.

    Two training steps are taken; the next assignment or model overwrites what they did.
    """
    device = worker.model.device
    return coordinator_pb2.Capabilities(
        antiphon_version=version("antiphon"),
        device_kind=device.type,
        device_name=device_name(device),
        base=worker.model.base.kind,
        memory_bytes=device_memory_bytes(device),
        cpu_cores=torch.get_num_threads(),
        tokens_per_s=tokens_per_s(worker, config, shapes, data, now),
        libraries={name: version(name) for name in _LIBRARIES},
        platform=f"{platform.system()}-{platform.machine()}",
        golden=golden.fingerprints(TorchDraws(device)),
    )


def tokens_per_s(
    worker: Worker,
    config: RunConfig,
    shapes: SpaceShapes,
    data: ClientData,
    now: Callable[[], float],
) -> float:
    """Return the speed of a training step of this run: the second of two, the first warms up.

    Tokens are the mean of both steps; 0 where the clock did not move.
    """
    # The lightest: which one is this machine's is known only once it has said how large it is.
    lightest = min(worker.roles, key=lambda each: each.trainer.backward)
    trial = Assignment(
        round=0,
        client=data.name,
        method=lightest.name,
        steps=2,
        first_step=0,
        total_steps=2,
        learning_rate=config.seeds.learning_rate,
        r=config.lora.r,
        seed=config.seed,
    )
    moments: list[float] = []
    update = worker.train(
        trial, _untouched_model(config, shapes), data, lambda done, loss: moments.append(now())
    )
    seconds = moments[1] - moments[0]
    return update.metrics["tokens"] / 2 / seconds if seconds > 0 else 0.0


def device_name(device: torch.device) -> str:
    """Return the name of the GPU or the processor, as its maker gave it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return processor_name()


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's name, or its architecture where the system does not say."""
    lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return next(iter(named), "") or platform.processor() or platform.machine()


def device_memory_bytes(device: torch.device) -> int:
    """Return the memory of the device that trains: the GPU's own, or what this process may use."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = cgroup_memory_limit()
    return memory if limit is None else min(memory, limit)


def cgroup_memory_limit(
    membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> int | None:
    """Return the strictest memory limit of this process's control groups, bytes; none: there is none.

    Version 2 keeps it in memory.max of the group and its parents, version 1 in
    memory.limit_in_bytes below memory/.
    """
    limits = []
    for line in membership.read_text().splitlines() if membership.exists() else []:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            limits += _limits(root, path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits(root / "memory", path, "memory.limit_in_bytes")
    return min(limits, default=None)


def _limits(root: Path, path: str, name: str) -> list[int]:
    # In a container the path may be the host's, while the mount shows the group itself as its root.
    group = root / path.strip("/")
    files = [each / name for each in (group, *group.parents) if each.is_relative_to(root)]
    texts = [file.read_text().strip() for file in files if file.is_file()]
    return [int(text) for text in texts if text.isdigit()]


def _untouched_model(config: RunConfig, shapes: SpaceShapes) -> Package:
    served = method_of(config).serve()
    return served.download(served.begin(shapes), config.lora.r)
