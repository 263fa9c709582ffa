import contextlib
import json
import tarfile
import threading
from dataclasses import replace

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from hive_datasets import Mixer, RecipeError, SourceNotFoundError, SourceRootError, Subset, parse_recipe, write_mixtures
from hive_datasets.errors import OutputError, SourceError
from hive_datasets.export import write as write_module
from hive_datasets.export.samples import Skipped
from hive_datasets.export.shard import ShardWriter
from tests.copies import own
from tests.export.shards import by_id, contents_of, read_audio, read_tar, shards_of, write_metadata
from tests.reference import render_mixture

STEP = 1 / 32768


def test_the_authors_layout(tars, brief, corpora):
    """Every sample of every tar, against the slow reference."""
    folder, result = tars
    recipes = by_id(brief)
    assert (result.mixtures, result.kept, result.skipped, result.others) == (64, 0, (), ())
    assert result.num_bytes == sum(file.stat().st_size for file in shards_of(folder).values())
    assert len(shards_of(folder)) == result.shards == 20  # 3 of each number of sources for training, 1 of the others
    for name, file in shards_of(folder).items():
        split, group, tar = name.split("/")
        assert tar.startswith("tar_0000")
        for mix_id, sample in read_tar(file).items():
            recipe = recipes.pop((split, mix_id))
            assert group == f"{recipe.num_sources}mix"
            facts = json.loads(sample["json"])
            assert facts["mix_id"] == mix_id
            assert (facts["speaker_num"], facts["sample_rate"], facts["stems"]) == (recipe.num_sources, 44100, "scaled")
            assert facts["labels"] == recipe.labels
            assert parse_recipe(facts["recipe"]) == recipe
            names = [f"s{n}.wav" for n in range(1, recipe.num_sources + 1)]
            assert list(sample) == ["mix.wav", *names, "json"]
            mix, stems = render_mixture(corpora, recipe.to_dict())
            stems = stems * recipe.global_normalization_factor
            for wav, expected in zip(["mix.wav", *names], [mix, *stems], strict=True):
                found, rate = read_audio(sample[wav])
                assert rate == 44100
                assert np.abs(found - expected).max() < 0.5 * STEP + 1e-5
    assert not recipes


def test_members_are_plain_files_of_nobody(tars):
    with tarfile.open(next(iter(shards_of(tars[0]).values()))) as tar:
        for member in tar:
            assert (member.mtime, member.uid, member.uname, member.mode, member.isreg()) == (0, 0, "", 0o644, True)


#: Both leave the files that they read to the garbage collector.
leaves_files_open = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:Exception ignored in")


@leaves_files_open
def test_webdataset_reads_it(tars, brief):
    webdataset = pytest.importorskip("webdataset")
    files = [str(file) for name, file in shards_of(tars[0]).items() if name.startswith("train/3mix")]
    samples = list(webdataset.WebDataset(files, shardshuffle=False, empty_check=False).decode())
    expected = [recipe.mix_id for recipe in brief if (recipe.split, recipe.num_sources) == ("train", 3)]
    assert [sample["__key__"] for sample in samples] == expected
    assert set(samples[0]) >= {"mix.wav", "s1.wav", "s2.wav", "s3.wav", "json"}
    assert samples[0]["json"]["labels"] == by_id(brief)["train", expected[0]].labels


@leaves_files_open
def test_datasets_reads_it(tars, brief, cache):
    files = {"train": str(tars[0] / "train" / "2mix" / "*.tar"), "test": str(tars[0] / "test" / "2mix" / "*.tar")}
    for streaming in (False, True):
        found = datasets.load_dataset("webdataset", data_files=files, cache_dir=cache, streaming=streaming)
        for split in files:
            stream = found[split]
            for name in ("mix.wav", "s1.wav", "s2.wav"):
                stream = stream.cast_column(name, datasets.Audio(decode=False))
            rows = list(stream)
            expected = [recipe for recipe in brief if (recipe.split, recipe.num_sources) == (split, 2)]
            assert [row["json"]["labels"] for row in rows] == [recipe.labels for recipe in expected]
            assert [parse_recipe(row["json"]["recipe"]) for row in rows] == expected
            assert read_audio(rows[0]["mix.wav"]["bytes"])[0].shape == (expected[0].num_samples(44100),)


@pytest.mark.parametrize("to", ["tar", "parquet", "folder"])
def test_worker_counts_do_not_change_a_byte(brief_metadata, corpora, tmp_path, to):
    options = {"to": to, "dataset_paths": corpora, "mixtures_per_shard": 7}
    results = [
        write_mixtures(Subset(brief_metadata, splits=["train"]), tmp_path / f"{n}", num_workers=n, **options)
        for n in (1, 3)
    ]
    assert results[0].num_bytes == results[1].num_bytes
    contents = contents_of(tmp_path / "1")
    assert len(contents) == (8 if to != "folder" else 48 * 2 + sum(range(2, 6)) * 12)
    assert contents == contents_of(tmp_path / "3")


def test_folders_hold_what_tars_hold(brief_metadata, corpora, tars, tmp_path):
    write_mixtures(brief_metadata, tmp_path, to="folder", dataset_paths=corpora, mixtures_per_shard=5)
    found = contents_of(tmp_path)
    expected = {
        f"{name.replace('tar_', '').removesuffix('.tar')}/{mix_id}.{member}": data
        for name, file in shards_of(tars[0]).items()
        for mix_id, sample in read_tar(file).items()
        for member, data in sample.items()
    }
    assert found == expected


def test_parquet_holds_the_audio(brief_metadata, corpora, brief, tmp_path, cache):
    write_mixtures(brief_metadata, tmp_path, to="parquet", dataset_paths=corpora, mixtures_per_shard=5, audio="flac")
    loaded = datasets.load_dataset(str(tmp_path), cache_dir=cache)
    recipes, mixer = by_id(brief), Mixer(corpora)
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 48, "validation": 8, "test": 8}
    for split, rows in loaded.items():
        assert isinstance(rows.features["mixture"], datasets.Audio)
        plain = rows.cast_column("mixture", datasets.Audio(decode=False))
        plain = plain.cast_column("sources", datasets.Sequence(datasets.Audio(decode=False)))
        for row in plain:
            recipe = recipes.pop((split, row["mix_id"]))
            assert parse_recipe(row["recipe"]) == recipe
            assert (row["labels"], row["num_sources"]) == (recipe.labels, recipe.num_sources)
            assert row["snr_db"] == [source.snr_db for source in recipe.sources]
            rendered = mixer(recipe)
            for audio, expected in zip(
                [row["mixture"], *row["sources"]], [rendered["mix"], *rendered["sources"]], strict=True
            ):
                assert audio["path"].endswith(".flac")
                assert np.abs(read_audio(audio["bytes"])[0] - expected).max() <= 0.5 * STEP
    assert not recipes


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"audio": "flac", "subtype": "PCM_24"}, 2**-24),
        ({"subtype": "PCM_24"}, 2**-24),
        ({"subtype": "FLOAT"}, 0),
        ({"subtype": "FLOAT", "stems": "unscaled"}, 0),
        ({"subtype": "FLOAT", "sampling_rate": 16000}, 0),
    ],
)
def test_encodings(brief_metadata, corpora, brief, tmp_path, options, steps):
    result = write_mixtures(Subset(brief_metadata, splits=["test"]), tmp_path, dataset_paths=corpora, **options)
    assert result.clipped_samples == 0
    rate, stems = options.get("sampling_rate"), options.get("stems", "scaled")
    mixer, recipes, suffix = Mixer(corpora, rate, stems), by_id(brief), options.get("audio", "wav")
    for file in shards_of(tmp_path).values():
        for mix_id, sample in read_tar(file).items():
            rendered = mixer(recipes["test", mix_id])
            facts = json.loads(sample["json"])
            assert (facts["sample_rate"], facts["stems"]) == (rate or 44100, stems)
            for name, expected in zip(sample, [rendered["mix"], *rendered["sources"]], strict=False):
                assert name.endswith(suffix)
                found, found_rate = read_audio(sample[name])
                assert found_rate == (rate or 44100)
                assert np.abs(found - expected).max() <= steps


def test_clipping_is_counted(brief, corpora, tmp_path):
    """Unscaled stems may be beyond full scale."""
    recipes = brief[:20]
    file = write_metadata(recipes, tmp_path / "loud.json")
    result = write_mixtures(file, tmp_path / "out", dataset_paths=corpora, stems="unscaled")
    mixer = Mixer(corpora, stems="unscaled")
    counts = []
    for recipe in recipes:
        rendered = mixer(recipe)
        scaled = np.rint(np.concatenate([rendered["mix"], *rendered["sources"]]).astype(np.float64) * 32768)
        counts.append(int(((scaled > 32767) | (scaled < -32768)).sum()))
    assert max(counts) > 100
    assert min(counts) == 0
    assert (result.clipped_samples, result.clipped_mixtures) == (sum(counts), sum(count > 0 for count in counts))
    again = write_mixtures(file, tmp_path / "out", dataset_paths=corpora, stems="unscaled")
    assert (again.kept, again.clipped_samples) == (again.shards, sum(counts))


@pytest.mark.parametrize("options", [{}, {"to": "folder"}, {"subtype": "FLOAT"}, {"sampling_rate": 16000}])
def test_a_dry_run_knows_the_bytes(brief_metadata, corpora, tmp_path, options):
    """To the byte, and without reading audio."""
    subset = Subset(brief_metadata, limit=20)
    (tmp_path / "empty").mkdir()
    told = write_mixtures(subset, tmp_path / "out", dry_run=True, dataset_paths=tmp_path / "empty", **options)
    assert not (tmp_path / "out").exists()
    made = write_mixtures(subset, tmp_path / "out", dataset_paths=corpora, **options)
    assert (told.num_bytes, told.mixtures, told.shards) == (made.num_bytes, made.mixtures, made.shards)
    again = write_mixtures(subset, tmp_path / "out", dry_run=True, dataset_paths=corpora, **options)
    assert (again.num_bytes, again.kept) == (0, made.shards)


@pytest.mark.parametrize("options", [{"audio": "flac"}, {"to": "parquet"}])
def test_a_dry_run_estimates_what_is_compressed(brief_metadata, corpora, tmp_path, options):
    told = write_mixtures(brief_metadata, tmp_path / "out", dry_run=True, dataset_paths=corpora, **options)
    made = write_mixtures(brief_metadata, tmp_path / "out", dataset_paths=corpora, **options)
    assert 0.5 < made.num_bytes / told.num_bytes < 1.1


def test_mixtures_that_cannot_be_rendered_are_left_out(brief_metadata, brief, copy, corpora, tmp_path):
    path = brief[0].sources[0].path
    (copy / path).unlink()
    lacking = [recipe.mix_id for recipe in brief if any(source.path == path for source in recipe.sources)]
    result = write_mixtures(brief_metadata, tmp_path / "out", dataset_paths=copy, mixtures_per_shard=5)
    assert sorted(skipped.mix_id for skipped in result.skipped) == sorted(lacking)
    assert result.mixtures == 64 - len(lacking)
    assert isinstance(result.skipped[0], Skipped)
    listed = (tmp_path / "out" / "skipped.csv").read_text()
    assert listed.splitlines()[0] == "split,mix_id,reason"
    assert all(mix_id in listed and path in listed for mix_id in lacking)

    # nothing has changed: nothing is written
    before = {name: file.stat().st_mtime_ns for name, file in shards_of(tmp_path / "out").items()}
    again = write_mixtures(brief_metadata, tmp_path / "out", dataset_paths=copy, mixtures_per_shard=5)
    after = {name: file.stat().st_mtime_ns for name, file in shards_of(tmp_path / "out").items()}
    assert {n: t for n, t in after.items() if n.endswith("tar")} == {n: t for n, t in before.items() if "tar" in n}
    assert (again.skipped, again.kept) == (result.skipped, result.shards)

    # the file has come back: only the shards that lacked it are written, and all is as if nothing had been amiss
    result = write_mixtures(brief_metadata, tmp_path / "out", dataset_paths=corpora, mixtures_per_shard=5)
    assert result.skipped == ()
    assert 0 < result.kept < result.shards
    assert not (tmp_path / "out" / "skipped.csv").exists()
    write_mixtures(brief_metadata, tmp_path / "whole", dataset_paths=corpora, mixtures_per_shard=5)
    assert contents_of(tmp_path / "out") == contents_of(tmp_path / "whole")


def test_a_shard_of_nothing_is_no_file(brief, copy, corpora, tmp_path):
    pairs = [recipe for recipe in brief if recipe.num_sources == 2][:1]
    others = [
        recipe
        for recipe in brief
        if recipe.num_sources == 3 and not {s.path for s in recipe.sources} & {s.path for s in pairs[0].sources}
    ][:2]
    file = write_metadata(pairs + others, tmp_path / "m.json")
    (copy / pairs[0].sources[0].path).unlink()
    result = write_mixtures(file, tmp_path / "out", dataset_paths=copy)
    assert (result.shards, result.mixtures, len(result.skipped)) == (1, 2, 1)
    assert [name for name in shards_of(tmp_path / "out") if "2mix" in name] == []
    assert write_mixtures(file, tmp_path / "out", dataset_paths=corpora).shards == 2


def test_parquet_of_several_rates_says_none(brief, corpora, tmp_path):
    rows = [recipe.to_dict() for recipe in brief if recipe.num_sources == 2][:2]
    rows[1]["sample_rate"] = 16000
    file = write_metadata(list(map(parse_recipe, rows)), tmp_path / "m.json")
    write_mixtures(file, tmp_path / "out", dataset_paths=corpora, to="parquet")
    for parquet in (tmp_path / "out").glob("*/*/*.parquet"):
        features = datasets.Features.from_arrow_schema(pq.read_schema(parquet))
        rates = {recipe.sample_rate for recipe in map(parse_recipe, rows) if recipe.split in str(parquet)}
        assert features["mixture"].sampling_rate == (rates.pop() if len(rates) == 1 else None)


def test_a_mixture_of_hours_is_a_fault(brief, corpora, tmp_path):
    for seconds in (1e308, 1e9, 3601.0):
        (tmp_path / "m.json").write_text(json.dumps([{**brief[0].to_dict(), "target_duration": seconds}]))
        with pytest.raises(RecipeError, match=r"target_duration is .*: it must be at most 3,600"):
            write_mixtures(tmp_path / "m.json", tmp_path / "out", dataset_paths=corpora, dry_run=True)


def test_samples_that_are_no_numbers_are_left_out(brief, copy, tmp_path):
    path = next(source.path for recipe in brief for source in recipe.sources if source.path.endswith(".wav"))
    samples, rate = soundfile.read(copy / path, dtype="float32")
    samples[:] = np.nan
    soundfile.write(own(copy / path), samples, rate, subtype="FLOAT")
    recipes = [recipe for recipe in brief if any(source.path == path for source in recipe.sources)][:1] + brief[:5]
    file = write_metadata({recipe.mix_id: recipe for recipe in recipes}.values(), tmp_path / "m.json")
    result = write_mixtures(file, tmp_path / "out", dataset_paths=copy)
    assert result.skipped
    assert all("samples that are NaN" in skipped.reason for skipped in result.skipped)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_ending_at_the_first_error(brief_metadata, brief, copy, corpora, tmp_path, num_workers):
    path = brief[0].sources[0].path
    (copy / path).unlink()
    options = {"mixtures_per_shard": 5, "num_workers": num_workers, "on_error": "raise"}
    with pytest.raises(SourceNotFoundError, match=path.rsplit("/", 1)[1]) as raised:
        write_mixtures(brief_metadata, tmp_path / "out", dataset_paths=copy, **options)
    assert raised.value.path == path
    assert not list((tmp_path / "out").rglob("*.incomplete"))
    result = write_mixtures(brief_metadata, tmp_path / "out", dataset_paths=corpora, **options)
    assert result.mixtures == 64


def test_nothing_can_be_rendered(brief_metadata, tmp_path):
    """An error, and nothing is left behind."""
    with pytest.raises(SourceRootError, match="no source roots are configured"):
        write_mixtures(brief_metadata, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="not one of 64 mixtures could be rendered"):
        write_mixtures(brief_metadata, tmp_path / "out", dataset_paths=tmp_path / "empty")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    with pytest.raises(SourceError, match="not one of 64 mixtures could be rendered"):
        write_mixtures(brief_metadata, tmp_path / "out", dataset_paths=tmp_path / "empty")
    assert not list((tmp_path / "out").iterdir())


def test_other_content_is_in_the_way(brief_metadata, corpora, tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(OutputError, match=r"holds other files \(thesis\.tex\): choose another folder"):
        write_mixtures(brief_metadata, tmp_path, dataset_paths=corpora)
    with pytest.raises(OutputError, match="is a file"):
        write_mixtures(brief_metadata, tmp_path / "thesis.tex", dataset_paths=corpora)
    with pytest.raises(OutputError, match="cannot be written"):
        write_mixtures(brief_metadata, "/proc/out", dataset_paths=corpora)
    with pytest.raises(OutputError, match="is a URL"):
        write_mixtures(brief_metadata, "s3://bucket/out", dataset_paths=corpora)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("bad", ["a.b", "a/b", "..", "x" * 300, "ж" * 150])
def test_names_that_cannot_be_files(brief, corpora, tmp_path, bad):
    recipes = [parse_recipe({**brief[0].to_dict(), "mix_id": bad})]
    with pytest.raises(RecipeError, match="cannot name files"):
        write_mixtures(write_metadata(recipes, tmp_path / "m.json"), tmp_path / "out", dataset_paths=corpora)
    assert not (tmp_path / "out").exists()


def test_a_mixture_that_is_there_twice(brief, corpora, tmp_path):
    with pytest.raises(RecipeError, match=r"2mix/tar_00001\.tar: mix_id 'sample_00000000': it is there twice"):
        write_mixtures(
            write_metadata([brief[0], brief[0]], tmp_path / "m.json"), tmp_path / "out", dataset_paths=corpora
        )


@pytest.mark.parametrize(
    "options",
    [
        {"to": "zip"},
        {"audio": "mp3"},
        {"subtype": "PCM_8"},
        {"on_error": "ask"},
        {"num_workers": 0},
        {"mixtures_per_shard": 0},
        {"audio": "flac", "subtype": "FLOAT"},
        {"stems": "loud"},
        {"sampling_rate": -1},
    ],
)
def test_out_of_range(brief_metadata, corpora, tmp_path, options):
    with pytest.raises(ValueError):
        write_mixtures(brief_metadata, tmp_path / "out", dataset_paths=corpora, **options)
    assert not (tmp_path / "out").exists()


def test_no_space(brief_metadata, corpora, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1_000_000})
    monkeypatch.setattr(write_module.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(OutputError, match="has 1 MB free, and 7 MB are needed"):
        write_mixtures(brief_metadata, tmp_path / "out", dataset_paths=corpora)


def test_the_first_shards_are_written_while_others_are_planned(brief_metadata, corpora, tmp_path, monkeypatch):
    """Of millions, planning takes a minute: here it waits for the first shard to be there."""
    monkeypatch.setattr(write_module, "_PLANNING_SECONDS", 0.0)
    plan, planned, totals = ShardWriter.plan, [], []

    def plan_slowly(self, shard):
        if (
            threading.current_thread() is not threading.main_thread()
        ):  # where shards are written, they are planned again
            planned.append(shard)
            if len(planned) == 3:
                assert written.wait(60)
        return plan(self, shard)

    written = threading.Event()
    monkeypatch.setattr(ShardWriter, "plan", plan_slowly)

    @contextlib.contextmanager
    def progress(step, unit, total):
        def advance(done):
            if step == "rendering":
                totals.append(total())
                if any(tmp_path.rglob("*.tar")):
                    written.set()

        yield advance

    result = write_mixtures(brief_metadata, tmp_path, dataset_paths=corpora, mixtures_per_shard=5, progress=progress)
    assert (result.mixtures, result.shards, len(planned)) == (64, 20, 20)
    assert totals[0] is None and totals[-1] == result.num_bytes


def test_what_cannot_be_planned_ends_a_run_that_has_begun(brief, corpora, tmp_path, monkeypatch):
    monkeypatch.setattr(write_module, "_PLANNING_SECONDS", 0.0)
    train = [recipe for recipe in brief if recipe.split == "train"]
    file = write_metadata([*train, replace(train[-1], mix_id="a/b")], tmp_path / "m.json")
    with pytest.raises(RecipeError, match="'a/b': it cannot name files"):
        write_mixtures(file, tmp_path / "out", dataset_paths=corpora, mixtures_per_shard=2)


def test_nothing_is_replaced_while_others_are_planned(brief, corpora, tmp_path, monkeypatch):
    """What holds other mixtures is refused before the plan has come to its end."""
    monkeypatch.setattr(write_module, "_PLANNING_SECONDS", 0.0)
    train = [recipe for recipe in brief if (recipe.split, recipe.num_sources) == ("train", 2)]
    options = {"dataset_paths": corpora, "mixtures_per_shard": 2}
    write_mixtures(write_metadata(train[:2], tmp_path / "m.json"), tmp_path / "out", **options)
    before, plan, rendering, planned = contents_of(tmp_path / "out"), ShardWriter.plan, threading.Event(), []

    def plan_slowly(self, shard):
        if threading.current_thread() is not threading.main_thread():
            planned.append(shard)
            if len(planned) == 3:
                rendering.wait(1.0)  # which must not begin
        return plan(self, shard)

    monkeypatch.setattr(ShardWriter, "plan", plan_slowly)

    def progress(step, unit, total):
        if step == "rendering":
            rendering.set()
        return write_module.no_progress(step, unit, total)

    with pytest.raises(OutputError, match="holds other mixtures where these would go"):
        write_mixtures(write_metadata(train[2:], tmp_path / "m.json"), tmp_path / "out", progress=progress, **options)
    assert not rendering.is_set() and contents_of(tmp_path / "out") == before
