"""Prepared sources, read: the samples of the originals, or a word that they are not."""

import pickle
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hive_datasets import (
    MetadataUnavailableError,
    Mixer,
    Mixture,
    PreparedSources,
    PreparedSourcesError,
    PreparedSourcesWarning,
    SourceNotFoundError,
    SourceRootError,
    SourceUnreachableError,
    Subset,
    load_dataset,
    prepare_sources,
)
from hive_datasets.prepared.store import find_prepared, open_prepared
from hive_datasets.utils.files import cache_folder
from tests.copies import own
from tests.file_server import FileServer

STEP = 2.0**-15


def shards(folder):
    return sorted(folder.glob("shard-*.arrow"))


def flip(file, position):
    with open(file, "r+b") as stream:
        stream.seek(position)
        byte = stream.read(1)[0]
        stream.seek(position)
        stream.write(bytes([byte ^ 255]))


def first_of_train(mini):
    return next(recipe for recipe in mini if recipe.split == "train")


def damage_samples(folder):
    """Flip a byte in the middle of the samples of every clip."""
    index = PreparedSources(folder).index
    for row in range(len(index)):
        entry = index.entry(row)
        name, _, sample_type = index.shards[entry.shard]
        width = int(sample_type[-2:]) // 8
        for sample in range(0, entry.num_samples, 20_000):
            flip(folder / name, entry.samples_offset + sample * width)


def test_every_mixture_is_that_of_the_originals_to_a_step(mini, mini_mixes, prepared):
    """And the originals are not looked at."""
    mixer = Mixer({"ESC50": "/nowhere"}, prepared=prepared)
    for recipe, expected in zip(mini, mini_mixes, strict=True):
        rendered = mixer(recipe)
        assert np.abs(rendered["mix"] - expected).max() <= STEP
        assert np.abs(rendered["sources"].sum(0) - rendered["mix"]).max() <= 1e-6


def test_stems_are_those_of_the_originals(mini, corpora, prepared):
    for stems in ("scaled", "unscaled"):
        ours, theirs = Mixer(prepared=prepared, stems=stems), Mixer(corpora, stems=stems)
        for recipe in mini[::5]:
            factor = recipe.global_normalization_factor
            limit = STEP * max(1, 1 / factor if stems == "unscaled" else 1)
            assert np.abs(ours(recipe)["sources"] - theirs(recipe)["sources"]).max() <= limit


def test_16_bit_sources_at_their_own_rate_are_exact(mini, corpora, prepared):
    ours, theirs = Mixer(prepared=prepared), Mixer(corpora)
    exact = [recipe for recipe in mini if all(source.path.startswith("ESC-50") for source in recipe.sources)]
    assert len(exact) == 5
    for recipe in exact:
        np.testing.assert_allclose(ours(recipe)["sources"], theirs(recipe)["sources"], atol=1e-7)


@pytest.mark.parametrize("rate", [16000, 48000])
@pytest.mark.parametrize("only_crops", [False, True])
def test_other_rates(corpora, shared, tmp_path, rate, only_crops):
    some = Subset(shared / "mini" / "hub", splits=["test"])
    prepare_sources(some, tmp_path, dataset_paths=corpora, sampling_rate=rate, only_crops=only_crops)
    options = {"sampling_rate": rate, "alignment": "own"}
    ours, theirs = Mixer(prepared=tmp_path, **options), Mixer(corpora, **options)
    assert max(np.abs(ours(recipe)["mix"] - theirs(recipe)["mix"]).max() for recipe in some.recipes()) <= STEP


def test_floats_are_those_of_the_originals(mini, mini_mixes, corpora, shared, tmp_path):
    some = Subset(shared / "mini" / "hub", splits=["train"], limit=10)
    prepare_sources(some, tmp_path, dataset_paths=corpora, sample_type="float32")
    mixer = Mixer(prepared=tmp_path)
    train = [(recipe, mix) for recipe, mix in zip(mini, mini_mixes, strict=True) if recipe.split == "train"]
    for recipe, expected in train[:10]:
        np.testing.assert_allclose(mixer(recipe)["mix"], expected, atol=1e-6)


def test_half_floats_are_served_as_coarse_as_they_are(mini, mini_mixes, corpora, shared, tmp_path):
    some = Subset(shared / "mini" / "hub", splits=["train"], limit=10)
    prepare_sources(some, tmp_path, dataset_paths=corpora, sample_type="float16")
    mixer = Mixer({}, prepared=tmp_path)
    train = [(recipe, mix) for recipe, mix in zip(mini, mini_mixes, strict=True) if recipe.split == "train"]
    for recipe, expected in train[:10]:
        assert np.abs(mixer(recipe)["mix"] - expected).max() <= 20 * STEP


def test_what_is_lacking_is_read_from_the_originals(mini, mini_mixes, corpora, shared, tmp_path):
    result = prepare_sources(Subset(shared / "mini" / "hub", limit=5), tmp_path, dataset_paths=corpora)
    assert 0 < result.clips < 58
    mixer = Mixer(corpora, prepared=tmp_path)
    for recipe, expected in zip(mini, mini_mixes, strict=True):
        assert np.abs(mixer(recipe)["mix"] - expected).max() <= STEP
    alone = Mixer({}, prepared=tmp_path)
    alone(first_of_train(mini))
    with pytest.raises(SourceRootError, match=f"mixture .*Nor can it be read from the prepared sources in {tmp_path}"):
        [alone(recipe) for recipe in mini]


def test_errors_say_that_neither_has_it(mini, copy, shared, tmp_path):
    prepare_sources(Subset(shared / "mini" / "hub", limit=1), tmp_path / "p", dataset_paths=copy)
    for file in copy.rglob("*.wav"):
        file.unlink()
    mixer = Mixer(copy, prepared=tmp_path / "p")
    with pytest.raises(SourceNotFoundError, match=r"cannot be read from .* Nor can it be read from the prepared"):
        [mixer(recipe) for recipe in mini]


def test_a_crop_outside_of_what_was_prepared_is_lacking(mini, corpora, tmp_path):
    recipe = next(recipe for recipe in mini if recipe.sources[0].crop_start_second > 0.1)
    source, length = recipe.sources[0], int(recipe.target_duration * 44100)
    (tmp_path / "one.json").write_text(recipe.to_json())
    prepare_sources(tmp_path / "one.json", tmp_path / "p", dataset_paths=corpora, only_crops=True)
    prepared = PreparedSources(tmp_path / "p")
    assert prepared.find(source, length)
    assert not prepared.find(replace(source, crop_start_second=source.crop_start_second - 0.1), length)
    assert not prepared.find(replace(source, chunk_start_second=source.chunk_start_second + 1e-9), length)


def test_damaged_samples_are_never_served(mini, mini_mixes, corpora, prepared_copy):
    damage_samples(prepared_copy)
    mixer = Mixer(corpora, prepared=prepared_copy)
    with pytest.warns(PreparedSourcesWarning, match=r"is damaged.*hive-datasets prepare --verify"):
        mixes = [mixer(recipe)["mix"] for recipe in mini]
    for mix, expected in zip(mixes, mini_mixes, strict=True):
        np.testing.assert_array_equal(mix, expected)
    with warnings.catch_warnings():  # once a file
        warnings.simplefilter("error")
        mixer(mini[0])


def test_each_page_is_compared_with_its_checksum_once(mini, corpora, shared, tmp_path, monkeypatch):
    import hive_datasets.prepared.store as store

    compared = []
    checksums = store.checksums

    def count(*arguments):
        sums = checksums(*arguments)
        compared.append(len(sums))
        return sums

    monkeypatch.setattr(store, "checksums", count)
    train = [recipe for recipe in mini if recipe.split == "train"]
    number, source = next((n, s) for n, r in enumerate(train) for s in r.sources if s.chunk_end_second >= 9.9)
    prepare_sources(
        Subset(shared / "mini" / "hub", splits=["train"], limit=number + 1), tmp_path, dataset_paths=corpora
    )
    prepared = PreparedSources(tmp_path)
    out = np.empty(44100, np.float32)
    for crop, pages in ((0.0, [1]), (0.0, []), (7.6, [1]), (7.6, []), (0.0, [])):
        compared.clear()
        part = replace(source, crop_start_second=crop, crop_end_second=crop + 1.0)
        prepared.read(prepared.find(part, len(out)), 1.0, out)
        assert compared == pages


def test_damaged_samples_without_originals_are_an_error(mini, corpora, shared, tmp_path):
    first = Subset(shared / "mini" / "hub", splits=[mini[0].split], limit=1)
    prepare_sources(first, tmp_path, dataset_paths=corpora)
    damage_samples(tmp_path)
    with pytest.warns(PreparedSourcesWarning), pytest.raises(SourceRootError, match="no source roots"):
        Mixer(prepared=tmp_path)(mini[0])


def test_a_replaced_original_makes_its_clips_stale(mini, copy, prepared_copy, corpora):
    source = mini[0].sources[0]
    frames, rate = soundfile.read(copy / source.path)
    soundfile.write(own(copy / source.path), np.concatenate([frames, frames]) * 0.5, rate, subtype="PCM_16")
    with pytest.warns(PreparedSourcesWarning, match=r"is stale: the original had \d+ bytes.*Run hive-datasets prepare"):
        rendered = Mixer(copy, prepared=prepared_copy)(mini[0])
    np.testing.assert_array_equal(rendered["mix"], Mixer(copy)(mini[0])["mix"])


@pytest.mark.parametrize("break_it", ["remove", "cut", "grow"])
def test_a_shard_that_is_missing_or_of_another_size_is_told_at_once(prepared_copy, break_it):
    file = shards(prepared_copy)[1]
    data = file.read_bytes()
    file.unlink()
    if break_it != "remove":
        file.write_bytes(data[:1000] if break_it == "cut" else data + b"0")
    with pytest.raises(
        PreparedSourcesError, match=f"{file.name} (is missing|has .* bytes).*hive-datasets prepare again"
    ):
        Mixer(prepared=prepared_copy)


@pytest.mark.parametrize("seed", range(40))
def test_an_index_or_shard_with_one_wrong_bit_is_never_served(mini, mini_mixes, corpora, prepared_copy, seed):
    """Wherever it is: an error at once, or the samples of the originals."""
    random = np.random.default_rng(seed)
    file = prepared_copy / "index.arrow" if seed % 2 else shards(prepared_copy)[0]
    data = bytearray(file.read_bytes())
    position = random.integers(len(data) - 9000 if seed % 4 == 0 else 0, len(data))
    data[position] ^= 1 << random.integers(8)
    file.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PreparedSourcesWarning)
        try:
            mixer = Mixer(corpora, prepared=prepared_copy)
        except PreparedSourcesError as error:
            assert "hive-datasets prepare again" in str(error) or "this version reads" in str(error)
            return
        for recipe, expected in zip(mini[:12], mini_mixes, strict=False):
            assert np.abs(mixer(recipe)["mix"] - expected).max() <= STEP


def test_what_is_too_coarse_for_a_mixture_is_read_from_the_original(mini, corpora, tmp_path):
    """Of other metadata than was prepared for, with larger gains."""
    recipe = next(r for r in mini if any("freesound" in source.path.lower() for source in r.sources))
    (tmp_path / "one.json").write_text(recipe.to_json())
    prepare_sources(tmp_path / "one.json", tmp_path / "p", dataset_paths=corpora)
    louder = replace(recipe, sources=tuple(replace(s, applied_weight=s.applied_weight * 40) for s in recipe.sources))
    message = r"read from the original: for mixture .* it is stored too coarsely"
    with pytest.warns(PreparedSourcesWarning, match=message):
        ours = Mixer(corpora, prepared=tmp_path / "p")(louder)
    assert np.abs(ours["mix"] - Mixer(corpora)(louder)["mix"]).max() <= STEP
    alone = Mixer({}, prepared=tmp_path / "p")
    alone(recipe)
    with pytest.raises(SourceRootError, match=f"mixture {recipe.mix_id}"):
        alone(louder)


@pytest.mark.parametrize("loss", ["remove", "empty", "cut"])
def test_a_shard_that_is_lost_while_it_is_open(mini, mini_mixes, corpora, prepared_copy, loss):
    mixer = Mixer(corpora, prepared=prepared_copy)
    for file in shards(prepared_copy):
        data = file.read_bytes()
        file.unlink()
        if loss != "remove":
            file.write_bytes(b"" if loss == "empty" else data[:1000])
    with pytest.warns(PreparedSourcesWarning, match="cannot be read any more"):
        np.testing.assert_array_equal(mixer(mini[0])["mix"], mini_mixes[0])
    recipe = next(r for r in mini if any("freesound" in source.path.lower() for source in r.sources))
    louder = replace(recipe, sources=tuple(replace(s, applied_weight=s.applied_weight * 40) for s in recipe.sources))
    with pytest.warns(PreparedSourcesWarning, match="cannot be read any more"):
        np.testing.assert_array_equal(mixer(louder)["mix"], Mixer(corpora)(louder)["mix"])


def test_paths_may_be_relative_or_of_home(prepared_copy, monkeypatch):
    monkeypatch.setenv("HOME", str(prepared_copy.parent))
    monkeypatch.chdir(prepared_copy.parent)
    opened = [find_prepared(name) for name in ("~/prepared", "prepared", str(prepared_copy))]
    assert len(set(map(id, opened))) == 1
    data = pickle.dumps(opened[1])
    monkeypatch.chdir("/")
    assert pickle.loads(data) is opened[0]


def test_no_prepared_sources(tmp_path, prepared_copy):
    with pytest.raises(PreparedSourcesError, match=r"no prepared sources in .*hive-datasets prepare makes them"):
        Mixer(prepared=tmp_path / "nothing")
    (prepared_copy / "index.arrow").write_bytes(b"this is no index")
    with pytest.raises(PreparedSourcesError, match=r"index\.arrow is no index"):
        Mixer(prepared=prepared_copy)


def test_of_another_layout(prepared_copy, monkeypatch):
    monkeypatch.setattr("hive_datasets.prepared.index.LAYOUT", 2)
    with pytest.raises(PreparedSourcesError, match="layout 1, and this version reads 2"):
        PreparedSources(prepared_copy)


def test_another_rate_is_read_from_the_originals_with_a_warning(mini, corpora, prepared):
    open_prepared.__globals__["_open_prepared"].cache_clear()
    options = {"sampling_rate": 16000, "alignment": "own"}
    mixer = Mixer(corpora, prepared=prepared, **options)
    with pytest.warns(PreparedSourcesWarning, match="is prepared for 44100 Hz, not 16000: the originals are read"):
        rendered = mixer(mini[0])
    np.testing.assert_array_equal(rendered["mix"], Mixer(corpora, **options)(mini[0])["mix"])


def test_the_environment_names_them(mini, prepared, monkeypatch):
    monkeypatch.setenv("HIVE_PREPARED", str(prepared))
    assert Mixer()(mini[0])["mix"].any()
    with pytest.raises(SourceRootError):
        Mixer(prepared=False)(mini[0])
    monkeypatch.setenv("HIVE_PREPARED", "/nowhere")
    with pytest.raises(PreparedSourcesError):
        Mixer()(mini[0])


def test_they_are_opened_once_and_anew_when_there_are_more(corpora, shared, tmp_path):
    options = {"dataset_paths": corpora}
    prepare_sources(Subset(shared / "mini" / "hub", limit=3), tmp_path, **options)
    before = find_prepared(tmp_path)
    assert find_prepared(str(tmp_path)) is before
    prepare_sources(Subset(shared / "mini" / "hub", limit=6), tmp_path, **options)
    assert len(find_prepared(tmp_path)) > len(before)


def test_a_pickle_is_their_folder(mini, prepared):
    mixer = Mixer(prepared=prepared)
    expected = mixer(mini[0])["mix"]
    data = pickle.dumps(mixer)
    assert len(data) < 50_000
    np.testing.assert_array_equal(pickle.loads(data)(mini[0])["mix"], expected)


def load(shared, **options):
    return load_dataset("hive", data_dir=str(shared / "mini" / "hub"), split="train", **options)


def test_load_dataset_reads_them(shared, mini, mini_mixes, prepared, cache):
    by_id = {(r.split, r.mix_id): mix for r, mix in zip(mini, mini_mixes, strict=True)}
    for dataset in (
        load(shared, streaming=True, prepared=prepared),
        load(shared, cache_dir=cache, prepared=str(prepared)),
        load(shared, streaming=True, prepared=prepared).cast_column("mixture", Mixture(on_error="skip")),
    ):
        for row in dataset:
            assert np.abs(row["mixture"]["mix"] - by_id["train", row["mix_id"]]).max() <= STEP


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_in_dataloader_workers(shared, mini, mini_mixes, prepared, context):
    torch = pytest.importorskip("torch")
    by_id = {(r.split, r.mix_id): mix for r, mix in zip(mini, mini_mixes, strict=True)}
    stream = load(shared, streaming=True, prepared=prepared)
    loader = torch.utils.data.DataLoader(stream, batch_size=None, num_workers=2, multiprocessing_context=context)
    seen = set()
    for row in loader:
        seen.add(row["mix_id"])
        assert np.abs(np.asarray(row["mixture"]["mix"]) - by_id["train", row["mix_id"]]).max() <= STEP
    assert len(seen) == 48


def test_mapping_in_processes(shared, prepared, cache):
    dataset = load(shared, cache_dir=cache, prepared=prepared)
    peaks = dataset.map(lambda row: {"peak": float(np.abs(row["mixture"]["mix"]).max())}, num_proc=2)["peak"]
    np.testing.assert_allclose(peaks, 0.95, atol=1e-3)


def test_they_are_no_part_of_the_cached_table(shared, corpora, prepared, cache):
    with_them = load(shared, cache_dir=cache, prepared=prepared)
    without = load(shared, cache_dir=cache, dataset_paths=corpora)
    assert with_them.cache_files == without.cache_files
    for file in with_them.cache_files:
        assert str(prepared).encode() not in Path(file["filename"]).read_bytes()
    assert str(prepared) not in repr(with_them.features)


def test_available_are_the_mixtures_that_they_hold(shared, corpora, tmp_path, cache):
    subset = Subset(shared / "mini" / "hub", num_sources=2, splits=["train"])
    prepare_sources(subset, tmp_path / "p", dataset_paths=corpora)
    expected = {row["mix_id"] for row in load(shared, streaming=True, num_sources=2).decode(False)}
    options = {"available_only": True, "prepared": tmp_path / "p"}
    streamed = list(load(shared, streaming=True, **options))
    loaded = load(shared, cache_dir=cache, **options)
    assert expected <= {row["mix_id"] for row in streamed} == set(loaded["mix_id"])
    assert len(streamed) < 48
    assert all(row["mixture"]["mix"].any() for row in streamed)
    # together with what the roots hold
    some = {"ESC50": str(corpora / "ESC-50-master")}
    both = {row["mix_id"] for row in load(shared, streaming=True, dataset_paths=some, **options).decode(False)}
    alone = load(shared, streaming=True, dataset_paths=some, available_only=True).decode(False)
    assert both >= expected | {row["mix_id"] for row in alone}
    # of another rate they hold nothing
    open_prepared.__globals__["_open_prepared"].cache_clear()
    with (
        pytest.warns(PreparedSourcesWarning, match="is prepared for 44100 Hz, not 16000"),
        pytest.raises(MetadataUnavailableError, match="no mixture of split 'train' can be rendered here"),
    ):
        load(shared, cache_dir=cache, sampling_rate=16000, alignment="own", **options)
    assert len(load(shared, cache_dir=cache, sampling_rate=16000, **options)) == len(streamed)


def test_what_they_lack_is_skipped_without_roots(shared, corpora, tmp_path):
    subset = Subset(shared / "mini" / "hub", num_sources=2, splits=["train"])
    prepare_sources(subset, tmp_path / "p", dataset_paths=corpora)
    with pytest.warns(UserWarning, match="skipp"):
        kept = list(load(shared, streaming=True, prepared=tmp_path / "p", on_error="skip"))
    available = load(shared, streaming=True, prepared=tmp_path / "p", available_only=True).decode(False)
    assert [row["mix_id"] for row in kept] == [row["mix_id"] for row in available]


def test_prepared_must_be_a_place():
    with pytest.raises(ValueError, match="prepared must be a folder or a URL"):
        Mixer(prepared=True)


def test_the_demo_has_none(demo, tmp_path, monkeypatch):
    monkeypatch.setenv("HIVE_PREPARED", str(tmp_path))
    assert next(iter(load_dataset("hive", "demo", split="train", streaming=True)))["mixture"]["mix"].any()


@pytest.mark.parametrize("listing", [True, False])
def test_behind_a_url(mini, mini_mixes, prepared, listing):
    with FileServer(prepared, listing=listing) as server:
        mixer = Mixer(prepared=server.url)
        for recipe, expected in zip(mini[:20], mini_mixes, strict=False):
            assert np.abs(mixer(recipe)["mix"] - expected).max() <= STEP
        again = len(server.requests)
        mixer(mini[0])
        assert len(server.requests) == again  # from the cache of blocks
        assert all(span for method, path, span in server.requests if path.startswith("/shard") and method == "GET")


def test_the_index_behind_a_url_is_fetched_once_for_each_version(s3, prepared_copy):
    s3.put(str(prepared_copy), "hive/prepared", recursive=True)
    first = PreparedSources("s3://hive/prepared")
    folder = cache_folder("prepared")
    fetched = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert len(PreparedSources("s3://hive/prepared")) == len(first)
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == fetched
    with s3.open("hive/prepared/index.arrow", "wb") as stream:
        stream.write(b"another version")
    with pytest.raises(PreparedSourcesError, match="is no index"):
        PreparedSources("s3://hive/prepared")


def test_on_s3(mini, mini_mixes, s3, prepared):
    s3.put(str(prepared), "hive/whole", recursive=True)
    s3.pipe("hive/whole/zold/shard-00000.arrow", b"something else in a folder of it")
    mixer = Mixer(prepared="s3://hive/whole")
    for recipe, expected in zip(mini[:10], mini_mixes, strict=False):
        assert np.abs(mixer(recipe)["mix"] - expected).max() <= STEP


def test_behind_a_url_that_breaks(mini, mini_mixes, corpora, prepared):
    with FileServer(prepared) as server:
        mixer = Mixer(corpora, prepared=server.url)
        server.broken_from = 0
        with pytest.raises(SourceUnreachableError, match=f"{server.url} cannot be reached"):
            mixer(mini[30])
        server.broken_from = None
        np.testing.assert_allclose(mixer(mini[30])["mix"], mini_mixes[30], atol=STEP)
    with pytest.raises(PreparedSourcesError, match="no prepared sources at http"):
        PreparedSources("http://127.0.0.1:9/nothing")


def test_behind_a_url_a_shard_is_missing(prepared_copy):
    shards(prepared_copy)[0].unlink()
    with (
        FileServer(prepared_copy) as server,
        pytest.raises(PreparedSourcesError, match=r"shard-00000\.arrow is missing"),
    ):
        PreparedSources(server.url)
