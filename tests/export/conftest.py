from dataclasses import replace

import pytest

from hive_datasets import write_mixtures
from tests.export.shards import write_metadata


@pytest.fixture(scope="session")
def metadata(shared):
    return shared / "mini" / "hub"


@pytest.fixture(scope="session")
def brief(mini):
    """`mini` in mixtures of a quarter of a second, for what is tested of shards."""
    return [replace(recipe, target_duration=0.25) for recipe in mini]


@pytest.fixture(scope="session")
def brief_metadata(brief, tmp_path_factory):
    folder = tmp_path_factory.mktemp("brief")
    for split in ("train", "validation", "test"):
        write_metadata([recipe for recipe in brief if recipe.split == split], folder / f"{split}.json")
    return folder


@pytest.fixture(scope="session")
def tars(brief_metadata, corpora, tmp_path_factory):
    """All of `brief` in tars of at most 5 mixtures, and what was said of them."""
    folder = tmp_path_factory.mktemp("tars")
    return folder, write_mixtures(brief_metadata, folder, dataset_paths=corpora, mixtures_per_shard=5)
