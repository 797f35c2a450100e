"""One fuzzing of one decoder, in a process that it may take down: `python -m tests.fuzz.child`.

It leaves in its folder: `executions` (uint64), and for a defect `crash-…` or `timeout-…` with the input.
"""

from __future__ import annotations

import argparse
import hashlib
import mmap
import struct
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings

HANG_S = 10

Fuzz = Callable[[bytes], None]


class Counter:
    """Counts executions in a file, so that the number outlives any end of this process."""

    def __init__(self, path: Path) -> None:
        """Begin with none."""
        path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            self._cell = mmap.mmap(file.fileno(), 8)
        self._count = 0

    def add(self) -> None:
        """Count one."""
        self._count += 1
        struct.pack_into("<Q", self._cell, 0, self._count)


def main() -> None:
    """Fuzz until the time is up or a defect is found; the exit code says which."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--engine", choices=("guided", "mutation"), required=True)
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # of strange certificates and numbers: no defects
    sys.argv = sys.argv[:1]
    engine = _guided if arguments.engine == "guided" else _mutating
    engine(arguments.target, arguments.seconds, arguments.folder)


def _guided(name: str, seconds: int, folder: Path) -> None:
    import atheris

    with atheris.instrument_imports(include=["antiphon", "tests.fuzz.toy"]):
        from tests.fuzz.judge import judge, limited
        from tests.fuzz.targets import target_of
    target, counter = target_of(name), Counter(folder / "executions")

    def fuzz(content: bytes) -> None:
        counter.add()
        with limited(len(content)):
            judge(target, content)

    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for each in target.seeds():
        (corpus / hashlib.sha1(each).hexdigest()).write_bytes(each)
    words = "".join(f'"{_escaped(word)}"\n' for word in (*target.words, b"\xff"))
    (folder / "words").write_text(words)  # libFuzzer refuses an empty file
    options = {
        "max_total_time": seconds,
        "timeout": HANG_S,
        "rss_limit_mb": 0,  # `limited` is stricter
        "max_len": 1 << 16,
        "artifact_prefix": f"{folder}/",
        "dict": folder / "words",
        "print_final_stats": 1,
        "verbosity": 0,
    }
    chosen = [f"-{option}={value}" for option, value in options.items()]
    atheris.Setup([sys.argv[0], *chosen, str(corpus)], fuzz)
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _mutating(name: str, seconds: int, folder: Path) -> None:
    from tests.fuzz.judge import judge, limited
    from tests.fuzz.mutation import mutated
    from tests.fuzz.targets import target_of

    target, counter = target_of(name), Counter(folder / "executions")
    strategy, until, number = mutated(target), time.monotonic() + seconds, 0

    def fuzz(content: bytes) -> None:
        if time.monotonic() > until:
            return
        counter.add()
        try:
            with limited(len(content)):
                judge(target, content)
        except BaseException:
            (folder / "crash-mutated").write_bytes(content)  # the last one is the smallest
            raise

    rules = settings(
        max_examples=1000,
        deadline=HANG_S * 1000,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    while time.monotonic() < until:
        number += 1
        seed(number)(rules(given(strategy)(fuzz)))()


if __name__ == "__main__":
    main()
