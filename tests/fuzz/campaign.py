"""Fuzzing one decoder for a while, in a process of its own, and what came of it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENGINE = "guided" if importlib.util.find_spec("atheris") else "mutation"
"""`guided`: by coverage, with atheris; `mutation`: where that cannot be installed."""

_END_S = 60  # to load, and to say goodbye
_SHOWN_BYTES = 4000


@dataclass(frozen=True)
class Outcome:
    """What came of a fuzzing. crash: the input that showed a defect; said: the end of the output."""

    target: str
    executions: int
    seconds: float
    peak_rss: int
    crash: bytes | None
    said: str

    @property
    def explained(self) -> str:
        """The defect with its input, for whoever must mend it."""
        crash = self.crash or b""
        return f"{self.target}: {len(crash)} bytes, hex {crash[:_SHOWN_BYTES].hex()}\n{self.said}"


def fuzz(target: str, seconds: int, engine: str = ENGINE, corpus: Path | None = None) -> Outcome:
    """Fuzz a decoder. corpus: a folder in which inputs that reach new code are kept."""
    with tempfile.TemporaryDirectory(prefix="antiphon-fuzz-") as scratch:
        folder = Path(scratch)
        if corpus is not None:
            corpus.mkdir(parents=True, exist_ok=True)
            (folder / "corpus").symlink_to(corpus.resolve())
        return _fuzz(target, seconds, engine, folder)


def _fuzz(target: str, seconds: int, engine: str, folder: Path) -> Outcome:
    command = [sys.executable, "-m", "tests.fuzz.child", target]
    command += ["--engine", engine, "--seconds", str(seconds), "--folder", str(folder)]
    output = folder / "output"
    # Files of the decoders go where they vanish with the folder, however the process ends.
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    start = time.monotonic()
    with output.open("wb") as out:
        child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out)
        code, peak = _waited(child, seconds + _END_S)
    took = time.monotonic() - start
    said = output.read_text(errors="replace")[-_SHOWN_BYTES:]
    found = sorted([*folder.glob("crash-*"), *folder.glob("timeout-*")])
    crash = found[0].read_bytes() if found else b"" if code else None
    counted = folder / "executions"
    executions = int.from_bytes(counted.read_bytes(), "little") if counted.exists() else 0
    return Outcome(target, executions, took, peak, crash, said)


def _waited(child: subprocess.Popen[bytes], timeout_s: float) -> tuple[int, int]:
    """Wait for a process; return its exit code and its peak memory, bytes."""
    until = time.monotonic() + timeout_s
    while True:
        ended, status, usage = os.wait4(child.pid, os.WNOHANG)
        if ended:
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode, usage.ru_maxrss * 1024
        if time.monotonic() > until:
            child.kill()
            until = float("inf")
        time.sleep(0.05)
