"""What a round moves at most, and how long it takes by what has been measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from antiphon.core.types import CodecChoice
from antiphon.strategies.scheduling.telemetry import ClientTelemetry
from antiphon.strategies.scheduling.work import MemberWork


@dataclass(frozen=True)
class Costs:
    """Upper bounds, bytes.

    down(client): its assignment and the model; up(client, codec, steps): its update; evaluation: of all
    the models that are sent out to be measured after the round.
    """

    down: Callable[[str], int]
    up: Callable[[str, CodecChoice | None, int], int]
    evaluation: int = 0

    def member_bytes(self, client: str, codec: CodecChoice | None, steps: int) -> int:
        """Return the bound of one member's round, both ways."""
        return self.down(client) + self.up(client, codec, steps)

    def round_bytes(self, steps: Mapping[str, int], codec: CodecChoice | None) -> int:
        """Return the bound of a whole round, its evaluation included."""
        members = sum(self.member_bytes(client, codec, each) for client, each in steps.items())
        return members + self.evaluation

    def worker(
        self, client: ClientTelemetry, codec: CodecChoice | None, max_steps: int
    ) -> MemberWork:
        """Return a member with the time that its transfers and steps take, as far as measured."""
        up = self.up(client.client, codec, max_steps)
        transfer_s = client.transfer_s(self.down(client.client), up)
        return MemberWork(client.client, max_steps, transfer_s, client.step_s)
