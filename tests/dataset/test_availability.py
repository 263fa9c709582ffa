"""``load_dataset("hive", available_only=...)``: exactly the mixtures that can be rendered, told without audio."""

import shutil
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from datasets import load_dataset

from hive_datasets import (
    MetadataUnavailableError,
    SourceRootError,
    UnreadableSourceWarning,
    verify_sources,
)
from hive_datasets.verification.report import write_usable_mixtures


def ids(rows):
    return [row["mix_id"] for row in rows]


@pytest.fixture
def load(shared, tmp_path):
    def load(roots, streaming=True, available_only=True, **options):
        return load_dataset(
            "hive",
            data_dir=str(shared / "mini" / "hub"),
            dataset_paths=roots,
            available_only=available_only,
            streaming=streaming,
            cache_dir=str(tmp_path / "cache"),
            **{"split": "train", **options},
        )

    return load


@pytest.fixture
def incomplete(copy, mini):
    """A copy that lacks files, and the train mixtures that it has all sources of."""
    paths = sorted({source.path for recipe in mini for source in recipe.sources})
    gone = set(paths[::7])
    for path in gone:
        (copy / path).unlink()
    train = [recipe for recipe in mini if recipe.split == "train"]
    there = [recipe.mix_id for recipe in train if not gone & {source.path for source in recipe.sources}]
    assert 0 < len(there) < len(train)
    return copy, there


@pytest.mark.parametrize("streaming", [True, False])
def test_only_mixtures_whose_sources_are_there(load, incomplete, streaming, monkeypatch):
    copy, there = incomplete
    with monkeypatch.context() as patch:
        patch.setattr(soundfile, "SoundFile", None)  # no audio is read to tell
        patch.setattr("hive_datasets.mixing.reading._SourceFile", None)
        found = load(copy, streaming)
        assert ids(found.decode(False) if streaming else found.select_columns("mix_id")) == there
    assert [row["mixture"]["mix"].shape for row in found] == [(176400,)] * len(there)


def test_what_is_available_is_not_cached(load, copy, incomplete, tmp_path):
    """A table loaded once serves every machine, and the same one when its corpora are complete."""
    _, there = incomplete
    assert len(load(copy, streaming=False)) == len(there)
    for file in (copy / "ESC-50-master").rglob("*.wav"):
        file.unlink()
    assert len(load(copy, streaming=False)) < len(there)
    assert len(load(copy, streaming=False, available_only=False)) == 48
    assert len(list((tmp_path / "cache" / "hive").iterdir())) == 1


def test_with_other_filters_configurations_and_splits(load, incomplete, mini):
    copy, there = incomplete
    for streaming in (True, False):
        found = load(copy, streaming, name="3mix", labels=["Rain", "Bark", "Clock"])
        expected = [
            recipe.mix_id
            for recipe in mini
            if recipe.mix_id in there
            and recipe.split == "train"
            and recipe.num_sources == 3
            and {"Rain", "Bark", "Clock"} & set(recipe.labels)
        ]
        assert sorted(ids(found.decode(False) if streaming else found.select_columns("mix_id"))) == sorted(expected)
        assert expected
    splits = load(copy, split=None)
    assert {split: len(list(stream.decode(False))) for split, stream in splits.items()}["train"] == len(there)


def test_shuffling_sharding_and_workers(load, incomplete):
    torch = pytest.importorskip("torch")
    copy, there = incomplete
    stream = load(copy).decode(False).shuffle(seed=0, buffer_size=10)
    assert sorted(ids(stream)) == sorted(there)
    shards = [load(copy).decode(False).shard(4, index) for index in range(4)]
    assert sorted(mix_id for shard in shards for mix_id in ids(shard)) == sorted(there)
    loader = torch.utils.data.DataLoader(load(copy), batch_size=None, num_workers=2)
    assert sorted(ids(loader)) == sorted(there)


@pytest.mark.parametrize("streaming", [True, False])
def test_what_verification_found_counts(load, damaged, mini, shared, streaming):
    copy, _ = damaged
    before = len(list(load(copy).decode(False)))
    result = verify_sources(shared / "mini" / "hub", copy, check="decode")
    usable = [row["mix_id"] for row in result.usable_mixtures().to_pylist() if row["split"] == "train"]
    found = load(copy, streaming)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of variants
        rows = list(found)
        assert all(np.isfinite(row["mixture"]["mix"]).all() for row in rows)
    assert sorted(ids(rows)) == sorted(usable)
    assert len(rows) < before


@pytest.mark.parametrize("streaming", [True, False])
def test_a_list_made_on_another_machine(load, incomplete, shared, tmp_path, streaming):
    copy, there = incomplete
    write_usable_mixtures(verify_sources(shared / "mini" / "hub", copy), tmp_path / "usable.parquet")
    shutil.rmtree(copy)
    found = load(None, streaming, available_only=tmp_path / "usable.parquet")
    assert ids(found.decode(False) if streaming else found.select_columns("mix_id")) == there


def test_ids_count_only_in_their_split(load, tmp_path):
    """mix_ids begin anew in each split."""
    rows = [{"split": "test", "mix_id": "sample_00000000"}, {"split": "train", "mix_id": "sample_00000003"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "usable.parquet")
    assert ids(load(None, available_only=tmp_path / "usable.parquet").decode(False)) == ["sample_00000003"]
    pq.write_table(
        pa.Table.from_pylist(rows[:0], pa.schema([("split", pa.string()), ("mix_id", pa.string())])), tmp_path / "none"
    )
    with pytest.raises(MetadataUnavailableError, match=r"none of 48 mixtures can be rendered here\. hive-"):
        load(None, available_only=tmp_path / "none")
    with pytest.raises(MetadataUnavailableError, match="no mixture of split 'train' can be rendered here"):
        load(None, streaming=False, available_only=tmp_path / "none")


def test_a_laptop_with_three_corpora(load, corpora, mini):
    """Corpora that are not configured are no fault; one that is, and is not there, is said."""
    roots = {name: str(corpora / name) for name in ("ESC-50-master", "FSD50K", "SoundBible")}
    expected = [
        recipe.mix_id
        for recipe in mini
        if recipe.split == "train" and all(source.path.split("/")[0] in roots for source in recipe.sources)
    ]
    assert ids(load(roots).decode(False)) == expected
    assert expected
    with pytest.warns(UnreadableSourceWarning, match="sources of DCASE2024_T9 is available: .*/no/such/folder"):
        assert ids(load({**roots, "DCASE_real": "/no/such/folder"}).decode(False)) == expected


def test_mistakes_are_told_at_once(load, tmp_path, corpora):
    with pytest.raises(SourceRootError, match="no source roots are configured"):
        load(None)
    with pytest.raises(MetadataUnavailableError, match=r"nowhere\.parquet does not exist"):
        load(corpora, available_only=tmp_path / "nowhere.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(MetadataUnavailableError, match=r"no list of usable mixtures: it has the columns a"):
        load(corpora, available_only=str(tmp_path / "other.parquet"))
    with pytest.raises(TypeError, match="True, False or the path of a list, not 5"):
        load(corpora, available_only=5)


def test_a_replaced_file_is_available_again(load, copy, shared, mini):
    path = next(s.path for r in mini if r.split == "train" for s in r.sources)
    data = (copy / path).read_bytes()
    (copy / path).write_bytes(b"broken")
    verify_sources(shared / "mini" / "hub", copy, check="header")
    assert len(ids(load(copy).decode(False))) < 48
    (copy / path).write_bytes(data)
    assert len(ids(load(copy).decode(False))) == 48
