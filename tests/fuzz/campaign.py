"""Fuzzing decoders for a while, in processes of their own, and what came of it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.effort import Effort
from tests.fuzz.target import memory_folder

ROOT = Path(__file__).parents[2]
ENGINE = "guided" if importlib.util.find_spec("atheris") else "mutation"
"""`guided`: by coverage, with atheris; `mutation`: where that cannot be installed."""

_SHOWN_BYTES = 16_384
_SHOWN_CHARACTERS = 3000


@dataclass(frozen=True)
class Outcome:
    """What came of a fuzzing. crash: the input that showed a defect, empty where the process died for
    another reason; peak_rss: bytes; said: the end of the output.
    """

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
        shown = crash[:_SHOWN_BYTES].hex()
        return f"{self.said}\n{self.target}: an input of {len(crash)} bytes, hex {shown}"


def fuzz(
    targets: Sequence[str], effort: Effort, engine: str = ENGINE, corpora: Path | None = None
) -> list[Outcome]:
    """Fuzz decoders, one after the other; effort: for each.

    corpora: a folder in which the inputs that have reached new code are kept, and found again.
    """
    with tempfile.TemporaryDirectory(prefix="antiphon-fuzz-", dir=memory_folder()) as scratch:
        folder = Path(scratch)
        for name in targets if corpora is not None else ():
            _linked(folder / name, Path(corpora or "") / name.replace(" ", "-"))
        command = [sys.executable, "-m", "tests.fuzz.child", *targets]
        command += ["--engine", engine, "--seconds", str(effort.seconds)]
        command += ["--executions", str(effort.executions), "--folder", str(folder)]
        # Files of the decoders go where they vanish with the folder, however the process ends.
        environment = {**os.environ, "ANTIPHON_FUZZ_SCRATCH": str(folder)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the fuzzing did not begin: {done.stderr[-_SHOWN_CHARACTERS:]}")
        return [_outcome(name, folder / name) for name in targets]


def _linked(folder: Path, corpus: Path) -> None:
    folder.mkdir()
    corpus.mkdir(parents=True, exist_ok=True)
    (folder / "corpus").symlink_to(corpus.resolve())


def _outcome(name: str, folder: Path) -> Outcome:
    ended = json.loads((folder / "ended").read_text())
    tried = [each for kind in ("crash-*", "timeout-*", "oom-*") for each in folder.glob(kind)]
    tried += folder.glob("trying")
    crash = None
    if ended["code"] != 0:
        crash = tried[0].read_bytes() if tried else b""
    counted = folder / "executions"
    return Outcome(
        target=name,
        executions=int.from_bytes(counted.read_bytes(), "little") if counted.exists() else 0,
        seconds=ended["seconds"],
        peak_rss=ended["peak_rss"],
        crash=crash,
        said=(folder / "output").read_text(errors="replace")[-_SHOWN_CHARACTERS:],
    )
