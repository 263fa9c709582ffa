"""Fetching from a server that speaks the Hub's API, in fresh interpreters: the endpoint is read at import."""

import json
import shutil
import subprocess
import sys

import pytest
import soundfile

from tests.hub_server import COMMIT, HubServer
from tests.sources.test_packed import pack
from tests.sources.videos import write_video

pytestmark = pytest.mark.skipif(shutil.which("zip") is None, reason="Info-ZIP's zip is not installed")
REPOSITORY = "cvssp/WavCaps"


@pytest.fixture(scope="module")
def repository(corpora, tmp_path_factory):
    """WavCaps as it is on the Hub, FreeSound in parts; with a tar of video and single files as others have."""
    folder = tmp_path_factory.mktemp("repository")
    for name, options in (("FreeSound", ["-0", "-s", "64k"]), ("SoundBible", ["-6"])):
        file = folder / "Zip_files" / name / f"{name}.zip"
        file.parent.mkdir(parents=True)
        subprocess.run(["zip", "-q", "-r", *options, file, "mnt"], cwd=corpora / name, check=True)
    assert (folder / "Zip_files" / "FreeSound" / "FreeSound.z02").exists()
    for path in (corpora / "FSD50K").rglob("*.wav"):
        (folder / "clips" / "dev").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / "clips" / "dev")
    (video,) = (corpora / "vggsound").rglob("U1_VO9VcG8E_000072.wav")
    frames, rate = soundfile.read(video, dtype="int16", always_2d=True)
    made = write_video(folder.parent / "U1_VO9VcG8E_000072.mp4", frames, rate)
    pack({f"scratch/video/{made.name}": made.read_bytes()}, folder / "vggsound_00.tar.gz")
    return folder


@pytest.fixture
def run(subprocess_environment, tmp_path):
    own = {"host": "hub", "repository": REPOSITORY, "clips": 10, "bytes": 10_000_000}
    entries = [
        {**own, "corpus": "FSD50K", "access": "ranges", "files": [{"name": "clips"}]},
        {**own, "corpus": "VGGSound", "access": "whole", "files": [{"name": "vggsound_00.tar.gz"}]},
    ]
    (tmp_path / "published.json").write_text(json.dumps(entries))

    def run(server, *arguments, first=""):
        environment = {
            **subprocess_environment,
            "HF_ENDPOINT": server.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "PYTHONWARNINGS": "default",
            "HIVE_PUBLISHED": str(tmp_path / "published.json"),
            "HIVE_SCRATCH": str(tmp_path / "scratch"),
        }
        code = f"import sys; from hive_datasets.cli.main import main; {first}sys.exit(main())"
        command = [sys.executable, "-c", code, *map(str, arguments), "--quiet", "--format", "json"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)

    return run


def test_members_of_zips_and_single_files_of_the_hub(repository, corpora, shared, run, tmp_path):
    arguments = ["FreeSound", "SoundBible", "FSD50K", "--metadata", shared / "mini" / "hub", "--to", tmp_path / "to"]
    with HubServer(REPOSITORY, repository) as server:
        ended = run(server, "fetch", *arguments)
        assert ended.returncode == 0, ended.stderr + ended.stdout
        report = json.loads(ended.stdout)
        assert (report["needed"], report["written"], report["lacking"]) == (17, 17, {})
        asked = [path for _, path, _ in server.requests if "/resolve/" in path]
        assert asked and all(f"/resolve/{COMMIT}/" in path for path in asked)  # of one revision
    fetched = [path for path in (tmp_path / "to").rglob("*.*") if path.is_file() and ".fetching" not in path.parts]
    assert len(fetched) == 17
    for path in fetched:
        assert path.read_bytes() == (corpora / path.relative_to(tmp_path / "to")).read_bytes()


def test_whole_archives_of_the_hub(repository, shared, run, tmp_path):
    arguments = ["VGGSound", "--metadata", shared / "hive_rows.json", "--to", tmp_path / "to"]
    with HubServer(REPOSITORY, repository) as server:
        ended = run(server, "fetch", *arguments)
    assert ended.returncode == 1, ended.stderr  # the others are not in it
    assert json.loads(ended.stdout)["written"] == 1
    assert soundfile.info(tmp_path / "to" / "vggsound" / "wav" / "U1_VO9VcG8E_000072.wav").samplerate == 44100
    assert not [path for path in (tmp_path / "scratch").rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_a_full_disk_is_not_taken_for_the_hub_s_fault(repository, shared, run, tmp_path):
    """As far as a limit on the size of files is one."""
    arguments = ["VGGSound", "--metadata", shared / "hive_rows.json", "--to", tmp_path / "to"]
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)); "
    with HubServer(REPOSITORY, repository) as server:
        ended = run(server, "fetch", *arguments, first=limit)
        assert ended.returncode == 2
        assert "vggsound_00.tar.gz cannot be written: File too large. What is there is kept" in ended.stderr
        assert json.loads(run(server, "fetch", *arguments).stdout)["written"] == 1


def test_a_file_that_is_not_what_the_hub_says(repository, shared, run, tmp_path, monkeypatch):
    """Single files have its SHA-256."""
    monkeypatch.setattr("tests.hub_server.Handler.send_file", send_damaged)
    arguments = ["FSD50K", "--metadata", shared / "mini" / "hub", "--to", tmp_path / "to"]
    with HubServer(REPOSITORY, repository) as server:
        ended = run(server, "fetch", *arguments)
    assert ended.returncode == 1, ended.stderr
    assert json.loads(ended.stdout)["written"] == 0
    assert "its SHA-256 is not" in (tmp_path / "to" / "lacking.csv").read_text()
    assert not list((tmp_path / "to").glob("FSD50K/**/*.wav"))


def send_damaged(self, file):
    content = file.read_bytes()[:-1] + b"!"
    first, _, last = (self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")
    start, stop = int(first), int(last) + 1 if last else len(content)
    headers = {"ETag": '"a"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes", "X-Linked-Size": len(content)}
    headers["Content-Range"] = f"bytes {start}-{min(stop, len(content)) - 1}/{len(content)}"
    self.send_body(content[start:stop], 206, headers)
