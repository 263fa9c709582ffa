"""What the latest ``load_dataset("hive", ...)`` was given: the one piece of process-wide state.

``cast_column("mixture", Mixture(sampling_rate=16000))`` replaces the feature that knew the arguments; the new one takes
them from here.
"""

from __future__ import annotations

from typing import Any

from .sources import Roots


class LastGiven:
    """Arguments of the latest ``load_dataset("hive", ...)``; None for what it was not given.

    Attributes:
        roots: its `dataset_paths`.
        prepared: its `prepared`.
    """

    roots: Roots | None = None
    prepared: Any = None


def remember_given(roots: Roots | None, prepared: Any) -> None:
    """Note the arguments of a ``load_dataset("hive", ...)`` call."""
    LastGiven.roots, LastGiven.prepared = roots, prepared
