"""A run's config as it holds at this site: the coordinator's, with what is the site's own in its place."""

from __future__ import annotations

from antiphon.client.trainer_protocol import Prepare
from antiphon.core import config as configs
from antiphon.core.config import RunConfig
from antiphon.core.errors import ConfigError


def site_config(request: Prepare) -> RunConfig:
    """Return the config that the trainer works by. Raises ConfigError where it is no run."""
    if "dataset" not in request.data:
        raise ConfigError(
            "the client's settings name no data set: the coordinator must not choose one"
        )
    values = dict(request.config)
    values["data"] = {key: value for key, value in request.data.items() if value is not None}
    own = {"device": request.device, "base": request.base}
    said = {key: value for key, value in own.items() if value is not None}
    values["model"] = {**values.get("model", {}), **said}
    if request.threads is not None:
        values["engine"] = {**values.get("engine", {}), "threads": request.threads}
    return configs.validate(values, source="the coordinator's config with this client's settings")
