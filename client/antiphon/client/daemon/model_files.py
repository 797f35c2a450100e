"""The files of the model that a task names: kept from the last task, made here, or fetched.

A task may name a model's change since another one. Whoever holds that one fetches the change alone, and
the trainer adds it; the untouched model is made by the trainer, too. What is made counts for nothing until
its SHA-256 is the one that the task names: in any other case the model itself is fetched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from antiphon.client.daemon.calls import CallRefused, Gone
from antiphon.client.daemon.link import Link
from antiphon.client.daemon.open_run import OpenRun
from antiphon.client.daemon.room import DownloadTooLarge, FreeBytes, check_room
from antiphon.client.daemon.task_failed import TaskFailed
from antiphon.client.daemon.trainer import TrainerFailed, TrainerProgram
from antiphon.client.daemon.transfers import named_blob, named_change
from antiphon.client.trainer_protocol import Rebuild
from antiphon.core.blob import Blob, ModelChange
from antiphon.core.files import sha256_of
from antiphon.core.refusals import Refusal
from antiphon.v1 import coordinator_pb2, update_pb2

log = structlog.get_logger()


@dataclass(frozen=True)
class NamedModel:
    """What a task names. frames: of what stands still beside the model; change: another way to it."""

    model: Blob
    frames: Blob | None = None
    change: ModelChange | None = None


def named_model(message: update_pb2.Assignment | coordinator_pb2.EvaluateTask) -> NamedModel:
    """Read which model a message names. Raises CallRefused where that is malformed."""
    return NamedModel(
        named_blob(message.model),
        named_blob(message.frames) if message.HasField("frames") else None,
        named_change(message.change) if message.HasField("change") else None,
    )


class ModelFiles:
    """A folder of models. One task at a time uses it."""

    def __init__(self, link: Link, trainer: TrainerProgram, folder: Path, free: FreeBytes) -> None:
        """free: bytes of a folder's disk."""
        self._link, self._trainer, self._folder, self._free = link, trainer, folder, free
        self._fetches_all_of: str | None = None
        for model in folder.glob("*"):
            if not model.suffix:  # the machine may have lost power: its hash is compared before use
                model.replace(model.with_name(f"{model.name}.part"))

    async def of(self, run: OpenRun, named: NamedModel, floor_mb: float, out: Path) -> list[Path]:
        """Return the files of a model and of what stands still beside it; others are removed.

        floor_mb: what must be left of the disk; out: a folder for what the trainer makes. Raises
        TaskFailed before a byte of a model that is too large.
        """
        change = named.change
        wanted = {each.sha256 for each in _blobs(named)}
        if change is not None and change.blob is not None:
            wanted |= {change.since, change.blob.sha256}
        self._keep_only(wanted)
        self._check_size(run, named.model)
        if change is not None and run.run_id != self._fetches_all_of:
            await self._make(run, named.model, change, floor_mb, out)
        files = [await self._fetched(run, each, floor_mb) for each in _blobs(named)]
        self._keep_only({file.name for file in files})
        return files

    def _keep_only(self, names: set[str]) -> None:
        for other in self._folder.glob("*"):
            if other.name.removesuffix(".part") not in names:
                other.unlink()

    async def _make(
        self, run: OpenRun, model: Blob, change: ModelChange, floor_mb: float, out: Path
    ) -> None:
        """Make a model without fetching it, where that can be done."""
        path = self._folder / model.sha256
        held = await asyncio.to_thread(self._whole, change.since) if change.since else None
        useless = change.blob is not None and (held is None or change.blob.bytes >= model.bytes)
        if path.exists() or useless:
            return
        try:
            added = await self._fetched(run, change.blob, floor_mb) if change.blob else None
            check_room(path, model.bytes, floor_mb, self._free)
        except (TaskFailed, DownloadTooLarge) as error:
            log.info("the change of a model was not fetched", reason=str(error))
            return
        try:
            names = [None if each is None else str(each) for each in (held, added)]
            rebuilt = await self._trainer.rebuild(Rebuild(str(out), *names))
            await asyncio.to_thread(self._take, Path(rebuilt.model), model, path)
        except (TaskFailed, TrainerFailed, OSError, ValueError) as error:
            # ValueError: a path that is none. It would be so the next time, too.
            self._fetches_all_of = run.run_id
            log.warning("models are fetched whole from now on", reason=str(error))

    def _whole(self, sha256: str) -> Path | None:
        """Return the file of a model that is there, whole; one from before a restart is looked at."""
        path = self._folder / sha256
        part = path.with_name(f"{sha256}.part")
        if not path.exists() and part.exists() and sha256_of(part) == sha256:
            part.replace(path)
        return path if path.exists() else None

    def _take(self, made: Path, model: Blob, path: Path) -> None:
        """Keep what the trainer has made. Raises TaskFailed where it is not the model."""
        size = made.stat().st_size
        if size != model.bytes or (got := sha256_of(made)) != model.sha256:
            raise TaskFailed(
                f"what was made here has {size} bytes"
                + (f" and SHA-256 {got}" if size == model.bytes else "")
                + f", expected {model.bytes} and {model.sha256}"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        made.replace(path)

    def _check_size(self, run: OpenRun, blob: Blob) -> None:
        if run.most_download is not None and blob.bytes > run.most_download:
            raise TaskFailed(
                f"a model of {blob.bytes} bytes, expected {run.most_download} at most: that is what the "
                "run trains in this site's base model",
                Refusal.MODEL_DOWNLOAD,
            )

    async def _fetched(self, run: OpenRun, blob: Blob, floor_mb: float) -> Path:
        self._check_size(run, blob)
        path = self._folder / blob.sha256
        if not path.exists():
            try:
                check_room(path, blob.bytes, floor_mb, self._free)
                await self._link.download(run.run_id, blob, path)
            except DownloadTooLarge as error:
                raise TaskFailed(str(error), Refusal.DISK) from None
            except (Gone, CallRefused) as error:
                raise TaskFailed(
                    f"cannot fetch the model: {error}", Refusal.MODEL_DOWNLOAD
                ) from None
            except OSError as error:
                raise TaskFailed(
                    f"cannot keep the model in {self._folder}: {error}", Refusal.DISK
                ) from None
        return path


def _blobs(named: NamedModel) -> Sequence[Blob]:
    return (named.model,) if named.frames is None else (named.model, named.frames)
