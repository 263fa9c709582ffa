"""Compressed tars and 7z, gone through once by `prepare`."""

import io
import shutil
import tarfile
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from hive_datasets import (
    Mixer,
    SourceError,
    SourceRootError,
    SourceUnreachableError,
    VariantSourceWarning,
    prepare_sources,
    read_recipes,
)
from hive_datasets.recipe.tables import hub_from_table, table_from_recipes
from hive_datasets.sources import find_corpus
from hive_datasets.sources.packed import PackedStorage
from hive_datasets.sources.storage import open_storage
from hive_datasets.sources.video import extract_audio
from tests.file_server import FileServer
from tests.sources.videos import write_video

SUFFIXES = [".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".7z"]


def pack(members, file):
    """Pack pairs of name and bytes into an archive, by what its name says it is."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.name.endswith(".7z"):
        py7zr = pytest.importorskip("py7zr")
        with py7zr.SevenZipFile(file, "w") as archive:
            for name, data in members.items():
                archive.writestr(data, name)
        return file
    made = io.BytesIO()
    method = file.name.rpartition(".")[2].removeprefix("tgz")
    with tarfile.open(fileobj=made, mode="w" if method == "zst" else f"w:{method}") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    if method == "zst":
        with pa.CompressedOutputStream(str(file), "zstd") as out:
            out.write(made.getvalue())
    else:
        file.write_bytes(made.getvalue())
    return file


@pytest.fixture
def clips():
    random = np.random.default_rng(0)
    return {f"evaluation/{number} é.wav": random.bytes(int(random.integers(1, 50_000))) for number in range(20)}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_pass_gives_what_is_wanted_and_no_more(tmp_path, clips, suffix):
    archive = pack({f"clotho/{name}": data for name, data in clips.items()}, tmp_path / f"a{suffix}")
    storage = open_storage(str(archive), find_corpus("Clotho"), or_sequential=True)
    wanted = [*list(clips)[3:9], "evaluation/not there.wav"]
    found = dict(storage.read_in_order(dict.fromkeys(wanted)))
    assert {name: content.data for name, content in found.items() if not isinstance(content, SourceError)} == {
        name: clips[name] for name in wanted[:-1]
    }
    assert "none of the 1 archives has it" in str(found[wanted[-1]])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_they_are_no_roots_to_stream_from(tmp_path, clips, suffix):
    archive = pack(clips, tmp_path / f"a{suffix}")
    with pytest.raises(SourceRootError, match="`hive-datasets prepare` goes through it once"):
        open_storage(str(archive))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_archive_that_ends_too_early_loses_only_what_is_behind(tmp_path, clips, suffix):
    whole = pack(clips, tmp_path / f"a{suffix}").read_bytes()
    (tmp_path / f"a{suffix}").write_bytes(whole[: len(whole) // 2])
    pack({"evaluation/other.wav": b"here"}, tmp_path / f"b{suffix}")
    storage = PackedStorage(str(tmp_path), find_corpus("Clotho"))
    found = dict(storage.read_in_order(dict.fromkeys([*clips, "evaluation/other.wav"])))
    assert found["evaluation/other.wav"].data == b"here"
    good = [name for name in clips if not isinstance(found[name], SourceError)]
    assert all(found[name].data == clips[name] for name in good)
    assert (len(good) > 0 if suffix == ".tar.gz" else True) and len(good) < len(clips)
    assert f"a{suffix} cannot be read to its end" in str(found[list(clips)[-1]])


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.xz", ".7z"])
def test_a_server_that_fails_under_way(tmp_path, clips, suffix):
    clips = {name: np.random.default_rng(seed).bytes(200_000) for seed, name in enumerate(clips)}
    pack(clips, tmp_path / f"a{suffix}")
    with FileServer(tmp_path) as server:
        storage = open_storage(f"{server.url}/a{suffix}", find_corpus("Clotho"), or_sequential=True)
        first = dict.fromkeys(list(clips)[:1])
        assert [path for path, _ in storage.read_in_order(first)] == list(first)
        assert len(server.requests) < 13  # of 16 blocks: it ends as soon as all is found
        found = storage.read_in_order(dict.fromkeys(clips))
        assert next(found)[1].data == clips["evaluation/0 é.wav"]
        server.broken_from = 1 << 18
        with pytest.raises(SourceUnreachableError, match="503"):
            list(found)


def test_prepared_sources_are_the_same(tmp_path, corpora, mini, prepared, shared):
    """Clotho as its authors publish it, ESC-50 as a tar; the others as folders."""
    roots = {folder.name: folder for folder in corpora.iterdir()}
    for name, file in (("clotho_v2", "clotho_audio_evaluation.7z"), ("ESC-50-master", "ESC-50.tar.gz")):
        files = list((corpora / name).rglob("*.wav"))
        pack({str(path.relative_to(corpora / name)): path.read_bytes() for path in files}, tmp_path / name / file)
        roots[name] = tmp_path / name
    result = prepare_sources(shared / "mini" / "hub", tmp_path / "prepared", dataset_paths=roots, shard_bytes=3_000_000)
    assert result.lacking == ()
    one, other = Mixer(prepared=tmp_path / "prepared"), Mixer(prepared=prepared)
    for recipe in mini:
        np.testing.assert_array_equal(one(recipe)["mix"], other(recipe)["mix"])
    again = prepare_sources(shared / "mini" / "hub", tmp_path / "prepared", dataset_paths=roots)
    assert (again.written, again.clips) == (0, result.clips)
    shutil.rmtree(tmp_path / "clotho_v2")  # what is prepared needs the archives no more
    assert prepare_sources(shared / "mini" / "hub", tmp_path / "prepared", dataset_paths=roots).lacking == ()


def test_vggsound_as_it_is_published(tmp_path, corpora, shared):
    """Tars of video, of which the audio is taken; ids that begin with - and hold _."""
    rows = read_recipes(shared / "hive_rows.json")
    recipes = [recipe for recipe in rows if any(s.path.startswith("vggsound/") for s in recipe.sources)]
    pq.write_table(hub_from_table(table_from_recipes(recipes)), tmp_path / "a.parquet")
    members, clean = {}, tmp_path / "clean"
    for source in (s for recipe in recipes for s in recipe.sources if s.path.startswith("vggsound/")):
        frames, rate = soundfile.read(corpora / source.path, dtype="int16", always_2d=True)
        stem = source.path.rpartition("/")[2].removesuffix(".wav")
        video = write_video(tmp_path / "videos" / f"{stem}.mp4", frames, rate)
        members[f"scratch/shared/beegfs/hchen/train_data/VGGSound_final/video/{stem}.mp4"] = video.read_bytes()
        (clean / "vggsound" / "wav").mkdir(parents=True, exist_ok=True)
        (clean / source.path).write_bytes(extract_audio(str(video)).read())
    half = len(members) // 2
    for number, names in enumerate([list(members)[:half], list(members)[half:]]):
        pack({name: members[name] for name in names}, tmp_path / "shards" / f"vggsound_{number:02}.tar.gz")
    (tmp_path / "shards" / "vggsound.csv").write_text("a,b\n")
    others = {folder.name: folder for folder in corpora.iterdir()}
    for name, root in (("tars", tmp_path / "shards"), ("wav", clean / "vggsound"), ("videos", tmp_path / "videos")):
        roots = others | {"vggsound": root}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VariantSourceWarning)
            result = prepare_sources(tmp_path / "a.parquet", tmp_path / "prepared" / name, dataset_paths=roots)
        assert result.lacking == ()
    mixers = [Mixer(prepared=tmp_path / "prepared" / name) for name in ("tars", "wav", "videos")]
    streaming = Mixer(others | {"vggsound": tmp_path / "videos"}, prepared=False)
    for recipe in read_recipes(tmp_path / "a.parquet"):
        mixes = [mixer(recipe)["mix"] for mixer in mixers]
        np.testing.assert_array_equal(mixes[0], mixes[1])
        np.testing.assert_array_equal(mixes[0], mixes[2])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VariantSourceWarning)
            stream = streaming(recipe)["mix"]
        np.testing.assert_allclose(stream, mixes[0], atol=1 / 32768)
