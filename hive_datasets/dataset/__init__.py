"""Hive as a dataset of `datasets`: the feature that renders, the builder, what can be rendered here, subsets."""

from .features import Mixture, register_mixture
from .loading import register_hive
from .skipping import skip_unreadable
from .subset import Subset, as_subset

__all__ = ["Mixture", "Subset", "as_subset", "register_hive", "register_mixture", "skip_unreadable"]
