"""The stubs that are checked in are what the pinned compiler makes of the .proto files."""

import importlib.util
import re
from pathlib import Path

PROTOS = Path(__file__).parents[1] / "protos"


def generator():
    """The script that `make protos` runs."""
    spec = importlib.util.spec_from_file_location("generate_protos", PROTOS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_stubs_regenerate_byte_for_byte(tmp_path):
    """Nobody edited a stub, nobody forgot `make protos`."""
    stubs = generator().generate(tmp_path)

    checked_in = [path for path in PROTOS.rglob("*_pb2*.py*") if "__pycache__" not in path.parts]
    assert {path.relative_to(tmp_path) for path in stubs} == {
        path.relative_to(PROTOS) for path in checked_in
    }
    for stub in stubs:
        assert stub.read_bytes() == (PROTOS / stub.relative_to(tmp_path)).read_bytes()


def test_every_field_and_message_is_documented():
    """The line above each field and message is a comment that ends as a sentence does."""
    for path in PROTOS.rglob("*.proto"):
        lines = path.read_text(encoding="utf-8").splitlines()
        named = [i for i, line in enumerate(lines) if re.search(r"^message |= \d+.*;", line)]
        bare = [lines[i] for i in named if not re.match(r"\s*// .*[.:]$", lines[i - 1])]
        assert bare == []
