"""The end of a run: journalled first, told afterwards.

Whatever goes wrong with the report, the run is over: its model is on the disk, nothing is taken up again,
and `antiphon report RUN` makes the report from the journal.
"""

from __future__ import annotations

from collections.abc import Mapping

from antiphon.core.errors import ReportError
from antiphon.core.events import RunDescribed, RunEnded
from antiphon.core.run_folder import RunFolder
from antiphon.core.types import Plain
from antiphon.server.federation import Federation
from antiphon.server.machine.actions import Finish
from antiphon.server.report import report

_MOST_SAID = 300


def end_run(federation: Federation, finish: Finish, facts: Mapping[str, Plain]) -> None:
    """Journal that a run is over, remove what only one that goes on needs, and write its report.

    facts: what is known of the run only now. Raises ReportError where the report cannot be made.
    """
    described = [RunDescribed(facts)] if facts else []
    federation.observe(*described, RunEnded(finish.complete, finish.reason))
    federation.tidy()
    _write_report(federation.folder, finish, with_plots=federation.config.output.plots)


def _write_report(folder: RunFolder, finish: Finish, *, with_plots: bool) -> None:
    how = "complete" if finish.complete else "stopped"
    try:
        report.remove(folder)  # one of before the run was resumed tells of another end
        report.write(folder, with_plots=with_plots)
    except Exception as error:
        told = f"{type(error).__name__}: {str(error)[:_MOST_SAID]}"
        raise ReportError(
            f"the run in {folder.path} is over ({how}: {finish.reason}), and only its report could not be "
            f"made ({told}): `antiphon report {folder.path}` makes it from the journal"
        ) from error
