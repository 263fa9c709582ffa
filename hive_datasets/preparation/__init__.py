"""Preparing sources: what is needed, what of it is there, and making the rest."""

from .prepare import Preparation, prepare_sources

__all__ = ["Preparation", "prepare_sources"]
