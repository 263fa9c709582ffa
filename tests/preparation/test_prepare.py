"""Preparing: what is made, kept, made again; interrupted, out of space, with sources that lack."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from filelock import FileLock

import hive_datasets.preparation.prepare as prepare_module
import hive_datasets.preparation.target as target_module
from hive_datasets import (
    MetadataUnavailableError,
    Mixer,
    PreparedSources,
    PreparedSourcesError,
    PreparedSourcesWarning,
    SourceRootError,
    Subset,
    VariantSourceWarning,
    parse_recipe,
    prepare_sources,
)
from hive_datasets.prepared.samples import decode
from hive_datasets.prepared.shards import read_shard
from tests.copies import own

STEP = 2.0**-15


@pytest.fixture
def metadata(shared):
    return shared / "mini" / "hub"


def contents(folder):
    """Every clip by chunk and first sample: its decoded samples. Of one made twice, the later."""
    found = {}
    for file in sorted(folder.glob("shard-*.arrow")):
        with pa.memory_map(str(file)) as source:
            for row in pa.ipc.open_file(source).read_all().to_pylist():
                out = np.empty(len(row["samples"]), np.float32)
                stored, steps = np.array(row["samples"]), np.array(row["steps"], np.float32)
                if len(out):
                    decode(stored, steps, 0, 1.0, out)
                found[row["path"], row["chunk_start_second"], row["chunk_end_second"], row["start"]] = out
    return found


def files(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file() and file.name != ".lock"}


def test_whole_chunks_resampled_as_the_reference_does(metadata, corpora, mini, tmp_path):
    import librosa

    result = prepare_sources(metadata, tmp_path, dataset_paths=corpora)
    assert (result.mixtures, result.clips, result.written, result.lacking) == (64, 58, 58, ())
    found = contents(tmp_path)
    chunks = {(s.path, s.chunk_start_second, s.chunk_end_second) for recipe in mini for s in recipe.sources}
    assert {key[:3] for key in found} == chunks and {key[3] for key in found} == {0}
    for (path, start, end, _), samples in found.items():
        frames, rate = soundfile.read(corpora / path, always_2d=True)
        chunk = frames[int(start * rate) : int(end * rate)].mean(axis=1)
        expected = chunk if rate == 44100 else librosa.resample(chunk, orig_sr=rate, target_sr=44100)
        np.testing.assert_allclose(samples, expected[: len(samples)], atol=np.abs(expected).max() * 2.0**-16 + 1e-6)
        assert abs(len(samples) - len(expected)) <= 1
    assert result.num_bytes == sum(2 * len(samples) for samples in found.values()) + 2 * sum(
        entry_bytes(tmp_path, "float32")
    )


def entry_bytes(folder, sample_type):
    """Bytes a clip of the samples of shards of a type, over two."""
    for file in folder.glob("shard-*.arrow"):
        shard = read_shard(file, 44100, "int16")
        if shard.sample_type == sample_type:
            yield from (2 * n for n in shard.clips.column("num_samples").to_pylist())


def test_only_crops_are_no_more_than_they_need(metadata, corpora, mini, tmp_path):
    whole = prepare_sources(metadata, tmp_path / "whole", dataset_paths=corpora, dry_run=True)
    crops = prepare_sources(metadata, tmp_path / "crops", dataset_paths=corpora, only_crops=True)
    assert crops.num_bytes < whole.num_bytes
    mixer, originals = Mixer({}, prepared=tmp_path / "crops"), Mixer(corpora)
    assert max(np.abs(mixer(recipe)["mix"] - originals(recipe)["mix"]).max() for recipe in mini) <= STEP


def test_the_same_inputs_give_the_same_bytes(metadata, corpora, tmp_path):
    some = Subset(metadata, splits=["test"])
    for name, jobs in (("one", 1), ("three", 3)):
        options = {"dataset_paths": corpora, "sampling_rate": 8000, "num_workers": jobs}
        prepare_sources(some, tmp_path / name, **options, shard_bytes=400_000)
    one, three = files(tmp_path / "one"), files(tmp_path / "three")
    assert one == three and len(one) > 5


def test_a_second_run_makes_nothing(metadata, corpora, tmp_path):
    prepare_sources(metadata, tmp_path, dataset_paths=corpora, sampling_rate=8000)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("shard-*")}
    result = prepare_sources(metadata, tmp_path, dataset_paths=corpora, sampling_rate=8000)
    assert (result.clips, result.written, result.num_bytes, result.refined) == (58, 0, 0, 0)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.glob("shard-*")} == before


def test_other_metadata_adds_what_it_needs(metadata, corpora, mini, tmp_path):
    options = {"dataset_paths": corpora, "sampling_rate": 8000}
    parts = [prepare_sources(Subset(metadata, num_sources=n), tmp_path, **options) for n in (2, 3)]
    assert sum(part.written for part in parts) < 58 and all(part.clips >= part.written for part in parts)
    rest = prepare_sources(metadata, tmp_path, **options)
    assert rest.clips == 58 and rest.written == 58 - sum(part.written for part in parts)
    mixer = Mixer({}, 8000, prepared=tmp_path, alignment="own")
    assert all(mixer(recipe)["mix"].any() for recipe in mini)


@pytest.mark.parametrize(
    ("choice", "count"),
    [({"splits": ["val"]}, 8), ({"num_sources": [2, 3], "splits": ["train"]}, 24), ({"limit": 10}, 10), ({}, 64)],
)
def test_choosing_mixtures(metadata, corpora, tmp_path, choice, count):
    subset = Subset(metadata, **choice)
    assert prepare_sources(subset, tmp_path, dataset_paths=corpora, dry_run=True).mixtures == count


def test_a_dry_run_tells_and_changes_nothing(metadata, corpora, tmp_path):
    some = Subset(metadata, splits=["test"])
    options = {"dataset_paths": corpora, "sampling_rate": 8000}
    told = prepare_sources(some, tmp_path / "new", dry_run=True, **options)
    assert not (tmp_path / "new").exists()
    made = prepare_sources(some, tmp_path / "new", sample_type="float32", **options)
    assert told.written == made.written > 20
    assert 2 * told.num_bytes == pytest.approx(made.num_bytes, rel=1e-3)
    before = files(tmp_path / "new")
    again = prepare_sources(some, tmp_path / "new", sample_type="float32", dry_run=True, **options)
    assert again.written == 0 and files(tmp_path / "new") == before


def test_what_cannot_be_read_is_listed(metadata, damaged, tmp_path):
    copy, statuses = damaged
    with pytest.warns(VariantSourceWarning):
        result = prepare_sources(metadata, tmp_path, dataset_paths=copy, sampling_rate=8000)
    unusable = {"missing", "empty", "unreadable", "too_short", "ambiguous", "truncated", "non_finite"}
    expected = {path for path, status in statuses.items() if status in unusable}
    with (tmp_path / "lacking.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["path"] for row in rows} == {lacking.clip.path for lacking in result.lacking}
    assert {row["path"] for row in rows} == expected
    assert all(row["reason"] for row in rows) and result.clips + len(result.lacking) == 58


def test_corpora_that_come_later_are_added(metadata, corpora, mini, tmp_path):
    few = {"ESC50": str(corpora / "ESC-50-master")}
    first = prepare_sources(metadata, tmp_path, dataset_paths=few, sampling_rate=8000)
    assert first.lacking and (tmp_path / "lacking.csv").exists()
    second = prepare_sources(metadata, tmp_path, dataset_paths=corpora, sampling_rate=8000)
    assert not second.lacking and not (tmp_path / "lacking.csv").exists()
    assert second.written == len(first.lacking)
    # and what is prepared stays, when its corpus goes
    third = prepare_sources(metadata, tmp_path, dataset_paths=few, sampling_rate=8000)
    assert not third.lacking and third.clips == 58


def test_a_changed_original_is_prepared_again(metadata, copy, mini, tmp_path):
    options = {"dataset_paths": copy, "sampling_rate": 8000}
    prepare_sources(metadata, tmp_path, **options)
    path = mini[0].sources[0].path
    frames, rate = soundfile.read(copy / path)
    soundfile.write(own(copy / path), frames * 0.5, rate, subtype="PCM_16")
    chunks = {(s.path, s.chunk_start_second) for recipe in mini for s in recipe.sources if s.path == path}
    assert prepare_sources(metadata, tmp_path, **options).written == len(chunks)
    mixers = Mixer({}, 8000, prepared=tmp_path, alignment="own"), Mixer(copy, 8000, alignment="own")
    ours, theirs = (mixer(mini[0]) for mixer in mixers)
    assert np.abs(ours["mix"] - theirs["mix"]).max() <= STEP
    assert prepare_sources(metadata, tmp_path, **options).written == 0


def test_clips_of_the_old_version_of_a_file_are_never_served(copy, mini, tmp_path):
    """Not those either that the later run did not make anew."""
    source = mini[0].sources[0]
    crops = [replace(source, crop_start_second=start, crop_end_second=start + 0.5) for start in (0.0, 1.0)]
    recipes = [replace(mini[0], sources=(crop,), target_duration=0.5) for crop in crops]
    for name, chosen in (("both", recipes), ("one", recipes[:1])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(recipe.to_json() for recipe in chosen))
    prepare_sources(tmp_path / "both.jsonl", tmp_path / "p", dataset_paths=copy, only_crops=True)
    assert len(PreparedSources(tmp_path / "p")) == 2
    frames, rate = soundfile.read(copy / source.path)
    soundfile.write(own(copy / source.path), frames * 0.5, rate, subtype="PCM_16")
    prepare_sources(tmp_path / "one.jsonl", tmp_path / "p", dataset_paths=copy, only_crops=True)
    assert len(PreparedSources(tmp_path / "p")) == 1
    mixer, originals = Mixer(copy, prepared=tmp_path / "p"), Mixer(copy)
    for recipe in recipes:
        assert np.abs(mixer(recipe)["mix"] - originals(recipe)["mix"]).max() <= STEP


def test_verify_mends_what_is_damaged(metadata, corpora, mini, mini_mixes, prepared_copy, tmp_path):
    index = PreparedSources(prepared_copy).index
    entry = index.entry(0)
    with (prepared_copy / index.shards[entry.shard][0]).open("r+b") as stream:
        stream.seek(entry.samples_offset + 100)
        stream.write(b"damage")
    new = {"dataset_paths": corpora, "sampling_rate": 8000}
    assert prepare_sources(metadata, tmp_path / "new", verify=True, **new).written == 58
    assert prepare_sources(metadata, prepared_copy, dataset_paths=corpora).written == 0
    assert prepare_sources(metadata, prepared_copy, dataset_paths=corpora, verify=True).written == 1
    assert prepare_sources(metadata, prepared_copy, dataset_paths=corpora, verify=True).written == 0
    mixer = Mixer({}, prepared=prepared_copy)
    for recipe, expected in zip(mini, mini_mixes, strict=True):
        assert np.abs(mixer(recipe)["mix"] - expected).max() <= STEP


@pytest.mark.parametrize("break_it", ["remove", "cut"])
def test_a_lost_shard_is_made_again(metadata, corpora, mini, mini_mixes, prepared_copy, break_it):
    file = prepared_copy / "shard-00001.arrow"
    before = file.read_bytes()
    lost = read_shard(file, 44100, "int16").clips.column("path").to_pylist()
    file.unlink()
    if break_it == "cut":
        file.write_bytes(before[: len(before) // 2])
        with pytest.warns(
            PreparedSourcesWarning,
            match=r"shard-00001\.arrow is damaged.* prepared again; it was renamed to",
        ):
            result = prepare_sources(metadata, prepared_copy, dataset_paths=corpora)
        assert (prepared_copy / "shard-00001.arrow.damaged").exists()
    else:
        result = prepare_sources(metadata, prepared_copy, dataset_paths=corpora)
    # of what was stored more finely too, that is still there
    assert len(lost) - 1 <= result.written <= len(lost) and result.clips == 58
    mixer = Mixer({}, prepared=prepared_copy)
    assert max(np.abs(mixer(r)["mix"] - mix).max() for r, mix in zip(mini, mini_mixes, strict=True)) <= STEP


_PREPARE = """
import itertools, sys
from hive_datasets.cli.main import main
from hive_datasets.preparation import target
write, shards = target.write_shard, 0
def write_shard(clips, *arguments):
    global shards
    shards += 1
    if shards < 4:
        return write(clips, *arguments)
    write(itertools.islice(clips, 1), *arguments)
    print("half a shard", flush=True)
    sys.stdin.readline()
target.write_shard = write_shard
sys.exit(main(["prepare", *sys.argv[1:]]))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_run_goes_on(metadata, corpora, tmp_path, subprocess_environment, number):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    some = Subset(metadata, splits=["test"])
    options = [
        "--split",
        "test",
        "--dataset-paths",
        str(corpora),
        "--sampling-rate",
        "8000",
        "--shard-size",
        "400000",
        "--num-workers",
        "1",
        "--quiet",
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", _PREPARE, str(metadata), "--out", str(broken), *options],
        env=subprocess_environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "half a shard\n"
    process.send_signal(number)
    _, message = process.communicate(timeout=60)
    made = {name: data for name, data in files(broken).items() if name.startswith("shard")}
    if number == signal.SIGINT:
        assert process.returncode == 130 and "Traceback" not in message
        assert "finished shards are kept: run it again to go on" in message
        assert not list(broken.glob(".*.incomplete"))
    else:
        assert list(broken.glob(".*.incomplete"))
    assert len(made) == 3
    with pytest.raises(PreparedSourcesError, match="if it was interrupted, run it again to go on"):
        PreparedSources(broken)
    options = {"dataset_paths": corpora, "sampling_rate": 8000, "shard_bytes": 400_000}
    result = prepare_sources(some, broken, **options)
    assert result.written < result.clips
    prepare_sources(some, whole, **options)
    assert files(broken) == files(whole)
    assert not any(path.is_dir() for path in broken.iterdir())  # nor is anything half-written left


def test_files_of_others_are_let_alone_and_numbers_go_on(metadata, corpora, prepared_copy):
    (prepared_copy / "shard-bar.arrow").write_text("mine")
    (prepared_copy / "shard-00000.arrow").rename(prepared_copy / "shard-99999.arrow")
    for number in (1, 2):
        (prepared_copy / f"shard-{number:05d}.arrow").unlink()
        assert prepare_sources(metadata, prepared_copy, dataset_paths=corpora).clips == 58
    names = {file.name for file in prepared_copy.glob("shard-*")}
    assert {"shard-99999.arrow", "shard-100000.arrow", "shard-100001.arrow", "shard-bar.arrow"} <= names
    assert (prepared_copy / "shard-bar.arrow").read_text() == "mine"


def test_the_shard_with_the_larger_number_is_the_later(metadata, copy, mini, tmp_path):
    some = Subset(metadata, splits=[mini[0].split], mix_ids=[mini[0].mix_id])
    prepare_sources(some, tmp_path, dataset_paths=copy, sample_type="float32")
    (tmp_path / "shard-00000.arrow").rename(tmp_path / "shard-99999.arrow")
    path = mini[0].sources[0].path
    frames, rate = soundfile.read(copy / path)
    soundfile.write(own(copy / path), frames * 0.5, rate, subtype="PCM_16")
    assert prepare_sources(some, tmp_path, dataset_paths=copy, sample_type="float32").written > 0
    assert (tmp_path / "shard-100000.arrow").exists()
    assert prepare_sources(some, tmp_path, dataset_paths=copy, sample_type="float32").written == 0


def test_what_a_killed_run_left_is_removed(metadata, corpora, prepared_copy):
    left = prepared_copy / ".shard-00009.arrow.x1y2.incomplete"
    left.mkdir()
    (left / "shard-00009.arrow").write_bytes(b"half")
    prepare_sources(metadata, prepared_copy, dataset_paths=corpora, dry_run=True)
    assert left.exists()
    prepare_sources(metadata, prepared_copy, dataset_paths=corpora)
    assert not left.exists()


def test_what_float16_cannot_hold(mini, tmp_path):
    soundfile.write(tmp_path / "loud.wav", np.full(44100 * 5, 1e5), 44100, subtype="FLOAT")
    source = replace(mini[0].sources[0], path="c/loud.wav", chunk_start_second=0.0, chunk_end_second=4.0)
    (tmp_path / "m.json").write_text(replace(mini[0], sources=(source,)).to_json())
    options = {"dataset_paths": {"c": str(tmp_path)}}
    result = prepare_sources(tmp_path / "m.json", tmp_path / "half", sample_type="float16", **options)
    assert "its peak of 1e+05 is too much for float16" in result.lacking[0].reason
    assert not prepare_sources(tmp_path / "m.json", tmp_path / "whole", sample_type="float32", **options).lacking


def test_two_runs_into_one_folder(metadata, corpora, tmp_path):
    with FileLock(tmp_path / ".lock"):
        outcome = []

        def run():
            try:
                prepare_sources(metadata, tmp_path, dataset_paths=corpora)
            except PreparedSourcesError as error:
                outcome.append(str(error))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join(timeout=30)
    assert outcome == [f"another process is preparing into {tmp_path}"]


def test_no_space(metadata, corpora, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_module.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1_000_000}))
    with pytest.raises(PreparedSourcesError, match=r"1 MB free, and 29 MB are needed"):
        prepare_sources(metadata, tmp_path, dataset_paths=corpora)
    assert not list(tmp_path.glob("shard*"))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_space_that_runs_out(metadata, corpora, tmp_path, monkeypatch):
    """What was whole stays."""
    write = target_module.write_shard
    calls = []

    def write_shard(clips, file, *arguments):
        calls.append(file)
        if len(calls) == 3:
            file.symlink_to("/dev/full")
        return write(clips, file, *arguments)

    monkeypatch.setattr(target_module, "write_shard", write_shard)
    with pytest.raises(OSError, match="No space left on device"):
        prepare_sources(metadata, tmp_path, dataset_paths=corpora, sampling_rate=8000, shard_bytes=2_000_000)
    assert sorted(file.name for file in tmp_path.glob("shard*")) == ["shard-00000.arrow", "shard-00001.arrow"]
    monkeypatch.undo()
    assert prepare_sources(metadata, tmp_path, dataset_paths=corpora, sampling_rate=8000).clips == 58


def test_another_rate_needs_another_folder(metadata, corpora, prepared_copy):
    with pytest.raises(
        PreparedSourcesError,
        match=r"type int16 at 44100 Hz .*not int16 at 16000 Hz.*prepare into another",
    ):
        prepare_sources(metadata, prepared_copy, dataset_paths=corpora, sampling_rate=16000)
    with pytest.raises(PreparedSourcesError, match="prepare into another folder"):
        prepare_sources(metadata, prepared_copy, dataset_paths=corpora, sample_type="float32")


@pytest.mark.parametrize(
    "options",
    [
        {"sampling_rate": 0},
        {"sampling_rate": 1.5},
        {"sample_type": "int8"},
        {"num_workers": 0},
    ],
)
def test_options_out_of_range(metadata, corpora, tmp_path, options):
    with pytest.raises(ValueError):
        prepare_sources(metadata, tmp_path, dataset_paths=corpora, **options)


def test_a_damaged_footer_is_a_damaged_shard(metadata, corpora, prepared_copy):
    file = prepared_copy / "shard-00000.arrow"
    data = bytearray(file.read_bytes())
    for place in (20, 60, 100, 300, 1000):
        data[-place] ^= 0x55
    file.write_bytes(data)
    with pytest.warns(PreparedSourcesWarning, match=r"shard-00000\.arrow is damaged"):
        assert prepare_sources(metadata, prepared_copy, dataset_paths=corpora).clips == 58


def test_contradictions(metadata, corpora, tmp_path):
    with pytest.raises(ValueError, match="prepare into a local folder, and upload that"):
        prepare_sources(metadata, "s3://bucket/p", dataset_paths=corpora)
    with pytest.raises(ValueError, match="verify and dry_run exclude each other"):
        prepare_sources(metadata, tmp_path, dataset_paths=corpora, verify=True, dry_run=True)
    (tmp_path / "file").touch()
    with pytest.raises(PreparedSourcesError, match="cannot be made"):
        prepare_sources(metadata, tmp_path / "file" / "p", dataset_paths=corpora)


def test_nothing_to_prepare(metadata, corpora, tmp_path):
    with pytest.raises(MetadataUnavailableError, match="there is no mixture of split no such split"):
        prepare_sources(Subset(metadata, splits=["no such split"]), tmp_path / "p", dataset_paths=corpora)
    with pytest.raises(SourceRootError, match="no source roots are configured"):
        prepare_sources(metadata, tmp_path / "p")
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("only_crops", [False, True])
def test_loud_mixtures_are_refined(corpora, mini, tmp_path, only_crops):
    """Five times one clip, so loud that 16 bits of it are too few: still within a step."""
    row = json.loads(mini[0].to_json())
    source = next(s for r in mini for s in r.sources if "freesound" in s.path.lower() and s.chunk_end_second > 5)
    crop = {"crop_start_second": 1.5, "crop_end_second": 3.5, "snr_db": 0.0}
    chunk = {name: getattr(source, name) for name in ("path", "label", "chunk_start_second", "chunk_end_second")}
    signs = {f"s{n}": (-1) ** n for n in range(1, 6)}
    row["sources"] = [
        {**crop, **chunk, "source_id": name, "rms_gain": 40.0, "applied_weight": 40.0 * sign}
        for name, sign in signs.items()
    ]
    row |= {"num_sources": 5, "target_duration": 2.0, "global_normalization_factor": 1.0}
    (tmp_path / "loud.json").write_text(json.dumps(row))
    options = {"dataset_paths": corpora, "only_crops": only_crops}
    result = prepare_sources(tmp_path / "loud.json", tmp_path / "p", **options)
    assert (result.written, result.refined) == (1, 1)
    ours, theirs = Mixer({}, prepared=tmp_path / "p")(parse_recipe(row)), Mixer(corpora)(parse_recipe(row))
    assert np.abs(ours["sources"] - theirs["sources"]).max() <= STEP
    assert prepare_sources(tmp_path / "loud.json", tmp_path / "p", **options).refined == 0


def test_archives_too(metadata, corpora, mini, mini_mixes, tmp_path):
    import tarfile

    some = Subset(metadata, splits=[mini[0].split], limit=3)
    with tarfile.open(tmp_path / "corpora.tar", "w") as tar:
        for path in {source.path for recipe in some.recipes() for source in recipe.sources}:
            tar.add(corpora / path, arcname=path)
    result = prepare_sources(some, tmp_path / "p", dataset_paths=tmp_path / "corpora.tar")
    assert result.clips > 5 and not result.lacking
    assert prepare_sources(some, tmp_path / "p", dataset_paths=tmp_path / "corpora.tar").written == 0
    mixer = Mixer({}, prepared=tmp_path / "p")
    for recipe, mix in zip(mini[:3], mini_mixes, strict=False):
        assert np.abs(mixer(recipe)["mix"] - mix).max() <= STEP


def test_progress_is_told(metadata, corpora, tmp_path):
    import contextlib

    steps = {}

    @contextlib.contextmanager
    def progress(step, unit, total):
        steps[step] = [unit, total, 0]

        def advance(done):
            steps[step][2] += done

        yield advance

    result = prepare_sources(metadata, tmp_path, dataset_paths=corpora, sampling_rate=8000, progress=progress)
    assert steps["reading metadata"][2] == steps["checking precision"][2] == 64
    assert steps["looking for clips"] == ["clips", 58, 58]
    unit, total, done = steps["preparing"]
    assert unit == "bytes" and done == pytest.approx(total, rel=1e-3)
    assert done + steps["refining"][2] == result.num_bytes
