"""Rendering whole batches: in threads on the CPU, or resampled and mixed on a CUDA device."""

from .batch import RenderMixtures
from .rendered import RenderedBatch, RenderedTargets

__all__ = ["RenderMixtures", "RenderedBatch", "RenderedTargets"]
