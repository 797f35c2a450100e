"""The daemon's side of the program that trains: started when needed, asked, and started again.

The daemon itself stays small: what loads torch is a child process, which can be stopped while there is
no work, and whose death (a full GPU, a killed process) costs one attempt and not the daemon. The program
keeps to the protocol of trainer_protocol.py; `python -m antiphon.client.worker_process` is the usual one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory
from typing import TypeVar

from structlog.typing import FilteringBoundLogger

from antiphon.client.failure_code import read_code
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
    decode_answer,
    encode_request,
    name_of,
)
from antiphon.core.errors import AntiphonError, ProtocolError
from antiphon.core.refusals import Refusal

Wanted = TypeVar("Wanted", Prepared, Trained, Evaluated, Rebuilt, Responded)

WORKER_COMMAND = (sys.executable, "-m", "antiphon.client.worker_process")
"""The usual program."""

# The report of a large model's shapes is one line; asyncio's own limit is 64 KiB.
_LONGEST_LINE = 64 << 20
_LAST_WORDS = 2048
_ATTEMPTS = 2


class TrainerFailed(AntiphonError):
    """The request cannot be carried out; fatal: asking again cannot help; code: for the coordinator."""

    def __init__(
        self, reason: str, *, fatal: bool = False, code: Refusal = Refusal.TRAINER_FAILED
    ) -> None:
        """reason: for the log."""
        super().__init__(reason)
        self.fatal, self.code = fatal, code


class TrainerCancelled(AntiphonError):
    """The request was ended by `cancel`."""


class _Died(Exception):
    """The program ended, or said what nobody understands; the message says how."""


@dataclass(eq=False)
class _Child:
    process: Process
    scratch: TemporaryDirectory[str]
    listener: asyncio.Task[None]
    last_words: bytearray
    prepared: bool = False
    unanswered: bool = False
    stopped: bool = False
    gone: bool = False


class TrainerProgram:
    """One program that trains, at most one alive at a time, one request after the other."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: FilteringBoundLogger,
        environment: Mapping[str, str] = os.environ,
        grace_s: float = 5.0,
    ) -> None:
        """Start nothing yet. grace_s: how long each way of stopping may take before a stronger one."""
        self._command, self._log, self._grace_s = list(command), log, grace_s
        self._environment = dict(environment)
        self._child: _Child | None = None
        self._last_prepare: Prepare | None = None
        self._turn = asyncio.Lock()
        self._in_hand: Request | None = None
        self._cancelled = False

    @property
    def running(self) -> bool:
        """Whether a child process is alive, with whatever memory it holds."""
        return self._child is not None and self._child.process.returncode is None

    async def prepare(self, request: Prepare) -> Prepared:
        """Load a run. Raises TrainerFailed where it cannot be loaded here."""
        return await self._ask(request, Prepared, _ignore)

    async def train(self, request: Train, on_step: OnStepped) -> Trained:
        """Carry out an assignment; on_step: told of each step.

        Its time runs from here: what starting the program takes is taken off `request.seconds`. Raises
        TrainerFailed, and TrainerCancelled after `cancel`.
        """
        return await self._ask(request, Trained, on_step)

    async def evaluate(self, request: Evaluate) -> Evaluated:
        """Measure a model. Raises TrainerFailed, and TrainerCancelled after `cancel`."""
        return await self._ask(request, Evaluated, _ignore)

    async def rebuild(self, request: Rebuild) -> Rebuilt:
        """Make a model. Raises TrainerFailed, and TrainerCancelled after `cancel`."""
        return await self._ask(request, Rebuilt, _ignore)

    async def respond(self, request: Respond) -> Responded:
        """Answer an exchange. Raises TrainerFailed, and TrainerCancelled after `cancel`."""
        return await self._ask(request, Responded, _ignore)

    async def cancel(self) -> None:
        """End the training or evaluation in hand between two steps; without one, do nothing."""
        if self._in_hand is None or isinstance(self._in_hand, Prepare):
            return
        self._cancelled = True
        if self._child is not None and self._child.unanswered:
            await self._tell(self._child, Cancel())

    async def stop(self) -> None:
        """End the child and free its memory; what is in hand fails. The next request starts another.

        Closing its stdin ends a child that keeps to the protocol. One that hangs is terminated, then
        killed.
        """
        child = self._child
        if child is None:
            return
        child.stopped = True
        await self._end(child)

    async def _ask(self, request: Request, wanted: type[Wanted], on_step: OnStepped) -> Wanted:
        asked = asyncio.get_running_loop().time()
        async with self._turn:
            self._in_hand, self._cancelled = request, False
            try:
                return await self._attempts(request, wanted, on_step, asked)
            except asyncio.CancelledError:
                await self.cancel()
                raise
            finally:
                self._in_hand = None

    async def _attempts(
        self, request: Request, wanted: type[Wanted], on_step: OnStepped, asked: float
    ) -> Wanted:
        reason = ""
        for _ in range(_ATTEMPTS):
            child = await self._alive()
            try:
                return await self._attempt(child, request, wanted, on_step, asked)
            except _Died as death:
                reason = str(death)
                await self._end(child)
            if self._cancelled:
                raise TrainerCancelled(f"{name_of(request)} was cancelled")
            if child.stopped:
                raise TrainerFailed(f"the trainer was stopped during {name_of(request)}")
            self._log.warning("trainer died", request=name_of(request), reason=reason)
        raise TrainerFailed(f"{name_of(request)} failed {_ATTEMPTS} times: {reason}")

    async def _attempt(
        self,
        child: _Child,
        request: Request,
        wanted: type[Wanted],
        on_step: OnStepped,
        asked: float,
    ) -> Wanted:
        if child.unanswered:  # whoever asked went away
            await self._tell(child, Cancel())
            await self._final_answer(child, _ignore)
        if isinstance(request, Prepare):
            self._last_prepare, child.prepared = request, False
        elif not child.prepared and self._last_prepare is not None:
            await self._exchange(child, self._last_prepare, Prepared, _ignore)
            child.prepared = True
        if self._cancelled:
            raise TrainerCancelled(f"{name_of(request)} was cancelled")
        answer = await self._exchange(child, _shortened(request, asked), wanted, on_step)
        child.prepared = child.prepared or isinstance(answer, Prepared)
        return answer

    async def _exchange(
        self, child: _Child, request: Request, wanted: type[Wanted], on_step: OnStepped
    ) -> Wanted:
        child.unanswered = True
        await self._tell(child, request)
        answer = await self._final_answer(child, on_step)
        if isinstance(answer, wanted):
            return answer
        if isinstance(answer, Failed):
            raise TrainerFailed(answer.reason, fatal=answer.fatal, code=read_code(answer.code))
        if isinstance(answer, Cancelled):
            raise TrainerCancelled(f"{name_of(request)} was cancelled")
        raise _Died(f"it answered {name_of(request)} with {type(answer).__name__}")

    async def _final_answer(self, child: _Child, on_step: OnStepped) -> Response:
        assert child.process.stdout is not None
        while True:
            try:
                line = await child.process.stdout.readline()
                answer = decode_answer(line) if line else None
            except (ValueError, ProtocolError) as error:  # ValueError: a line without an end
                raise _Died(str(error)) from None
            if answer is None:
                raise _Died(await self._epitaph(child))
            if not isinstance(answer, Stepped):
                child.unanswered = False
                return answer
            on_step(answer)

    async def _tell(self, child: _Child, request: Request) -> None:
        assert child.process.stdin is not None
        try:
            child.process.stdin.write(encode_request(request))
            await child.process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            pass  # it died; whoever reads its answers finds the end of them

    async def _alive(self) -> _Child:
        if self._child is not None and self.running and not self._child.stopped:
            return self._child
        if self._child is not None:
            await self._end(self._child)
        self._child = await self._start()
        return self._child

    async def _start(self) -> _Child:
        scratch = TemporaryDirectory(prefix="antiphon-trainer-")
        # Threads that spin while they wait make each other ten times slower (docs/benchmarks.md).
        environment = {"OMP_WAIT_POLICY": "PASSIVE", **self._environment, "TMPDIR": scratch.name}
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                env=environment,
                limit=_LONGEST_LINE,
                start_new_session=True,  # Ctrl-C is for the daemon
            )
        except OSError as error:
            scratch.cleanup()
            raise TrainerFailed(
                f"cannot start the trainer {self._command[0]!r}: {error}", fatal=True
            ) from None
        last_words = bytearray()
        listener = asyncio.create_task(self._listen(process, last_words))
        self._log.info("trainer started", pid=process.pid)
        return _Child(process, scratch, listener, last_words)

    async def _listen(self, process: Process, last_words: bytearray) -> None:
        """Pass stderr on to the log, and keep the end of it for an error."""
        assert process.stderr is not None
        while part := await process.stderr.read(4096):
            last_words += part
            del last_words[:-_LAST_WORDS]
            for line in part.decode(errors="replace").splitlines():
                self._log.debug("trainer says", line=line[:200])

    async def _epitaph(self, child: _Child) -> str:
        await self._end(child)
        said = child.last_words.decode(errors="replace").strip()
        return f"the trainer {_how(child.process.returncode)}: {said or 'it said nothing'}"

    async def _end(self, child: _Child) -> None:
        """Make sure that a child is gone, and everything of it."""
        process = child.process
        assert process.stdin is not None
        process.stdin.close()
        for stronger in (process.terminate, process.kill):
            if await self._is_gone(process):
                break
            with suppress(ProcessLookupError):
                stronger()
        await process.wait()
        if not child.gone:
            child.gone = True
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # what it has started itself
        await child.listener
        child.scratch.cleanup()
        if self._child is child:
            self._child = None

    async def _is_gone(self, process: Process) -> bool:
        try:
            await asyncio.wait_for(process.wait(), self._grace_s)
        except TimeoutError:
            return False
        return True


def _ignore(stepped: Stepped) -> None:
    pass


def _how(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended with code {code}"
    hint = " (the system may have run out of memory)" if code == -signal.SIGKILL else ""
    return f"was ended by signal {-code}{hint}"


def _shortened(request: Request, asked: float) -> Request:
    """Take off what has passed since the request came, at loop time `asked`."""
    if not isinstance(request, Train) or request.seconds is None:
        return request
    passed = asyncio.get_running_loop().time() - asked
    return replace(request, seconds=max(0.0, request.seconds - passed))
