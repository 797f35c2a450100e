"""Fuzzing of decoders, each in a process that it may take down: `python -m tests.fuzz.child`.

A decoder's folder then holds `output`, `ended` (JSON: exit code, seconds, peak memory), `executions`
(uint64), and for a defect `crash-…` or `timeout-…` with the input.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import mmap
import os
import signal
import struct
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fuzz.effort import Effort

HANG_S = 10
_END_S = 30  # to say goodbye
_LONGEST_S = 600  # of a number of executions, before it counts as hung

Engine = Callable[[str, Effort, Path], None]


class Counter:
    """Counts executions in a file, so that the number outlives any end of this process."""

    def __init__(self, path: Path) -> None:
        """Begin with none."""
        path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            self._cell = mmap.mmap(file.fileno(), 8)
        self.count = 0

    def add(self) -> None:
        """Count one."""
        self.count += 1
        struct.pack_into("<Q", self._cell, 0, self.count)


def main() -> None:
    """Fuzz one decoder after the other, each until its time is up or a defect is found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("targets", nargs="+")
    parser.add_argument("--engine", choices=("guided", "mutation"), required=True)
    parser.add_argument("--seconds", type=int, default=0, help="for each")
    parser.add_argument("--executions", type=int, default=0, help="for each")
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # of strange certificates and numbers: no defects
    sys.argv = sys.argv[:1]
    engine = _guided() if arguments.engine == "guided" else _mutating()
    effort = Effort(arguments.executions, arguments.seconds)
    for name in arguments.targets:
        _in_a_process(engine, name, effort, arguments.folder / name)


def _in_a_process(engine: Engine, name: str, effort: Effort, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    start = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _child(engine, name, effort, folder)
    code, peak = _waited(pid, (effort.seconds or _LONGEST_S) + HANG_S + _END_S)
    ended = {"code": code, "seconds": time.monotonic() - start, "peak_rss": peak}
    (folder / "ended").write_text(json.dumps(ended))


def _child(engine: Engine, name: str, effort: Effort, folder: Path) -> None:
    """Fuzz, and end this process."""
    output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    try:
        engine(name, effort, folder)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _waited(pid: int, timeout_s: float) -> tuple[int, int]:
    """Wait for a process, with patience; return its exit code and its peak memory, bytes."""
    until = time.monotonic() + timeout_s
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _guided() -> Engine:
    """Return the engine that looks for new code to reach."""
    import atheris

    with atheris.instrument_imports(include=["antiphon", "tests.fuzz.toy"]):
        from tests.fuzz.found import FOUND
        from tests.fuzz.judge import judge, limited
        from tests.fuzz.targets import target_of

    def engine(name: str, effort: Effort, folder: Path) -> None:
        target, counter = target_of(name), Counter(folder / "executions")

        def fuzz(content: bytes) -> None:
            counter.add()
            with _kept(folder, content), limited(len(content)):
                judge(target, content)

        corpus = folder / "corpus"
        corpus.mkdir(exist_ok=True)
        for each in (*target.seeds(), *FOUND.get(name, ())):
            (corpus / hashlib.sha256(each).hexdigest()).write_bytes(each)
        words = (*target.words, b"\xff")  # libFuzzer refuses an empty dictionary
        (folder / "words").write_text("".join(f'"{_escaped(word)}"\n' for word in words))
        atheris.Setup([sys.argv[0], *_options(folder, effort), str(corpus)], fuzz)
        atheris.Fuzz()

    return engine


@contextmanager
def _kept(folder: Path, content: bytes) -> Iterator[None]:
    """Keep an input that shows a defect; of several, the last one is the smallest."""
    try:
        yield
    except BaseException:
        (folder / "crash-raised").write_bytes(content)
        raise


def _options(folder: Path, effort: Effort) -> list[str]:
    limits: dict[str, Any] = {"max_total_time": effort.seconds}
    if effort.executions:
        limits = {"runs": effort.executions, "seed": 1}
    options = limits | {
        "timeout": HANG_S,
        "rss_limit_mb": 0,  # `limited` is stricter
        "max_len": 1 << 16,
        "artifact_prefix": f"{folder}/",
        "dict": folder / "words",
        "verbosity": 0,
    }
    return [f"-{option}={value}" for option, value in options.items()]


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _mutating() -> Engine:
    """Return the engine that edits valid inputs and sees nothing of the code."""
    from hypothesis import HealthCheck, given, seed, settings
    from tests.fuzz.judge import judge, limited
    from tests.fuzz.mutation import mutated
    from tests.fuzz.targets import target_of

    rules = settings(
        max_examples=1000,
        deadline=HANG_S * 1000,
        database=None,
        suppress_health_check=list(HealthCheck),
    )

    def engine(name: str, effort: Effort, folder: Path) -> None:
        target, counter = target_of(name), Counter(folder / "executions")
        strategy, number, started = mutated(target), 0, time.monotonic()

        def used_up() -> bool:
            late = effort.seconds and time.monotonic() - started > effort.seconds
            return bool(late) or counter.count >= (effort.executions or math.inf)

        def fuzz(content: bytes) -> None:
            if used_up():
                return
            counter.add()
            (folder / "trying").write_bytes(content)  # should it end the process
            with _kept(folder, content), limited(len(content)):
                judge(target, content)

        while not used_up():
            number += 1
            seed(number)(rules(given(strategy)(fuzz)))()

    return engine


if __name__ == "__main__":
    main()
