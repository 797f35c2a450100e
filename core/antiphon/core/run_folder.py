"""What a run leaves behind, and where: the same layout from every engine.

runs/quickstart/             the second run of that name is runs/quickstart-2, and so on
    config.yaml              resolved; its first line, a comment, is the config's hash
    journal.sqlite
    rounds/0007/adapter/     a folder that PEFT loads
    rounds/0007/state.safetensors
    rounds/0007/undone.safetensors       where the stability guard rolled the model back
    rounds/0007/updates/<client>.bin     and <client>.safetensors, if it names tensors
    space.json               what the run trains: shapes
    tokenizer/               of the base model, where the engine has it
    models/<sha256>          what clients download in the open round
    uploads/<client>/        what has not become an update yet
    report.json  report.md  plots/
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from antiphon.core.errors import RunFolderError, UpdateError
from antiphon.core.events import RoundPlanned, RunEnded, RunStarted
from antiphon.core.files import full_disk_is_said, make_folders, write_text
from antiphon.core.free_keys import FREE
from antiphon.core.journal import Journal
from antiphon.core.section import YAML_ERRORS
from antiphon.core.tensors import from_bytes
from antiphon.core.types import State

_HASH_LINE = re.compile(r"# config hash: ([0-9a-f]+)")
_LONGEST_FILE_NAME = (
    150  # encoded characters; file systems allow 255 bytes, temporary names need some
)
_MOST_KEYS_SHOWN = 10


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run. Its properties are paths: asking for one reads and makes nothing."""

    path: Path

    @property
    def config_file(self) -> Path:
        """The resolved config; it is itself a valid run YAML."""
        return self.path / "config.yaml"

    @property
    def journal_file(self) -> Path:
        """The journal."""
        return self.path / "journal.sqlite"

    @property
    def report_json(self) -> Path:
        """The report for programs."""
        return self.path / "report.json"

    @property
    def report_md(self) -> Path:
        """The report for people."""
        return self.path / "report.md"

    @property
    def plots(self) -> Path:
        """The folder of the report's pictures."""
        return self.path / "plots"

    def round_dir(self, number: int) -> Path:
        """Return the folder of one round; round 0 is the untouched model."""
        return self.path / "rounds" / f"{number:04d}"

    def adapter(self, number: int) -> Path:
        """Return the folder of the adapter after a round."""
        return self.round_dir(number) / "adapter"

    def state_file(self, number: int) -> Path:
        """Return the file of the server's state after a round."""
        return self.round_dir(number) / "state.safetensors"

    def undone_file(self, number: int) -> Path:
        """Return the file of the state to which the guard rolled back in a round."""
        return self.round_dir(number) / "undone.safetensors"

    def update_file(self, number: int, client: str) -> Path:
        """Return the file of one client's accepted update. Any name of a client is safe here."""
        return self.round_dir(number) / "updates" / f"{file_name_of(client)}.bin"

    def update_tensors_file(self, number: int, client: str) -> Path:
        """Return the file of the tensors that this update names."""
        return self.round_dir(number) / "updates" / f"{file_name_of(client)}.safetensors"

    def update_decoded_file(self, number: int, client: str) -> Path:
        """Return the file of what a codec has made of these tensors; it can be made again."""
        return self.round_dir(number) / "updates" / f"{file_name_of(client)}.decoded"

    def answers(self, number: int) -> Path:
        """Return the folder of what clients have answered in the other exchanges of a round."""
        return self.round_dir(number) / "answers"

    def answer_file(self, number: int, exchange: str, client: str) -> Path:
        """Return the file of one client's accepted answer."""
        return self.answers(number) / exchange / f"{file_name_of(client)}.safetensors"

    def known_file(self, number: int, exchange: str) -> Path:
        """Return the file of what the answers to an exchange have come to."""
        return self.answers(number) / f"{exchange}.safetensors"

    def lasting_file(self, exchange: str) -> Path:
        """Return the file of what an exchange has come to for the rest of the run."""
        return self.path / "exchanges" / f"{exchange}.safetensors"

    @property
    def space_file(self) -> Path:
        """What the run trains, as shapes."""
        return self.path / "space.json"

    @property
    def tokenizer(self) -> Path:
        """The base model's tokenizer, where the engine has one: each adapter's folder gets its files."""
        return self.path / "tokenizer"

    @property
    def live_file(self) -> Path:
        """Where a coordinator that is at work can be asked, while it is."""
        return self.path / "live.json"

    @property
    def models(self) -> Path:
        """The folder of what clients download; it can be made again from the newest state."""
        return self.path / "models"

    @property
    def passing(self) -> tuple[Path, ...]:
        """The folders that only a run which goes on needs."""
        return (self.models, *(self.path / each for each in ("uploads", "residuals", "kept")))

    def model_blob(self, sha256: str) -> Path:
        """Return the file of a model as clients download it. sha256: hex."""
        return self.models / sha256

    def uploads(self, client: str) -> Path:
        """Return the folder of what a client has uploaded and not yet handed in."""
        return self.path / "uploads" / file_name_of(client)

    def residuals(self, client: str) -> Path:
        """Return the folder in which a simulation keeps what a client's codec has left out."""
        return self.path / "residuals" / file_name_of(client)

    def kept(self, client: str) -> Path:
        """Return the folder in which a simulation keeps what a client's exchanges need of a round."""
        return self.path / "kept" / file_name_of(client)

    def upload_file(self, client: str, sha256: str) -> Path:
        """Return the file of one whole upload. sha256: hex."""
        return self.uploads(client) / sha256

    def config_hash(self) -> str:
        """Return the hash that was written with the config. Raises RunFolderError."""
        first = self._config_text().partition("\n")[0]
        found = _HASH_LINE.fullmatch(first)
        if found is None:
            raise RunFolderError(
                f"{self.config_file} should begin with '# config hash: …', got {first[:60]!r}: "
                "it is no config that Antiphon wrote, or it was edited. Start a new run"
            )
        return found[1]

    def config_values(self) -> dict[str, Any]:
        """Return the resolved config as plain values. Raises RunFolderError."""
        try:
            values = yaml.safe_load(self._config_text())
        except YAML_ERRORS as error:
            raise RunFolderError(f"{self.config_file} is not valid YAML: {error}") from None
        if not isinstance(values, dict):
            raise RunFolderError(f"{self.config_file} should hold keys and values, got {values!r}")
        return values

    def run_id(self) -> str:
        """Return the run's name on the wire: that of its folder when it began. Raises RunFolderError."""
        if self.journal_file.exists() and self.journal_file.stat().st_size > 0:
            with Journal.reading(self.journal_file) as journal:
                for entry in journal.read(kinds=[RunStarted]):
                    if isinstance(entry.event, RunStarted):
                        return entry.event.run_id
        return self.path.name

    def is_complete(self) -> bool:
        """Say whether the journal tells of the run's complete end. Raises RunFolderError."""
        # A run cut off in its first moment has no journal, or one without a byte.
        if not self.journal_file.exists() or self.journal_file.stat().st_size == 0:
            return False
        with Journal.reading(self.journal_file) as journal:
            ends = (entry.event for entry in journal.read(kinds=[RunEnded]))
            return any(isinstance(end, RunEnded) and end.complete for end in ends)

    def _config_text(self) -> str:
        try:
            return self.config_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RunFolderError(
                f"cannot read {self.config_file} ({error}): give the folder of a run"
            ) from None


def create(
    runs_dir: Path, name: str, config_values: Mapping[str, Any], config_hash: str
) -> RunFolder:
    """Make the folder of a new run and write its config: `name`, or `name-2`, `name-3`, ….

    A number is never given twice while a higher one is there, so the highest is the newest. Two
    processes that start at once get two folders. Raises RunFolderError if none can be made.
    """
    folder = RunFolder(_new_folder(runs_dir, name))
    try:
        _write_config(folder, config_values, config_hash)
    except BaseException:
        folder.path.rmdir()
        raise
    return folder


def _write_config(folder: RunFolder, config_values: Mapping[str, Any], config_hash: str) -> None:
    content = yaml.safe_dump(dict(config_values), sort_keys=False, allow_unicode=True)
    write_text(folder.config_file, f"# config hash: {config_hash}\n{content}")


def open_for_resume(
    runs_dir: Path, name: str, config_values: Mapping[str, Any], config_hash: str
) -> RunFolder:
    """Return the newest folder of the run `name`, if it can go on with this config.

    Its journal may still be missing or empty: the run was cut off before it started. Raises
    RunFolderError if there is no such run, if its config differs (the keys are named), or if it is
    complete. What decides nothing about the past may differ (the deadlines, `output`, and `rounds` down to
    those that have been planned); the folder's config is then the new one.
    """
    folder = newest(runs_dir, name)
    changed = folder.config_hash() != config_hash
    keys = _differing(folder, config_values) if changed else frozenset()
    if changed and not (keys and keys <= FREE):
        raise RunFolderError(_differs(folder, config_values))
    if folder.is_complete():
        raise RunFolderError(
            f"nothing to resume: the run in {folder.path} is complete. "
            "Leave out --resume to start a new one"
        )
    if changed:
        _check_rounds(folder, config_values)
        _write_config(folder, config_values, config_hash)
    return folder


def _differing(folder: RunFolder, config_values: Mapping[str, Any]) -> frozenset[str]:
    there, here = dict(_flat(folder.config_values())), dict(_flat(config_values))
    return frozenset(key for key in there | here if there.get(key) != here.get(key))


def _check_rounds(folder: RunFolder, config_values: Mapping[str, Any]) -> None:
    if not folder.journal_file.exists() or folder.journal_file.stat().st_size == 0:
        return
    with Journal.reading(folder.journal_file) as journal:
        planned = (entry.event for entry in journal.read(kinds=[RoundPlanned]))
        done = max((each.round for each in planned if isinstance(each, RoundPlanned)), default=0)
    if int(config_values["rounds"]) < done:
        raise RunFolderError(
            f"cannot resume {folder.path} with rounds {config_values['rounds']}: round {done} has been "
            f"planned already. Set rounds to {done} or more"
        )


def newest(runs_dir: Path, name: str) -> RunFolder:
    """Return the newest run that has this name in its config. Raises RunFolderError if none has."""
    found = find_newest(runs_dir, name)
    if found is None:
        raise RunFolderError(
            f"nothing to resume: no run named {name!r} in {runs_dir}. "
            "Leave out --resume to start it, or check output.runs_dir"
        )
    return found


def find_newest(runs_dir: Path, name: str) -> RunFolder | None:
    """Return the newest run that has this name in its config; none: there is no such run."""
    for _, path in sorted(_numbered(runs_dir, name), reverse=True):
        folder = RunFolder(path)
        # A run called "a-2" stands where the second run of "a" would: only the config tells.
        if folder.config_file.exists() and folder.config_values().get("name") == name:
            return folder
    return None


def read_bytes(path: Path) -> bytes:
    """Return a run's file. Raises RunFolderError where it is missing."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunFolderError(
            f"{path} cannot be read ({error.strerror}): the run folder was changed. Start a new run"
        ) from None


def read_state(path: Path) -> State:
    """Return a stored state. Raises RunFolderError where it is missing or damaged."""
    try:
        return from_bytes(read_bytes(path))
    except UpdateError as error:
        raise RunFolderError(f"{path} is damaged ({error}): start a new run") from None


def file_name_of(client: str) -> str:
    """Return a file name for a client's name; two clients never share one.

    Lower-case letters, digits, `_`, `-` and inner dots stay, every other byte of the UTF-8 becomes
    %xx: upper case too, since some file systems do not tell it from lower case. What would be too
    long is cut and gets a `~`, which no short name holds, and the SHA-256 of the whole.
    """
    content = client.encode("utf-8", errors="surrogatepass")
    safe = re.sub(rb"[^a-z0-9_.-]|^\.", lambda found: b"%%%02x" % found[0][0], content).decode()
    if 0 < len(safe) <= _LONGEST_FILE_NAME:
        return safe
    return f"{safe[:64]}~{hashlib.sha256(content).hexdigest()}"


def _new_folder(runs_dir: Path, name: str) -> Path:
    try:
        with full_disk_is_said(runs_dir):
            make_folders(runs_dir)
            while True:
                number = max((taken for taken, _ in _numbered(runs_dir, name)), default=0) + 1
                path = runs_dir / (name if number == 1 else f"{name}-{number}")
                if _made(path):
                    return path
    except OSError as error:
        raise RunFolderError(
            f"cannot make a folder for the run {name!r} in {runs_dir} ({error}): "
            "choose another output.runs_dir"
        ) from None


def _made(path: Path) -> bool:
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        return False
    return True


def _numbered(runs_dir: Path, name: str) -> Iterator[tuple[int, Path]]:
    """Yield everything in `runs_dir` that is called `name` (number 1) or `name-<n>`, n >= 2."""
    # Whatever the case: some file systems would not make "a" beside "A".
    pattern = re.compile(rf"{re.escape(name)}(?:-([2-9]|[1-9][0-9]+))?", re.IGNORECASE)
    for path in runs_dir.iterdir() if runs_dir.is_dir() else ():
        found = pattern.fullmatch(path.name)
        if found:
            yield int(found[1] or 1), path


def _differs(folder: RunFolder, config_values: Mapping[str, Any]) -> str:
    there, here = dict(_flat(folder.config_values())), dict(_flat(config_values))
    keys = [key for key in sorted(there | here) if there.get(key) != here.get(key)]
    shown = [f"{key} ({_said(there, key)} there, {_said(here, key)} here)" for key in keys]
    if len(shown) > _MOST_KEYS_SHOWN:
        shown = [*shown[:_MOST_KEYS_SHOWN], f"and {len(shown) - _MOST_KEYS_SHOWN} more"]
    what = ", ".join(shown) or "no key, so another version of Antiphon wrote it"
    return (
        f"cannot resume {folder.path}: its config differs from this one in {what}. "
        "Restore those values, or leave out --resume to start a new run"
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        elif f"{prefix}{key}".partition(".")[0] != "output":  # where a run lies decides nothing
            yield f"{prefix}{key}", value


def _said(values: Mapping[str, Any], key: str) -> str:
    return repr(values[key]) if key in values else "not set"
