"""Mixing: plan which frames a recipe needs, read and resample them, weigh and sum."""

from .mixer import Mixer, RenderedMixture, Stems

__all__ = ["Mixer", "RenderedMixture", "Stems"]
