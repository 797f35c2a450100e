"""Decoders of the client: what its coordinator, its trainer and its own disk say."""

from __future__ import annotations

import functools
import json
import shutil
from dataclasses import asdict, replace
from datetime import datetime

import grpc
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from tests.fuzz.core_targets import JSON_WORDS, MOST_YAML, RUN, TASK, YAML_WORDS
from tests.fuzz.server_targets import certificate_of, certificate_seeds, fleet, request_of
from tests.fuzz.target import Target, joined, message, parted, scratch, written

from antiphon.client import trainer_protocol as protocol
from antiphon.client.daemon import calls, identity, tasks
from antiphon.client.daemon.identity import CertificateRequest, Identity
from antiphon.client.daemon.join import pinned_root
from antiphon.client.daemon.open_run import Declined, OpenRun, open_run
from antiphon.client.daemon.outbox import Outbox, Queued
from antiphon.client.daemon.policy import SitePolicy, permits
from antiphon.client.daemon.settings import load_settings
from antiphon.client.daemon.task_failed import TaskFailed
from antiphon.client.daemon.tell import Tell
from antiphon.client.daemon.work import Work
from antiphon.core.blob import Blob
from antiphon.core.channel import RETRY_AFTER
from antiphon.core.errors import ConfigError, ProtocolError, RunFolderError
from antiphon.core.identity import IdentityError, pin_of, read_certificate
from antiphon.core.wire import pack_assignment
from antiphon.v1 import coordinator_pb2 as pb
from antiphon.v1 import enrolment_pb2, update_pb2

NOON = datetime(2026, 3, 2, 12, 0)
_CONFIG = {
    "method": "lora",
    "model": {"model_name_or_path": "tiny"},
    "training": {
        "max_steps": 6,
        "per_device_train_batch_size": 16,
        "gradient_accumulation_steps": 1,
    },
    "seeds": {"max_steps": 20, "per_device_train_batch_size": 16},
}
_OPEN = OpenRun(
    RUN,
    _CONFIG,
    "0123456789abcdef",
    "ab" * 32,
    2,
    1 << 30,
    "lora",
    "tiny",
    (Work("lora", 6),),
    "cd" * 32,
)
_MODEL = Blob("ab" * 32, 1000, "safetensors")


def _hello(content: bytes) -> None:
    hello = message(pb.HelloResponse, content)
    if hello is None:
        return
    run = open_run(hello)
    protocol.encode_request(protocol.Prepare("north", run.config, {"dataset": "d"}))
    for policy in (SitePolicy(), SitePolicy(methods=[]), SitePolicy(models=["other"], max_steps=1)):
        reasons = permits(policy, run.terms(uploaded_today=0), NOON)
        pb.LeaveRequest(run_id=run.run_id, codes=[each.code for each in reasons])


def _hello_seeds() -> list[bytes]:
    hello = pb.HelloResponse(run_id=RUN, config_hash="0123456789abcdef", min_cohort=2)
    hellos = []
    for method in ("lora", "seeds"):
        hello.config = json.dumps({**_CONFIG, "method": method}).encode()
        hellos.append(hello.SerializeToString())
    return hellos


def _config(content: bytes) -> None:
    _hello(pb.HelloResponse(run_id=RUN, config=content).SerializeToString())


def _config_seeds() -> list[bytes]:
    return [json.dumps({**_CONFIG, "method": method}).encode() for method in ("lora", "seeds")]


def _task(content: bytes) -> None:
    response = message(pb.NextTaskResponse, content)
    if response is None or response.WhichOneof("task") not in ("train", "evaluate", "exchange"):
        return
    task = tasks.in_hand(_OPEN, response, 1.0)
    if task.kind == "train":
        tasks._checked(update_pb2.Assignment.FromString(task.message), _OPEN)
    elif task.kind == "evaluate":
        tasks._read(task.named)


def _task_seeds() -> list[bytes]:
    assignment = pack_assignment(TASK, _MODEL, RUN)
    train = pb.NextTaskResponse(
        train=pb.TrainTask(assignment=assignment, deadline_ms=9000), lease_ms=13_000
    )
    measure = pb.NextTaskResponse(evaluate=pb.EvaluateTask(round=3, deadline_ms=9000))
    measure.evaluate.model.sha256, measure.evaluate.model.encoding = b"\xab" * 32, "safetensors"
    measure.evaluate.change.since = b"\xcd" * 32
    measure.evaluate.change.blob.CopyFrom(measure.evaluate.model)
    asked = pb.ExchangeTask(round=3, exchange="keys", question=b"q", deadline_ms=9000)
    exchange = pb.NextTaskResponse(exchange=asked)
    return [each.SerializeToString() for each in (train, measure, exchange)]


def _answer(line: bytes) -> None:
    """Use an answer as the daemon does: what it holds goes into messages and paths."""
    answer = protocol.decode_answer(line)
    match answer:
        case protocol.Prepared():
            pb.JoinRequest(examples=answer.examples, evaluation_examples=answer.evaluation_examples)
        case protocol.Stepped():
            pb.NextTaskRequest(steps_done=min(answer.step, (1 << 32) - 1))
        case protocol.Failed():
            pb.ReportFailureRequest(code=TaskFailed(answer.reason).code)
        case protocol.Evaluated():
            pb.SubmitEvaluationRequest(examples=answer.examples, metrics=dict(answer.metrics))
        case protocol.Trained():
            task = tasks.ClientTask(_OPEN, 3, False, None)
            read = replace(answer, update=f"{scratch()}/{answer.update[:99]}")
            tasks._entry(task, read, Tell())
    protocol.encode_answer(answer)


def _answer_seeds() -> list[bytes]:
    answers: list[protocol.Response] = [
        protocol.Prepared(120, 30, b"\n\x050.2.0", b"\x18\x1a"),
        protocol.Stepped(3, 6, 0.5),
        protocol.Trained("update-3.binpb", "update-3.safetensors", 6),
        protocol.Trained("update-3.binpb", None, 6),
        protocol.Evaluated(30, {"loss": 0.5, "accuracy": float("nan")}),
        protocol.Responded("answer"),
        protocol.Rebuilt("model"),
        protocol.Cancelled("train"),
        protocol.Failed("train", "out of memory", False),
    ]
    return [protocol.encode_answer(each) for each in answers]


def _request(line: bytes) -> None:
    protocol.encode_request(protocol.decode_request(line))


def _request_seeds() -> list[bytes]:
    requests: list[protocol.Request] = [
        protocol.Prepare("north", _CONFIG, {"dataset": "d"}, "cpu", 2),
        protocol.Train("assignment", "model", "out", "keep", 59.5),
        protocol.Evaluate("model", "safetensors"),
        protocol.Rebuild("out", "held", "change"),
        protocol.Respond(3, "keys", "question", "out", "keep"),
        protocol.Cancel(),
    ]
    return [protocol.encode_request(each) for each in requests]


@functools.cache
def _client() -> tuple[CertificateRequest, Identity, bytes]:
    """Return a request under way, the identity that it leads to, and the answer to it."""
    authority, _ = fleet()
    key = ec.generate_private_key(ec.SECP256R1())
    asked = CertificateRequest(request_of(key), key)
    reply = enrolment_pb2.Certificate(
        certificate=certificate_of(key),
        roots=[root.public_bytes(Encoding.DER) for root in authority.roots],
        client="edge",
        fleet="ward",
        coordinator_port=8470,
    )
    mine = identity.accepted(reply, asked, enrolment="hub:8471", host="hub")
    return asked, mine, reply.SerializeToString()


def _certificate(content: bytes) -> None:
    reply = message(enrolment_pb2.Certificate, content)
    if reply is None:
        return
    asked, mine, _ = _client()
    for root in reply.roots:
        pin_of(read_certificate(root))
    renewed = identity.renewed(mine, reply, asked)
    assert renewed.renew_at > 0


def _chain(content: bytes) -> None:
    chain = [read_certificate(der) for der in parted(content)]
    if chain:
        pinned_root(chain, pin_of(fleet()[0].roots[0]), "hub:8471")


def _chain_seeds() -> list[bytes]:
    root, *leaves = certificate_seeds()
    return [joined([leaf, root]) for leaf in leaves]


def _identity_file(content: bytes) -> None:
    mine = identity.load(written("identity.json", content).parent)
    mine.check_dates(mine.renew_at)


def _identity_seeds() -> list[bytes]:
    return [json.dumps(asdict(_client()[1])).encode()]


def _outbox(content: bytes) -> None:
    folder = scratch() / "outbox"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "outbox.sqlite").write_bytes(content)
    outbox = Outbox(folder)
    try:
        for entry in outbox.entries():
            pb.SubmitUpdateRequest(update=entry.message)
            assert entry.blob is None or outbox.path_of(entry.blob).parent == folder / "blobs"
        outbox.sent_on("2026-03-02")
        outbox.note_sent("2026-03-02", 5)
        outbox.remove(RUN, 3)
    finally:
        outbox.close()


def _outbox_seeds() -> list[bytes]:
    folder = scratch() / "outbox-seed"
    shutil.rmtree(folder, ignore_errors=True)
    outbox = Outbox(folder)
    outbox.add(Queued(RUN, 3, b"\x10\x03", None), None)
    outbox.add(
        Queued(RUN, 4, b"\x10\x04", Blob("cd" * 32, 3, "safetensors")), written("blob", b"abc")
    )
    outbox.note_sent("2026-03-02", 7)
    outbox.close()
    return [(folder / "outbox.sqlite").read_bytes()]


def _hint(content: bytes) -> None:
    for value in (content, content.decode("utf-8", "replace")):
        metadata = grpc.aio.Metadata((RETRY_AFTER, value))
        error = grpc.aio.AioRpcError(
            grpc.StatusCode.UNAVAILABLE, metadata, metadata, content.decode("latin1")
        )
        failure = calls.failure_of(error)
        assert failure.hint_s is None or failure.hint_s >= 0


def _settings(content: bytes) -> None:
    load_settings(written("client.yaml", content[:MOST_YAML]))


def _settings_seeds() -> list[bytes]:
    return [b"data:\n  dataset: ours\npolicy:\n  hours: 22:00-06:00\n  methods: [lora]\n"]


CLIENT_TARGETS: dict[str, Target] = {
    "hello": Target(_hello, _hello_seeds, (Declined,), JSON_WORDS),
    "config in hello": Target(_config, _config_seeds, (Declined,), JSON_WORDS),
    "task": Target(_task, _task_seeds, (calls.CallRefused, TaskFailed)),
    "trainer's answer": Target(_answer, _answer_seeds, (ProtocolError, TaskFailed), JSON_WORDS),
    "trainer's request": Target(_request, _request_seeds, (ProtocolError,), JSON_WORDS),
    "certificate": Target(_certificate, lambda: [_client()[2]], (IdentityError,)),
    "chain": Target(_chain, _chain_seeds, (IdentityError,)),
    "identity file": Target(_identity_file, _identity_seeds, (IdentityError,), JSON_WORDS),
    "outbox": Target(_outbox, _outbox_seeds, (RunFolderError,)),
    "retry hint": Target(_hint, lambda: [b"1500", b"0"], (), (b"9" * 5000, "²".encode())),
    "settings": Target(_settings, _settings_seeds, (ConfigError,), YAML_WORDS),
}
