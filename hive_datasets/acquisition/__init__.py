"""Getting the corpora: what mixtures need of them, the most mixtures for a budget, fetching just that."""

from .fetch import Fetching, fetch_sources
from .needs import CorpusNeeds, Requirements, find_requirements

__all__ = ["CorpusNeeds", "Fetching", "Requirements", "fetch_sources", "find_requirements"]
