"""What is agreed about every file: documented tests, telling names, short files and functions."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
ROOTS: list[str] = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["sources"]
MOST_FILE_LINES = 450
MOST_FUNCTION_LINES = 60

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources() -> list[Path]:
    """Return the hand-written modules of every source root."""
    found = (path for root in ROOTS for path in (REPOSITORY / root).rglob("*.py"))
    return sorted(path for path in found if "_pb2" not in path.name)


def functions(path: Path) -> Iterator[Function]:
    """Yield every function of a file, nested ones and methods too."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, Function):
            yield node


def length(function: Function) -> int:
    """Return a function's number of lines, decorators and docstring not counted."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    return lines - ((first.end_lineno or 0) - first.lineno + 1 if documented else 0)


def place(path: Path, function: Function) -> str:
    """Return where a function is, as an editor can open it."""
    return f"{path.relative_to(REPOSITORY)}:{function.lineno} {function.name}"


def writes_json(call: ast.Call) -> bool:
    """Say whether a call makes JSON, whatever the import: of json, or of structlog for the log."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name in ("dump", "dumps", "JSONEncoder", "JSONRenderer")


def is_strict(call: ast.Call) -> bool:
    """Say whether a call writes neither NaN nor Infinity."""
    strict = any(
        each.arg == "allow_nan" and ast.unparse(each.value) == "False" for each in call.keywords
    )
    return strict or "json_text" in map(ast.unparse, call.args)


def test_sources_are_found() -> None:
    """The rules below look at real files."""
    assert REPOSITORY / "core" / "antiphon" / "core" / "types.py" in sources()


def test_every_test_states_its_fact() -> None:
    """Every test function has a docstring."""
    tests = [path for path in (REPOSITORY / "tests").rglob("*.py") if path.is_file()]

    silent = [
        place(path, each)
        for path in sorted(tests)
        for each in functions(path)
        if each.name.startswith("test_") and not ast.get_docstring(each)
    ]

    assert silent == []


def test_no_utils() -> None:
    """A file is named for what is in it: none is called utils.py."""
    assert [str(path) for path in sources() if path.name == "utils.py"] == []


def test_json_has_no_infinity() -> None:
    """JSON is written by core/json_text.py, or with allow_nan=False: NaN and Infinity are no JSON."""
    own = REPOSITORY / "core" / "antiphon" / "core" / "json_text.py"
    loose = [
        f"{path.relative_to(REPOSITORY)}:{call.lineno}"
        for path in sources()
        if path != own
        for call in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(call, ast.Call) and writes_json(call) and not is_strict(call)
    ]

    assert loose == []


def test_files_are_short() -> None:
    """No source file is longer than 450 lines."""
    lengths = {
        str(path.relative_to(REPOSITORY)): path.read_bytes().count(b"\n") for path in sources()
    }

    assert {name: lines for name, lines in lengths.items() if lines > MOST_FILE_LINES} == {}


def test_functions_are_short() -> None:
    """No function is longer than 60 lines, docstring excluded."""
    lengths = {place(path, each): length(each) for path in sources() for each in functions(path)}

    assert {name: lines for name, lines in lengths.items() if lines > MOST_FUNCTION_LINES} == {}
