"""The steps that built Hive, for your own audio: chunks, labels, judgements, leaves, full bandwidth, good mixtures."""

from .bandwidth import measure_bandwidth
from .chunk import Chunk
from .clips import read_clip
from .configuration import make_pipeline
from .judging import LeafLabel, SingleEvent
from .labels import MutuallyExclusiveLabels, SingleLabel
from .mixtures import CurateMixtures, best_mixtures
from .pipeline import CurationPipeline
from .records import read_records
from .restoring import SuperResolve
from .run import Curation, run_pipeline
from .steps import Filter, MinScore, Reason, Scorer, Step
from .tagging import TagAudioSet

__all__ = [
    "Chunk",
    "CurateMixtures",
    "Curation",
    "CurationPipeline",
    "Filter",
    "LeafLabel",
    "MinScore",
    "MutuallyExclusiveLabels",
    "Reason",
    "Scorer",
    "SingleEvent",
    "SingleLabel",
    "Step",
    "SuperResolve",
    "TagAudioSet",
    "best_mixtures",
    "make_pipeline",
    "measure_bandwidth",
    "read_clip",
    "read_records",
    "run_pipeline",
]
