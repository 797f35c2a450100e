"""The command line in a process of its own: output, exit codes, Ctrl-C."""

import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from antiphon.core.config import validate
from antiphon.core.run_folder import RunFolder
from antiphon.server.space_file import write_space
from antiphon.simulation.space import space_of

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


@pytest.mark.slow
def test_simulate_prints_one_json_object(tiny_file, tmp_path):
    """With --json, the last line of stdout is the report; progress is on stderr."""
    done = antiphon("simulate", tiny_file, "--json", cwd=tmp_path)

    report = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0
    assert report["final"]["accuracy"] > 0
    assert Path(report["run_dir"], "report.md").exists()
    assert "held-out loss" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rouns=3"], "did you mean 'rounds'"),
        (["cohort={size: 2, quorum: 3}"], "quorum is 3"),
        (["data.dataset=nowhere.jsonl"], "nowhere.jsonl"),
        (["--resume"], "nothing to resume"),
    ],
    ids=str,
)
def test_a_users_mistake_exits_with_2(tiny_file, tmp_path, arguments, message):
    """No traceback: what was got, what was expected, and code 2."""
    done = antiphon("simulate", tiny_file, *arguments, cwd=tmp_path)

    assert done.returncode == 2
    assert message in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["simulate", "serve"])
def test_a_new_run_has_no_round_to_go_on_from(tiny_file, tmp_path, command):
    """--from-round without --resume is a mistake, and nothing is begun."""
    done = antiphon(command, tiny_file, "--from-round", 1, cwd=tmp_path)

    assert done.returncode == 2
    assert "--from-round goes with --resume" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_spent_budget_exits_with_0(tiny_file, tmp_path):
    """A run that its policy ends has done what the config asked: code 0, and the reason is told."""
    budget = ["lora.r=2", "policy={kind: adaptive, bytes: 200_000}"]

    done = antiphon("simulate", tiny_file, *budget, "--json", cwd=tmp_path)
    told = antiphon("status", json.loads(done.stdout.splitlines()[-1])["run_dir"], cwd=tmp_path)

    assert done.returncode == 0
    assert "stopped by policy: the budget is used up" in done.stderr.replace("\n", " ")
    assert "complete: stopped by policy" in told.stdout


@pytest.mark.slow
def test_ctrl_c_ends_cleanly_and_resume_goes_on(tiny_file, tmp_path):
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

    resumed = antiphon("simulate", tiny_file, *slow, "--resume", "--json", cwd=tmp_path)
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
def test_check_reads_the_rows(tiny_file, tmp_path):
    """Who holds how many, what is probably not meant, and nothing of it without the data."""
    short = ["model.max_length=5", "--json"]
    whole = antiphon("check", tiny_file, *short, cwd=tmp_path)
    without = antiphon("check", tiny_file, *short, "--no-data", cwd=tmp_path)

    told = json.loads(whole.stdout.splitlines()[-1])["data"]
    assert told["clients"]["harbour"] == {"train": 40, "evaluation": 20}
    assert "of 160 training examples" in told["advice"][0]
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
def test_check_finds_what_a_run_would_stop_at(tiny_file, tmp_path, override, named):
    """A file that is not there and a row that does not parse are found before a run is begun."""
    done = antiphon("check", tiny_file, override, cwd=tmp_path)

    assert done.returncode == 2
    assert named in done.stderr


def test_strategies_lists_every_kind(tmp_path):
    """`antiphon strategies` shows members and their arguments."""
    done = antiphon("strategies", "--json", cwd=tmp_path)

    listed = json.loads(done.stdout)
    assert set(listed["server_opt"]) >= {"sgd", "momentum", "nesterov", "adam", "yogi"}


def test_schema_is_json(tmp_path):
    """`antiphon schema` prints a JSON schema of the run's keys."""
    schema = json.loads(antiphon("schema", cwd=tmp_path).stdout)

    assert "rounds" in schema["required"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "seeds"])
def test_export_writes_adapter_and_merged_model(tiny_file, tmp_path, method):
    """`antiphon export` gives a PEFT folder of any round, or a whole model."""
    antiphon("simulate", tiny_file, f"method={method}", cwd=tmp_path)

    adapter = antiphon("export", "runs/tiny", "--round", 1, "--out", "a", cwd=tmp_path)
    merged = antiphon("export", "runs/tiny", "--merge", "--out", "m", cwd=tmp_path)

    assert adapter.returncode == merged.returncode == 0, adapter.stderr + merged.stderr
    assert (tmp_path / "a" / "adapter_model.safetensors").exists()
    assert (tmp_path / "m" / "config.json").exists()
    again = antiphon("export", "runs/tiny", "--out", "a", cwd=tmp_path)
    assert again.returncode == 2


@pytest.mark.slow
def test_a_complete_run_is_not_begun_again(tiny_file, tmp_path):
    """`serve --resume-or-start` ends with 0 where the run is complete, and makes no second one."""
    antiphon("simulate", tiny_file, cwd=tmp_path)

    done = antiphon("serve", tiny_file, "--resume-or-start", cwd=tmp_path)

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
def test_export_writes_the_folder_of_the_base(tiny_file, tmp_path):
    """PEFT loads what a run on real machines has left, once it is exported."""
    antiphon("simulate", tiny_file, cwd=tmp_path)
    as_of_a_coordinator(tmp_path / "runs" / "tiny", "tiny")

    antiphon("export", "runs/tiny", "--out", "a", cwd=tmp_path)

    base = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert Path(base["base_model_name_or_path"], "config.json").exists()


@pytest.mark.slow
def test_export_says_that_the_base_is_not_here(tiny_file, tmp_path):
    """The adapter is written all the same, with the name that it had."""
    antiphon("simulate", tiny_file, cwd=tmp_path)
    as_of_a_coordinator(tmp_path / "runs" / "tiny", "ours-1")

    done = antiphon("export", "runs/tiny", "--out", "a", cwd=tmp_path)

    assert done.returncode == 0
    assert "names the base model ours-1, which is not here" in done.stderr
    written = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert written["base_model_name_or_path"] == "ours-1"


@pytest.mark.slow
def test_export_refuses_a_damaged_state(tiny_file, tmp_path):
    """No adapter is made of what the journal does not know; an earlier round can be exported."""
    antiphon("simulate", tiny_file, cwd=tmp_path)
    (tmp_path / "runs" / "tiny" / "rounds" / "0002" / "state.safetensors").write_bytes(b"torn")

    newest = antiphon("export", "runs/tiny", "--out", "a", cwd=tmp_path)
    before = antiphon("export", "runs/tiny", "--round", 1, "--out", "a", cwd=tmp_path)

    assert (newest.returncode, before.returncode) == (2, 0)
    assert "the state after round 2 is damaged" in newest.stderr
    assert "an earlier round with --round" in newest.stderr


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
def test_export_on_a_coordinators_machine(tiny_file, tmp_path):
    """Where there is no torch, the adapter of a real run is copied, and nothing is downloaded for it."""
    antiphon("simulate", tiny_file, cwd=tmp_path)
    as_of_a_coordinator(tmp_path / "runs" / "tiny", "smollm2-135m")
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
