"""Listening to mixtures in a web browser."""

from .collection import Collection
from .server import BrowseServer

__all__ = ["BrowseServer", "Collection"]
