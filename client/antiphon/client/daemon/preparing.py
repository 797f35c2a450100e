"""What the trainer is asked to prepare: the run's config, with the site's rows, model and device."""

from __future__ import annotations

from antiphon.client.daemon.data_view import DataView, data_view
from antiphon.client.daemon.open_run import OpenRun
from antiphon.client.daemon.settings import ClientSettings
from antiphon.client.daemon.site_models import model_here
from antiphon.client.trainer_protocol import Prepare


def prepare_request(
    client: str, run: OpenRun, settings: ClientSettings
) -> tuple[Prepare, DataView]:
    """Return the request, and how rows are read in this run. client: its name."""
    view = data_view(settings.data, run.config.get("data"))
    model = model_here(settings.models, run.model)
    config = {key: value for key, value in run.config.items() if key != "data"}
    config["model"] = {**run.config["model"], "model_name_or_path": model}
    request = Prepare(
        client=client,
        config=config,
        data=view.values,
        device=settings.device,
        threads=settings.threads,
        base=None if settings.base is None else settings.base.model_dump(),
    )
    return request, view
