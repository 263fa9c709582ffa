"""Loading models of `transformers`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import BackendError
from .extras import import_extra


@dataclass(frozen=True)
class Pretrained:
    """What backends of transformers have in common."""

    name: str
    device: str = "cpu"
    batch_size: int = 8
    revision: str = "main"

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {self.batch_size}")

    @property
    def model(self) -> str:
        """Its name."""
        return self.name

    @property
    def version(self) -> str:
        """Its revision, and the version of transformers."""
        return f"{self.revision}, transformers {import_extra('transformers', 'transformers').__version__}"


def load_pretrained(kind: str, name: str, revision: str, **options: Any) -> Any:
    """An object of a class of transformers, of a model of the Hub or a folder.

    Raises:
        BackendError: it cannot be loaded.
    """
    import_extra("torch", "transformers")
    transformers = import_extra("transformers", "transformers")
    try:
        return getattr(transformers, kind).from_pretrained(name, revision=revision, **options)
    except Exception as error:  # of many kinds: no such model, no network, a file that is damaged
        raise BackendError(f"{kind} cannot be loaded from {name}: {str(error).strip()[:500]}") from error
