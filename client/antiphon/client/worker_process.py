"""The program that trains for a daemon: `python -m antiphon.client.worker_process`.

It keeps to the protocol of trainer_protocol.py. What libraries print lands on stderr, the end of stdin
ends the process in the middle of a step, and an error that nobody foresaw ends it too: the daemon starts
another one, which knows nothing of a broken GPU context.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import BinaryIO, Protocol

from antiphon.client.failure_code import code_of
from antiphon.client.trainer_protocol import (
    Cancel,
    Cancelled,
    Evaluate,
    Evaluated,
    Failed,
    OnStepped,
    Prepare,
    Prepared,
    Rebuild,
    Rebuilt,
    Request,
    Respond,
    Responded,
    Response,
    Stepped,
    Train,
    Trained,
    decode_request,
    encode_answer,
    name_of,
)
from antiphon.core.errors import AntiphonError, DownloadError, RunFolderError

_FOLDERS = ("ANTIPHON_CACHE", "HF_HOME", "HF_HUB_CACHE", "TRANSFORMERS_CACHE", "XDG_CACHE_HOME")
"""Variables that may hold a path relative to the folder in which the daemon was started."""

_Asked = tuple[Request, Event]
"""A request, and whether it has been cancelled."""


class RequestCancelled(Exception):
    """The daemon does not want the request in hand any more."""


class WorkerSession(Protocol):
    """What carries out the requests. Each may raise AntiphonError, OSError or MemoryError and go on."""

    def prepare(self, request: Prepare) -> Prepared:
        """Load a run; whatever was loaded before is let go."""
        ...

    def train(self, request: Train, on_step: OnStepped) -> Trained:
        """Carry out an assignment."""
        ...

    def evaluate(self, request: Evaluate, on_batch: Callable[[], None]) -> Evaluated:
        """Measure a model."""
        ...

    def rebuild(self, request: Rebuild) -> Rebuilt:
        """Make a model."""
        ...

    def respond(self, request: Respond) -> Responded:
        """Answer an exchange."""
        ...


class Requests:
    """Reads requests beside the work, so that a cancellation and the end of stdin are heard at once."""

    def __init__(self, lines: Iterable[bytes], on_end: Callable[[], None]) -> None:
        """on_end: called in the reading thread when the lines are over."""
        self._lines, self._on_end = lines, on_end
        self._tasks: SimpleQueue[_Asked | AntiphonError] = SimpleQueue()
        Thread(target=self._read, name="requests", daemon=True).start()

    def next(self) -> _Asked:
        """Wait for the next request. Raises ProtocolError for a line that is none."""
        task = self._tasks.get()
        if isinstance(task, AntiphonError):
            raise task
        return task

    def _read(self) -> None:
        newest = Event()
        for line in self._lines:
            try:
                request = decode_request(line)
            except AntiphonError as error:
                self._tasks.put(error)
                continue
            if isinstance(request, Cancel):
                newest.set()
            else:
                newest = Event()
                self._tasks.put((request, newest))
        self._on_end()


class Answers:
    """Writes answers, each a line of its own."""

    def __init__(self, out: BinaryIO) -> None:
        """Write to `out`."""
        self._out, self._lock = out, Lock()

    def send(self, answer: Response) -> None:
        """Write one answer and flush it."""
        with self._lock:
            self._out.write(encode_answer(answer))
            self._out.flush()


def serve(session: WorkerSession, requests: Requests, answers: Answers) -> None:
    """Carry out requests for ever."""
    while True:
        try:
            request, cancelled = requests.next()
        except AntiphonError as error:
            answers.send(Failed("request", str(error), fatal=True))
            continue
        answers.send(_answer(session, request, cancelled, answers))


def _answer(
    session: WorkerSession, request: Request, cancelled: Event, answers: Answers
) -> Response:
    name = name_of(request)
    try:
        return _carry_out(session, request, cancelled, answers)
    except RequestCancelled:
        return Cancelled(name)
    except (AntiphonError, OSError) as error:
        # A full disk and a broken connection may be mended; a config that does not fit stays so.
        passing = isinstance(error, DownloadError | RunFolderError | OSError)
        fatal = name == "prepare" and not passing
        return Failed(name, str(error), fatal, code_of(error).value)
    except MemoryError as error:
        return Failed(name, f"out of memory: {error}", False, code_of(error).value)


def _carry_out(
    session: WorkerSession, request: Request, cancelled: Event, answers: Answers
) -> Response:
    def on_batch() -> None:
        if cancelled.is_set():
            raise RequestCancelled

    def on_step(stepped: Stepped) -> None:
        answers.send(stepped)
        on_batch()

    match request:
        case Prepare():
            return session.prepare(request)
        case Train():
            on_batch()
            return session.train(request, on_step)
        case Evaluate():
            on_batch()
            return session.evaluate(request, on_batch)
        case Rebuild():
            on_batch()
            return session.rebuild(request)
        case Respond():
            on_batch()
            return session.respond(request)
        case Cancel():
            raise AssertionError("a cancellation never reaches the session")


def claim_streams() -> tuple[BinaryIO, BinaryIO]:
    """Take stdin and stdout for the protocol; return them, for reading and for writing.

    From here on descriptor 0 is empty and descriptor 1 is stderr, for libraries and for programs that
    they start.
    """
    lines, out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdout.flush()
    os.dup2(2, 1)
    return lines, out


def leave_for(folder: str) -> None:
    """Work in an empty folder: a model's name that came from a run is never found there as a path."""
    for name in _FOLDERS:
        if os.environ.get(name):
            os.environ[name] = os.path.abspath(os.path.expanduser(os.environ[name]))
    os.chdir(folder)


def main() -> None:
    """Serve until stdin ends."""
    lines, out = claim_streams()
    # Remembered weights can be gigabytes; a folder of our own can be removed on the way out.
    scratch = tempfile.mkdtemp(prefix="antiphon-worker-")
    tempfile.tempdir = scratch
    leave_for(scratch)

    def leave() -> None:
        shutil.rmtree(scratch, ignore_errors=True)
        os._exit(0)

    requests = Requests(lines, on_end=leave)
    # torch and transformers are imported here, when their prints and a vanished daemon do no harm.
    from antiphon.client.training_session import TrainingSession

    try:
        serve(TrainingSession(), requests, Answers(out))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
