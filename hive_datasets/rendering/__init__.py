"""Rendering whole batches: in threads on the CPU, or resampled and mixed on a CUDA device."""

from .batch import RenderedBatch, RenderMixtures

__all__ = ["RenderMixtures", "RenderedBatch"]
