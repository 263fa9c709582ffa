import itertools
import json
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_datasets import Subset, parse_recipe
from hive_datasets.recipe.tables import table_from_recipes
from hive_datasets.sources.corpora import title_of
from hive_datasets.statistics import compute_statistics, counting
from hive_datasets.statistics.counting import StatisticsCounter

LABELS = ["Bark", "Rain", "Cat, \"purring\" + 'more'", ""]
PATHS = ["AudioSet/a.flac", "vggsound/wav/a.wav", "mine/x/odd\nname.wav", "file.wav"]


def count_slowly(recipes):
    """One by one, as it is said in the docstring."""
    sources = [source for recipe in recipes for source in recipe.sources]
    others = [source for recipe in recipes for source in recipe.sources[1:]]
    pairs = Counter()
    for recipe in recipes:
        pairs.update({tuple(sorted(pair)) for pair in itertools.combinations(recipe.labels, 2)})
    corpora = [{title_of(source.path) for source in recipe.sources} for recipe in recipes]
    return {
        "mixtures": len(recipes),
        "sources": len(sources),
        "groups": Counter((recipe.split, recipe.num_sources) for recipe in recipes),
        "label_sources": Counter(source.label for source in sources),
        "label_mixtures": Counter(label for recipe in recipes for label in set(recipe.labels)),
        "pairs": pairs,
        "corpus_sources": Counter(title_of(source.path) for source in sources),
        "corpus_mixtures": Counter(title for titles in corpora for title in titles),
        "snr_db": Counter(math.floor(source.snr_db * 2) / 2 for source in others),
        "mixture_seconds": Counter(recipe.target_duration for recipe in recipes),
        "chunk_seconds": Counter(
            float(math.floor(source.chunk_end_second - source.chunk_start_second)) for source in sources
        ),
    }


def check(found, recipes):
    for name, expected in count_slowly(recipes).items():
        assert getattr(found, name) == expected, name
    assert found.seconds == pytest.approx(sum(recipe.target_duration for recipe in recipes))
    for name in ("label_sources", "label_mixtures", "pairs", "corpus_sources", "corpus_mixtures"):
        counts = list(getattr(found, name).values())
        assert counts == sorted(counts, reverse=True)
    for name in ("snr_db", "mixture_seconds", "chunk_seconds"):
        assert list(getattr(found, name)) == sorted(getattr(found, name))


@pytest.mark.parametrize("choice", [{}, {"splits": ["test"]}, {"labels": "Bark", "num_sources": 4}, {"limit": 7}])
def test_real_rows(shared, choice):
    subset = Subset(shared / "mini" / "hub", **choice)
    check(compute_statistics(subset), list(subset.recipes()))


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_the_size_of_batches_changes_nothing(shared, mini, monkeypatch, rows):
    monkeypatch.setattr(counting, "_BATCH_ROWS", rows)
    counter = StatisticsCounter()
    for start in range(0, len(mini), 3):
        counter.add(table_from_recipes(mini[start : start + 3]))
    check(counter.result(), mini)


SOURCES = st.builds(
    lambda label, path, snr, seconds: {
        "source_id": "s",
        "path": path,
        "label": label,
        "crop_start_second": 0.0,
        "crop_end_second": 1.0,
        "chunk_start_second": 0.0,
        "chunk_end_second": seconds,
        "rms_gain": 1.0,
        "snr_db": snr,
        "applied_weight": 1.0,
    },
    st.sampled_from(LABELS),
    st.sampled_from(PATHS),
    st.floats(-90, 90),
    st.floats(0.01, 300),
)
ROWS = st.builds(
    lambda sources, split, seconds: {
        "mix_id": "m",
        "split": split,
        "sample_rate": 44100,
        "target_duration": seconds,
        "sources": sources,
        "global_normalization_factor": 1.0,
        "final_max_amplitude": 0.95,
    },
    st.lists(SOURCES, min_size=1, max_size=6),
    st.sampled_from(["train", "test"]),
    st.sampled_from([4.0, 10.0, 2.5]),
)


@given(st.lists(ROWS, min_size=1, max_size=12))
def test_any_rows(rows):
    recipes = list(map(parse_recipe, rows))
    counter = StatisticsCounter()
    counter.add(table_from_recipes(recipes))
    check(counter.result(), recipes)


def test_as_json(shared):
    found = compute_statistics(shared / "mini" / "hub")
    read = json.loads(json.dumps(found.to_dict()))
    assert read["label_sources"] == found.label_sources
    assert {(group["split"], group["num_sources"]): group["mixtures"] for group in read["groups"]} == found.groups
    assert {tuple(pair["labels"]): pair["mixtures"] for pair in read["pairs"]} == found.pairs
    assert {float(snr): count for snr, count in read["snr_db"].items()} == found.snr_db


def test_values_beyond_all_sense(mini, tmp_path):
    row = json.loads(mini[0].to_json())
    row["sources"][1]["snr_db"] = 1e300
    (tmp_path / "m.json").write_text(json.dumps([row]))
    found = compute_statistics(tmp_path / "m.json")
    assert max(found.snr_db) > 1e15 and min(found.snr_db) > -100
