from collections import Counter

import numpy as np
import pytest

from hive_datasets.recipe.tables import table_from_recipes
from hive_datasets.verification.needs import CROP_MARGIN, collect_needs


def split_into(recipes, size):
    return [table_from_recipes(recipes[start : start + size]) for start in range(0, len(recipes), size)]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_rows_and_uses_in_tables_of_any_size(mini, size):
    needs = collect_needs(split_into(mini, size))
    uses = [source for recipe in mini for source in recipe.sources]
    assert [needs.paths[file] for file in needs.files] == [source.path for source in uses]
    assert [needs.labels[label] for label in needs.label_ids] == [source.label for source in uses]
    assert len(set(needs.paths)) == len(needs.paths)
    assert needs.row_sources.tolist() == [recipe.num_sources for recipe in mini]
    assert [needs.splits[split] for split in needs.row_splits] == [recipe.split for recipe in mini]
    assert needs.mix_ids.to_pylist() == [recipe.mix_id for recipe in mini]
    expected = [
        (s.chunk_start_second, s.chunk_end_second, s.chunk_start_second + s.crop_start_second,
         s.chunk_start_second + s.crop_end_second)
        for s in uses
    ]  # fmt: skip
    np.testing.assert_array_equal(needs.spans, expected)
    assert needs.row_of_use.tolist() == [row for row, recipe in enumerate(mini) for _ in recipe.sources]


def test_crops_of_a_file(mini):
    needs = collect_needs(split_into(mini, 10))
    for path, crops in zip(needs.paths, needs.crops(), strict=True):
        uses = [source for recipe in mini for source in recipe.sources if source.path == path]
        expected = set()
        for use in uses:
            start, stop = use.chunk_start_second + use.crop_start_second, use.chunk_start_second + use.crop_end_second
            stop = min(stop, use.chunk_end_second)
            first = max(use.chunk_start_second, start - CROP_MARGIN)
            expected.add((first, min(use.chunk_end_second, stop + CROP_MARGIN), start, stop))
        assert set(map(tuple, crops.tolist())) == expected


def test_only_some_splits(mini):
    needs = collect_needs(split_into(mini, 10), splits={"test", "validation"})
    assert Counter(needs.splits[split] for split in needs.row_splits) == {"test": 8, "validation": 8}


def test_only_some_corpora(mini):
    needs = collect_needs(split_into(mini, 10), corpora=["esc-50", "Clotho"])
    wanted = ("ESC-50-master/", "clotho_v2/")
    rows = [[source.path for source in recipe.sources if source.path.startswith(wanted)] for recipe in mini]
    assert needs.row_sources.tolist() == [len(paths) for paths in rows if paths]
    assert [needs.paths[file] for file in needs.files] == [path for paths in rows for path in paths]


def test_nothing():
    needs = collect_needs([])
    assert (needs.paths, len(needs.files), needs.spans.shape, list(needs.crops())) == ([], 0, (0, 4), [])
