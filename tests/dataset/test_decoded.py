"""Rows render when their samples are asked for, and nothing else does."""

import copy
import pickle

import datasets
import numpy as np
import pytest
from datasets import load_dataset
from packaging.version import parse

from hive_datasets import Mixer, Mixture, SourceRootError, parse_recipe, skip_unreadable
from hive_datasets.dataset.decoded import KEYS


@pytest.fixture
def rendered(monkeypatch):
    """The ids of the mixtures that are rendered, as they are."""
    ids, call = [], Mixer.__call__

    def counting(self, recipe):
        ids.append(recipe.mix_id)
        return call(self, recipe)

    monkeypatch.setattr(Mixer, "__call__", counting)
    return ids


@pytest.fixture
def stream(demo):
    return load_dataset("hive", "demo", split="train", streaming=True)


@pytest.fixture
def table(demo, cache):
    return load_dataset("hive", "demo", split="train", cache_dir=cache)


@pytest.fixture
def mixture(stream):
    return next(iter(stream))["mixture"]


def test_samples_are_rendered_once_and_when_they_are_asked_for(stream, rendered, demo):
    rows = list(stream)
    assert not rendered
    mix, sources = rows[3]["mixture"]["mix"], rows[3]["mixture"]["sources"]
    assert rendered == [rows[3]["mix_id"]]
    expected = Mixer(demo / "sources")(parse_recipe(rows[3]["mixture"]["recipe"]))
    np.testing.assert_array_equal(mix, expected["mix"])
    np.testing.assert_array_equal(sources, expected["sources"])
    assert rows[3]["mixture"]["mix"] is mix


def test_what_the_recipe_says_renders_nothing(stream, rendered):
    for options in ({}, {"sampling_rate": 16000}):
        row = next(iter(stream.cast_column("mixture", Mixture(**options))))
        mixture = row["mixture"]
        known = {key: mixture[key] for key in ("sampling_rate", "num_samples", "labels")}
        assert (parse_recipe(mixture["recipe"]).mix_id, known["labels"]) == (row["mix_id"], row["labels"])
        assert tuple(mixture) == KEYS and len(mixture) == len(KEYS) and "mix" in mixture and "mixes" not in mixture
        assert "rendered=False" in repr(mixture)
        assert not rendered
        assert (known["sampling_rate"], known["num_samples"]) == (mixture["sampling_rate"], len(mixture["mix"]))
        assert "rendered=True" in repr(mixture)
        assert len(rendered) == 1
        rendered.clear()


def is_pair(row):
    return row["num_sources"] == 2 and row["mixture"]["num_samples"] > 0


def test_choosing_rows_renders_none(stream, table, rendered):
    assert table.filter(is_pair).num_rows == 6
    assert [row["mix_id"] for row in stream.remove_columns("mixture")] == table["mix_id"][:]
    assert [row["mix_id"] for row in table.remove_columns("mixture")] == table["mix_id"][:]
    assert len(list(stream.map(lambda row: {"first": row["labels"][0]}))) == 24
    assert table.map(lambda row: {"first": row["labels"][0]}).num_rows == 24
    assert not rendered


@pytest.mark.skipif(parse(datasets.__version__) < parse("4.8.5"), reason="filter hands on what is stored before 4.8.5")
def test_what_a_filter_leaves_is_rendered_when_asked_for(stream, rendered):
    kept = list(stream.filter(is_pair))
    assert len(kept) == 6 and not rendered
    assert all(row["mixture"]["mix"].any() for row in kept)
    assert rendered == [row["mix_id"] for row in kept]


def test_threads_and_skipping_render_ahead(stream, rendered):
    """What is decoded in threads is rendered there, and only rendering tells whether a row is to be skipped."""
    for ahead in (stream.decode(num_threads=2), skip_unreadable(stream)):
        rendered.clear()
        assert all("rendered=True" in repr(row["mixture"]) for row in ahead.take(4))
        assert len(rendered) >= 4


def test_workers_hand_on_what_they_have_rendered(stream, rendered):
    data = pytest.importorskip("torch.utils.data")
    rows = list(data.DataLoader(stream.take(2), batch_size=None, num_workers=1, collate_fn=lambda row: row))
    assert [type(row["mixture"]) for row in rows] == [dict, dict]
    assert rows[1]["mixture"]["mix"].any()
    assert not rendered  # here


def test_collated_as_a_dict(stream):
    data = pytest.importorskip("torch.utils.data")
    rows = stream.filter(lambda row: row["num_sources"] == 2).remove_columns("labels")
    (batch,) = data.DataLoader(rows.take(2), batch_size=2)
    assert tuple(batch["mixture"]["mix"].shape) == (2, 176400)
    assert tuple(batch["mixture"]["sources"].shape) == (2, 2, 176400)


@pytest.mark.parametrize(
    "as_dict",
    [
        dict,
        copy.copy,
        copy.deepcopy,
        lambda mixture: mixture.copy(),
        lambda mixture: {**mixture},
        lambda mixture: mixture | {},
        lambda mixture: {} | mixture,
        lambda mixture: dict(mixture.items()),
        lambda mixture: dict(zip(mixture.keys(), mixture.values(), strict=True)),
        lambda mixture: pickle.loads(pickle.dumps(mixture)),
    ],
)
def test_every_way_to_a_plain_dict_takes_all(mixture, as_dict):
    plain = as_dict(mixture)
    assert type(plain) is dict and tuple(plain) == KEYS
    np.testing.assert_array_equal(plain["sources"].sum(0), mixture["sources"].sum(0))
    np.testing.assert_array_equal(plain["mix"], mixture["mix"])


def test_it_can_be_changed_as_a_dict(mixture, rendered):
    mixture["mix"] = "mine"
    del mixture["labels"]
    mixture.update(extra=1)
    assert not rendered
    assert mixture["sources"].any()
    assert (mixture["mix"], mixture.pop("extra"), mixture.get("labels", "none")) == ("mine", 1, "none")
    assert tuple(mixture) == ("mix", "sources", "sampling_rate", "num_samples", "recipe")
    with pytest.raises(KeyError):
        mixture["labels"]


def test_a_row_that_cannot_be_rendered_ends_no_stream(stream, tmp_path):
    rows = list(stream.cast_column("mixture", Mixture(dataset_paths={"AudioSet": tmp_path})))
    assert len(rows) == 24
    with pytest.raises(SourceRootError, match=rows[5]["mix_id"]):
        rows[5]["mixture"]["mix"]
