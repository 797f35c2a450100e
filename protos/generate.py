"""Generate the Python stubs of every .proto beside this file: `python protos/generate.py [FOLDER]`.

The stubs are checked in, so that installing needs no compiler; a test compares them byte for byte.
The pinned grpcio-tools is old on purpose: its stubs import under protobuf 5.29 to 6.x.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent


def generate(out: Path) -> list[Path]:
    """Write the stubs below `out`, which exists; return them. Raises CalledProcessError with
    protoc's words.
    """
    sources = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.proto"))
    flags = [
        f"--proto_path={ROOT}",
        f"--python_out={out}",
        f"--pyi_out={out}",
        f"--grpc_python_out={out}",
    ]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *flags, *sources], check=True)
    for source in sources:
        _drop_where_empty(out / source.replace(".proto", "_pb2_grpc.py"))
    return sorted(path for path in out.rglob("*_pb2*.py*") if "__pycache__" not in path.parts)


def _drop_where_empty(stub: Path) -> None:
    if "class " not in stub.read_text():  # a .proto without a service
        stub.unlink()


if __name__ == "__main__":
    for stub in generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT):
        print(stub)
