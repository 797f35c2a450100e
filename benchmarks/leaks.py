"""Does anything of a site's own leave it, whatever a run asks and whatever goes wrong there?

    python -m benchmarks.leaks [CASES]

Each case is a site (rows of every kind, format, filter, what it accepts, tells and allows), a run's
config (often a hostile or a damaged one), tasks, and perhaps an error with the site's words in it. A mark
stands in every field of every row, every file's name and a variable of the environment. Session, link,
delivery and data pipeline are the daemon's own; channel and model are made up. Two processes share the
cases.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random

import structlog
from tests.client.daemon.leak_cases import MARK, base_config, case, row_files
from tests.client.daemon.leak_site import Site

from benchmarks.timing import machine

_PROCESSES = 2


def main() -> None:
    """Play the cases and print what was found."""
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    start = time.perf_counter()
    with ProcessPoolExecutor(_PROCESSES) as pool:
        found = list(pool.map(search, *zip(*((n, cases) for n in range(_PROCESSES)), strict=True)))
    took = time.perf_counter() - start
    leaks = sum(each for each, _, _ in found)
    messages = sum((each for _, each, _ in found), Counter[str]())
    codes = sum((each for _, _, each in found), Counter[str]())
    print(machine())
    print(f"{cases} cases, {messages.total()} messages, {leaks} leaks, {took:.0f} s")
    print("messages:", ", ".join(f"{name} {count}" for name, count in messages.most_common()))
    print("codes:", ", ".join(f"{name} {count}" for name, count in codes.most_common()))


def search(first: int, cases: int) -> tuple[int, Counter[str], Counter[str]]:
    """Play every _PROCESSES-th case from `first` on; return leaks, messages by method, and codes."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    os.environ[f"{MARK}_NAME"] = MARK
    leaks, messages, codes = 0, Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        files = row_files(Path(folder) / MARK / "rows")
        site, config = Site(Path(folder) / MARK / "site"), base_config()
        for seed in range(first, cases, _PROCESSES):
            sent = asyncio.run(site.play(case(Random(seed), files, config)))
            leaks += any(MARK.encode() in message for _, message in sent.messages)
            messages.update(method for method, _ in sent.messages)
            codes.update(sent.codes)
        site.close()
    return leaks, messages, codes


if __name__ == "__main__":
    main()
