"""The run that a coordinator has open, as far as a client must understand it before it takes part."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from antiphon.client.daemon.policy import TaskTerms
from antiphon.client.daemon.work import Work, told_works
from antiphon.client.reason import Reason
from antiphon.core.errors import AntiphonError
from antiphon.core.free_keys import settled
from antiphon.core.json_text import json_text
from antiphon.core.method_choice import label_of
from antiphon.core.refusals import Refusal
from antiphon.v1 import coordinator_pb2 as pb

_DEEPEST = 32  # lists and mappings in each other; a config of ours has six


class Declined(AntiphonError):
    """This client takes no part, for now; the message is for the log, the codes are for the coordinator."""

    def __init__(self, *reasons: Reason) -> None:
        """reasons: all of them, at least one."""
        super().__init__("; ".join(each.text for each in reasons))
        self.codes = tuple(each.code for each in reasons)


@dataclass(frozen=True)
class OpenRun:
    """A run and its terms. config: its plain values; model: of its base; works: what it asks of a client
    and round, for each of its roles: the coordinator's word until the trainer has given its own;
    examples: that this site trains on; exchanges: what others than training draw of its rows;
    most_download: bytes that a model of the run can have; none: not known yet.

    digest: hex SHA-256 of the config as it arrived, and of min_cohort: what an owner approves; settled: of
    what may not change under one name.
    """

    run_id: str
    config: Mapping[str, Any]
    config_hash: str
    digest: str
    min_cohort: int
    max_upload_bytes: int
    method: str
    model: str
    works: tuple[Work, ...]
    settled: str
    examples: int | None = None
    exchanges: tuple[Work, ...] = ()
    most_download: int | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        """What a client may be asked to do."""
        return tuple(work.method for work in self.works)

    @property
    def steps(self) -> int:
        """Local steps of a client and round at most."""
        return max((work.steps for work in self.works), default=0)

    def work_of(self, method: str) -> Work:
        """Return what the run asks by one of its methods."""
        return next(work for work in self.works if work.method == method)

    def terms(self, *, uploaded_today: int) -> TaskTerms:
        """Return what the run as a whole asks of a client."""
        return TaskTerms(
            self.method,
            self.model,
            self.min_cohort,
            self.works,
            self.examples,
            uploaded_today=uploaded_today,
        )


def open_run(hello: pb.HelloResponse) -> OpenRun:
    """Read what a coordinator says of its run. Raises Declined where it cannot be understood."""
    try:
        config = json.loads(hello.config)
        method = label_of(config["method"])
        model = str(config["model"]["model_name_or_path"])
        works = told_works({each.role: _amounts(each) for each in hello.asks})
        _check_depth(config)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise Declined(
            Reason(
                Refusal.CONFIG_UNKNOWN,
                f"this version does not understand the run's config ({type(error).__name__}: "
                f"{str(error)[:100]}): upgrade antiphon here",
            )
        ) from None
    return OpenRun(
        run_id=hello.run_id,
        config=config,
        config_hash=hello.config_hash,
        digest=hashlib.sha256(b"%d\n" % hello.min_cohort + hello.config).hexdigest(),
        min_cohort=hello.min_cohort,
        max_upload_bytes=hello.max_upload_bytes,
        method=method,
        model=model,
        works=works,
        settled=hashlib.sha256(json_text(settled(config), sort_keys=True).encode()).hexdigest(),
    )


def _amounts(asked: pb.RoleWork) -> dict[str, int]:
    return {"steps": asked.steps, "batch": asked.batch, "accumulation": asked.accumulation}


def _check_depth(value: object, deepest: int = _DEEPEST) -> None:
    """Raise ValueError for values in values in values: whoever writes them down recurses."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if inner and not deepest:
        raise ValueError(f"values are nested more than {_DEEPEST} deep")
    for each in inner:
        _check_depth(each, deepest - 1)
