"""Updates and assignments as bytes: the one hand-written file that knows both our types and
protobuf.

Who sent a message is an argument, never part of it. Whatever the bytes are, unpacking raises
UpdateError or returns something well formed, and allocates a small multiple of their length at
most.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from google.protobuf.message import DecodeError, Message

from antiphon.core.coefficients import SeedCoefficients
from antiphon.core.errors import UpdateError
from antiphon.core.tensors import from_bytes, to_bytes
from antiphon.core.types import Assignment, FloatArray, LoraUpdate, Params, Payload, Scalars, Update
from antiphon.v1 import update_pb2

MAX_METRICS = 64
MAX_BYTES = 1 << 30

Proto = TypeVar("Proto", bound=Message)


def pack_update(update: Update, run_id: str) -> bytes:
    """Pack an update; the same update always gives the same bytes. Its client is left out."""
    message = update_pb2.Update(
        run_id=run_id,
        round=update.round,
        examples=update.examples,
        steps=update.steps,
        metrics=dict(update.metrics),
    )
    if isinstance(update.payload, Scalars):
        message.scalars.index.extend(update.payload.index.tolist())
        message.scalars.value.extend(update.payload.value.tolist())
        message.scalars.SetInParent()
    else:
        message.safetensors = to_bytes(update.payload.delta)
    return message.SerializeToString(deterministic=True)


def unpack_update(
    content: bytes, client: str, run_id: str, *, max_bytes: int = MAX_BYTES
) -> Update:
    """Unpack what `client` (the name in its certificate) sent for the run `run_id`.

    Raises UpdateError for anything that is not a well-formed update of this run, or over
    `max_bytes`.
    """
    message = _parsed(update_pb2.Update, content, max_bytes)
    _check_run(message.run_id, run_id)
    if len(message.metrics) > MAX_METRICS:
        raise UpdateError(f"{len(message.metrics)} metrics, expected {MAX_METRICS} at most")
    return Update(
        client=client,
        round=message.round,
        examples=message.examples,
        steps=message.steps,
        payload=_payload(message),
        metrics=dict(message.metrics),
    )


def pack_assignment(
    assignment: Assignment, download: Params | SeedCoefficients, run_id: str
) -> bytes:
    """Pack an assignment with the model to start from; the same ones always give the same bytes."""
    message = update_pb2.Assignment(
        run_id=run_id,
        round=assignment.round,
        method=assignment.method,
        steps=assignment.steps,
        first_step=assignment.first_step,
        total_steps=assignment.total_steps,
        learning_rate=assignment.learning_rate,
        r=assignment.r,
        seed=assignment.seed,
    )
    if isinstance(download, SeedCoefficients):
        message.coefficients.CopyFrom(_pack_coefficients(download))
    else:
        message.safetensors = to_bytes(download)
    return message.SerializeToString(deterministic=True)


def unpack_assignment(
    content: bytes, client: str, run_id: str, *, max_bytes: int = MAX_BYTES
) -> tuple[Assignment, Params | SeedCoefficients]:
    """Unpack what the coordinator asks `client` to do in the run `run_id`, and the model to start
    from.

    Raises UpdateError for anything that is not a well-formed assignment of this run.
    """
    message = _parsed(update_pb2.Assignment, content, max_bytes)
    _check_run(message.run_id, run_id)
    assignment = Assignment(
        round=message.round,
        client=client,
        method=message.method,
        steps=message.steps,
        first_step=message.first_step,
        total_steps=message.total_steps,
        learning_rate=message.learning_rate,
        r=message.r,
        seed=message.seed,
    )
    return assignment, _download(message)


def _parsed(kind: type[Proto], content: bytes, max_bytes: int) -> Proto:
    if len(content) > max_bytes:
        raise UpdateError(f"{len(content)} bytes, expected {max_bytes} at most")
    message = kind()
    try:
        message.ParseFromString(content)
    except DecodeError as error:
        raise UpdateError(f"not a protobuf {kind.__name__}: {error}") from error
    return message


def _check_run(got: str, expected: str) -> None:
    if got != expected:
        raise UpdateError(f"a message of run {got[:64]!r}, expected one of run {expected!r}")


def _payload(message: update_pb2.Update) -> Payload:
    sent = message.WhichOneof("payload")
    if sent == "safetensors":
        return LoraUpdate(_float32_tensors(message.safetensors))
    if sent == "scalars":
        index = np.array(message.scalars.index, dtype=np.uint32)
        value = np.array(message.scalars.value, dtype=np.float32)
        if len(index) != len(value):
            raise UpdateError(
                f"{len(index)} seed indices for {len(value)} scalars, expected as many"
            )
        return Scalars(index, value)
    raise UpdateError("an update without a payload, expected tensors or scalars")


def _download(message: update_pb2.Assignment) -> Params | SeedCoefficients:
    sent = message.WhichOneof("download")
    if sent == "safetensors":
        return _float32_tensors(message.safetensors)
    if sent == "coefficients":
        return _unpack_coefficients(message.coefficients)
    raise UpdateError("an assignment without a model to start from")


def _float32_tensors(content: bytes) -> Mapping[str, FloatArray]:
    try:
        tensors = from_bytes(content)
    except (KeyError, ValueError) as error:  # a dtype that numpy has no name for
        raise UpdateError(f"tensors that cannot be read: {error!r}") from error
    for name, tensor in tensors.items():
        if tensor.dtype != np.float32:
            raise UpdateError(f"{name} is {tensor.dtype}, expected float32")
    return {name: tensor.astype(np.float32, copy=False) for name, tensor in tensors.items()}


def _pack_coefficients(sent: SeedCoefficients) -> update_pb2.SeedCoefficients:
    everything = len(sent.index) == sent.num_seeds
    gaps = np.diff(sent.index.astype(np.int64), prepend=0)
    return update_pb2.SeedCoefficients(
        num_seeds=sent.num_seeds,
        index_gap=[] if everything else gaps.tolist(),
        value=sent.value.tolist(),
        probability=[] if sent.probabilities is None else sent.probabilities.tolist(),
    )


def _unpack_coefficients(message: update_pb2.SeedCoefficients) -> SeedCoefficients:
    num_seeds, value = message.num_seeds, np.array(message.value, dtype=np.float32)
    probability = np.array(message.probability, dtype=np.float32)
    gaps = np.array(message.index_gap, dtype=np.uint64)
    everything = len(gaps) == 0 and len(value) == num_seeds
    index = np.arange(num_seeds, dtype=np.uint64) if everything else np.cumsum(gaps)
    fit = len(index) == len(value) and len(probability) in (0, num_seeds)
    if num_seeds == 0 or not fit:
        raise UpdateError(
            f"{len(index)} indices, {len(value)} coefficients and {len(probability)} probabilities "
            f"do not fit together for K = {num_seeds}"
        )
    if (gaps[1:] == 0).any() or (len(index) and index[-1] >= num_seeds):
        raise UpdateError(f"seed indices do not rise strictly below K = {num_seeds}")
    return SeedCoefficients(
        num_seeds, index.astype(np.uint32), value, probability if len(probability) else None
    )
