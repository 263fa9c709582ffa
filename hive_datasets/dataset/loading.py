"""Makes ``datasets.load_dataset("hive", ...)`` find this library's builder."""

from __future__ import annotations

import functools
from typing import Any

import datasets.inspect
import datasets.load


def register_hive() -> None:
    """Let `datasets` know the name "hive".

    `load_dataset` looks `dataset_module_factory` up as a global of `datasets.load`, and asks it for a module by
    the dataset's name; `get_dataset_config_names` and its like do the same in `datasets.inspect`. For "hive" they now
    get this library's, for every other name what they always got. (A folder of that name is still reached as "./hive".)
    """
    original = datasets.load.dataset_module_factory
    if getattr(original, "knows_hive", False):
        return

    @functools.wraps(original)
    def dataset_module_factory(path: str, *args: Any, **kwargs: Any) -> Any:
        if path != "hive":
            return original(path, *args, **kwargs)
        from .builder import hash_code

        builder_kwargs = {"revision": kwargs.get("revision")}
        return datasets.load.DatasetModule("hive_datasets.dataset.builder", hash_code(), builder_kwargs)

    dataset_module_factory.knows_hive = True  # type: ignore[attr-defined]
    datasets.load.dataset_module_factory = dataset_module_factory
    datasets.inspect.dataset_module_factory = dataset_module_factory
