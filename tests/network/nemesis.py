"""A run whose processes are killed all the time: by a schedule, at named steps and at any moment.

Every process is started again at once, the coordinator with `--resume`. What the daemons were told and
what lay in the journal at each death is kept for the check in history.py.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any, get_args

import yaml
from tests.network.fleet import NUMPY_TRAINER, ROOT, ProcessFleet
from tests.network.history import (
    Answer,
    answers,
    differing_models,
    entries_of,
    violations,
)
from tests.network.planted import PLANTED

from antiphon.core.fault_points import FaultPoint
from antiphon.core.journal import Entry
from antiphon.core.run_folder import RunFolder

COORDINATOR = "coordinator"
CLIENTS = ("ada", "bea", "cleo")
STEPS: tuple[FaultPoint, ...] = get_args(FaultPoint)
OF_A_DAEMON: tuple[FaultPoint, ...] = ("outbox written", "update submitted", "outbox cleared")
OF_LORA_ONLY: tuple[FaultPoint, ...] = ("upload spooled",)

_LOOK_EVERY_S = 0.02
_STEP_S = 0.05


@dataclass(frozen=True)
class Death:
    """How one life of a process ends.

    step, passes: at the n-th pass of a named step; no step: `after_s` seconds after its start. down_s: how
    long the process stays away.
    """

    process: str
    step: FaultPoint | None = None
    passes: int = 1
    after_s: float = 0.0
    down_s: float = 0.0

    @property
    def where(self) -> str:
        """The step, or `any moment`."""
        return self.step or "any moment"


@dataclass(frozen=True)
class History:
    """What has happened. deaths: that came about; journals: what each of the coordinator's left."""

    folder: RunFolder
    deaths: tuple[Death, ...]
    told: tuple[Answer, ...]
    journals: tuple[tuple[Entry, ...], ...]
    problems: tuple[str, ...]
    seconds: float


def run_config(method: str, rounds: int) -> dict[str, Any]:
    """Return a run of the three clients that computes next to nothing."""
    values: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "tiny.yaml").read_text())
    return values | {
        "name": "nemesis",
        "method": method,
        "rounds": rounds,
        "lora": {"r": 4, "target_modules": "all-linear"},
        "training": {**values["training"], "max_steps": 1},
        "seeds": {**values["seeds"], "max_steps": 4, "num_seeds": 64, "guard_loss_factor": 1e9},
        "cohort": {"min_clients": len(CLIENTS), "deadline_s": 600.0},
        "evaluation": {"before_first_round": False, "every": 4},
        "output": {"adapter_every": 1, "plots": False},
    }


def write_data(folder: Path, method: str) -> dict[str, Path]:
    """Write a data file for every client; they differ in speed, so that their updates come apart."""
    module = "base_model.model.layers.0.q_proj"
    shapes = {
        "lora": {
            "factors": {f"{module}.lora_A.weight": [4, 64], f"{module}.lora_B.weight": [64, 4]}
        },
        "seeds": {"weights": {"layers.0.q_proj": [64, 64]}},
    }[method]
    files = {}
    for number, client in enumerate(CLIENTS):
        steps = 1 if method == "lora" else 4
        told = {"examples": 10 + number, "step_s": number * _STEP_S / steps, **shapes}
        files[client] = folder / f"{client}.json"
        files[client].write_text(json.dumps(told))
    return files


def random_schedule(rng: Random, method: str, deaths: int, away_s: float) -> list[Death]:
    """Draw deaths of all processes: half at a named step, half at any moment.

    away_s: the longest that one in four stays away.
    """
    own = [step for step in STEPS if method == "lora" or step not in OF_LORA_ONLY]
    drawn = []
    for _ in range(deaths):
        down_s = rng.choice([0.0, 0.0, 0.0, rng.uniform(0.0, away_s)])
        if rng.random() < 0.5:
            step = rng.choice(own)
            process = rng.choice(CLIENTS) if step in OF_A_DAEMON else COORDINATOR
            drawn.append(Death(process, step, rng.randint(1, 3), down_s=down_s))
        else:
            process = rng.choice((COORDINATOR, *CLIENTS))
            drawn.append(Death(process, after_s=rng.uniform(0.1, 3.0), down_s=down_s))
    return drawn


class Nemesis:
    """One run, its processes and their deaths."""

    def __init__(
        self,
        folder: Path,
        method: str,
        rounds: int,
        schedule: Sequence[Death] = (),
        *,
        bug: str | None = None,
        lease_s: float = 60.0,
        also: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """bug: planted into every life of the coordinator (planted.py); also: of the run's config."""
        self._lease_s = lease_s
        self._fleet = ProcessFleet(folder, {**run_config(method, rounds), **also})
        self._data = write_data(folder, method)
        self._bug = bug
        names = (COORDINATOR, *CLIENTS)
        self._ahead = {name: [each for each in schedule if each.process == name] for name in names}
        self._next: dict[str, Death | None] = dict.fromkeys(names)
        self._due: dict[str, float] = {}
        self._back: dict[str, float] = {}
        self._deaths: list[Death] = []
        self._journals: list[tuple[Entry, ...]] = []
        self._problems: list[str] = []

    def run(self, limit_s: float = 120.0) -> History:
        """Run to the end, to the first sign that something was lost, or to the limit."""
        start = time.monotonic()
        try:
            self._begin()
            while not self._is_over():
                if time.monotonic() - start > limit_s:
                    self._problems.append(f"not over after {limit_s} s: {self._where()}")
                    break
                self._look()
                if self._problems:
                    break
                time.sleep(_LOOK_EVERY_S)
        finally:
            self._fleet.close()
        self._problems += self._violations()
        return History(
            self._fleet.run_folder,
            tuple(self._deaths),
            tuple(self._told()),
            tuple(self._journals),
            tuple(dict.fromkeys(self._problems)),
            time.monotonic() - start,
        )

    def _begin(self) -> None:
        self._start(COORDINATOR, resume=False)
        self._fleet.wait_until_served()
        self._fleet.enrol(*CLIENTS)
        for client in CLIENTS:
            self._start(client)

    def _start(self, name: str, *, resume: bool = True) -> None:
        death = self._ahead[name].pop(0) if self._ahead[name] else None
        self._next[name] = death
        die = ["--die", f"{death.step}:{death.passes}"] if death and death.step else []
        bug = ["--bug", self._bug] if self._bug and name == COORDINATOR else []
        command = [*PLANTED, *die, *bug, "--"]
        if name == COORDINATOR:
            settings = {"lease_s": self._lease_s, "log_format": "json"}
            self._fleet.serve(resume=resume, command=command, settings=settings)
        else:
            self._fleet.client(name, self._data[name], command=command, trainer=NUMPY_TRAINER)
        if death and not death.step:
            self._due[name] = time.monotonic() + death.after_s

    def _look(self) -> None:
        """Kill who is due, note who has died, and start who is to be back."""
        now = time.monotonic()
        for name in self._passed(self._due, now):
            self._fleet.processes[name].kill()
        for name, process in list(self._fleet.processes.items()):
            if name not in self._back and process.poll() not in (None, 0):
                self._has_died(name, process.returncode, now)
        for name in self._passed(self._back, now):
            self._start(name)

    def _passed(self, moments: dict[str, float], now: float) -> Iterator[str]:
        for name in [name for name, when in moments.items() if when <= now]:
            del moments[name]
            yield name

    def _has_died(self, name: str, status: int, now: float) -> None:
        death = self._next[name]
        if status != -signal.SIGKILL or death is None:
            self._problems.append(f"{name} ended with {status}: {self._fleet.log(name)[-1500:]}")
            return
        self._deaths.append(death)
        self._back[name] = now + death.down_s
        if name == COORDINATOR:
            self._journals.append(tuple(entries_of(self._fleet.run_folder)))
            self._problems += self._violations()
            if self._fleet.run_folder.is_complete():  # it had said its last word
                del self._back[name]

    def _violations(self) -> list[str]:
        return violations(self._fleet.run_folder, self._told(), self._journals)

    def _told(self) -> list[Answer]:
        return [each for name in CLIENTS for each in self._told_to(name)]

    def _told_to(self, client: str) -> list[Answer]:
        log = self._fleet.folder / f"{client}.log"
        return answers(client, log.read_text(errors="replace")) if log.exists() else []

    def _is_over(self) -> bool:
        """The coordinator has said its last word: its daemons may wait for another run."""
        process = self._fleet.processes[COORDINATOR]
        ended = COORDINATOR not in self._back and process.poll() is not None
        return ended and self._fleet.run_folder.is_complete()

    def _where(self) -> str:
        alive = {name: each.poll() for name, each in self._fleet.processes.items()}
        return f"{alive}\n" + "\n".join(
            f"--- {name}\n{self._fleet.log(name)[-1500:]}" for name in alive
        )


def judged(history: History, undisturbed: RunFolder) -> list[str]:
    """Return all that is wrong with a run that came to its end, compared with one that nobody disturbed."""
    return [*history.problems] or differing_models(history.folder, undisturbed)
