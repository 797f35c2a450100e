"""What holds at a site in one exchange, as its daemon has told the trainer."""

from __future__ import annotations

from antiphon.client.exchanges.exchange import AtSite
from antiphon.client.secure.signer import signer_of
from antiphon.client.trainer_protocol import Respond


def site_of(request: Respond) -> AtSite:
    """Return it. Raises UpdateError for a signer that cannot be read."""
    said = request.signer
    return AtSite(request.run, signer=signer_of(said) if said else None)
