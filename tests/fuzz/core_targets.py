"""Decoders of the vocabulary: messages, tensors, journals, configs and what else a run folder holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache, partial

import numpy as np
import yaml
from tests.fuzz.target import Target, joined, parted, scratch, written
from tests.strategies.served import seeds, sent, walk

from antiphon.core import config, event_json, events, registry
from antiphon.core.blob import Blob
from antiphon.core.coefficients import SeedCoefficients, as_package, coefficients_of
from antiphon.core.errors import ConfigError, RunFolderError, UpdateError
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder, read_state
from antiphon.core.section import read_yaml
from antiphon.core.tensors import LazyTensors, check_against, to_bytes
from antiphon.core.types import Assignment, CodecChoice, Package, Params, Update
from antiphon.core.wire import (
    CodedModel,
    as_tensors,
    pack_assignment,
    pack_model,
    pack_update,
    round_of,
    unpack_assignment,
    unpack_model,
    unpack_update,
    update_blob,
)
from antiphon.strategies.compression import frame
from antiphon.strategies.compression.codec import Codec
from antiphon.strategies.server_opt.optimizers import sgd

RUN = "run"
FACTORS: Params = {
    "m.lora_A.weight": np.full((2, 3), 0.5, np.float32),
    "m.lora_B.weight": np.zeros((4, 2), np.float32),
}
LARGE: Params = {"m": np.random.default_rng(1).normal(size=(40, 60)).astype(np.float32)}
SCALARS = walk([3, 0, 15], [0.5, -1, 2])
TASK = Assignment(3, "north", "seeds", 6, 12, 60, 1e-3, 2, 7, 100)
DRAWN = SeedCoefficients(
    6, np.array([1, 4], np.uint32), np.array([1, 2], np.float32), np.full(6, 1 / 6, np.float32)
)
EVENTS = (
    events.RunStarted(RUN, "0123456789abcdef", 10, 2, 3),
    events.ClientJoined("north", 120),
    events.RoundPlanned(1, ("north",), 1, 60.0, "all", {"north": {"method": "lora", "steps": 6}}),
    events.UpdateReceived("north", 1, "ab" * 32, 900, 120, 6, {"loss": float("nan")}),
    events.BytesMoved(1, "north", "up", "update", 900),
    events.Evaluated(1, "north", 30, 0.5, None, 1.6, None),
    events.ClientDescribed(
        "north", {"device": "cpu", "memory_bytes": 1 << 34, "tokens_per_s": 9.5}
    ),
    events.RunEnded(True, "done"),
)
JSON_WORDS = (
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b'{"a":' * 40,
    b"NaN",
    b"-Infinity",
    b"null",
    b"true",
    b"1e999",
    b"9" * 400,
    b"9" * 5000,
    b'"\\ud800"',
    b"[]",
    b"{}",
    b"-1",
)
# PyYAML's time grows with the square of the nesting; these files are their reader's own.
MOST_YAML = 4096
YAML_WORDS = (
    b"&a [*a, *a]",
    b"!!int ",
    b"!!float x",
    b"!!timestamp x",
    b"!!binary x",
    b"2026-13-45",
    b"2026-02-30T25:61:61",
    b"0x",
    b"0b",
    b"1:99",
    b"? ",
    b"<<: ",
    b"---\n",
    b"[" * 400,
)
_RULES = seeds(num_seeds=16, key=5, optimizer=sgd(), max_scalar=100.0)


def _update(content: bytes) -> Update:
    message, tensors_file = [*parted(content), b"", b""][:2]
    update_blob(message)
    tensors = LazyTensors(written("update.safetensors", tensors_file)) if tensors_file else None
    update = unpack_update(message, "north", RUN, tensors)
    _checked(update)
    received = events.UpdateReceived(
        "north",
        round_of(message),
        "",
        len(message),
        update.examples,
        update.steps,
        dict(update.metrics),
    )
    event_json.decode(*event_json.encode(received))
    return update


def _checked(update: Update) -> None:
    """Judge it as the methods do, whichever has asked for it."""
    state = _RULES.init({})
    with suppress(UpdateError):
        _RULES.check(state, update, TASK)
    check_against(FACTORS, as_tensors(update.payload), max_norm=1e3)


def _update_seeds() -> list[bytes]:
    lora = Update("north", 3, 120, 6, sent(FACTORS), {"loss": 0.5, "seconds": 9.0})
    steps = Update("north", 3, 120, 3, SCALARS, {"loss": 0.5})
    packed = [pack_update(lora, RUN), pack_update(steps, RUN, pack=None)]
    return [joined([each.message, each.joined]) for each in packed]


def _tensors(content: bytes) -> None:
    received = LazyTensors(written("delta.safetensors", content))
    with suppress(UpdateError):
        check_against(FACTORS, received, max_norm=1e3)
    check_against({name: received[name] for name in received}, received)


def _state(content: bytes) -> object:
    return read_state(written("state.safetensors", content))


def _tensor_seeds() -> list[bytes]:
    header = {"m": {"dtype": "F32", "shape": [0, 1], "data_offsets": [0, 0]}, "__metadata__": {}}
    text = json.dumps(header).encode()
    return [to_bytes(FACTORS), to_bytes({}), len(text).to_bytes(8, "little") + text]


def _assignment(content: bytes) -> object:
    return unpack_assignment(content, "north", RUN)


def _assignment_seeds() -> list[bytes]:
    return [pack_assignment(TASK, Blob("ab" * 32, 1000, "safetensors"), RUN)]


def _model(encoding: str, content: bytes) -> object:
    shapes = {name: value.shape for name, value in FACTORS.items()}
    return unpack_model(written(f"model.{encoding}", content), encoding, shapes)


def _coefficients(content: bytes) -> object:
    return coefficients_of(
        unpack_model(written("model.arrays", content), "arrays"), DRAWN.num_seeds
    )


def _model_seeds(*models: Package | CodedModel) -> list[bytes]:
    return [pack_model(each)[0].joined() for each in models]


def _coded_model(kind: str) -> CodedModel:
    codec: Codec = registry.build("codec", kind, {})
    content = codec.encode(FACTORS, np.random.default_rng(1))
    return CodedModel(CodecChoice(kind), content)


def _code(kind: str, content: bytes) -> None:
    """Decode a body in an envelope whose checksum is right: a sender can compute it too."""
    codec: Codec = registry.build("codec", kind, {})
    shapes = {name: value.shape for name, value in LARGE.items()}
    if mark := _mark_of(kind):
        content = frame.seal(mark, shapes, content)
    check_against(LARGE, codec.decode(content, shapes))


def _code_seeds(kind: str) -> list[bytes]:
    codec: Codec = registry.build("codec", kind, {})
    none = {name: np.zeros_like(value) for name, value in LARGE.items()}
    sent = [codec.encode(each, np.random.default_rng(2)) for each in (LARGE, none)]
    return [each[frame.HEADER_BYTES :] if _mark_of(kind) else each for each in sent]


@cache
def _mark_of(kind: str) -> bytes:
    """Return the byte by which a codec marks its envelope, nothing where it has none."""
    codec: Codec = registry.build("codec", kind, {})
    sample = codec.encode(LARGE, np.random.default_rng(2))
    return sample[2:3] if sample.startswith(b"AC") else b""


def _event(content: bytes) -> None:
    kind, _, body = content.decode("utf-8", "surrogateescape").partition(" ")
    event = event_json.decode(kind, body)
    event_json.encode(event)


def _event_seeds() -> list[bytes]:
    return [" ".join(event_json.encode(each)).encode() for each in EVENTS]


def _journal(content: bytes) -> None:
    path = written("journal.sqlite", content)
    with Journal.reading(path) as journal:
        for entry in journal.read():
            event_json.encode(entry.event)


def _journal_seeds() -> list[bytes]:
    path = scratch() / "seed.sqlite"
    path.unlink(missing_ok=True)
    with Journal.writing(path) as journal:
        journal.append_many(EVENTS, 1.0)
    content = path.read_bytes()
    return [content]


def _run_folder(read: Callable[[RunFolder], object], content: bytes) -> None:
    written("config.yaml", content[:MOST_YAML])
    read(RunFolder(scratch()))


def _config_of(folder: RunFolder) -> None:
    folder.config_hash()
    folder.config_values()


def _plain_config() -> dict[str, object]:
    values = {
        "name": "one",
        "rounds": 3,
        "model": {"model_name_or_path": "tiny"},
        "data": {"dataset": "d", "format": "alpaca"},
    }
    return config.resolved(config.validate(values))


def _folder_seeds() -> list[bytes]:
    return [b"# config hash: 0123456789abcdef\n" + yaml.safe_dump(_plain_config()).encode()]


def _yaml(content: bytes) -> None:
    read = read_yaml(written("run.yaml", content[:MOST_YAML]), "a run's YAML file")
    config.validate(read)


def _yaml_seeds() -> list[bytes]:
    return [yaml.safe_dump(_plain_config()).encode(), b"name: one\nrounds: 1e3\nat: 2026-03-02\n"]


def _targets() -> Iterable[tuple[str, Target]]:
    update_error = (UpdateError,)
    yield "update", Target(_update, _update_seeds, update_error, JSON_WORDS)
    yield "tensors", Target(_tensors, _tensor_seeds, update_error, JSON_WORDS)
    yield "state", Target(_state, _tensor_seeds, (RunFolderError,), JSON_WORDS)
    yield "assignment", Target(_assignment, _assignment_seeds, update_error)
    of_tensors = partial(_model_seeds, Package("", FACTORS))
    yield (
        "model, tensors",
        Target(partial(_model, "safetensors"), of_tensors, update_error, JSON_WORDS),
    )
    of_seeds = partial(_model_seeds, as_package("", DRAWN))
    yield "model, coefficients", Target(_coefficients, of_seeds, update_error)
    of_codes = partial(_model_seeds, *(_coded_model(kind) for kind in registry.members("codec")))
    yield "model, packed", Target(partial(_model, "packed"), of_codes, update_error)
    for kind in registry.members("codec"):
        yield (
            f"codec, {kind}",
            Target(partial(_code, kind), partial(_code_seeds, kind), update_error),
        )
    yield "event", Target(_event, _event_seeds, (RunFolderError,), JSON_WORDS)
    yield "journal", Target(_journal, _journal_seeds, (RunFolderError,), JSON_WORDS)
    read_config = partial(_run_folder, _config_of)
    yield "run folder", Target(read_config, _folder_seeds, (RunFolderError,), YAML_WORDS)
    yield "yaml", Target(_yaml, _yaml_seeds, (ConfigError,), YAML_WORDS)


CORE_TARGETS: dict[str, Target] = dict(_targets())
