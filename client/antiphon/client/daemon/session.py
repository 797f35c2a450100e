"""One run as a client lives it: hello, the owner's word, the trainer prepared, join, then task by task.

While a task is in hand, a second call keeps the lease and hears when the task is not wanted any more. An
update that is on its way to its answer is not broken off for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random

import structlog
from google.protobuf.message import DecodeError

from antiphon.client.daemon.calls import CallRefused, StartOver
from antiphon.client.daemon.consent import Consent
from antiphon.client.daemon.data_view import missing
from antiphon.client.daemon.delivery import Delivery
from antiphon.client.daemon.known_runs import KnownRuns
from antiphon.client.daemon.link import Link
from antiphon.client.daemon.metrics import Metrics
from antiphon.client.daemon.open_run import Declined, OpenRun, open_run
from antiphon.client.daemon.outbox import Outbox
from antiphon.client.daemon.policy import permits
from antiphon.client.daemon.preparing import prepare_request
from antiphon.client.daemon.room import most_download_bytes
from antiphon.client.daemon.settings import ClientSettings
from antiphon.client.daemon.settled_configs import SettledConfigs
from antiphon.client.daemon.site_models import unnamed
from antiphon.client.daemon.task_failed import TaskFailed
from antiphon.client.daemon.tasks import ClientTask, Workbench, in_hand
from antiphon.client.daemon.tell import told_capabilities, told_examples
from antiphon.client.daemon.trainer import TrainerFailed, TrainerProgram
from antiphon.client.daemon.work import told_works
from antiphon.client.reason import Reason
from antiphon.client.trainer_protocol import Prepared
from antiphon.core.refusals import Refusal
from antiphon.v1 import coordinator_pb2 as pb

log = structlog.get_logger()

_IDLE_WAIT_S = 30.0
_BUSY_WAIT_S = 10.0
_NO_RUN_S = 5.0
_USUAL_LEASE_S = 13.0
_ALREADY_ANSWERED_S = 60.0
_BREATH_S = 0.2


@dataclass(frozen=True)
class Finished:
    """The run is over. complete: as the coordinator says (a run that stopped early is not)."""

    run_id: str
    complete: bool
    reason: str


class Session:
    """This client's part in a coordinator's runs, one after the other."""

    def __init__(
        self,
        client: str,
        link: Link,
        trainer: TrainerProgram,
        outbox: Outbox,
        delivery: Delivery,
        bench: Workbench,
        metrics: Metrics,
        consent: Consent,
        known: KnownRuns,
        configs: SettledConfigs,
        *,
        settings: Callable[[], ClientSettings],
        now: Callable[[], datetime],
        rng: Random,
    ) -> None:
        """client: its name; consent: the owner's word on each run; known: where runs are written down;
        configs: where their configs are; settings: those of now, which a reload changes; now: the local
        time.
        """
        self._client, self._link, self._trainer = client, link, trainer
        self._outbox, self._delivery, self._bench = outbox, delivery, bench
        self._metrics, self._settings, self._now, self._rng = metrics, settings, now, rng
        self._consent, self._known, self._configs = consent, known, configs
        self._lease_s = _USUAL_LEASE_S
        self._prepared: tuple[str, Prepared] | None = None
        self._hopeless: dict[str, Reason] = {}
        self._answered: tuple[bytes, float] = (b"", 0.0)
        self._over: set[str] = set()
        self.joined = ""

    def reconsider(self) -> None:
        """Try again what was hopeless under the old settings."""
        self._hopeless.clear()

    async def run(self) -> Finished:
        """Take part in the next run that is open, to its end.

        Raises Declined where this client may not or cannot, StartOver where the run has changed
        meanwhile, and NotAllowed where its certificate is not accepted.
        """
        run = await self._opened()
        try:
            finished = await self._part_in(run)
        except Declined as declined:
            self._note(run, "declined", declined.codes)
            raise
        self._note(run, "over")
        return finished

    async def _part_in(self, run: OpenRun) -> Finished:
        settings = self._settings()
        unread = missing(settings.data, run.config.get("data"))
        unknown = unnamed(settings.models, run.model)
        self._check_policy(run, (*self._configs.differs(run), *unknown, *unread))
        self._note(run, "preparing")
        with suppress(StartOver):
            await self._delivery.hand_in_all(run.run_id, joined=False)
        prepared = await self._prepare(run)
        run = _as_prepared(run, prepared)
        self._check_policy(run, self._configs.keep(run))  # the preparation took a while
        await self._join(run, prepared)
        self._note(run, "joined")
        finished = await self._work(run)
        log.info("run over", run=run.run_id, complete=finished.complete, reason=finished.reason)
        self.joined = ""
        if finished.complete:
            self._over.add(run.run_id)
        await self._trainer.stop()
        return finished

    async def _opened(self) -> OpenRun:
        while True:
            hello = await self._link.hello()
            if hello.run_id and hello.run_id not in self._over:
                return open_run(hello)
            pause_s = hello.retry_after_ms / 1000 or _NO_RUN_S
            await asyncio.sleep(pause_s * self._rng.uniform(0.5, 1.5))

    def _check_policy(self, run: OpenRun, further: tuple[Reason, ...] = ()) -> None:
        """Raise Declined with every reason against the run, those of the policy and further ones."""
        now = self._now()
        sent = self._outbox.sent_on(now.date().isoformat())
        terms = run.terms(uploaded_today=sent)
        policy = permits(self._settings().policy, terms, now)
        if reasons := (*policy, *self._consent.missing(run), *further):
            raise Declined(*reasons)

    def _check_consent(self, run: OpenRun) -> None:
        if reasons := self._consent.missing(run):
            raise Declined(*reasons)

    def _note(self, run: OpenRun, standing: str, codes: tuple[Refusal, ...] = ()) -> None:
        self._known.note(run, self._now().timestamp(), standing, codes)

    async def _prepare(self, run: OpenRun) -> Prepared:
        if self._prepared is not None and self._prepared[0] == run.settled:
            return self._prepared[1]
        if (known := self._hopeless.get(run.settled)) is not None:
            raise Declined(known)
        request, view = prepare_request(self._client, run, self._settings())
        log.info("preparing", run=run.run_id, method=run.method, model=run.model)
        log.info("how this site's rows are read", **view.lines())
        try:
            prepared = await self._trainer.prepare(request)
        except TrainerFailed as error:
            reason = Reason(error.code, str(error))
            if error.fatal:
                self._hopeless[run.settled] = reason
            raise Declined(reason) from None
        self._prepared = (run.settled, prepared)
        return prepared

    async def _join(self, run: OpenRun, prepared: Prepared) -> None:
        tell = self._settings().tell
        examples = told_examples(tell, prepared.examples)
        try:
            capabilities = pb.Capabilities.FromString(prepared.capabilities)
            request = pb.JoinRequest(
                run_id=run.run_id,
                config_hash=run.config_hash,
                examples=examples,
                evaluation_examples=told_examples(tell, prepared.evaluation_examples),
                capabilities=told_capabilities(tell, capabilities),
                space=pb.SpaceReport.FromString(prepared.space),
            )
        except DecodeError as error:
            why = f"the trainer's report cannot be read: {error}"
            raise Declined(Reason(Refusal.TRAINER_FAILED, why)) from None
        response = await self._link.join(request)
        self._lease_s = response.lease_ms / 1000 or self._lease_s
        self.joined = run.run_id
        log.info("joined", run=run.run_id, examples=prepared.examples, told=examples)
        await self._delivery.hand_in_all(run.run_id)

    async def _work(self, run: OpenRun) -> Finished:
        loop = asyncio.get_running_loop()
        idle_since = loop.time()
        while True:
            self._check_policy(run)
            wait_s = await self._cool(idle_since)
            asked = loop.time()
            response = await self._next(run, wait_s)
            kind = response.WhichOneof("task")
            if kind == "over":
                return Finished(run.run_id, response.over.complete, response.over.reason)
            if kind in ("train", "evaluate", "exchange"):
                await self._take(run, response)
                idle_since = loop.time()
            elif self._outbox.entries():
                await self._delivery.hand_in_all(run.run_id)
            await self._pause(response, asked, wait_s)

    async def _cool(self, idle_since: float) -> float:
        """Give the trainer's memory back when it is time; return how long the next call may be held."""
        if not self._trainer.running:
            return _IDLE_WAIT_S
        left = idle_since + self._settings().keep_warm_s - asyncio.get_running_loop().time()
        if left > 0:
            return min(_IDLE_WAIT_S, max(left, 0.05))
        log.info("no task for a while: the trainer's memory is given back")
        await self._trainer.stop()
        return _IDLE_WAIT_S

    async def _next(
        self, run: OpenRun, wait_s: float, task: ClientTask | None = None
    ) -> pb.NextTaskResponse:
        request = pb.NextTaskRequest(run_id=run.run_id, wait_ms=int(wait_s * 1000))
        if task is not None:
            request.working_on_round = task.round
            request.evaluating = task.evaluating
            request.exchange = task.exchange
            request.steps_done = task.steps_done
        response = await self._link.next_task(request)
        self._lease_s = response.lease_ms / 1000 or self._lease_s
        return response

    async def _pause(self, response: pb.NextTaskResponse, asked: float, wait_s: float) -> None:
        """Wait as long as the coordinator says; a little where it answers nothing at once."""
        pause_s = response.retry_after_ms / 1000
        early = asyncio.get_running_loop().time() - asked < min(_BREATH_S, wait_s / 2)
        if early and response.WhichOneof("task") in (None, "cancel"):
            pause_s = max(pause_s, self._rng.uniform(0.5, 1.5) * _BREATH_S)
        if pause_s:
            await asyncio.sleep(pause_s)

    async def _take(self, run: OpenRun, response: pb.NextTaskResponse) -> None:
        """Do a task, unless it was done before; a failure is told to the coordinator."""
        loop = asyncio.get_running_loop()
        try:
            task = in_hand(run, response, loop.time())
        except CallRefused as error:
            log.error("a task that cannot be read", reason=str(error))
            return
        if task.kind == "train" and self._outbox.holds(run.run_id, task.round):
            await self._delivery.hand_in_all(run.run_id)
            return
        message, at = self._answered
        if task.message and task.message == message and loop.time() - at < _ALREADY_ANSWERED_S:
            await self._until_taken_back(task)
            return
        await self._report(task)

    async def _report(self, task: ClientTask) -> None:
        log.info("task", kind=task.kind, round=task.round)
        try:
            result = "done" if await self._do(task) else "cancelled"
        except TaskFailed as failed:
            result = "failed"
            log.warning("task failed", kind=task.kind, round=task.round, reason=str(failed))
            await self._link.report_failure(
                task.run.run_id,
                task.round,
                failed.code,
                evaluating=task.evaluating,
                exchange=task.exchange,
            )
        self._metrics.tasks.labels(task.kind, result).inc()

    async def _do(self, task: ClientTask) -> bool:
        """Do a task beside the call that keeps the lease; False where it was not wanted any more."""
        settings = self._settings()
        if task.kind == "train":
            work = self._train(task)
        elif task.evaluating:
            work = self._bench.evaluate(task, settings)
        else:
            work = self._bench.respond(task, settings)
        job, keeper = asyncio.create_task(work), asyncio.create_task(self._until_unwanted(task))
        try:
            await asyncio.wait((job, keeper), return_when=asyncio.FIRST_COMPLETED)
            while self._delivery.submitting and not job.done():
                await asyncio.wait((job,), timeout=_BREATH_S)
        finally:
            unwanted = keeper.done() and not job.done()
            job.cancel()
            keeper.cancel()
            await asyncio.gather(job, keeper, return_exceptions=True)
        if not unwanted:
            job.result()
            return True
        log.info("task not wanted any more", round=task.round, reason=keeper.result())
        self._check_consent(task.run)
        await self._delivery.hand_in_all(task.run.run_id)
        return False

    async def _train(self, task: ClientTask) -> None:
        if await self._bench.train(task, self._settings()):
            self._answered = (task.message, asyncio.get_running_loop().time())

    async def _until_unwanted(self, task: ClientTask) -> str:
        """Keep the lease until the coordinator takes the task back; return why it does."""
        loop = asyncio.get_running_loop()
        while True:
            wait_s, asked = min(_BUSY_WAIT_S, self._lease_s / 3), loop.time()
            if self._consent.missing(task.run):
                return "the owner has not approved the run"
            response = await self._next(task.run, wait_s, task)
            kind = response.WhichOneof("task")
            if kind == "over":
                return response.over.reason or "the run is over"
            if kind == "cancel" and response.cancel.round == task.round:
                return response.cancel.reason
            await asyncio.sleep(max(0.0, min(wait_s, asked + wait_s - loop.time())))

    async def _until_taken_back(self, task: ClientTask) -> None:
        """The coordinator has this task's update, and is busy: it still offers the task."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_ALREADY_ANSWERED_S):
                await self._until_unwanted(task)


def _as_prepared(run: OpenRun, prepared: Prepared) -> OpenRun:
    """Return a run with what the trainer knows of it. Raises Declined for a report that cannot be read."""
    try:
        space = pb.SpaceReport.FromString(prepared.space)
        works, exchanges = told_works(prepared.work), told_works(prepared.exchanges)
    except (DecodeError, KeyError, TypeError, ValueError) as error:
        why = f"the trainer's report cannot be read: {error}"
        raise Declined(Reason(Refusal.TRAINER_FAILED, why)) from None
    if not works:
        why = f"the trainer does not say how much work method {run.method} is"
        raise Declined(Reason(Refusal.CONFIG_UNKNOWN, why))
    most = most_download_bytes(space, prepared.download_bytes)
    return replace(
        run,
        examples=prepared.examples,
        most_download=most,
        works=works,
        exchanges=exchanges,
    )
