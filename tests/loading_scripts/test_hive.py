"""The loading script, in the one release of `datasets` that still runs it; `make test` has an environment for it."""

from pathlib import Path

import datasets
import numpy as np
import pytest

from hive_datasets import Mixer, read_recipes

SCRIPT = str(Path(__file__).parents[2] / "loading_scripts" / "hive")

pytestmark = pytest.mark.skipif(
    datasets.__version__ >= "4",
    reason="datasets runs no scripts since 4.0; make test runs these in its 3.6 environment",
)


def load(*arguments, **options):
    return datasets.load_dataset(SCRIPT, *arguments, trust_remote_code=True, **options)


@pytest.mark.parametrize("streaming", [True, False])
def test_the_demo(demo, demo_recipes, cache, streaming):
    loaded = load("demo", split="train", streaming=streaming, cache_dir=cache)
    mixer = Mixer(demo / "sources")
    rows = list(loaded)
    assert [row["mix_id"] for row in rows] == [recipe.mix_id for recipe in demo_recipes]
    for row, recipe in zip(rows, demo_recipes, strict=True):
        np.testing.assert_array_equal(row["mixture"]["mix"], mixer(recipe)["mix"])


@pytest.mark.parametrize("layout", ["hub", "json"])
def test_mini(shared, corpora, cache, layout):
    options = {"data_dir": str(shared / "mini" / layout), "dataset_paths": str(corpora), "cache_dir": cache}
    splits = load(**options)
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 48, "validation": 8, "test": 8}
    row = splits["train"][0]
    recipe = next(r for r in read_recipes(shared / "mini" / layout) if (r.split, r.mix_id) == ("train", row["mix_id"]))
    np.testing.assert_array_equal(row["mixture"]["mix"], Mixer(corpora)(recipe)["mix"])
    assert len(load("3mix", split="train", **options)) == 12
    resampled = load("2mix", split="train", streaming=True, sampling_rate=16000, stems="unscaled", **options)
    assert next(iter(resampled))["mixture"]["mix"].shape == (64000,)


def test_by_name(demo):
    """Importing the library makes the name known here too."""
    assert len(list(datasets.load_dataset("hive", "demo", split="test", streaming=True))) == 8
