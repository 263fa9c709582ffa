"""Verification: are the user's copies of the corpora what metadata needs?"""

from .verify import verify_sources

__all__ = ["verify_sources"]
