"""How good a separator is: targets, metrics, runs that go on, numbers with intervals, comparisons, pages."""

from .aggregation import Aggregate, Interval, Scores
from .comparison import Comparison, Difference, compare_evaluations
from .estimates import EstimateFolder
from .evaluate import DEFAULT_METRICS, evaluate_separator
from .metrics import METRICS, bss_sdr, leakage, remix_sdr, sd_sdr, sdr, si_sdr
from .protocols import PROTOCOLS, Protocol
from .results import Evaluation
from .scorers import ClapSimilarity, EstimateScorer, TagProbability, measure_frechet_distance
from .separators import find_separator
from .stems import StemTargets
from .targets import Item, RecipeTargets, Target, Targets

__all__ = [
    "DEFAULT_METRICS",
    "METRICS",
    "PROTOCOLS",
    "Aggregate",
    "ClapSimilarity",
    "Comparison",
    "Difference",
    "EstimateFolder",
    "EstimateScorer",
    "Evaluation",
    "Interval",
    "Item",
    "Protocol",
    "RecipeTargets",
    "Scores",
    "StemTargets",
    "TagProbability",
    "Target",
    "Targets",
    "bss_sdr",
    "compare_evaluations",
    "evaluate_separator",
    "find_separator",
    "leakage",
    "measure_frechet_distance",
    "remix_sdr",
    "sd_sdr",
    "sdr",
    "si_sdr",
]
