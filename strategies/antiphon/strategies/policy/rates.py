"""The rates of a codec that a policy may turn: ten preferred numbers per decade, in bits per parameter."""

from __future__ import annotations

from dataclasses import dataclass

from antiphon.core import registry
from antiphon.core.errors import ConfigError
from antiphon.core.types import CodecChoice

_SCALE = (1.0, 1.25, 1.6, 2.0, 2.5, 3.2, 4.0, 5.0, 6.3, 8.0)


@dataclass(frozen=True)
class Rates:
    """A codec that takes `bits`, from min_bits to max_bits."""

    codec: str
    min_bits: float
    max_bits: float

    def check(self, policy: str) -> None:
        """Raise ConfigError where a policy of this name could not turn it so."""
        if not 0 < self.min_bits <= self.max_bits:
            raise ConfigError(
                f"policy {policy}: expected 0 < min_bits <= max_bits, got {self.min_bits:g} and "
                f"{self.max_bits:g}"
            )
        if "bits" not in registry.signature("codec", self.codec):
            raise ConfigError(
                f"policy {policy} turns a codec's `bits`, which {self.codec} does not take: use ecdq"
            )
        for bits in (self.min_bits, self.max_bits):
            registry.build("codec", self.codec, {"bits": bits})

    def choices(self) -> list[CodecChoice]:
        """Return the codec at its rates, the highest first."""
        decades = [each * 10.0**power for power in range(-3, 2) for each in _SCALE]
        rates = {self.min_bits, self.max_bits} | set(decades)
        kept = sorted((r for r in rates if self.min_bits <= r <= self.max_bits), reverse=True)
        return [CodecChoice(self.codec, {"bits": float(f"{each:.4g}")}) for each in kept]
