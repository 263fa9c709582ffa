"""Mixing: plan which frames a recipe needs, read and resample them, weigh and sum."""

from .mixer import Mixer, RenderedMixture, Stems, check_rendering

__all__ = ["Mixer", "RenderedMixture", "Stems", "check_rendering"]
