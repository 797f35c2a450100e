"""What each SuperNode runs for a message: it joins, trains or measures on its own rows."""

from pathlib import Path

from antiphon.simulation.flower.engine import client_app, config_from

app = client_app(config_from(Path(__file__).with_name("run.yaml")))
