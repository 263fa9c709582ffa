"""Mixtures as files for others: tars, parquet, folders, previews and metadata for the Hub."""

from .datasets import mixtures_as_audio, recipes_as_structs
from .package import Package, write_package
from .preview import Preview, write_preview
from .write import Export, write_mixtures

__all__ = [
    "Export",
    "Package",
    "Preview",
    "mixtures_as_audio",
    "recipes_as_structs",
    "write_mixtures",
    "write_package",
    "write_preview",
]
