"""What a daemon and the program that trains for it say to each other: one JSON object per line.

The daemon writes requests to the program's stdin and reads answers from its stdout; stderr is for people.
Any program that keeps to this page can train, in any language.

    {"do": "prepare", "client", "config", "data", "device", "threads", "base"}
        load the run: `config` is the coordinator's without its section data, `data` is that section as
        the site has it: dataset, format, filter, on_bad_rows, max_train_examples (null: all) and
        eval_examples (null: a fifth of the rows, 1 to 100); `device`, `threads`
        and `base` (an object with its `kind` and arguments) replace the config's where they are not null.
        -> {"done": "prepare", "examples", "evaluation_examples", "capabilities", "space", "work",
            "download_bytes", "exchanges"}
           capabilities, space: serialised antiphon.v1.Capabilities and SpaceReport, in base64; work: by
           the name that assignments give it, {"steps", "batch", "accumulation"} of a round: the owner's
           limits are held against it; download_bytes: what a global model can have at most (may be left
           out: the run's numbers in float32); exchanges: what other exchanges draw of the rows, by their
           names, like work
    {"do": "train", "assignment", "model", "out", "keep", "seconds", "frames"}
        files of a serialised Assignment and of its model's blob (frames: of what stands still beside it,
        null: nothing), the folder to write to, a folder that lasts as long as the run (for what error
        feedback keeps), and the time that it may take (null: no limit). At least one step is taken. The
        tensors are packed by the assignment's codec.
        -> {"step", "of", "loss"} after each step, then {"done": "train", "update", "blob", "steps"}
           files of a serialised Update and of the blob that it names (null: it names none)
    {"do": "evaluate", "model", "encoding", "frames"}
        -> {"done": "evaluate", "examples", "metrics"}
    {"do": "rebuild", "out", "held", "change"}
        make a model without downloading it: add a change to the model held (files; both null: the untouched
        model of the run), and write its file to a folder. The daemon compares the file's hash with the one
        that the coordinator has named, and downloads the model where it differs or where this fails.
        -> {"done": "rebuild", "model"}
    {"do": "respond", "round", "exchange", "question", "out", "keep", "run", "signer",
     "min_members"}
        an exchange of a round that is neither training nor measuring: the file of its question, a folder to
        write to, and the folder that lasts as long as the run; run: its name on the wire; signer: with what
        this site speaks to other clients in this round: an Ed25519 key and the certificate's signature over
        it ("key", "delegation"), both in base64, and "certificate" and "roots" in PEM (null: nothing);
        min_members: clients of a cohort at least whose updates are summed under masks
        -> {"done": "respond", "answer"}
           the file of the answer, which the coordinator gets as it is
    {"do": "cancel"}
        end the request in hand between two steps -> {"cancelled": "train"}; too late, it does nothing.

Requests are answered one after the other. A request that fails leaves the program usable:
{"failed": "train", "reason": "…", "fatal": false, "code": "machine.memory"}; `fatal` says that asking
again cannot help, `code` is one of core/refusals.py and all that the coordinator hears (left out:
trainer.failed). A program that dies instead is started again. At the end of its stdin it ends at once,
whatever it is doing.
Whole numbers lie between 0 and 2⁶³ − 1; numbers that are not finite are written as texts: "NaN",
"Infinity" and "-Infinity" (without quotes, as some writers do, they are understood too).
"""

from __future__ import annotations

import base64
import dataclasses
import json
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin, get_type_hints

from antiphon.core.errors import ProtocolError
from antiphon.core.json_text import number_of, spelled
from antiphon.core.refusals import Refusal


@dataclass(frozen=True)
class Prepare:
    """Load a run. config: its plain values, but for `data`; data: that section as the site has it;
    device, threads, base: of the client, none: as the config says.
    """

    client: str
    config: Mapping[str, Any]
    data: Mapping[str, Any]
    device: str | None = None
    threads: int | None = None
    base: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Train:
    """Carry out an assignment.

    assignment, model: files; out: a folder for what is sent; keep: a folder that lasts as long as the
    run, for what is not; seconds: the time it may take; frames: a file of what stands still beside the
    model.
    """

    assignment: str
    model: str
    out: str
    keep: str
    seconds: float | None = None
    frames: str | None = None


@dataclass(frozen=True)
class Evaluate:
    """Measure a model on the client's held-out examples. model: a file; encoding: of its blob; frames: see
    Train.
    """

    model: str
    encoding: str
    frames: str | None = None


@dataclass(frozen=True)
class Respond:
    """Answer an exchange of a round. question: a file; out, keep: folders, as in Train; run: its name on
    the wire; signer, min_members: see the file's head.
    """

    round: int
    exchange: str
    question: str
    out: str
    keep: str
    run: str = ""
    signer: Mapping[str, str] | None = None
    min_members: int = 2


@dataclass(frozen=True)
class Rebuild:
    """Make a model. out: a folder; held, change: files of the model before and of what is added to it;
    none: the untouched model.
    """

    out: str
    held: str | None = None
    change: str | None = None


@dataclass(frozen=True)
class Cancel:
    """End the request in hand."""


@dataclass(frozen=True)
class Prepared:
    """The run is loaded. capabilities, space: serialised antiphon.v1 messages; work: what a round asks of a
    client, by the name of each of its roles: `steps`, `batch` and `accumulation`; download_bytes: of a
    global model at most, none: as many as its tensors have; exchanges: the work of those beside training.
    """

    examples: int
    evaluation_examples: int
    capabilities: bytes
    space: bytes
    work: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    download_bytes: int | None = None
    exchanges: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Stepped:
    """A local step was taken: number `step` of `of`; loss: of its batch, nats per token."""

    step: int
    of: int
    loss: float


@dataclass(frozen=True)
class Trained:
    """An assignment was carried out. update: a file; blob: the file it names, if any; steps: taken."""

    update: str
    blob: str | None
    steps: int


@dataclass(frozen=True)
class Evaluated:
    """A model was measured on this many held-out examples; what could not be measured is left out."""

    examples: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Responded:
    """An exchange was answered. answer: a file."""

    answer: str


@dataclass(frozen=True)
class Rebuilt:
    """A model was made. model: its file, of the bytes that a coordinator's has."""

    model: str


@dataclass(frozen=True)
class Cancelled:
    """A request was ended by Cancel."""

    cancelled: str


@dataclass(frozen=True)
class Failed:
    """A request failed. reason: for the site's log; fatal: asking again cannot help; code: for the
    coordinator, of core/refusals.py.
    """

    failed: str
    reason: str
    fatal: bool
    code: str = Refusal.TRAINER_FAILED.value


Request = Prepare | Train | Evaluate | Rebuild | Respond | Cancel
OnStepped = Callable[[Stepped], None]
"""Told of each step; may raise, where the request is not wanted any more."""

Response = Prepared | Stepped | Trained | Evaluated | Rebuilt | Responded | Cancelled | Failed

_REQUESTS: dict[str, type[Request]] = {
    "prepare": Prepare,
    "train": Train,
    "evaluate": Evaluate,
    "rebuild": Rebuild,
    "respond": Respond,
    "cancel": Cancel,
}
_DONE: dict[str, type[Response]] = {
    "prepare": Prepared,
    "train": Trained,
    "evaluate": Evaluated,
    "rebuild": Rebuilt,
    "respond": Responded,
}
_MOST = (1 << 63) - 1
_OTHERS: dict[str, type[Response]] = {"step": Stepped, "cancelled": Cancelled, "failed": Failed}


def name_of(request: Request) -> str:
    """Return a request's name: as it stands in the line that says it."""
    return next(name for name, kind in _REQUESTS.items() if isinstance(request, kind))


def encode_request(request: Request) -> bytes:
    """Return the line that says a request."""
    return _line({"do": name_of(request), **_values(request)})


def encode_answer(answer: Response) -> bytes:
    """Return the line that says an answer."""
    done = [name for name, kind in _DONE.items() if isinstance(answer, kind)]
    return _line({**({"done": done[0]} if done else {}), **_values(answer)})


def decode_request(line: bytes) -> Request:
    """Read a request. Raises ProtocolError for a line that is none."""
    values = _object(line)
    kind = _REQUESTS.get(str(values.pop("do", None)))
    if kind is None:
        raise _unknown(line, f"'do' with one of {', '.join(_REQUESTS)}")
    return _made(kind, values, line)


def decode_answer(line: bytes) -> Response:
    """Read an answer. Raises ProtocolError for a line that is none."""
    values = _object(line)
    kind: type[Response] | None
    if "done" in values:
        kind = _DONE.get(str(values.pop("done")))
    else:
        kind = next((_OTHERS[key] for key in _OTHERS if key in values), None)
    if kind is None:
        raise _unknown(line, f"'done', {', '.join(repr(key) for key in _OTHERS)}")
    return _made(kind, values, line)


def _values(message: Request | Response) -> dict[str, Any]:
    fields = {each.name: getattr(message, each.name) for each in dataclasses.fields(message)}
    return {name: _plain(value) for name, value in fields.items()}


def _plain(value: Any) -> Any:
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value


def _line(values: Mapping[str, Any]) -> bytes:
    return json.dumps(spelled(values), allow_nan=False).encode("ascii") + b"\n"


def _object(line: bytes) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise _unknown(line, "a JSON object")
    return values


def _made(kind: Any, values: dict[str, Any], line: bytes) -> Any:
    hints = get_type_hints(kind)
    try:
        return kind(**{key: _typed(hints[key], value) for key, value in values.items()})
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _unknown(line, f"the keys of {kind.__name__} ({str(error)[:200]})") from None


def _typed(hint: Any, value: Any) -> Any:
    """Return a value of JSON as its field has it. Raises TypeError, ValueError or OverflowError."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is types.UnionType:
        return None if value is None else _typed(arguments[0], value)
    if origin is Mapping and isinstance(value, dict):
        "".join(value).encode()  # names go into messages, which hold UTF-8 only
        return {key: _typed(arguments[1], each) for key, each in value.items()}
    if hint is bytes and isinstance(value, str):
        return base64.b64decode(value, validate=True)
    if hint is float and (number := number_of(value)) is not None:
        return number
    if hint is int and type(value) is int and not 0 <= value <= _MOST:
        raise ValueError(f"{value} is not in 0 … {_MOST}")
    if hint is Any or hint is type(value):
        return value
    raise TypeError(f"expected {hint}, got {str(value)[:80]!r}")


def _unknown(line: bytes, expected: str) -> ProtocolError:
    return ProtocolError(f"the trainer's protocol has no line {line[:200]!r}: expected {expected}")
