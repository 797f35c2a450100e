"""The section `privacy` of a run's config: what of a client's update nobody else learns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from antiphon.core.section import Section


class SecureAggregationConfig(Section):
    """Sums under masks: the coordinator learns what the cohort has done together, and no client's part."""

    threshold: Annotated[float, Field(gt=0.5, le=1)] = Field(
        0.7,
        description="Share of the cohort that must survive each exchange of a round, above 0.5; a round "
        "with fewer fails.",
    )
    bits: Annotated[int, Field(ge=4, le=24)] = Field(
        16, description="Of each number before the sum, 4 to 24; the sum takes some more."
    )
    reach: PositiveFloat | None = Field(
        None,
        description="Largest change of one number in a round, clipped to it; none: the learning rate times "
        "the steps, and for seeds times `seeds.max_scalar`.",
    )
    weigh: Literal["examples", "clients"] = Field(
        "examples",
        description="What a client counts for: its examples, which stay under the mask, or one.",
    )


class PrivacyConfig(Section):
    """What of a client's update nobody else learns."""

    secure_aggregation: SecureAggregationConfig | None = Field(
        None, description="`{}`: updates are summed under masks; none: the coordinator sees each."
    )
