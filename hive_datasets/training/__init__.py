"""Training on tables of recipes: an order, targets, batches, and the loader that goes the whole way."""

from .batches import ExampleBatch, RenderExamples
from .labels import LabelEncoder
from .loader import TrainingLoader
from .sampler import ElasticSampler
from .table import RecipeTable
from .targets import Example, SelectTarget

__all__ = [
    "ElasticSampler",
    "Example",
    "ExampleBatch",
    "LabelEncoder",
    "RecipeTable",
    "RenderExamples",
    "SelectTarget",
    "TrainingLoader",
]
