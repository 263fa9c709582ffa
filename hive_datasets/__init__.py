"""Hive, rendered on the fly.

Importing this package makes ``datasets.load_dataset("hive", ...)`` work and registers the `Mixture` feature::

    import hive_datasets
    from datasets import load_dataset

    ds = load_dataset("hive", "demo", split="train", streaming=True)
"""

from typing import TYPE_CHECKING, Any

from datasets import load_dataset

from . import errors
from ._version import __version__
from .dataset import Mixture, Subset, register_hive, register_mixture, skip_unreadable
from .demo import demo_folder
from .errors import (
    AmbiguousSourceError,
    BackendError,
    ChunkOutOfRangeError,
    EmptySourceError,
    HiveError,
    MetadataUnavailableError,
    MixtureFeatureWarning,
    NonFiniteSourceError,
    OntologyError,
    OutputError,
    PreparedSourcesError,
    PreparedSourcesWarning,
    RecipeError,
    RecordError,
    SourceError,
    SourceFormatError,
    SourceNotFoundError,
    SourceRootError,
    SourceUnreachableError,
    TruncatedSourceError,
    UnknownLabelError,
    UnreadableSourceWarning,
    VariantSourceWarning,
)
from .export import (
    Export,
    Package,
    Preview,
    mixtures_as_audio,
    recipes_as_structs,
    write_mixtures,
    write_package,
    write_preview,
)
from .mixing import Mixer
from .ontology import Ontology
from .preparation import prepare_sources
from .prepared import PreparedSources
from .recipe import Recipe, Source, parse_recipe, read_recipes
from .rendering import RenderMixtures
from .sources import Corpus, find_corpus, list_corpora
from .statistics import Statistics, compute_statistics
from .verification import verify_sources

if TYPE_CHECKING:
    from .training import ElasticSampler, RecipeTable, RenderExamples, SelectTarget, TrainingLoader

__all__ = [
    "AmbiguousSourceError",
    "BackendError",
    "ChunkOutOfRangeError",
    "Corpus",
    "ElasticSampler",
    "EmptySourceError",
    "Export",
    "HiveError",
    "MetadataUnavailableError",
    "Mixer",
    "Mixture",
    "MixtureFeatureWarning",
    "NonFiniteSourceError",
    "Ontology",
    "OntologyError",
    "OutputError",
    "Package",
    "PreparedSources",
    "PreparedSourcesError",
    "PreparedSourcesWarning",
    "Preview",
    "Recipe",
    "RecipeError",
    "RecipeTable",
    "RecordError",
    "RenderExamples",
    "RenderMixtures",
    "SelectTarget",
    "Source",
    "SourceError",
    "SourceFormatError",
    "SourceNotFoundError",
    "SourceRootError",
    "SourceUnreachableError",
    "Statistics",
    "Subset",
    "TrainingLoader",
    "TruncatedSourceError",
    "UnknownLabelError",
    "UnreadableSourceWarning",
    "VariantSourceWarning",
    "__version__",
    "compute_statistics",
    "demo_folder",
    "errors",
    "find_corpus",
    "list_corpora",
    "load_dataset",
    "mixtures_as_audio",
    "parse_recipe",
    "prepare_sources",
    "read_recipes",
    "recipes_as_structs",
    "skip_unreadable",
    "verify_sources",
    "write_mixtures",
    "write_package",
    "write_preview",
]

register_mixture()
register_hive()


def __getattr__(name: str) -> Any:
    """What training takes is imported when it is first asked for: a sampler is PyTorch's where that is installed."""
    if name in ("ElasticSampler", "RecipeTable", "RenderExamples", "SelectTarget", "TrainingLoader"):
        from . import training

        globals()[name] = getattr(training, name)
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
