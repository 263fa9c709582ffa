"""Runs that go on where others have ended, one way or another."""

import multiprocessing
import signal
import subprocess
import sys
import textwrap

import pytest

from hive_datasets import Subset, parse_recipe, write_mixtures
from hive_datasets.errors import HiveError, OutputError, SourceError
from hive_datasets.export import write as write_module
from hive_datasets.export.target import Target
from hive_datasets.verification.needs import corpus_of
from tests.export.shards import contents_of, shards_of, write_metadata


def test_what_is_there_is_kept(brief_metadata, corpora, tmp_path):
    options = {"dataset_paths": corpora, "mixtures_per_shard": 5}
    write_mixtures(Subset(brief_metadata, num_sources=2), tmp_path, **options)
    before = {name: file.stat().st_mtime_ns for name, file in shards_of(tmp_path).items()}
    result = write_mixtures(brief_metadata, tmp_path, **options)
    assert (result.kept, result.shards) == (len(before), 20)
    assert {name: shards_of(tmp_path)[name].stat().st_mtime_ns for name in before} == before


def test_what_changed_is_written_again(brief, corpora, tmp_path):
    train = [recipe for recipe in brief if recipe.split == "train"]
    file = write_metadata(train, tmp_path / "m.json")
    options = {"dataset_paths": corpora, "mixtures_per_shard": 3}
    write_mixtures(file, tmp_path / "out", **options)
    before = contents_of(tmp_path / "out")
    row = train[0].to_dict()
    row["sources"][0]["applied_weight"] *= 0.5
    write_metadata([parse_recipe(row), *train[1:]], file)
    for dry_run in (True, False):
        with pytest.raises(OutputError, match=r"holds other mixtures .*/tar_00001.tar\. .* overwrite=True"):
            write_mixtures(file, tmp_path / "out", dry_run=dry_run, **options)
    assert contents_of(tmp_path / "out") == before
    result = write_mixtures(file, tmp_path / "out", overwrite=True, **options)
    after = contents_of(tmp_path / "out")
    changed = [name for name in before if before[name] != after[name]]
    assert changed == [f"train/{train[0].num_sources}mix/tar_00001.tar"]
    assert result.kept == result.shards - 1


def test_killed_between_a_shard_and_its_record(brief, corpora, tmp_path, monkeypatch):
    """A record of what was there before must not vouch for what took its place, even of the same size."""
    first, second = [recipe for recipe in brief if (recipe.split, recipe.num_sources) == ("train", 2)][:2]
    second = parse_recipe({**second.to_dict(), "mix_id": first.mix_id})
    file, options = tmp_path / "m.json", {"dataset_paths": corpora, "to": "tar"}
    write_mixtures(write_metadata([first], file), tmp_path / "out", **options)
    before = contents_of(tmp_path / "out")
    monkeypatch.setattr(Target, "record", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_mixtures(write_metadata([second], file), tmp_path / "out", overwrite=True, **options)
    monkeypatch.undo()
    between = contents_of(tmp_path / "out")
    assert {name: len(data) for name, data in between.items()} == {name: len(data) for name, data in before.items()}
    assert between != before
    assert write_mixtures(write_metadata([first], file), tmp_path / "out", **options).kept == 0
    assert contents_of(tmp_path / "out") == before


@pytest.mark.parametrize("to", ["tar", "folder"])
def test_a_shard_that_somebody_cut_is_written_again(brief_metadata, corpora, tmp_path, to):
    options = {"dataset_paths": corpora, "to": to}
    write_mixtures(brief_metadata, tmp_path, **options)
    before = contents_of(tmp_path)
    file = shards_of(tmp_path)["test/2mix/tar_00001.tar" if to == "tar" else "test/2mix/00001/sample_00000004.s1.wav"]
    file.write_bytes(file.read_bytes()[:-1000])
    result = write_mixtures(brief_metadata, tmp_path, **options)
    assert result.kept == result.shards - 1
    assert contents_of(tmp_path) == before


def test_fewer_mixtures_than_before(brief_metadata, corpora, tmp_path):
    """What earlier runs have left beside them is told, not deleted."""
    options = {"dataset_paths": corpora, "mixtures_per_shard": 4}
    write_mixtures(Subset(brief_metadata, splits=["train"], num_sources=2), tmp_path, **options)
    result = write_mixtures(Subset(brief_metadata, splits=["train"], num_sources=2, limit=4), tmp_path, **options)
    assert result.others == ("train/2mix/tar_00002.tar", "train/2mix/tar_00003.tar")
    assert (result.mixtures, result.kept) == (4, 1)


@pytest.mark.parametrize("to", ["tar", "folder"])
def test_what_cannot_be_rendered_replaces_nothing(brief, copy, corpora, tmp_path, to):
    """Corpora that are not mounted today must not cost the shards of yesterday."""
    recipes = [recipe for recipe in brief if recipe.num_sources == 2][:3]
    write_mixtures(write_metadata(recipes[:2], tmp_path / "m.json"), tmp_path / "out", dataset_paths=corpora, to=to)
    before = contents_of(tmp_path / "out")
    (copy / recipes[2].sources[0].path).unlink()
    file = write_metadata(recipes[2:], tmp_path / "m.json")
    with pytest.raises(SourceError, match="not one of 1 mixtures"):
        write_mixtures(file, tmp_path / "out", dataset_paths=copy, to=to, overwrite=True)
    assert contents_of(tmp_path / "out") == before
    assert write_mixtures(write_metadata(recipes[:2], file), tmp_path / "out", dataset_paths=corpora, to=to).kept == 1


def test_trying_again_loses_nothing(brief, corpora, tmp_path):
    """What was rendered with one corpus stays when another has come in its place."""
    pairs = [recipe for recipe in brief if (recipe.split, recipe.num_sources) == ("train", 2)]
    first = pairs[0]
    second = next(
        recipe
        for recipe in pairs
        if not {corpus_of(source.path) for source in recipe.sources} & {corpus_of(s.path) for s in first.sources}
    )
    file = write_metadata([first, second], tmp_path / "m.json")

    def roots(recipe):
        return {corpus_of(source.path): str(corpora / corpus_of(source.path)) for source in recipe.sources}

    result = write_mixtures(file, tmp_path / "out", dataset_paths=roots(first))
    assert [skipped.mix_id for skipped in result.skipped] == [second.mix_id]
    before = contents_of(tmp_path / "out")
    again = write_mixtures(file, tmp_path / "out", dataset_paths=roots(second))
    assert (again.skipped, again.kept) == (result.skipped, 1)
    assert contents_of(tmp_path / "out") == before
    assert write_mixtures(file, tmp_path / "out", dataset_paths=corpora).mixtures == 2


def test_hidden_files_of_others_are_no_part_of_a_shard(brief_metadata, corpora, tmp_path):
    subset = Subset(brief_metadata, limit=4)
    shards = write_mixtures(subset, tmp_path / "out", dataset_paths=corpora, to="folder").shards
    (tmp_path / "out" / "train" / "2mix" / "00001" / ".DS_Store").write_text("note")
    assert write_mixtures(subset, tmp_path / "out", dataset_paths=corpora, to="folder").kept == shards


def test_options_that_are_damaged(brief_metadata, corpora, tmp_path):
    write_mixtures(Subset(brief_metadata, limit=1), tmp_path, dataset_paths=corpora)
    for damage in ("", "[]", "[1]", "null"):
        (tmp_path / ".hive-datasets" / "options.json").write_text(damage)
        with pytest.raises(OutputError, match="choose another folder"):
            write_mixtures(Subset(brief_metadata, limit=1), tmp_path, dataset_paths=corpora)


def test_other_options_are_in_the_way(brief_metadata, corpora, tmp_path):
    """Or a slip would replace terabytes."""
    subset = Subset(brief_metadata, limit=2)
    write_mixtures(subset, tmp_path, dataset_paths=corpora)
    before = contents_of(tmp_path)
    with pytest.raises(OutputError, match="was written with stems='scaled', not 'unscaled': choose another folder"):
        write_mixtures(subset, tmp_path, dataset_paths=corpora, stems="unscaled")
    assert contents_of(tmp_path) == before


def test_one_process_at_a_time(brief_metadata, corpora, tmp_path):
    def progress(step, unit, total):
        if step == "rendering":
            with pytest.raises(OutputError, match="another process is writing"):
                write_mixtures(brief_metadata, tmp_path, dataset_paths=corpora)
        return write_module.no_progress(step, unit, total)

    assert write_mixtures(brief_metadata, tmp_path, dataset_paths=corpora, progress=progress).mixtures == 64


RUN = """
    import json, os, resource, signal, sys
    from hive_datasets import OutputError, write_mixtures

    def progress(step, unit, total):
        import contextlib
        @contextlib.contextmanager
        def context():
            yield advance if step == "rendering" else lambda done: None
        return context()

    def advance(done):
        if done:
            ON_ADVANCE

    def main():
        brief_metadata, corpora, out = sys.argv[1:]
        BEFORE
        try:
            result = write_mixtures(
                brief_metadata, out, dataset_paths=corpora, mixtures_per_shard=5, num_workers=WORKERS, progress=progress
            )
        except OutputError as error:
            print(error)
        except KeyboardInterrupt:
            print("interrupted")

    if __name__ == "__main__":
        main()
"""


@pytest.fixture
def run(tmp_path, brief_metadata, corpora, subprocess_environment):
    """Run `RUN` with these parts in a process of its own; returns its exit code and what it prints."""

    def start(workers, on_advance="pass", before="pass"):
        code = textwrap.dedent(RUN).replace("WORKERS", str(workers))
        code = code.replace("ON_ADVANCE", on_advance).replace("BEFORE", before)
        (tmp_path / "run.py").write_text(code)
        command = [sys.executable, tmp_path / "run.py", brief_metadata, corpora, tmp_path / "out"]
        result = subprocess.run(command, env=subprocess_environment, capture_output=True, text=True, timeout=300)
        # a process that is killed while it starts another cannot keep that one from saying so
        assert "Traceback" not in result.stderr or result.returncode == -signal.SIGKILL, result.stderr
        return result.returncode, result.stdout

    return start


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_in_the_middle(run, tmp_path, brief_metadata, corpora, tars, workers):
    """Nothing half-made is taken for a shard, no worker lives on, and the next run makes the rest."""
    psutil = pytest.importorskip("psutil")
    pids = "import psutil; print(*[c.pid for c in psutil.Process().children()], flush=True)"
    code, printed = run(workers, f"{pids}; os.kill(os.getpid(), signal.SIGKILL)")
    assert code == -signal.SIGKILL
    left = [psutil.Process(int(pid)) for pid in printed.split() if psutil.pid_exists(int(pid))]
    assert not psutil.wait_procs(left, timeout=30)[1]
    finished = contents_of(tmp_path / "out")
    finished = {name: data for name, data in finished.items() if ".incomplete/" not in name}
    expected = contents_of(tars[0])
    assert len(finished) < len(expected)
    assert all(data == expected[name] for name, data in finished.items())
    result = write_mixtures(brief_metadata, tmp_path / "out", dataset_paths=corpora, mixtures_per_shard=5)
    assert result.mixtures == 64
    assert result.kept <= len(finished)
    assert contents_of(tmp_path / "out") == expected
    assert not list((tmp_path / "out").rglob("*.incomplete"))


@pytest.mark.parametrize("workers", [1, 2])
def test_interrupted_in_the_middle(run, tmp_path, brief_metadata, corpora, tars, workers):
    code, printed = run(workers, "os.kill(0, signal.SIGINT)", "os.setpgrp()")
    assert (code, printed) == (0, "interrupted\n")
    assert not list((tmp_path / "out").rglob("*.incomplete"))
    expected = contents_of(tars[0])
    assert all(data == expected[name] for name, data in contents_of(tmp_path / "out").items())
    write_mixtures(brief_metadata, tmp_path / "out", dataset_paths=corpora, mixtures_per_shard=5)
    assert contents_of(tmp_path / "out") == expected


def test_a_disk_that_takes_no_more(run, tmp_path, brief_metadata, corpora, tars):
    """What was whole stays."""
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, resource.RLIM_INFINITY))"
    code, printed = run(1, before=limit)
    assert code == 0
    assert "tar_0000" in printed
    assert "cannot be written: File too large. The shards that were finished are kept" in printed
    expected = contents_of(tars[0])
    found = contents_of(tmp_path / "out")
    assert 0 < len(found) < len(expected)
    assert all(data == expected[name] for name, data in found.items())
    assert not list((tmp_path / "out").rglob("*.incomplete"))


def test_a_worker_that_is_killed(brief_metadata, corpora, tmp_path):
    """As the system does when memory runs out."""

    class Progress:
        def __call__(self, step, unit, total):
            self.step = step
            return self

        def __enter__(self):
            return self.advance

        def __exit__(self, *exception):
            pass

        def advance(self, done):
            if self.step == "rendering" and done:
                for worker in multiprocessing.active_children():
                    worker.kill()

    with pytest.raises(HiveError, match="a worker process was killed"):
        write_mixtures(
            brief_metadata,
            tmp_path / "out",
            dataset_paths=corpora,
            mixtures_per_shard=2,
            num_workers=2,
            progress=Progress(),
        )
    assert not list((tmp_path / "out").rglob("*.incomplete"))
    assert write_mixtures(brief_metadata, tmp_path / "out", dataset_paths=corpora, mixtures_per_shard=2).mixtures == 64


def test_a_last_shard_that_grows(brief, corpora, tmp_path):
    """What was not full takes more, without being told to overwrite; what has other mixtures before does not."""
    recipes = [recipe for recipe in brief if (recipe.split, recipe.num_sources) == ("train", 2)]
    options = {"dataset_paths": corpora, "mixtures_per_shard": 4}
    for count, (kept, shards) in {6: (0, 2), 7: (1, 2), 12: (1, 3)}.items():
        result = write_mixtures(write_metadata(recipes[:count], tmp_path / "m.json"), tmp_path / "out", **options)
        assert (result.mixtures, result.kept, result.shards) == (count, kept, shards)
    write_mixtures(write_metadata(recipes, tmp_path / "m.json"), tmp_path / "once", **options)
    assert contents_of(tmp_path / "out") == contents_of(tmp_path / "once")
    with pytest.raises(OutputError, match=r"other mixtures .*, in train/2mix/tar_00001.tar and 2 more\."):
        write_mixtures(write_metadata(recipes[1:], tmp_path / "m.json"), tmp_path / "out", **options)


def test_what_other_runs_left_out_stays_listed(brief, copy, corpora, tmp_path):
    path = brief[0].sources[0].path
    (copy / path).unlink()
    write_mixtures(Subset(write_metadata(brief, tmp_path / "m.json")), tmp_path / "out", dataset_paths=copy)
    before = (tmp_path / "out" / "skipped.csv").read_text()
    assert len(before.splitlines()) > 1
    narrow = Subset(tmp_path / "m.json", splits=["validation"], num_sources=3)
    assert write_mixtures(narrow, tmp_path / "out", dataset_paths=corpora).skipped == ()
    done = {recipe.mix_id for recipe in brief if (recipe.split, recipe.num_sources) == ("validation", 3)}
    left = (tmp_path / "out" / "skipped.csv").read_text().splitlines()
    assert left == [line for line in before.splitlines() if line.split(",")[1] not in done]
    assert len(left) > 1
    write_mixtures(tmp_path / "m.json", tmp_path / "out", dataset_paths=corpora)
    assert not (tmp_path / "out" / "skipped.csv").exists()


def test_a_last_shard_that_cannot_grow_without_loss(brief, copy, corpora, tmp_path):
    recipes = [recipe for recipe in brief if (recipe.split, recipe.num_sources) == ("train", 2)][:4]
    write_mixtures(write_metadata(recipes[:3], tmp_path / "m.json"), tmp_path / "out", dataset_paths=corpora)
    before = contents_of(tmp_path / "out")
    (copy / recipes[0].sources[0].path).unlink()
    for roots, expected in ((copy, (3, before)), (corpora, (4, None))):
        result = write_mixtures(write_metadata(recipes, tmp_path / "m.json"), tmp_path / "out", dataset_paths=roots)
        shards = {name: data for name, data in contents_of(tmp_path / "out").items() if name != "skipped.csv"}
        assert result.mixtures == expected[0]
        assert (shards == before) == (expected[1] is not None)
        if roots == copy:
            assert [(each.mix_id, each.reason) for each in result.skipped] == [
                (recipes[3].mix_id, "its shard stays, of which less can be rendered than before")
            ]


@pytest.mark.parametrize("to", ["tar", "folder", "parquet"])
def test_bytes_that_changed_are_found_when_asked_for(brief_metadata, corpora, tmp_path, to):
    """Where the size is as it was, nothing else tells."""
    options = {"to": to, "dataset_paths": corpora}
    write_mixtures(brief_metadata, tmp_path / "out", **options)
    written = everything_in(tmp_path / "out")
    assert write_mixtures(brief_metadata, tmp_path / "out", verify=True, **options).damaged == 0
    victim = next(file for file in sorted((tmp_path / "out" / "train").rglob("*")) if file.is_file())
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 4
    victim.write_bytes(data)
    assert write_mixtures(brief_metadata, tmp_path / "out", **options).kept == 12
    dry = write_mixtures(brief_metadata, tmp_path / "out", verify=True, dry_run=True, **options)
    assert (dry.damaged, dry.kept) == (1, 11) and victim.read_bytes() == data
    mended = write_mixtures(brief_metadata, tmp_path / "out", verify=True, **options)
    assert (mended.damaged, mended.kept, mended.mixtures) == (1, 11, 64)
    assert everything_in(tmp_path / "out") == written


def everything_in(folder):
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != "lock")
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}
