"""Inputs that once showed a defect: each is tried by every test run, and fuzzing begins with it too."""

from __future__ import annotations

import json


def _tensors(*shape: int, data: bytes = b"") -> bytes:
    """Make a safetensors file of one tensor."""
    place = {"dtype": "F32", "shape": shape, "data_offsets": [0, len(data)]}
    header = json.dumps({"m": place}).encode()
    return len(header).to_bytes(8, "little") + header + data


def _config(steps: str, model: str = "tiny") -> bytes:
    return (
        f'{{"method": "lora", "model": {{"model_name_or_path": "{model}"}}, '
        f'"training": {{"max_steps": {steps}}}}}'
    ).encode()


_IMPOSSIBLE = [
    _tensors(*[1] * 100, data=bytes(4)),  # more dimensions than numpy has
    _tensors(0, 1 << 63),  # a side beyond numpy's
    _tensors(0, 1 << 40, 1 << 40),  # sides whose product is
]
_DEEP = b"[" * 60_000
_YAML = [b"name: 2026-13-45", b"name: !!timestamp x", b"name: !!int ''", b"name: " + b"[" * 400]
_PREPARED = (
    '{"done": "prepare", "examples": %s, "capabilities": "%s", '
    '"space": "", "evaluation_examples": 3}'
)

FOUND: dict[str, list[bytes]] = {
    "tensors": _IMPOSSIBLE,
    "state": _IMPOSSIBLE,
    "model, tensors": _IMPOSSIBLE,
    "event": [
        b"client_joined " + _DEEP,
        b'phase_timed {"round": 1, "phase": "fold", "seconds": ' + b"9" * 400 + b"}",
    ],
    "space file": [
        _DEEP,
        b'{"factors": {"m": "ab"}, "weights": {}, "base_model": "", "model_parameters": 1}',
    ],
    "run folder": [b"# config hash: 0123\n" + each for each in _YAML],
    "yaml": _YAML,
    "settings": _YAML,
    "config in hello": [_config("Infinity"), _config("6", "\\ud800")],
    "trainer's answer": [
        (_PREPARED % ("1", "é")).encode(),
        (_PREPARED % ("-1", "")).encode(),
        b'{"step": "3", "of": 6, "loss": 0.5}',
        b'{"failed": "train", "reason": [], "fatal": false}',
        b'{"failed": "train", "reason": "\\udcff", "fatal": false}',
        b'{"done": "train", "update": "\\u0000", "blob": null, "steps": 1}',
        b'{"done": "evaluate", "examples": 1, "metrics": {"loss": ' + b"9" * 400 + b"}}",
        b'{"done": "evaluate", "examples": 1, "metrics": {"\\ud800": 0.5}}',
    ],
    "identity file": [
        _DEEP,
        b'{"fleet": 1, "client": 2, "coordinator": 3, "enrolment": 4, "certificate": 5, "roots": 6, '
        b'"key": 7}',
    ],
    "retry hint": [b"9" * 5000],
}
