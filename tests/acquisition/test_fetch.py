"""Fetching from servers that hold corpora exactly as they are published."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
import zipfile

import numpy as np
import pytest
import soundfile
from filelock import FileLock

from hive_datasets import (
    Mixer,
    OutputError,
    SourceRootError,
    SourceUnreachableError,
    Subset,
    WrongChecksumWarning,
    verify_sources,
)
from hive_datasets.acquisition.fetch import fetch_sources
from hive_datasets.cli.main import main
from hive_datasets.sources.published import find_published, publish_roots
from tests.acquisition.publishing import publish, write_registry
from tests.file_server import FileServer
from tests.sources.videos import write_video

pytestmark = pytest.mark.skipif(shutil.which("zip") is None, reason="Info-ZIP's zip is not installed")
PUBLISHED = ["ESC50", "Clotho", "FSD50K", "SoundBible", "Voicebank"]


@pytest.fixture(scope="module")
def published(corpora, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    entries = publish(corpora, folder)
    return folder, entries


@pytest.fixture
def server(published, tmp_path, monkeypatch):
    """A server of the published corpora, which the registry knows."""
    folder, entries = published
    with FileServer(folder) as server:
        monkeypatch.setenv("HIVE_PUBLISHED", str(write_registry(entries, server.url, tmp_path / "published.json")))
        monkeypatch.setenv("HIVE_SCRATCH", str(tmp_path / "scratch"))
        monkeypatch.setenv("HIVE_BLOCK_CACHE_BYTES", "0")
        yield server


@pytest.fixture
def metadata(shared):
    return shared / "mini" / "hub"


def fetch(metadata, to, corpora=PUBLISHED, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WrongChecksumWarning)
        return fetch_sources(metadata, to, corpora, **options)


def files_below(folder):
    """But for those by which processes know of each other."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path for path in files}


def test_what_is_needed_and_no_more_lies_under_the_metadata_s_names(server, metadata, corpora, tmp_path):
    result = fetch(metadata, tmp_path / "to")
    assert (result.needed, result.there, result.written, result.lacking) == (43, 0, 43, ())
    fetched = {name: path for name, path in files_below(tmp_path / "to").items() if not name.startswith(".")}
    assert len(fetched) == 43
    for name, path in fetched.items():
        assert path.read_bytes() == (corpora / name).read_bytes()
    roots = {name: tmp_path / "to" / name for name in os.listdir(tmp_path / "to") if not name.startswith(".")}
    found = verify_sources(metadata, roots, corpora=PUBLISHED, check="decode")
    assert set(found.statuses) == {"found", "other_rate"}  # of VoiceBank, as it is here
    assert files_below(tmp_path / "scratch") == {}  # archives are gone
    server.requests.clear()
    again = fetch(metadata, tmp_path / "to")
    assert (again.there, again.written) == (43, 0)
    assert not [path for _, path, _ in server.requests if not path.endswith("/")]


def test_of_what_is_read_by_range_little_more_is_read_than_is_kept(server, metadata, tmp_path):
    subset = Subset(metadata, splits=["test"])
    result = fetch(subset, tmp_path, ["FSD50K", "Voicebank"])
    spans = [span.removeprefix("bytes=").split("-") for _, _, span in server.requests if span]
    assert sum(int(stop) - int(start) + 1 for start, stop in spans) < 2 * result.num_bytes + 2_000_000


def test_prepared_from_where_it_is_published(server, metadata, corpora, prepared, mini, tmp_path, capsys):
    """The same samples as from copies on disk."""
    options = [
        "prepare",
        str(metadata),
        "--out",
        str(tmp_path / "prepared"),
        "--dataset-paths",
        str(corpora),
        "--quiet",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WrongChecksumWarning)
        assert main([*options, "--from-published", *PUBLISHED]) == 0
    one, other = Mixer(prepared=tmp_path / "prepared"), Mixer(prepared=prepared)
    for recipe in mini[::5]:
        np.testing.assert_array_equal(one(recipe)["mix"], other(recipe)["mix"])
    assert any(path.endswith(".7z") for _, path, _ in server.requests)
    assert files_below(tmp_path / "scratch") == {}


def test_streaming_from_where_it_is_published(server, metadata, corpora, mini, mini_mixes):
    """What is had by range; what is had whole says what to do."""
    mixer = Mixer(publish_roots(str(corpora), ["FSD50K", "SoundBible", "Voicebank"]))
    for recipe, mix in list(zip(mini, mini_mixes, strict=True))[::6]:
        np.testing.assert_array_equal(mixer(recipe)["mix"], mix)
    recipe = next(recipe for recipe in mini if any(s.path.startswith("clotho") for s in recipe.sources))
    with pytest.raises(SourceRootError, match="`hive-datasets prepare --from-published` and `hive-datasets fetch`"):
        Mixer(publish_roots(str(corpora), ["Clotho"]))(recipe)


def test_video_in_tars_becomes_audio(server, shared, tmp_path):
    """And of what a tar was seen to hold, it is not downloaded again."""
    wanted = Subset(shared / "hive_rows.json")
    result = fetch(wanted, tmp_path / "to", ["VGGSound"])
    assert result.written == 2
    assert len(result.lacking) == result.needed - 2
    reasons = {reason for _, reason in result.lacking}
    assert len(reasons) == 1 and "none of its 2 archives has it" in reasons.pop()
    with (tmp_path / "to" / "lacking.csv").open() as file:
        assert len(list(csv.reader(file))) == len(result.lacking) + 1
    fetched = {name for name in files_below(tmp_path / "to") if name.endswith(".wav")}
    assert len(fetched) == 2
    found = verify_sources(wanted, {"VGGSound": tmp_path / "to" / "vggsound"}, corpora=["VGGSound"], check="header")
    assert found.statuses.count("found") + found.statuses.count("too_short") == 2
    server.requests.clear()
    assert fetch(wanted, tmp_path / "to", ["VGGSound"]).there == 2
    assert not [path for _, path, _ in server.requests if path.endswith(".tar.gz")]


def test_what_no_program_may_get_is_said_with_what_to_do(server, metadata, mini, tmp_path, capsys):
    with pytest.raises(SourceRootError, match=r"MUSIC21 cannot be fetched by a program. Only ids of YouTube"):
        fetch(metadata, tmp_path, ["MUSIC21"])
    recipes = (recipe for recipe in mini if any(s.path.startswith("MUSIC_dataset") for s in recipe.sources))
    near = {"MUSIC_dataset", "ESC-50-master", "FSD50K", "SoundBible", "Voicebank_DEMAND", "clotho_v2"}
    own = next(recipe for recipe in recipes if {s.path.split("/")[0] for s in recipe.sources} <= near)
    subset = Subset(metadata, splits=[own.split], mix_ids=[own.mix_id])
    result = fetch_sources(subset, tmp_path, dry_run=True)
    assert [title for title, _ in result.by_hand] == ["MUSIC21"]
    assert main(["fetch", "AVE", "--metadata", str(metadata), "--to", str(tmp_path), "-q"]) == 2
    assert "no mixture has sources of AVE" in capsys.readouterr().err
    assert find_published("AVE").is_by_hand


def test_ave_is_cut_from_a_download_of_one_s_own(server, shared, tmp_path, corpora, published):
    """Its videos lie whole in one zip."""
    frames = (1000 * np.random.default_rng(0).standard_normal((441_000, 1))).astype(np.int16)
    video = write_video(tmp_path / "2iwPgYGH_Ew.mp4", frames, 44100)
    with zipfile.ZipFile(tmp_path / "AVE_Dataset.zip", "w") as archive:
        archive.write(video, "AVE_Dataset/AVE/2iwPgYGH_Ew.mp4")
    result = fetch(shared / "hive_rows.json", tmp_path / "to", ["AVE"], published_at=tmp_path / "AVE_Dataset.zip")
    assert (result.written, result.lacking) == (1, ())
    file = tmp_path / "to" / "AVE_Dataset" / "AVE_Dataset" / "AVE_truncate" / "2iwPgYGH_Ew_0_10.wav"
    assert soundfile.info(file).frames == pytest.approx(441_000, abs=1024)


def test_a_checksum_that_differs(server, published, metadata, tmp_path, monkeypatch):
    """Of a whole archive and of a member: kept aside and named, never used."""
    folder, entries = published
    entries = json.loads(json.dumps(entries))
    for each in entries:
        if each["corpus"] == "ClothoV2":
            each["files"][1]["md5"] = "0" * 32
    monkeypatch.setenv("HIVE_PUBLISHED", str(write_registry(entries, server.url, tmp_path / "other.json")))
    result = fetch(metadata, tmp_path / "to", ["Clotho"])
    assert (result.written, len(result.lacking)) == (0, 3)
    assert (
        f"It is kept as {tmp_path}/scratch/ClothoV2/clotho_audio_evaluation.7z.wrong, and not used"
        in result.lacking[0][1]
    )
    assert not [name for name in files_below(tmp_path / "to") if name.endswith(".wav")]
    damaged = tmp_path / "Voicebank.zip"
    data = bytearray((folder / "bitstreams" / "download").read_bytes())
    with zipfile.ZipFile(folder / "bitstreams" / "download") as archive:
        member = archive.getinfo("clean_trainset_28spk_wav/p287_004.wav")
    data[member.header_offset + 5_000] ^= 1
    damaged.write_bytes(data)
    result = fetch(metadata, tmp_path / "to", ["Voicebank"], published_at=damaged)
    ((path, reason),) = result.lacking
    assert "its CRC-32 is not what the archive's directory says; it is kept as" in reason
    assert not (tmp_path / "to" / path).exists()
    assert fetch(metadata, tmp_path / "to", ["Voicebank"]).lacking == ()


def test_a_file_that_changes_on_the_server(server, published, metadata, tmp_path):
    result = fetch(metadata, tmp_path, ["ESC50"])
    assert result.lacking == ()
    with pytest.warns(WrongChecksumWarning, match="the server packs it on demand"):
        shutil.rmtree(tmp_path / "ESC-50-master")
        fetch_sources(metadata, tmp_path, ["ESC50"])


@pytest.mark.parametrize("status", [403, 404, 429, 500, "stall"])
@pytest.mark.parametrize("corpus", ["Clotho", "Voicebank", "SoundBible"])
def test_a_server_that_answers_otherwise(server, metadata, tmp_path, status, corpus, monkeypatch):
    monkeypatch.setenv("HIVE_TIMEOUT", "0.2")
    server.fault = lambda path: status if path.endswith((".7z", "/download", ".flac")) else None
    if status == 404:
        result = fetch(metadata, tmp_path, [corpus])
        assert result.written == 0 and result.lacking
    else:
        says = "did not answer within 0.2 s" if status == "stall" else str(status)
        with pytest.raises(SourceUnreachableError, match=says):
            fetch(metadata, tmp_path, [corpus])
    assert not [name for name in files_below(tmp_path) if name.endswith((".wav", ".flac"))]
    server.fault = None
    monkeypatch.delenv("HIVE_TIMEOUT")
    assert fetch(metadata, tmp_path, [corpus]).lacking == ()


@pytest.mark.parametrize("corpus", ["Clotho", "Voicebank", "SoundBible"])
def test_a_server_that_breaks_off(server, metadata, tmp_path, corpus):
    server.truncated_to = 1000
    with pytest.raises(SourceUnreachableError):
        fetch(metadata, tmp_path, [corpus])
    assert not [name for name in files_below(tmp_path) if name.endswith((".wav", ".flac"))]
    server.truncated_to = None
    assert fetch(metadata, tmp_path, [corpus]).lacking == ()


def test_a_file_that_is_another_in_between(server, published, metadata, tmp_path, monkeypatch):
    """Of a publisher without checksums; by the time that the server says that it was changed."""
    folder, entries = published
    entries = json.loads(json.dumps(entries))
    for each in entries:
        for file in each["files"]:
            file.pop("md5", None)
    monkeypatch.setenv("HIVE_PUBLISHED", str(write_registry(entries, server.url, tmp_path / "other.json")))
    monkeypatch.setattr("hive_datasets.sources.downloads._PIECE_BYTES", 500_000)
    file = folder / "clotho_audio_evaluation.7z"
    before = file.stat()
    server.on_range = lambda path: os.utime(file, (0, 10**9 + len(server.requests)))
    result = fetch(metadata, tmp_path / "to", ["Clotho"])
    assert result.written == 0
    assert "has changed while it was downloaded" in result.lacking[0][1]
    server.on_range = None
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert fetch(metadata, tmp_path / "to", ["Clotho"]).lacking == ()


@pytest.mark.parametrize(("corpus", "package"), [("Clotho", "py7zr"), ("VGGSound", "PyAV")])
def test_what_reads_an_archive_is_there_before_it_is_downloaded(
    server, shared, metadata, tmp_path, monkeypatch, corpus, package
):
    monkeypatch.setitem(sys.modules, {"PyAV": "av"}.get(package, package), None)
    result = fetch(metadata if corpus == "Clotho" else shared / "hive_rows.json", tmp_path, [corpus])
    assert result.written == 0
    assert {f"{package}, which is not installed: pip install" in reason for _, reason in result.lacking} == {True}
    assert server.requests == []


def test_a_download_goes_on_where_it_was_left(server, metadata, tmp_path, monkeypatch):
    monkeypatch.setattr("hive_datasets.sources.downloads._PIECE_BYTES", 100_000)
    server.broken_from = 250_000
    with pytest.raises(SourceUnreachableError, match="503"):
        fetch(metadata, tmp_path / "to", ["Clotho"])
    (part,) = (tmp_path / "scratch" / "ClothoV2").glob("*.part")
    assert part.stat().st_size == 300_000
    server.broken_from = None
    server.requests.clear()
    assert fetch(metadata, tmp_path / "to", ["Clotho"]).lacking == ()
    starts = [int(span.removeprefix("bytes=").split("-")[0]) for _, path, span in server.requests if span]
    assert min(starts) == 300_000


def test_one_process_at_a_time(server, metadata, tmp_path):
    (tmp_path / ".fetching").mkdir()
    with (
        FileLock(tmp_path / ".fetching" / ".lock"),
        pytest.raises(OutputError, match="another process is fetch"),
    ):
        fetch(metadata, tmp_path, ["Voicebank"])


def test_a_full_disk_is_told_before(server, metadata, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    with pytest.raises(OutputError, match=r"GB free, and about .* GB are fetched"):
        fetch(metadata, tmp_path / "to", ["Voicebank"])
    assert not [name for name in files_below(tmp_path) if name.endswith(".wav")]


KILLED = """
import os, signal, sys
from hive_datasets.cli.main import main
from hive_datasets.acquisition import fetch
replace, count = os.replace, 0
def die(source, target):
    global count
    count += str(source).endswith(".new")
    if count == 9:
        os.kill(os.getpid(), signal.{signal})
    replace(source, target)
fetch.os.replace = die
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_killed_at_any_time(server, metadata, corpora, tmp_path, subprocess_environment, name):
    """Nothing is half under a final name, and the next run goes on."""
    arguments = ["fetch", "FSD50K", "Voicebank", "--metadata", str(metadata), "--to", str(tmp_path / "to"), "-q"]
    code = KILLED.replace("{signal}", name)
    ended = subprocess.run([sys.executable, "-c", code, *arguments], env=subprocess_environment, capture_output=True)
    assert ended.returncode == (130 if name == "SIGINT" else -signal.SIGKILL), ended.stderr
    there = {name: path for name, path in files_below(tmp_path / "to").items() if name.endswith(".wav")}
    assert 4 < len(there) <= 16  # after Ctrl-C, what was begun is finished
    for path, file in there.items():
        assert file.read_bytes() == (corpora / path).read_bytes()
    result = fetch(metadata, tmp_path / "to", ["FSD50K", "Voicebank"])
    assert (result.there, result.written) == (len(there), 16 - len(there))
    assert not list((tmp_path / "to").glob(".fetching/*.new"))


def test_a_disk_that_is_full_under_way(server, metadata, tmp_path, subprocess_environment):
    """As far as a limit on the size of files is one."""
    arguments = ["fetch", "Voicebank", "--metadata", str(metadata), "--to", str(tmp_path / "to"), "-q"]
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, 70_000))"
    code = f"import sys; from hive_datasets.cli.main import main; {limit}; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *arguments]
    ended = subprocess.run(command, env=subprocess_environment, capture_output=True, text=True)
    assert ended.returncode == 2, ended.stderr
    assert "cannot be written: File too large. What was fetched is kept: see to it, and run it again" in ended.stderr
    assert all(path.stat().st_size < 70_000 for name, path in files_below(tmp_path / "to").items())
    assert fetch(metadata, tmp_path / "to", ["Voicebank"]).lacking == ()


def test_the_report(server, metadata, tmp_path, capsys):
    arguments = ["fetch", "Voicebank", "--metadata", str(metadata), "--to", str(tmp_path / "to")]
    assert main([*arguments, "--dry-run", "-q"]) == 0
    assert "To be fetched: 6 files" in capsys.readouterr().out
    assert not (tmp_path / "to").exists()
    assert main(arguments) == 0
    output = capsys.readouterr()
    assert "6 files are needed, and 0 were there." in output.out
    assert "fetching:" in output.err
    assert main([*arguments, "--format", "json", "-q"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["needed"], report["there"], report["written"]) == (6, 6, 0)
