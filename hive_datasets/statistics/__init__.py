"""What metadata holds, counted."""

from .counting import Statistics, compute_statistics

__all__ = ["Statistics", "compute_statistics"]
