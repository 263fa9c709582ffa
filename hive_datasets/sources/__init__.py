"""The source corpora: the registry of facts about them, and where the user's copies lie."""

from .corpora import Corpus, find_corpus, list_corpora
from .roots import Roots, find_roots, parse_roots

__all__ = ["Corpus", "Roots", "find_corpus", "find_roots", "list_corpora", "parse_roots"]
