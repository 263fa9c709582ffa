"""Prepared sources: the chunks that mixtures need, decoded and resampled once, in files that are mapped into memory."""

from .store import PreparedSources, find_prepared

__all__ = ["PreparedSources", "find_prepared"]
