"""Who is calling: `filter` of `datasets` takes anything that can be iterated over for a mask, a dictionary too."""

from __future__ import annotations

import sys

from ..errors import RecordError

#: What `filter` calls its function from, in whichever release.
_MASK_FUNCTIONS = frozenset(
    {"get_indices_from_mask_function", "async_get_indices_from_mask_function", "add_mask", "async_add_mask"}
)


def refuse_in_filter(name: str) -> None:
    """Refuse to be the function of `filter`, for a function that does not tell which rows to keep.

    Called by that function itself. Whoever calls it in a function of his own, and makes a mask of it, is not meant.

    Raises:
        RecordError: it is.

    Example:
        >>> from datasets import Dataset
        >>> def double(batch):
        ...     refuse_in_filter("double")
        ...     return {"a": [2 * value for value in batch["a"]]}
        >>> Dataset.from_dict({"a": [1, 2]}).filter(double, batched=True)
        Traceback (most recent call last):
        hive_datasets.errors.RecordError: double tells of no row whether to keep it: it is for map, not for filter
    """
    if sys._getframe(2).f_code.co_name in _MASK_FUNCTIONS:
        raise RecordError(f"{name} tells of no row whether to keep it: it is for map, not for filter")
