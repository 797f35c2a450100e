"""What holds at a site in one exchange, as its daemon has told the trainer."""

from __future__ import annotations

from antiphon.client.exchanges.exchange import AtSite
from antiphon.client.secure.signer import signer_of
from antiphon.client.trainer_protocol import Respond
from antiphon.core.errors import UpdateError
from antiphon.strategies.secure.names import KEYS, SHARES, UNMASKING


def site_of(request: Respond) -> AtSite:
    """Return it. Raises UpdateError for a signer that cannot be read, and for none where one is needed."""
    said = request.signer
    if said is None and request.exchange in (KEYS, SHARES, UNMASKING):
        raise UpdateError(
            "a sum under masks without a signer: nobody could tell whose keys are whose"
        )
    return AtSite(request.run, request.min_members, signer_of(said) if said else None)
