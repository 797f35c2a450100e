"""What the SuperLink runs: the whole run, as run.yaml has it."""

from pathlib import Path

from antiphon.simulation.flower.engine import config_from, server_app

app = server_app(config_from(Path(__file__).with_name("run.yaml")))
