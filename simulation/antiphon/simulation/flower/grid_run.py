"""A whole run over letters: journal, space, driver, report. What `antiphon serve` is on gRPC."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import structlog

from antiphon.core.clock import SteadyClock
from antiphon.core.config import RunConfig, config_hash
from antiphon.core.errors import AntiphonError, ConfigError
from antiphon.core.events import RoundPlanned
from antiphon.core.home import fleet_folder, home_folder
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder
from antiphon.core.space import SpaceShapes
from antiphon.core.types import Plain
from antiphon.server.folding.fold_secret import kept_secret
from antiphon.server.folding.space_file import read_space
from antiphon.server.machine.actions import Finish, Reply
from antiphon.server.planning.agreement import Disagreement, claim_of, reported_space, votes_needed
from antiphon.server.planning.candidates import Candidates
from antiphon.server.planning.plans import clients_needed
from antiphon.server.run_begin import begin_run, new_folder, resumed_folder
from antiphon.server.run_end import end_run
from antiphon.simulation.flower.driver import GridDriver, OnRefused
from antiphon.simulation.flower.letters import Letter, NodeReply, Parcel, Post
from antiphon.simulation.flower.roster import MOST_ASKS, read_joining
from antiphon.simulation.monitor import Monitor
from antiphon.simulation.resumption import bytes_up

log = structlog.get_logger()

_POLL_S = 0.2


def check_engine(config: RunConfig) -> None:
    """Raise ConfigError for a run that Flower's nodes cannot carry out."""
    if config.privacy.secure_aggregation:
        raise ConfigError(
            "privacy.secure_aggregation: Flower's nodes have no certificates of the fleet to sign "
            "their keys with, so that a coordinator could put its own in their place: use the simulation "
            "or `antiphon serve`"
        )
    if config.compression.changes:
        raise ConfigError(
            "compression.changes packs what a round has changed, for clients that keep the one before it, "
            "but Flower's nodes keep none: leave it out, or use the simulation or `antiphon serve`"
        )


def run_over(
    post: Post,
    config: RunConfig,
    folder: RunFolder,
    journal: Journal,
    space: SpaceShapes,
    *,
    min_clients: int,
    monitor: Monitor,
    on_refused: OnRefused,
    poll_s: float,
    facts: Mapping[str, Plain],
    from_round: int | None = None,
    secret: bytes,
) -> Finish:
    """Run a config on the nodes of `post` and write its report.

    min_clients: that must be there before a round is planned; poll_s: between two looks at the post;
    facts: of the run, beside those that the config tells; from_round, secret: as begin_run takes them.
    """
    clock = SteadyClock()
    federation = begin_run(
        config,
        folder,
        journal,
        space,
        clock,
        engine="flower",
        facts=facts,
        from_round=from_round,
        secret=secret,
    )
    driver = GridDriver(
        federation,
        post,
        clock,
        wait=lambda: time.sleep(poll_s),
        monitor=monitor,
        on_refused=on_refused,
    )
    monitor.started(bytes_up(journal))
    finish = driver.run(min_clients)
    end_run(federation, finish, {})
    return finish


def serve_on_grid(
    post: Post, config: RunConfig, *, resume: bool, from_round: int | None = None
) -> RunFolder:
    """Run a config on nodes that come and go; return the run's folder, in `output.runs_dir`.

    Raises AntiphonError where the run stopped before its last round, UserError for what the user can
    mend.
    """
    check_engine(config)
    resumed = resumed_folder(config) if resume else None
    greeted = _Greeted(post)
    if resumed is not None and resumed.space_file.exists():
        space = read_space(resumed.space_file, config)
    else:
        log.info("a majority of the nodes says what the run trains")
        space = greeted.space(config, lambda: time.sleep(_POLL_S))
    folder = resumed or new_folder(config)
    log.info("run folder", path=str(folder.path.resolve()))
    with Journal.writing(folder.journal_file) as journal:
        finish = run_over(
            greeted,
            config,
            folder,
            journal,
            space,
            min_clients=clients_needed(config),
            monitor=LoggingMonitor(),
            on_refused=_log_refusal,
            poll_s=_POLL_S,
            facts={},
            from_round=from_round if resume else None,
            secret=kept_secret(fleet_folder(home_folder(None, os.environ))),
        )
    log.info("run over", complete=finish.complete, reason=finish.reason)
    if not finish.complete:
        raise AntiphonError(f"the run stopped: {finish.reason}")
    return folder


class LoggingMonitor(Monitor):
    """Says in the log what a run without a terminal is at."""

    def round_planned(self, plan: RoundPlanned) -> None:
        """Say who takes part."""
        log.info("round planned", round=plan.round, cohort=len(plan.cohort), reason=plan.reason)

    def replied(self, reply: Reply, size_bytes: int) -> None:
        """Say what became of an update."""
        log.info(
            "update", client=reply.client, round=reply.round, verdict=reply.verdict,
            reason=reply.reason, bytes=size_bytes,
        )  # fmt: skip

    def evaluated(self, number: int, metrics: Mapping[str, float]) -> None:
        """Say what was measured."""
        log.info("round evaluated", round=number, **{k: round(v, 4) for k, v in metrics.items()})

    def round_undone(self, number: int, reason: str) -> None:
        """Say that the guard stepped in."""
        log.warning("round undone", round=number, reason=reason)


def _log_refusal(node: int, reason: str) -> None:
    log.warning("a node cannot take part", node=node, reason=reason)


class _Greeted:
    """A post on which nodes have been asked to join before there was a driver: nobody is asked twice."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._asked: set[int] = set()
        self._early: list[tuple[Letter, NodeReply]] = []
        self._unheard: Counter[int] = Counter()

    def space(self, config: RunConfig, wait: Callable[[], None]) -> SpaceShapes:
        """Return what a majority of the nodes that the run waits for say that it trains."""
        # A node is asked once: its word holds for as long as it is online.
        candidates = Candidates(votes_needed(clients_needed(config)), lambda: 0.0)
        spaces: dict[str, SpaceShapes] = {}
        while True:
            online = set(self._post.nodes())
            self._asked &= online
            come = online - self._asked
            self._asked |= come
            self._post.send([Letter(node, "join", Parcel(b"")) for node in sorted(come)])
            heard = list(self._post.answers())  # all of them: what is not taken now is lost
            for letter, answer in heard:
                if (space := self._said(letter, answer, config)) is not None:
                    claim = claim_of(space)
                    spaces[claim] = space
                    candidates.hear(str(letter.node), claim)
            candidates.keep({str(node) for node in online})
            agreed = [claim for claim in candidates.claims() if candidates.agree(claim)]
            if agreed:
                return spaces[agreed[0]]
            wait()

    def _said(self, letter: Letter, answer: NodeReply, config: RunConfig) -> SpaceShapes | None:
        if isinstance(answer, str) and self._unheard[letter.node] < MOST_ASKS:
            # A SuperLink may list a node a moment before it takes messages for it.
            self._unheard[letter.node] += 1
            self._asked.discard(letter.node)
            return None
        self._early.append((letter, answer))
        try:
            return _space(answer, config)
        except Disagreement as error:
            _log_refusal(letter.node, str(error))
            return None

    def nodes(self) -> Collection[int]:
        return self._post.nodes()

    def send(self, letters: Sequence[Letter]) -> None:
        again = [each for each in letters if each.kind == "join" and each.node in self._asked]
        self._asked -= {each.node for each in again}
        self._post.send([each for each in letters if each not in again])

    def answers(self) -> Iterator[tuple[Letter, NodeReply]]:
        early, self._early = self._early, []
        yield from early
        yield from self._post.answers()


def _space(answer: NodeReply, config: RunConfig) -> SpaceShapes:
    if isinstance(answer, str):
        raise Disagreement(answer)
    said = read_joining(answer, config_hash(config))
    return reported_space(said.space, config)
