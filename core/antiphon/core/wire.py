"""Updates, assignments and models as bytes: the one hand-written file that knows both our types
and protobuf.

Messages are small, and so are arrays inside them; the tensors of an update and the model of an assignment
travel beside them as blobs. Who sent a message is an argument, never part of it. Whatever the bytes are,
unpacking raises UpdateError or returns something well formed, and allocates a small multiple of their
length at most.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from google.protobuf.message import DecodeError, Message

from antiphon.core import registry
from antiphon.core.blob import Blob, ModelChange, blob_of
from antiphon.core.channel import MAX_MESSAGE_BYTES
from antiphon.core.content import Content
from antiphon.core.defaults import DENSE
from antiphon.core.errors import ConfigError, UpdateError
from antiphon.core.inline_arrays import pack_arrays, unpack_arrays
from antiphon.core.json_text import json_text
from antiphon.core.tensors import LazyTensors, from_bytes, to_content
from antiphon.core.types import (
    AnyArray,
    Assignment,
    CodecChoice,
    Package,
    Params,
    Plain,
    State,
    Update,
)
from antiphon.v1 import update_pb2

MAX_METRICS = 64
MAX_METRIC_NAME = 64
MAX_INLINE_NUMBERS = MAX_MESSAGE_BYTES
MAX_FORM_NAME = 64
_SHA256_BYTES = 32

Proto = TypeVar("Proto", bound=Message)


@dataclass(frozen=True)
class CodedModel:
    """A model that a codec has packed. content: the codec's bytes; both sides know the shapes."""

    codec: CodecChoice
    content: bytes


@dataclass(frozen=True)
class Packed:
    """An update as bytes: its message, and the content of the blob that the message names, if any."""

    message: bytes
    content: Content | None

    @property
    def size(self) -> int:
        """Bytes on the wire."""
        return len(self.message) + (self.content.size if self.content else 0)

    @property
    def joined(self) -> bytes:
        """The content in one piece; empty where there is none."""
        return self.content.joined() if self.content else b""


Pack = Callable[[Params], tuple[Content, str]]
"""Tensors → their bytes, and the encoding under which a blob names them."""


def as_safetensors(tensors: Params) -> tuple[Content, str]:
    """Pack tensors as they are; the content is their own memory."""
    return to_content(tensors), "safetensors"


def pack_update(update: Update, run_id: str, pack: Pack | None = as_safetensors) -> Packed:
    """Pack an update; its client is left out. pack: of its tensors; none: its arrays are small and travel
    inside the message.

    The same update always gives the same bytes, if `pack` does that too.
    """
    message = update_pb2.Update(
        run_id=run_id,
        round=update.round,
        examples=update.examples,
        steps=update.steps,
        metrics=dict(update.metrics),
        form=update.payload.form,
    )
    content = None
    if pack is None:
        message.arrays.CopyFrom(pack_arrays(update.payload.arrays))
    else:
        content, encoding = pack(as_tensors(update.payload))
        message.tensors.CopyFrom(pack_blob(blob_of(content, encoding)))
    return Packed(message.SerializeToString(deterministic=True), content)


def update_blob(message: bytes) -> Blob | None:
    """Return the blob that an update names; none: it has all in itself. Raises UpdateError."""
    parsed = _parsed(update_pb2.Update, message)
    return unpack_blob(parsed.tensors) if parsed.WhichOneof("payload") == "tensors" else None


def round_of(message: bytes) -> int:
    """Return the round that an update belongs to. Raises UpdateError."""
    return int(_parsed(update_pb2.Update, message).round)


def unpack_update(message: bytes, client: str, run_id: str, tensors: State | None = None) -> Update:
    """Unpack what `client` (the name in its certificate) sent for the run `run_id`.

    tensors: what the blob holds that the message names, unpacked; none: nobody needs them yet, and the
    payload is empty. Raises UpdateError for anything that is not a well-formed update of this run.
    """
    parsed = _parsed(update_pb2.Update, message)
    _check_run(parsed.run_id, run_id)
    if len(parsed.metrics) > MAX_METRICS:
        raise UpdateError(f"{len(parsed.metrics)} metrics, expected {MAX_METRICS} at most")
    if any(len(name) > MAX_METRIC_NAME for name in parsed.metrics):
        raise UpdateError(f"a metric's name is longer than {MAX_METRIC_NAME} characters")
    return Update(
        client=client,
        round=parsed.round,
        examples=parsed.examples,
        steps=parsed.steps,
        payload=_payload(parsed, tensors),
        metrics=dict(parsed.metrics),
    )


def pack_assignment(assignment: Assignment, model: Blob, run_id: str) -> bytes:
    """Pack an assignment that starts from `model`; the same ones always give the same bytes."""
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
        model=pack_blob(model),
        max_tokens=assignment.max_tokens,
        codec=_pack_codec(assignment.codec),
        folded_round=assignment.folded_round,
        upload_bytes=assignment.upload_bytes,
        pool=assignment.pool,
        told=to_content(assignment.told).joined() if assignment.told else b"",
        frames=pack_blob(assignment.frames) if assignment.frames else None,
        change=pack_change(assignment.change) if assignment.change else None,
    )
    return message.SerializeToString(deterministic=True)


def unpack_assignment(message: bytes, client: str, run_id: str) -> tuple[Assignment, Blob]:
    """Unpack what the coordinator asks `client` to do in the run `run_id`, and where to start from.

    Raises UpdateError for anything that is not a well-formed assignment of this run.
    """
    parsed = _parsed(update_pb2.Assignment, message)
    _check_run(parsed.run_id, run_id)
    assignment = Assignment(
        round=parsed.round,
        client=client,
        method=parsed.method,
        steps=parsed.steps,
        first_step=parsed.first_step,
        total_steps=parsed.total_steps,
        learning_rate=parsed.learning_rate,
        r=parsed.r,
        seed=parsed.seed,
        max_tokens=parsed.max_tokens,
        codec=_unpack_codec(parsed.codec),
        folded_round=parsed.folded_round,
        upload_bytes=parsed.upload_bytes,
        pool=parsed.pool,
        told=from_bytes(parsed.told) if parsed.told else {},
        frames=unpack_blob(parsed.frames) if parsed.HasField("frames") else None,
        change=unpack_change(parsed.change) if parsed.HasField("change") else None,
    )
    return assignment, unpack_blob(parsed.model)


def _pack_codec(choice: CodecChoice) -> update_pb2.Codec:
    arguments = json_text(choice.arguments, sort_keys=True) if choice.arguments else ""
    return update_pb2.Codec(kind=choice.kind, arguments=arguments)


def _unpack_codec(message: update_pb2.Codec) -> CodecChoice:
    try:
        arguments = json.loads(message.arguments or "{}")
    except (ValueError, RecursionError) as error:
        raise UpdateError(f"a codec whose arguments are no JSON: {error}") from None
    plain = isinstance(arguments, dict) and all(
        isinstance(value, Plain) for value in arguments.values()
    )
    if not plain:
        raise UpdateError("a codec whose arguments are not plain values by name")
    return CodecChoice(message.kind or DENSE, arguments)


def pack_model(download: Package | CodedModel) -> tuple[Content, str]:
    """Pack a model as a client receives it; the same model always gives the same bytes.

    Matrices are tensors, which are not copied: the content is their own memory. Vectors alone are small
    arrays.
    """
    if isinstance(download, CodedModel):
        packed = update_pb2.PackedModel(codec=_pack_codec(download.codec), content=download.content)
        return Content((packed.SerializeToString(deterministic=True),)), "packed"
    if all(array.ndim == 1 for array in download.arrays.values()):
        message = pack_arrays(download.arrays)
        return Content((message.SerializeToString(deterministic=True),)), "arrays"
    return to_content(download.arrays), "safetensors"


def unpack_model(
    file: Path,
    encoding: str,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    *,
    frames: Path | None = None,
) -> Package:
    """Unpack the model that a task named. Raises UpdateError.

    shapes: of what the run trains, which a packed model does not say, and no model has more numbers;
    none: not known, and a packed one cannot be read. frames: the file of what stands still beside it; see
    Package.
    """
    arrays = _model_arrays(file, encoding, shapes)
    return Package("", arrays, from_bytes(frames.read_bytes()) if frames else {})


def _model_arrays(
    file: Path, encoding: str, shapes: Mapping[str, tuple[int, ...]] | None
) -> Mapping[str, AnyArray]:
    if encoding == "safetensors":
        lazy = LazyTensors(file)
        return {name: lazy[name] for name in lazy}
    content = file.read_bytes()
    if encoding == "packed":
        if shapes is None:
            raise UpdateError("a packed model says no shapes: give those that the run trains")
        return _unpack_coded(_parsed(update_pb2.PackedModel, content, len(content)), shapes)
    if encoding == "arrays":
        sizes = [math.prod(shape) for shape in (shapes or {}).values()]
        most = sum(sizes) if shapes is not None else MAX_INLINE_NUMBERS
        return unpack_arrays(_parsed(update_pb2.Arrays, content, len(content)), most)
    raise UpdateError(
        f"a model encoded as {encoding[:64]!r}, expected safetensors, packed or arrays: the coordinator is "
        "of another version than this client; upgrade Antiphon on the older side"
    )


def _unpack_coded(message: update_pb2.PackedModel, shapes: Mapping[str, tuple[int, ...]]) -> Params:
    choice = _unpack_codec(message.codec)
    try:
        codec = registry.build("codec", choice.kind, choice.arguments)
    except ConfigError as error:
        raise UpdateError(f"a model of a codec that is not here: {error}") from None
    unpacked: Params = codec.decode(message.content, shapes)
    return unpacked


def pack_blob(blob: Blob) -> update_pb2.Blob:
    """Return the message that names a blob."""
    return update_pb2.Blob(
        sha256=bytes.fromhex(blob.sha256), bytes=blob.bytes, encoding=blob.encoding
    )


def unpack_blob(message: update_pb2.Blob) -> Blob:
    """Return the blob that a message names. Raises UpdateError for a hash of another length."""
    if len(message.sha256) != _SHA256_BYTES:
        raise UpdateError(f"a blob's SHA-256 has {len(message.sha256)} bytes, expected 32")
    return Blob(message.sha256.hex(), message.bytes, message.encoding)


def pack_change(change: ModelChange) -> update_pb2.ModelChange:
    """Return the message that names another way to a model."""
    blob = pack_blob(change.blob) if change.blob else None
    return update_pb2.ModelChange(since=bytes.fromhex(change.since), blob=blob)


def unpack_change(message: update_pb2.ModelChange) -> ModelChange:
    """Return what `pack_change` has packed. Raises UpdateError where it says only half of it."""
    if not message.since and not message.HasField("blob"):
        return ModelChange()
    if len(message.since) != _SHA256_BYTES or not message.HasField("blob"):
        raise UpdateError(
            f"a change since a model whose SHA-256 has {len(message.since)} bytes, expected 32 and a blob"
        )
    return ModelChange(message.since.hex(), unpack_blob(message.blob))


def _parsed(kind: type[Proto], content: bytes, max_bytes: int = MAX_MESSAGE_BYTES) -> Proto:
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


def as_tensors(package: Package) -> Params:
    """Return a package's arrays, which are float32 tensors where a codec packs them."""
    return cast(Params, package.arrays)


def _payload(message: update_pb2.Update, tensors: State | None) -> Package:
    form = message.form[:MAX_FORM_NAME]
    sent = message.WhichOneof("payload")
    if sent == "tensors":
        return Package(form, tensors or {})
    if sent == "arrays":
        return Package(form, unpack_arrays(message.arrays, MAX_INLINE_NUMBERS))
    if sent == "scalars":
        raise UpdateError(
            "an update as version 0.3 packs scalars, expected arrays: upgrade Antiphon at the client"
        )
    raise UpdateError("an update without a payload, expected tensors or arrays")
