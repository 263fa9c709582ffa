"""Importing packages that are not always there."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import BackendError


def import_extra(module: str, extra: str) -> Any:
    """A module of an optional package.

    Raises:
        BackendError: it is not installed; the error says how to install it.

    Example:
        >>> import_extra("json", "judges").dumps([1])
        '[1]'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise BackendError(f"{package} is needed: pip install 'hive-datasets[{extra}]' ({error})") from None
