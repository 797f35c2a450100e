"""A program that keeps to the trainer protocol and trains nothing: what a config's `test` says.

Keys of `test`: blob_bytes (0: scalars), examples, steps, step_s, exchanges, fail ("prepare", "prepare!"
(fatal), "train", "evaluate", "rebuild", "respond"). The model that it makes is the one held with the change
behind it, or `untouched`. Every request is written to the file $SCRIPTED_TRAINER_LOG, one
JSON line each.
"""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Mapping
from hashlib import sha256
from io import FileIO
from pathlib import Path
from typing import Any

from tests.work_asked import work_asked

from antiphon.client.trainer_protocol import (
    Cancelled,
    Evaluate,
    Evaluated,
    Failed,
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
    encode_request,
)
from antiphon.v1 import coordinator_pb2, update_pb2


def say(answer: Response) -> None:
    """Answer on stdout."""
    sys.stdout.buffer.write(encode_answer(answer))
    sys.stdout.buffer.flush()


def note(request: Request) -> None:
    """Write a request down for the test."""
    if "SCRIPTED_TRAINER_LOG" in os.environ:
        with open(os.environ["SCRIPTED_TRAINER_LOG"], "ab") as file:
            file.write(encode_request(request))


def prepared(config: Mapping[str, Any], test: dict[str, Any]) -> Response:
    """Answer a prepare."""
    if test.get("fail", "").startswith("prepare"):
        fatal, code = test["fail"].endswith("!"), test.get("code", "trainer.failed")
        return Failed("prepare", "as the test asked", fatal, code)
    capabilities = coordinator_pb2.Capabilities(device_kind="cpu", tokens_per_s=1000.0)
    space = coordinator_pb2.SpaceReport(model_parameters=7, model_digest=bytes(32))
    return Prepared(
        test.get("examples", 400),
        20,
        capabilities.SerializeToString(),
        space.SerializeToString(),
        test.get("work", work_asked(config)),
        exchanges=test.get("exchanges", {}),
    )


def trained(request: Train, test: dict[str, Any]) -> Response:
    """Answer a train, step by step."""
    assignment = update_pb2.Assignment.FromString(Path(request.assignment).read_bytes())
    steps = test.get("steps", 2)
    for step in range(1, steps + 1):
        readable, _, _ = select.select([0], [], [], test.get("step_s", 0.0))
        if readable:
            line = os.read(0, 65536)
            return Cancelled("train") if line else sys.exit(0)
        say(Stepped(step, steps, 1.0 / step))
    if test.get("fail") == "train":
        return Failed("train", "as the test asked", False, test.get("code", "trainer.failed"))
    update = update_pb2.Update(
        run_id=assignment.run_id,
        round=assignment.round,
        examples=test.get("examples", 400),
        steps=steps,
        metrics={"loss": 1.0},
    )
    blob = None
    if size := test.get("blob_bytes", 1000):
        content = (b"%d " % assignment.round * size)[:size]
        blob = Path(request.out) / "blob"
        blob.write_bytes(content)
        update.tensors.MergeFrom(
            update_pb2.Blob(sha256=sha256(content).digest(), bytes=size, encoding="safetensors")
        )
    else:
        update.scalars.SetInParent()
    path = Path(request.out) / "update"
    path.write_bytes(update.SerializeToString())
    return Trained(str(path), str(blob) if blob else None, steps)


def responded(request: Respond, test: Mapping[str, Any]) -> Responded | Failed:
    """Answer an exchange with its question and the round."""
    if test.get("fail") == "respond":
        return Failed("respond", "as the test asked", False)
    path = Path(request.out) / "answer"
    path.write_bytes(Path(request.question).read_bytes() + b" %d" % request.round)
    return Responded(str(path))


def remade(request: Rebuild, test: Mapping[str, Any]) -> Rebuilt | Failed:
    """Put a change behind the model that is held."""
    if test.get("fail") == "rebuild":
        return Failed("rebuild", "as the test asked", False)
    files = [each for each in (request.held, request.change) if each is not None]
    path = Path(request.out) / "made"
    path.write_bytes(b"".join(Path(each).read_bytes() for each in files) or b"untouched")
    return Rebuilt(str(path))


def main() -> None:
    """Serve requests until the end of stdin."""
    test: dict[str, Any] = {}
    stdin = FileIO(0)  # nothing may wait in a buffer: `trained` looks at the pipe
    while line := stdin.readline():
        request = decode_request(line)
        note(request)
        if isinstance(request, Prepare):
            test = dict(request.config).get("test", {})
            say(prepared(request.config, test))
        elif isinstance(request, Train):
            say(trained(request, test))
        elif isinstance(request, Rebuild):
            say(remade(request, test))
        elif isinstance(request, Respond):
            say(responded(request, test))
        elif isinstance(request, Evaluate):
            failed = test.get("fail") == "evaluate"
            say(
                Failed("evaluate", "as the test asked", False)
                if failed
                else Evaluated(20, {"loss": 0.5, "accuracy": 0.75})
            )


def requests(log: Path, what: str) -> list[dict[str, Any]]:
    """Return the requests of one kind that a trainer has noted."""
    if not log.exists():
        return []
    found = [json.loads(line) for line in log.read_text().splitlines()]
    return [each for each in found if each["do"] == what]


if __name__ == "__main__":
    main()
