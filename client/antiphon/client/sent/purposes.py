"""Why each message of the protocol leaves a site, and what a ledger notes of it.

A method that is not in here cannot be called by a client: the ledger would not know what to write.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError

from antiphon.client.sent.entries import ANSWERED, Sending
from antiphon.v1 import coordinator_pb2, update_pb2


@dataclass(frozen=True)
class Purpose:
    """Why a message leaves. counted: such calls are counted together, as they say next to nothing."""

    name: str
    counted: bool = False


PURPOSES: Final[Mapping[str, Purpose]] = {
    "Hello": Purpose("ask for the run", counted=True),
    "Join": Purpose("join"),
    "NextTask": Purpose("ask for work", counted=True),
    "Download": Purpose("fetch a model"),
    "UploadStatus": Purpose("ask how far an upload is"),
    "Upload": Purpose("update upload"),
    "SubmitUpdate": Purpose("update"),
    "SubmitAnswer": Purpose("answer"),
    "SubmitEvaluation": Purpose("measurement"),
    "ReportFailure": Purpose("report failure"),
    "Leave": Purpose("leave"),
    "Renew": Purpose("renew"),
    "Enrol": Purpose("enrol"),
    "Challenge": Purpose("renew"),
    "RenewExpired": Purpose("renew"),
}
"""By the name of the method."""

_MOST_KNOWN = 64


class Describer:
    """Says what a message is. It remembers which round an upload is for, which only the update tells."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._rounds: dict[str, int] = {}

    def sending(self, to: str, method: str, message: Any) -> Sending:
        """Return what the ledger says of a message to HOST:PORT, before it leaves."""
        known = Sending(to, PURPOSES[method].name, method, run=getattr(message, "run_id", ""))
        size, number, sha256 = message.ByteSize(), getattr(message, "round", None), None
        if isinstance(message, coordinator_pb2.SubmitUpdateRequest):
            return self._of_update(known, message.update)
        if isinstance(message, coordinator_pb2.SubmitAnswerRequest):
            size, sha256 = len(message.answer), hashlib.sha256(message.answer).hexdigest()
        if isinstance(message, coordinator_pb2.UploadChunk | coordinator_pb2.UploadStatusRequest):
            sha256 = message.blob.sha256.hex()
            number = self._rounds.get(sha256)
        if isinstance(message, coordinator_pb2.UploadChunk):
            size = max(0, message.blob.bytes - message.offset)
        return Sending(to, known.purpose, method, known.run, number, size, sha256)

    def _of_update(self, known: Sending, content: bytes) -> Sending:
        try:
            update = update_pb2.Update.FromString(content)
        except DecodeError:
            update = update_pb2.Update()
        if update.HasField("tensors"):
            self._rounds[update.tensors.sha256.hex()] = update.round
            while len(self._rounds) > _MOST_KNOWN:
                self._rounds.pop(next(iter(self._rounds)))
        sha256 = hashlib.sha256(content).hexdigest()
        return Sending(
            known.to, known.purpose, known.method, update.run_id, update.round, len(content), sha256
        )


def content_bytes(message: Any) -> int:
    """Return what of a message counts: of an upload its content, else all of it."""
    upload = isinstance(message, coordinator_pb2.UploadChunk)
    return len(message.content) if upload else int(message.ByteSize())


def verdict_of(response: Any) -> str:
    """Return what an answer means for what was sent: `accepted`, `late`, …, else `answered`."""
    if isinstance(response, coordinator_pb2.SubmitUpdateResponse):
        try:
            return response.Verdict.Name(response.verdict).lower().replace("_", " ")
        except ValueError:
            return str(response.verdict)  # of a newer coordinator
    if isinstance(response, coordinator_pb2.SubmitEvaluationResponse):
        return "accepted" if response.accepted else "late"
    return ANSWERED
