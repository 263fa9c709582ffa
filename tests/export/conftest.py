import pytest

from hive_datasets import write_mixtures


@pytest.fixture(scope="session")
def metadata(shared):
    return shared / "mini" / "hub"


@pytest.fixture(scope="session")
def tars(metadata, corpora, tmp_path_factory):
    """All of `mini` in tars of at most 5 mixtures, and what was said of them."""
    folder = tmp_path_factory.mktemp("tars")
    return folder, write_mixtures(metadata, folder, dataset_paths=corpora, mixtures_per_shard=5)
