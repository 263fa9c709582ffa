import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from hive_datasets import BackendError, OutputError, RecordError
from hive_datasets.curation import (
    Chunk,
    CurationPipeline,
    MinScore,
    SingleEvent,
    SingleLabel,
    SuperResolve,
    TagAudioSet,
    read_clip,
    run_pipeline,
)
from hive_datasets.curation.records import iterate_records, read_records
from hive_datasets.curation.run import COUNTS_NAME
from tests.curation.models import HalvingRestorer, PeakJudge, RateTagger
from tests.curation.test_clips import files_of

PIPELINE = CurationPipeline(
    [
        Chunk(),
        SingleLabel(),
        SingleEvent(PeakJudge(0.3)),
        MinScore("single_event", 0.5),
        SuperResolve(HalvingRestorer()),
    ]
)
LIGHT = CurationPipeline([Chunk(), SingleLabel(), SingleEvent(PeakJudge(0.3))])


@pytest.fixture(scope="module")
def source(corpora, tmp_path_factory):
    """The authors' JSON of 40 files, with columns of its own, and one file that is not there."""
    labels = ["Dog", ["Dog", "Cat"], []]
    rows = [
        {"audio_path": str(path), "text_label": labels[n % 3], "captions": [f"number {n}"], "number": n}
        for n, path in enumerate(files_of(corpora)[:40])
    ]
    rows.append({"audio_path": "gone.wav", "text_label": "Pig", "captions": [], "number": 40})
    file = tmp_path_factory.mktemp("source") / "recordings.json"
    file.write_text(json.dumps(rows))
    return file


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    """A run that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    return run_pipeline(PIPELINE, source, folder, records_per_shard=6)


def contents_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


def rows_of(folder, kind):
    return [row for file in sorted((folder / kind).glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def test_what_is_written(whole, source):
    processed = PIPELINE.process(list(iterate_records(read_records(source))))
    kept, rejects = rows_of(whole.folder, "kept"), rows_of(whole.folder, "rejects")
    assert whole.shards == 7 and (whole.records, whole.kept) == (41, len(kept))
    assert len(kept) + len(rejects) == len(processed.records)
    for found, is_dropped in ((kept, False), (rejects, True)):
        expected = [record for record in processed.records if bool(record["dropped_by"]) == is_dropped]
        for row, record in zip(found, expected, strict=True):
            for name, value in record.items():
                assert row[name] == (value if value == value else None), name
    assert whole.counts == processed.counts
    written = json.loads((whole.folder / COUNTS_NAME).read_text())
    assert written["steps"]["Chunk"]["dropped"] == whole.counts["Chunk"].dropped
    assert json.loads((whole.folder / "config.json").read_text())["steps"] == PIPELINE.config()


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_writes_the_same(whole, source, tmp_path, workers):
    run_pipeline(PIPELINE, source, tmp_path / "out", records_per_shard=6, num_workers=workers)
    assert contents_of(tmp_path / "out") == contents_of(whole.folder)


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_in_the_middle(whole, source, tmp_path, workers):
    """What was finished is kept, and in the end all is as if nothing had happened, byte for byte."""
    script = f"""
        import os, signal
        from hive_datasets.curation import run_pipeline
        from hive_datasets.utils.progress import no_progress
        from tests.curation.test_run import PIPELINE

        class Progress:
            done = 0
            def __call__(self, step, unit, total):
                return self
            def __enter__(self):
                return self.advance
            def __exit__(self, *exception):
                pass
            def advance(self, records):
                self.done += records
                if self.done >= 18:
                    os.kill(os.getpid(), signal.SIGKILL)

        if __name__ == "__main__":
            run_pipeline(
                PIPELINE, {str(source)!r}, {str(tmp_path / "out")!r}, records_per_shard=6, num_workers={workers},
                progress=Progress(),
            )
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(script))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, tmp_path / "script.py"], env=environment, capture_output=True, timeout=120)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    before = contents_of(tmp_path / "out")
    expected = contents_of(whole.folder)
    assert 0 < len({name for name in before if name in expected}) < len(expected)
    with pytest.raises(OutputError, match="holds a run: resume it"):
        run_pipeline(PIPELINE, source, tmp_path / "out", records_per_shard=6)
    result = run_pipeline(PIPELINE, source, tmp_path / "out", records_per_shard=6, resume=True)
    assert contents_of(tmp_path / "out") == expected
    assert 0 < result.shards_before < result.shards
    assert (result.counts, result.kept) == (whole.counts, whole.kept)
    assert (tmp_path / "out" / COUNTS_NAME).read_bytes() == (whole.folder / COUNTS_NAME).read_bytes()
    assert not list((tmp_path / "out").rglob("*.incomplete"))


def test_more_records_than_before(whole, source, tmp_path):
    """A limit may be raised: the last shard is made again, as it has become longer."""
    out = tmp_path / "out"
    assert run_pipeline(PIPELINE, source, out, records_per_shard=6, limit=10).records == 10
    result = run_pipeline(PIPELINE, source, out, records_per_shard=6, resume=True)
    assert (result.shards_before, contents_of(out)) == (1, contents_of(whole.folder))
    with pytest.raises(OutputError, match=r"shards of more records than these, from 3 on"):
        run_pipeline(PIPELINE, source, out, records_per_shard=6, limit=12, resume=True)
    with pytest.raises(OutputError, match="made of other records, or of more: shard 2 differs"):
        run_pipeline(PIPELINE, source, out, records_per_shard=6, limit=10, resume=True)


def test_killed_while_a_shard_becomes_longer(source, tmp_path, monkeypatch):
    """What it was before does not vouch for what it has become."""
    run_pipeline(LIGHT, source, tmp_path / "out", limit=3)
    with monkeypatch.context() as patch:
        patch.setattr(CurationPipeline, "iterate", lambda self, records, counts: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_pipeline(LIGHT, source, tmp_path / "out", limit=5, resume=True)
    assert run_pipeline(LIGHT, source, tmp_path / "out", limit=3, resume=True).shards_before == 0


def test_as_many_other_records(tmp_path):
    for names in (["a.wav", "b.wav"], ["a.wav", "c.wav"]):
        ds = datasets.Dataset.from_dict({"audio": names})
        if "b.wav" in names:
            run_pipeline(LIGHT, ds, tmp_path / "out")
        else:
            with pytest.raises(OutputError, match="made of other records, or of more: shard 1 differs"):
                run_pipeline(LIGHT, ds, tmp_path / "out", resume=True)


def test_a_shard_that_is_lost_is_made_again(whole, source, tmp_path):
    out = tmp_path / "out"
    run_pipeline(PIPELINE, source, out, records_per_shard=6)
    (out / "rejects" / "00003.parquet").unlink()
    result = run_pipeline(PIPELINE, source, out, records_per_shard=6, resume=True)
    assert (result.shards_before, contents_of(out)) == (result.shards - 1, contents_of(whole.folder))


def test_what_may_not_be_resumed(source, tmp_path):
    out = tmp_path / "out"
    run_pipeline(LIGHT, source, out, limit=3)
    with pytest.raises(OutputError, match="made with steps Chunk, SingleLabel, SingleEvent, not Chunk"):
        run_pipeline(CurationPipeline([Chunk()]), source, out, limit=3, resume=True)
    with pytest.raises(OutputError, match=r"made with empty \"keep\", not \"drop\" \(steps, SingleLabel\)"):
        run_pipeline(
            CurationPipeline([*LIGHT.steps[:1], SingleLabel("drop"), *LIGHT.steps[2:]]),
            source,
            out,
            limit=3,
            resume=True,
        )
    with pytest.raises(OutputError, match="made with records_per_shard 200, not 2"):
        run_pipeline(LIGHT, source, out, limit=3, records_per_shard=2, resume=True)
    with pytest.raises(OutputError, match="made of other records"):
        run_pipeline(LIGHT, datasets.Dataset.from_dict({"audio": ["a.wav"], "labels": [["x"]]}), out, resume=True)
    (out / "config.json").write_text("{")
    with pytest.raises(OutputError, match=r"config.json is damaged"):
        run_pipeline(LIGHT, source, out, limit=3, resume=True)


def test_folders_that_are_somebody_elses(source, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(OutputError, match=r"holds other files \(notes.txt\)"):
        run_pipeline(LIGHT, source, tmp_path / "mine", limit=1)
    with pytest.raises(OutputError, match="is a file"):
        run_pipeline(LIGHT, source, tmp_path / "mine" / "notes.txt", limit=1)


def test_embedded_audio_of_a_stream(corpora, tmp_path):
    """As the Hub has it: bytes in a column of type Audio, other columns beside it."""
    files = files_of(corpora)[:6]
    rows = {"audio": [{"bytes": path.read_bytes(), "path": path.name} for path in files], "label": [1, 0] * 3}
    struct = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    features = datasets.Features({"audio": struct, "label": datasets.ClassLabel(names=["Cat", "Dog"])})
    ds = datasets.Dataset.from_dict(rows, features=features).cast_column("audio", datasets.Audio())
    stream = ds.to_iterable_dataset()
    results = [
        run_pipeline(LIGHT, each, tmp_path / name, records_per_shard=4) for name, each in (("a", ds), ("b", stream))
    ]
    assert results[0].counts == results[1].counts
    kept, other = rows_of(tmp_path / "a", "kept"), rows_of(tmp_path / "b", "kept")
    assert [row["provenance"] for row in kept] == [row["provenance"] for row in other]
    assert {tuple(row["labels"]) for row in kept} == {("Cat",), ("Dog",)}
    assert (
        kept[0]["audio"]["bytes"] == files[[path.name for path in files].index(kept[0]["audio"]["path"])].read_bytes()
    )


def test_what_is_kept_loads_as_a_dataset(whole, cache):
    """With new audio that plays."""
    data = str(whole.folder / "kept" / "*.parquet")
    ds = datasets.load_dataset("parquet", data_files=data, split="train", cache_dir=cache)
    assert isinstance(ds.features["audio"], datasets.Audio) and len(ds) == whole.kept
    pytest.importorskip("torchcodec")
    samples = ds[0]["audio"].get_all_samples()
    assert samples.sample_rate == 44100
    assert samples.data.shape[1] / 44100 == pytest.approx(ds[0]["chunk_end_second"], abs=1e-3)


def test_thresholds_are_swept_over_what_is_saved(source, tmp_path):
    """Scores are kept, so another threshold needs no model."""
    run_pipeline(LIGHT, source, tmp_path / "out")
    ds = datasets.Dataset.from_list(rows_of(tmp_path / "out", "kept"))
    expected = run_pipeline(
        CurationPipeline([*LIGHT.steps, MinScore("single_event", 0.6)]), source, tmp_path / "b"
    ).kept
    assert 0 < expected == len(ds.filter(MinScore("single_event", 0.6), batched=True)) < len(ds)


@pytest.mark.parametrize("option", ["limit", "records_per_shard", "num_workers"])
def test_numbers_below_one(source, tmp_path, option):
    with pytest.raises(ValueError, match=f"{option} must be at least 1"):
        run_pipeline(LIGHT, source, tmp_path / "out", **{option: 0})


def test_no_records(tmp_path):
    nothing = datasets.Dataset.from_dict({"audio": [], "labels": []})
    with pytest.raises(RecordError, match="there are no records"):
        run_pipeline(LIGHT, nothing, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_disk_that_cannot_be_written(source, tmp_path):
    if os.geteuid() == 0:
        target = "/proc/out"
    else:
        (tmp_path / "closed").mkdir(mode=0o500)
        target = tmp_path / "closed" / "out"
    with pytest.raises(OutputError, match="cannot be written"):
        run_pipeline(LIGHT, source, target, limit=1)


@pytest.mark.parametrize(("channels", "rate"), [(8, 44100), (2, 192000)])
def test_many_channels_and_high_rates(tmp_path, channels, rate):
    samples = np.random.default_rng(0).uniform(-0.8, 0.8, (12 * rate, channels))
    soundfile.write(tmp_path / "a.wav", samples, rate)
    result = run_pipeline(PIPELINE, datasets.Dataset.from_dict({"audio": [str(tmp_path / "a.wav")]}), tmp_path / "out")
    assert result.counts["Chunk"].kept == 2
    assert sum(count for step in result.counts.values() for count in step.dropped.values()) + result.kept == 2


def test_decoded_samples_are_kept(tmp_path):
    rows = [{"audio": {"array": [0.1] * 16000, "sampling_rate": 16000}, "labels": ["Dog"]}]
    run_pipeline(LIGHT, datasets.Dataset.from_list(rows), tmp_path / "out")
    (row,) = rows_of(tmp_path / "out", "kept")
    assert len(read_clip(row).samples) == 16000


def test_models_are_handed_a_few_clips_at_once(corpora, tmp_path):
    """Or memory would grow with a shard."""
    sizes = []

    class Counting(PeakJudge):
        def ask(self, clips, questions):
            sizes.append(len(clips))
            return super().ask(clips, questions)

    pipeline = CurationPipeline(
        [Chunk(window_seconds=0.5, step_seconds=0.1, min_tail_seconds=0), SingleEvent(Counting())]
    )
    files = [str(path) for path in files_of(corpora)[:20]]
    result = run_pipeline(pipeline, datasets.Dataset.from_dict({"audio": files}), tmp_path / "out")
    assert sum(sizes) == result.counts["Chunk"].kept > 1000
    assert max(sizes) == 64


def test_clips_that_are_too_short_for_models(tmp_path):
    for name, frames, rate in (("a.wav", 10, 16000), ("b.wav", 1, 192000), ("c.wav", 2000, 16000)):
        soundfile.write(tmp_path / name, [0.5] * frames, rate)
    pipeline = CurationPipeline([SingleEvent(PeakJudge()), TagAudioSet(RateTagger()), SuperResolve(HalvingRestorer())])
    run_pipeline(pipeline, tmp_path, tmp_path / "out")
    rows = rows_of(tmp_path / "out", "kept")
    for prefix in ("single_event", "tag", "super_resolve"):
        reasons = [row[f"{prefix}_reason"] for row in rows]
        assert ["it is too short" in reason for reason in reasons] == [True, True, False]


def test_features_are_kept(tmp_path):
    features = {"audio": datasets.Value("large_string"), "kind": datasets.ClassLabel(names=["a", "b"])}
    ds = datasets.Dataset.from_dict({"audio": ["gone.wav"], "kind": [1]}, features=datasets.Features(features))
    run_pipeline(LIGHT, ds, tmp_path / "out")
    found = datasets.Features.from_arrow_schema(pq.read_schema(tmp_path / "out" / "rejects" / "00001.parquet"))
    assert found["kind"] == features["kind"]
    kept, rejects, _ = LIGHT.with_reasons(ds)
    assert rejects.features["kind"] == features["kind"] and len(kept) == 0
    assert LIGHT.with_reasons(kept).counts == {}


def test_a_run_over_what_a_run_has_kept(corpora, tmp_path):
    """Its provenance goes on."""
    ds = datasets.Dataset.from_dict({"audio": [str(files_of(corpora)[0])], "labels": [["Dog"]]})
    run_pipeline(CurationPipeline([Chunk(min_energy=0)]), ds, tmp_path / "a")
    kept = datasets.Dataset.from_list(rows_of(tmp_path / "a", "kept"))
    run_pipeline(CurationPipeline([SingleLabel()]), kept, tmp_path / "b")
    (first, *_) = rows_of(tmp_path / "b", "kept")
    assert [step["step"] for step in first["provenance"]["steps"]] == ["Chunk", "SingleLabel"]
    assert first["provenance"]["end_second"] == first["chunk_end_second"]


@pytest.mark.parametrize("column", ["reason", "detail", "provenance"])
def test_columns_that_would_be_overwritten(tmp_path, column):
    ds = datasets.Dataset.from_dict({"audio": ["a.wav"], column: ["mine"]})
    with pytest.raises(RecordError, match=f"the columns {column} are named"):
        run_pipeline(LIGHT, ds, tmp_path / "out")
    with pytest.raises(RecordError, match=f"the columns {column} are named"):
        LIGHT.with_reasons(ds)


def test_what_is_told_before_anything_is_asked(tmp_path):
    ds = datasets.Dataset.from_dict({"audio": ["a.wav"]})
    with pytest.raises(RecordError, match="no column single_evnt_score, only audio, "):
        run_pipeline(CurationPipeline([*LIGHT.steps, MinScore("single_evnt", 0.5)]), ds, tmp_path / "out")
    with pytest.raises(RecordError, match="no column audio, only sound"):
        run_pipeline(LIGHT, iter_of([{"sound": "a.wav"}]), tmp_path / "out")
    with pytest.raises(TypeError, match="at_least must be a number"):
        MinScore("single_event", "high")


def iter_of(rows):
    return datasets.IterableDataset.from_generator(rows.__iter__)


def test_columns_that_change_their_type(tmp_path):
    rows = [{"audio": "a.wav", "note": None}] * 3 + [{"audio": "a.wav", "note": "text"}]
    with pytest.raises(RecordError, match="shard 2: the column 'note' was of type null in the first records"):
        run_pipeline(LIGHT, iter_of(rows), tmp_path / "out", records_per_shard=2)
    rows = [{"audio": "a.wav"}] * 2 + [{"audio": "a.wav", "note": "text"}]
    with pytest.raises(RecordError, match="shard 2: the column 'note' was not there in the first records"):
        run_pipeline(LIGHT, iter_of(rows), tmp_path / "b", records_per_shard=2)


def test_a_folder_in_which_nothing_was_finished(tmp_path):
    """A mistake that is mended needs no other folder."""

    class Broken(PeakJudge):
        def ask(self, clips, questions):
            raise BackendError("the server is down")

    for step in (Broken(), PeakJudge()):
        soundfile.write(tmp_path / "a.wav", [0.5] * 16000, 16000)
        ds = datasets.Dataset.from_dict({"audio": [str(tmp_path / "a.wav")]})
        pipeline = CurationPipeline([SingleEvent(step)])
        if isinstance(step, Broken):
            with pytest.raises(BackendError, match="the server is down"):
                run_pipeline(pipeline, ds, tmp_path / "out")
        else:
            assert run_pipeline(pipeline, ds, tmp_path / "out").kept == 1


def test_speed_may_change_between_runs(source, tmp_path):
    @dataclass(frozen=True)
    class Batched(PeakJudge):
        batch_size: int = 1

    for batch_size in (1, 8):
        pipeline = CurationPipeline([Chunk(), SingleEvent(Batched(batch_size=batch_size))])
        result = run_pipeline(pipeline, source, tmp_path / "out", limit=3, resume=batch_size > 1)
    assert result.shards_before == 1
    with pytest.raises(OutputError, match=r"made with above 0.5, not 0.6 \(steps, SingleEvent, judge, .*Batched\)"):
        pipeline = CurationPipeline([Chunk(), SingleEvent(Batched(above=0.6))])
        run_pipeline(pipeline, source, tmp_path / "out", limit=3, resume=True)


@pytest.mark.parametrize("stream", [False, True])
def test_pictures_beside_the_audio(corpora, tmp_path, stream):
    images = pytest.importorskip("PIL.Image")
    images.new("RGB", (2, 3)).save(tmp_path / "a.png")
    ds = datasets.Dataset.from_dict({"audio": [str(path) for path in files_of(corpora)[:3]], "picture": ["a.png"] * 3})
    ds = ds.map(lambda row: {"picture": str(tmp_path / "a.png")}).cast_column("picture", datasets.Image())
    run_pipeline(CurationPipeline([Chunk(min_energy=0)]), ds.to_iterable_dataset() if stream else ds, tmp_path / "out")
    files = str(tmp_path / "out" / "kept" / "*.parquet")
    kept = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert kept[0]["picture"].size == (2, 3)
