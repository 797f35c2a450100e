"""The command line: output, exit codes, Ctrl-C. In a process of its own where only that shows the fact;
else in this one, because a process that trains or reads rows imports torch first, for seconds.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tests.conftest import small_values

from antiphon.cli.main import main
from antiphon.client.shapes import space_of
from antiphon.core.config import validate
from antiphon.core.run_folder import RunFolder
from antiphon.server.folding.space_file import write_space

ANTIPHON = [sys.executable, "-c", "from antiphon.cli.main import main; main()"]


@pytest.fixture
def tiny_file(tiny_values, tmp_path) -> Path:
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(tiny_values))
    return file


def antiphon(*arguments, cwd):
    return subprocess.run(
        [*ANTIPHON, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def here(capsys, monkeypatch, tmp_path):
    """Run the command line in this process, from the test's folder; return what a process would."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["antiphon", *map(str, arguments)])
        umask = os.umask(0o077)
        with pytest.raises(SystemExit) as ended:
            main()
        os.umask(umask)
        said = capsys.readouterr()
        return subprocess.CompletedProcess([], ended.value.code or 0, said.out, said.err)

    return run


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A run of the tiny model in a process of its own: its folder, and the process that is done."""
    folder = tmp_path_factory.mktemp("simulated")
    (folder / "run.yaml").write_text(yaml.safe_dump(small_values(folder)))
    return folder / "runs" / "tiny", antiphon("simulate", "run.yaml", "--json", cwd=folder)


@pytest.fixture
def run_dir(simulated, tmp_path) -> Path:
    """A copy of that run, where the config of `tiny_file` says."""
    return shutil.copytree(simulated[0], tmp_path / "runs" / "tiny")


@pytest.mark.slow
def test_simulate_prints_one_json_object(simulated):
    """With --json, the last line of stdout is the report; progress is on stderr."""
    _, done = simulated

    report = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0
    assert report["final"]["accuracy"] > 0
    assert Path(report["run_dir"], "report.md").exists()
    assert "held-out loss" in done.stderr


def test_a_mistake_of_a_process_exits_with_2(tiny_file, tmp_path):
    """No traceback: what was got, what was expected, and code 2."""
    done = antiphon("simulate", tiny_file, "rouns=3", cwd=tmp_path)

    assert done.returncode == 2
    assert "did you mean 'rounds'" in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cohort={size: 2, quorum: 3}"], "quorum is 3"),
        (["data.dataset=nowhere.jsonl"], "nowhere.jsonl"),
        (["--resume"], "nothing to resume"),
    ],
    ids=str,
)
def test_a_users_mistake_exits_with_2(here, tiny_file, arguments, message):
    """What was got, what was expected, and code 2."""
    done = here("simulate", tiny_file, *arguments)

    assert done.returncode == 2
    assert message in done.stderr.replace("\n", " ")


@pytest.mark.parametrize("command", ["simulate", "serve"])
def test_a_new_run_has_no_round_to_go_on_from(here, tiny_file, tmp_path, command):
    """--from-round without --resume is a mistake, and nothing is begun."""
    done = here(command, tiny_file, "--from-round", 1)

    assert done.returncode == 2
    assert "--from-round goes with --resume" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_spent_budget_exits_with_0(here, tiny_file):
    """A run that its policy ends has done what the config asked: code 0, and the reason is told."""
    budget = ["lora.r=2", "policy={kind: adaptive, bytes: 200_000}"]

    done = here("simulate", tiny_file, *budget, "--json")
    told = here("status", json.loads(done.stdout.splitlines()[-1])["run_dir"])

    assert done.returncode == 0
    assert "stopped by policy: the budget is used up" in done.stderr.replace("\n", " ")
    assert "complete: stopped by policy" in told.stdout


@pytest.mark.slow
def test_ctrl_c_ends_cleanly_and_resume_goes_on(here, tiny_file, tmp_path):
    """SIGINT in the middle exits with 130 and says how to go on; --resume completes the run."""
    slow = ["training.max_steps=40", "rounds=3"]
    command = [*ANTIPHON, "simulate", str(tiny_file), *slow]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        for line in process.stderr:
            if "round 1:" in line:
                os.kill(process.pid, signal.SIGINT)
                break
        said = process.stderr.read()

    assert process.returncode == 130
    assert "--resume" in said
    assert "round 2: waiting for" in said
    assert "Traceback" not in said

    resumed = here("simulate", tiny_file, *slow, "--resume", "--json")
    rounds = json.loads(resumed.stdout.splitlines()[-1])["rounds"]
    assert [each["round"] for each in rounds] == [1, 2, 3]


@pytest.mark.slow
def test_check_prints_the_resolved_config(tiny_file, tmp_path):
    """`antiphon check` prints YAML with every default, and the costs."""
    done = antiphon("check", tiny_file, cwd=tmp_path)

    assert done.returncode == 0
    assert yaml.safe_load(done.stdout)["training"]["adam_beta1"] == 0.9
    assert "kB up" in done.stderr
    assert "harbour" in done.stderr


@pytest.mark.slow
def test_check_reads_the_rows(here, tiny_file):
    """Who holds how many, what is probably not meant, and nothing of it without the data."""
    short = ["model.max_length=5", "--json"]
    whole = here("check", tiny_file, *short)
    without = here("check", tiny_file, *short, "--no-data")

    told = json.loads(whole.stdout.splitlines()[-1])["data"]
    assert told["clients"]["harbour"] == {"train": 40, "evaluation": 20}
    assert "of 160 training examples" in told["advice"][0]
    assert "4 of 4 clients" in told["first_round"]
    assert json.loads(without.stdout.splitlines()[-1])["data"] is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("data.dataset=nowhere.jsonl", "nowhere.jsonl"),
        ("engine.fleet=nowhere.yaml", "nowhere.yaml"),
        ("data.format.label=missing", "missing"),
    ],
)
def test_check_finds_what_a_run_would_stop_at(here, tiny_file, override, named):
    """A file that is not there and a row that does not parse are found before a run is begun."""
    done = here("check", tiny_file, override)

    assert done.returncode == 2
    assert named in done.stderr


def test_strategies_lists_every_kind(here):
    """`antiphon strategies` shows members and their arguments."""
    done = here("strategies", "--json")

    listed = json.loads(done.stdout)
    assert set(listed["server_opt"]) >= {"sgd", "momentum", "nesterov", "adam", "yogi"}


def test_schema_is_json(here):
    """`antiphon schema` prints a JSON schema of the run's keys."""
    schema = json.loads(here("schema").stdout)

    assert "rounds" in schema["required"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "seeds"])
def test_export_writes_adapter_and_merged_model(here, tiny_file, tmp_path, method):
    """`antiphon export` gives a PEFT folder of any round, or a whole model."""
    here("simulate", tiny_file, f"method={method}")

    adapter = here("export", "runs/tiny", "--round", 1, "--out", "a")
    merged = here("export", "runs/tiny", "--merge", "--out", "m")

    assert adapter.returncode == merged.returncode == 0, adapter.stderr + merged.stderr
    assert (tmp_path / "a" / "adapter_model.safetensors").exists()
    assert (tmp_path / "m" / "config.json").exists()
    assert here("export", "runs/tiny", "--out", "a").returncode == 2


@pytest.mark.slow
@pytest.mark.usefixtures("run_dir")
def test_a_complete_run_is_not_begun_again(here, tiny_file, tmp_path):
    """`serve --resume-or-start` ends with 0 where the run is complete, and makes no second one."""
    done = here("serve", tiny_file, "--resume-or-start")

    assert done.returncode == 0
    assert "is complete" in done.stderr
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_a_run_that_is_not_there_is_begun(tiny_file, tmp_path):
    """`serve --resume-or-start` without a run goes on to the fleet, which is not there either."""
    home = tmp_path / "home"

    done = antiphon("serve", tiny_file, "--resume-or-start", "--home", home, cwd=tmp_path)

    assert done.returncode == 2
    assert "no fleet in" in done.stderr


@pytest.fixture
def fleet_home(tmp_path) -> Path:
    antiphon("ca", "init", "--fleet", "demo", "--home", tmp_path / "home", cwd=tmp_path)
    return tmp_path / "home"


def served(fleet_home, tiny_file, *arguments) -> subprocess.Popen:
    """Start a coordinator that listens on any port, and for clients only; return it when it does."""
    flags = ["--home", str(fleet_home), "--listen", "127.0.0.1:0"]
    off = ["--enrolment", "none", "--metrics", "none"]
    process = subprocess.Popen(
        [*ANTIPHON, "serve", str(tiny_file), *flags, *off, *arguments],
        cwd=tiny_file.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if line.startswith("clients:"):
            break
    return process


@pytest.mark.slow
def test_a_stopped_coordinator_says_how_to_go_on(tiny_file, fleet_home):
    """SIGTERM ends it with 0 and one JSON object, and the command that goes on."""
    with served(fleet_home, tiny_file, "--json") as process:
        process.terminate()
        out, err = process.communicate(timeout=60)

    assert process.returncode == 0
    run_dir = str(tiny_file.parent / "runs" / "tiny")
    assert json.loads(out) == {"complete": False, "stopped": True, "run_dir": run_dir}
    assert f"antiphon serve {tiny_file} --home={fleet_home}" in err
    assert "--metrics=none --resume goes on" in err


@pytest.mark.slow
def test_the_command_of_a_stopped_coordinator_goes_on(tiny_file, fleet_home):
    """What it prints can be pasted."""
    with served(fleet_home, tiny_file) as process:
        process.terminate()
        _, err = process.communicate(timeout=60)
    command = shlex.split(err.partition("stopped; ")[2].partition(" goes on")[0])

    with subprocess.Popen(
        [*ANTIPHON, *command[1:]], cwd=tiny_file.parent, stderr=subprocess.PIPE, text=True
    ) as again:
        first = again.stderr.readline()
        again.terminate()

    assert first.startswith("run: ")
    assert len(list((tiny_file.parent / "runs").iterdir())) == 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--address", "nonsense address; rm -rf"], "expected HOST:PORT"),
        (["--address", "hub:0"], "expected HOST:PORT"),
        (["--ttl", "4000d"], "more than a year"),
    ],
)
def test_a_token_that_cannot_be_used_is_refused(fleet_home, flags, said):
    """No line is printed that a shell or a client would read otherwise."""
    done = antiphon(
        "token", "create", "--name", "north", "--home", fleet_home, *flags, cwd=fleet_home
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def as_of_a_coordinator(run: Path, model: str) -> None:
    """Leave in a simulation's folder what a coordinator does: a space that knows the model's name only."""
    folder = RunFolder(run)
    space = space_of(validate(folder.config_values()))
    write_space(folder.space_file, replace(space, base_model=model))


@pytest.mark.slow
def test_export_writes_the_folder_of_the_base(here, run_dir, tmp_path):
    """PEFT loads what a run on real machines has left, once it is exported."""
    as_of_a_coordinator(run_dir, "tiny")

    here("export", "runs/tiny", "--out", "a")

    base = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert Path(base["base_model_name_or_path"], "config.json").exists()


@pytest.mark.slow
def test_export_says_that_the_base_is_not_here(here, run_dir, tmp_path):
    """The adapter is written all the same, with the name that it had."""
    as_of_a_coordinator(run_dir, "ours-1")

    done = here("export", "runs/tiny", "--out", "a")

    assert done.returncode == 0
    assert "names the base model ours-1, which is not here" in done.stderr.replace("\n", " ")
    written = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert written["base_model_name_or_path"] == "ours-1"


@pytest.mark.slow
def test_export_refuses_a_damaged_state(here, run_dir):
    """No adapter is made of what the journal does not know; an earlier round can be exported."""
    (run_dir / "rounds" / "0002" / "state.safetensors").write_bytes(b"torn")

    newest = here("export", "runs/tiny", "--out", "a")
    before = here("export", "runs/tiny", "--round", 1, "--out", "a")

    said = newest.stderr.replace("\n", " ")
    assert (newest.returncode, before.returncode) == (2, 0)
    assert "the state after round 2 is damaged" in said
    assert "an earlier round with --round" in said


WITHOUT_TORCH = """
import sys
from importlib.machinery import PathFinder


class WithoutTorch(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.split(".")[0] in ("torch", "transformers", "peft")
        return None if hidden else super().find_spec(name, path, target)


sys.meta_path = [WithoutTorch if each is PathFinder else each for each in sys.meta_path]
"""


@pytest.mark.slow
def test_export_on_a_coordinators_machine(run_dir, tmp_path):
    """Where there is no torch, the adapter of a real run is copied, and nothing is downloaded for it."""
    as_of_a_coordinator(run_dir, "smollm2-135m")
    program = f"{WITHOUT_TORCH}\n{ANTIPHON[-1]}"

    done = subprocess.run(
        [sys.executable, "-c", program, "export", "runs/tiny", "--out", "a"],
        cwd=tmp_path,
        env={**os.environ, "ANTIPHON_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    assert "torch, which converts it, is not installed" in done.stderr
    assert (tmp_path / "a" / "adapter_model.safetensors").exists()
    assert not (tmp_path / "cache").exists()
