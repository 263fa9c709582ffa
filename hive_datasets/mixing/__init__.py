"""Mixing: plan which frames a recipe needs, read and resample them, weigh and sum."""

from .mixer import Alignment, Mixer, RenderedMixture, Stems

__all__ = ["Alignment", "Mixer", "RenderedMixture", "Stems"]
