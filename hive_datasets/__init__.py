"""Hive, rendered on the fly.

Importing this package makes ``datasets.load_dataset("hive", ...)`` work and registers the `Mixture` feature::

    import hive_datasets
    from datasets import load_dataset

    ds = load_dataset("hive", "demo", split="train", streaming=True)
"""

import importlib
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
    EvaluationError,
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
    SequentialSourceWarning,
    SourceError,
    SourceFormatError,
    SourceNotFoundError,
    SourceRootError,
    SourceUnreachableError,
    TruncatedSourceError,
    UnknownLabelError,
    UnreadableSourceWarning,
    VariantSourceWarning,
    WrongChecksumError,
    WrongChecksumWarning,
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
    from .acquisition import fetch_sources, find_requirements
    from .evaluation import Evaluation, compare_evaluations, evaluate_separator
    from .training import ElasticSampler, RecipeTable, RenderExamples, SelectTarget, TrainingLoader

__all__ = [
    "AmbiguousSourceError",
    "BackendError",
    "ChunkOutOfRangeError",
    "Corpus",
    "ElasticSampler",
    "EmptySourceError",
    "Evaluation",
    "EvaluationError",
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
    "SequentialSourceWarning",
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
    "WrongChecksumError",
    "WrongChecksumWarning",
    "__version__",
    "compare_evaluations",
    "compute_statistics",
    "demo_folder",
    "errors",
    "evaluate_separator",
    "fetch_sources",
    "find_corpus",
    "find_requirements",
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


#: What is imported when it is first asked for, and from where: a sampler is PyTorch's where that is installed.
_LAZY = {
    **dict.fromkeys(("fetch_sources", "find_requirements"), "acquisition"),
    **dict.fromkeys(("Evaluation", "compare_evaluations", "evaluate_separator"), "evaluation"),
    **dict.fromkeys(("ElasticSampler", "RecipeTable", "RenderExamples", "SelectTarget", "TrainingLoader"), "training"),
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        globals()[name] = getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
