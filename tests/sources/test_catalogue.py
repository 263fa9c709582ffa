"""Metadata paths to files, in copies of the real layouts that differ from the metadata as users' copies do."""

import io
import os
import subprocess
import sys
import tarfile
import unicodedata
import zipfile
from pathlib import Path

import fsspec
import numpy as np
import pytest

from hive_datasets import (
    AmbiguousSourceError,
    HiveError,
    Mixer,
    SourceError,
    SourceNotFoundError,
    SourceRootError,
    TruncatedSourceError,
    VariantSourceWarning,
    find_corpus,
    parse_recipe,
)
from hive_datasets.sources import Roots, parse_roots
from hive_datasets.sources.archives import TarStorage
from hive_datasets.sources.catalogue import Catalogue
from hive_datasets.sources.index import Scan, write_index
from hive_datasets.utils import files
from tests.file_server import FileServer
from tests.sources.test_folders import settle

AUDIOSET = "AudioSet/audioset_data/audio/unbal_train"


def locate(roots, path):
    return Catalogue(parse_roots(roots)).locate(path)


def test_every_file_is_where_the_metadata_says_and_needs_no_index(corpora, hive_rows, mini, monkeypatch):
    monkeypatch.setattr("hive_datasets.sources.catalogue.load_index", None)
    roots = parse_roots(corpora)
    catalogue = Catalogue(roots)
    for recipe in [*mini, *map(parse_recipe, hive_rows)]:
        for source in recipe.sources:
            located = catalogue.locate(source.path)
            assert (located.location, located.rules) == (f"{corpora}/{source.path}", ())


WAVCAPS = "mnt/fast/nobackup/scratch4weeks/xm00178/WavCaps/data/waveforms"


@pytest.mark.parametrize(
    ("key", "root", "rule"),
    [
        ("BBC_Sound_Effects", f"BBC_Sound_Effects/{WAVCAPS}/BBC_Sound_Effects_flac", "root_too_deep"),
        ("FreeSound", f"FreeSound/{WAVCAPS}", "root_too_deep"),
        ("ESC50", "ESC-50-master/audio", "root_too_deep"),
        ("AudioSet", "AudioSet/audioset_data/audio/unbal_train", "root_too_deep"),
        ("VGGSound", "vggsound/wav", "root_too_deep"),
        ("AVE", "AVE_Dataset/AVE_Dataset", "root_too_deep"),
        ("ESC50", ".", "root_too_shallow"),
        ("FSD50K", ".", "root_too_shallow"),
        ("clothov2", ".", "root_too_shallow"),
        ("SoundBible", "..", "root_too_shallow"),
    ],
)
def test_a_root_given_too_deep_or_too_shallow(corpora, copy, key, root, rule):
    catalogue = Catalogue(parse_roots({key: copy / root}))
    prefix = find_corpus(key).prefix
    for file in (corpora / prefix).rglob("*.[wf]*"):
        located = catalogue.locate(str(file.relative_to(corpora)))
        assert located.rules == (rule,)
        assert Path(located.location).read_bytes() == file.read_bytes()


def test_one_of_clothos_folders_as_its_root(corpora, copy):
    catalogue = Catalogue(parse_roots({"clothov2": copy / "clotho_v2" / "evaluation"}))
    inside = [file.name for file in (corpora / "clotho_v2" / "evaluation").iterdir()]
    assert inside
    for name in inside:
        assert catalogue.locate(f"clotho_v2/evaluation/{name}").rules == ("root_too_deep",)


def change(copy, rename):
    """Rename files of the copy; nothing is where it was."""
    for file in sorted(copy.rglob("*.[wf]*")):
        target = rename(file)
        if target != file:
            target.parent.mkdir(parents=True, exist_ok=True)
            file.rename(target)


def to_other_extension(file):
    return file.with_suffix({".wav": ".flac", ".flac": ".wav"}[file.suffix])


@pytest.mark.parametrize(
    ("corpus", "rename", "rules"),
    [
        ("AudioSet", to_other_extension, ("extension",)),
        ("AudioSet", lambda file: file.with_name("Y" + file.name), ("youtube_prefix",)),
        ("vggsound", lambda file: file.parents[1] / file.name, ("folders",)),
        ("ESC-50-master", lambda file: file.parent / "1" / file.name.lower(), ("folders", "case")),
        ("clotho_v2", lambda file: file.with_name(" " + file.name), ("spaces",)),
    ],
)
def test_known_variants_mix_the_same_and_are_reported_once(
    corpora, copy, mini, mini_mixes, hive_rows, corpus, rename, rules
):
    change(copy / corpus, rename)
    catalogue = Catalogue(parse_roots(copy))
    for file in (corpora / corpus).rglob("*.[wf]*"):
        located = catalogue.locate(str(file.relative_to(corpora)))
        assert located.rules == rules
        assert Path(located.location).read_bytes() == file.read_bytes()
    concerned = [
        (recipe, mix)
        for recipe, mix in zip(mini, mini_mixes, strict=True)
        if any(source.path.startswith(corpus) for source in recipe.sources)
    ]
    mixer = Mixer(copy)
    if concerned:
        with pytest.warns(VariantSourceWarning, match=f"files of {corpus} are found") as caught:
            for recipe, mix in concerned:
                np.testing.assert_array_equal(mixer(recipe)["mix"], mix)
        assert len(caught) == 1


def test_unicode_forms(tmp_path):
    """As macOS writes names, and as Clotho has them."""
    name = "Bahnhof Zürich, départ.wav"
    (tmp_path / "clotho_v2" / "development").mkdir(parents=True)
    (tmp_path / "clotho_v2" / "development" / unicodedata.normalize("NFD", name)).touch()
    assert locate(tmp_path, f"clotho_v2/development/{name}").rules == ("unicode",)


def test_two_files_that_fit_by_different_rules(tmp_path):
    folder = tmp_path / AUDIOSET
    folder.mkdir(parents=True)
    for name in ("Ya-B.flac", "a-B.wav"):
        (folder / name).touch()
    located = locate(tmp_path, f"{AUDIOSET}/a-B.flac")
    assert (located.location, located.rules) == (f"{folder}/Ya-B.flac", ("youtube_prefix",))
    assert located.others == (f"{folder}/a-B.wav",)


def test_two_files_that_fit_by_the_same_rules(tmp_path, mini):
    for folder in ("one", "two"):
        (tmp_path / "AudioSet" / folder).mkdir(parents=True)
        (tmp_path / "AudioSet" / folder / "a-B.flac").touch()
    with pytest.raises(AmbiguousSourceError, match=r"equally well \(in other folders\): .*/one/a-B.flac, .*/two/a-B"):
        locate(tmp_path, f"{AUDIOSET}/a-B.flac")
    row = mini[0].to_dict()
    row["sources"][0]["path"] = f"{AUDIOSET}/a-B.flac"
    with pytest.raises(AmbiguousSourceError, match=f"{mini[0].mix_id}.*Remove or rename all but one"):
        Mixer(tmp_path)(row)


def test_what_is_found_instead_is_told(tmp_path):
    folder = tmp_path / "vggsound" / "video"
    folder.mkdir(parents=True)
    (folder / "A_000001.wav").touch()
    with pytest.raises(SourceNotFoundError, match=r"A_000001.wav has a similar name, but no rule"):
        locate(tmp_path, "vggsound/wav/a_000001.wav")


def test_files_beside_the_audio_are_no_candidates_but_any_format_may_be_asked_for(tmp_path):
    folder = tmp_path / AUDIOSET
    folder.mkdir(parents=True)
    for name in ("a.json", "a.txt", "b.sph"):
        (folder / name).touch()
    with pytest.raises(SourceNotFoundError, match=r"a\.(json|txt) has a similar name"):
        locate(tmp_path, f"{AUDIOSET}/a.flac")
    (folder / "a.wav").touch()
    settle(tmp_path)
    os.utime(folder)
    assert locate(tmp_path, f"{AUDIOSET}/a.flac").rules == ("extension",)
    catalogue = Catalogue(parse_roots(tmp_path))
    path = f"{AUDIOSET}/b.sph"
    assert catalogue.look_up(path, *catalogue.open_root(path)).location == f"{folder}/b.sph"


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    """What is where it should be needs none; the rest says what to do."""
    (tmp_path / AUDIOSET).mkdir(parents=True)
    (tmp_path / AUDIOSET / "a.flac").touch()
    (tmp_path / "file").touch()
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "file"))
    assert locate(tmp_path, f"{AUDIOSET}/a.flac").rules == ()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    with (
        pytest.warns(
            UserWarning, match=r"/file cannot be written: .*/temporary/hive-datasets-\d+/indexes serves.*HF_HOME"
        ),
        pytest.raises(SourceNotFoundError),
    ):
        locate(tmp_path, f"{AUDIOSET}/b.flac")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    files._temporary_folder.cache_clear()
    with pytest.raises(HiveError, match=r"the cache folder .*/file cannot be written: .*\. Set HF_HOME"):
        locate(tmp_path, f"{AUDIOSET}/b.flac")


@pytest.mark.parametrize("path", ["AudioSet/../../etc/passwd", "/etc/passwd", "AudioSet/.."])
def test_paths_that_lead_out_are_refused(tmp_path, path):
    (tmp_path / "AudioSet").mkdir()
    with pytest.raises(SourceRootError, match="not a metadata path"):
        locate(tmp_path, path)


def test_a_folder_for_all_may_hold_corpora_under_their_other_names(tmp_path):
    (tmp_path / "ESC-50-master").mkdir()  # empty
    for name in ("esc50/audio/1-5-A-0.wav", "AUDIOSET/audioset_data/audio/unbal_train/a.flac"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    assert locate(tmp_path, "ESC-50-master/audio/1-5-A-0.wav").location == f"{tmp_path}/esc50/audio/1-5-A-0.wav"
    assert locate(tmp_path, f"{AUDIOSET}/a.flac").rules == ()
    (tmp_path / "ESC-50").mkdir()
    (tmp_path / "ESC-50" / "a.wav").touch()
    with pytest.raises(SourceRootError, match=r"several source roots in .*: ESC-50, esc50"):
        locate(tmp_path, "ESC-50-master/audio/1-5-A-0.wav")


def test_a_root_that_fails_is_not_tried_for_every_path(tmp_path, monkeypatch):
    (tmp_path / "AudioSet.tar").write_bytes(b"no tar" * 1000)
    catalogue = Catalogue(parse_roots(tmp_path))
    scans = []
    scan = TarStorage.scan
    monkeypatch.setattr(TarStorage, "scan", lambda self, progress: scans.append(1) or scan(self, progress))
    for number in range(20):
        with pytest.raises(SourceRootError, match="it is not a tar"):
            catalogue.locate(f"{AUDIOSET}/{number}.flac")
    assert len(scans) == 1
    monkeypatch.setattr("hive_datasets.sources.catalogue.RECHECK_SECONDS", 0.0)
    with pytest.raises(SourceRootError, match="it is not a tar"):
        catalogue.locate(f"{AUDIOSET}/0.flac")
    assert len(scans) == 2


def test_a_file_that_comes_later_is_found(tmp_path, monkeypatch):
    folder = tmp_path / AUDIOSET
    folder.mkdir(parents=True)
    (folder / "other.flac").touch()
    settle(tmp_path)
    catalogue = Catalogue(parse_roots(tmp_path))
    with pytest.raises(SourceNotFoundError):
        catalogue.locate(f"{AUDIOSET}/a.flac")
    (folder / "Ya.flac").touch()
    monkeypatch.setattr("hive_datasets.sources.catalogue.RECHECK_SECONDS", 0.0)
    monkeypatch.setattr("hive_datasets.sources.catalogue.RECHECK_SHARE", float("inf"))
    assert catalogue.locate(f"{AUDIOSET}/a.flac").location == f"{folder}/Ya.flac"


USE_INDEX = """
import re, sys
from hive_datasets.sources.index import Index
def own_memory():
    return int(re.search(r"RssAnon:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) << 10
before = own_memory()
index = Index(sys.argv[1])
assert all(index.find(f"audio/{number:08}.flac") >= 0 for number in range(300_000))
print(own_memory() - before)
"""


def test_processes_share_an_index(tmp_path, subprocess_environment):
    """A process that has used all of an index has nothing of it for itself: it is a map of the file."""
    scan = Scan()
    for number in range(300_000):
        scan.add("audio", f"{number:08}.flac")
    write_index(scan, tmp_path / "index.arrow")
    assert os.path.getsize(tmp_path / "index.arrow") > 10_000_000
    command = [sys.executable, "-W", "ignore", "-c", USE_INDEX, str(tmp_path / "index.arrow")]
    own = subprocess.run(command, env=subprocess_environment, capture_output=True, text=True, check=True).stdout
    assert int(own) < 1_000_000


def test_the_hub_as_a_root(shared, mini, mini_mixes, subprocess_environment):
    """Audio in a dataset repository, read by range."""
    from tests.hub_server import HubServer

    code = (
        "import sys, numpy, hive_datasets\n"
        "recipes = list(hive_datasets.read_recipes(sys.argv[1]))[:3]\n"
        "mixer = hive_datasets.Mixer('hf://datasets/someone/sounds')\n"
        "print(*(float(mixer(recipe)['mix'].sum(dtype='float64')) for recipe in recipes))\n"
    )
    with HubServer("someone/sounds", shared / "corpora") as server:
        environment = {**subprocess_environment, "HF_ENDPOINT": server.url}
        command = [sys.executable, "-c", code, str(shared / "mini" / "hub")]
        printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert list(map(float, printed.split())) == [float(mix.sum(dtype="float64")) for mix in mini_mixes[:3]]


def test_no_root_for_a_corpus(tmp_path):
    with pytest.raises(SourceRootError, match="no source root fits 'AudioSet'"):
        Catalogue(Roots((("ESC50", str(tmp_path)),))).locate(f"{AUDIOSET}/a.flac")


LEADING_OUT = ["%2e%2e/secret.wav", "%2E%2E/secret.wav", "..%2fsecret.wav/a", "%2e%2e%2fsecret.wav/a", "a?b/secret.wav"]


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "http", "s3", "memory"])
@pytest.mark.parametrize("path", LEADING_OUT)
def test_no_path_leads_out_of_a_root_of_any_kind(tmp_path, kind, path, request):
    """As bytes or as what a server makes of them, in the first component, too."""
    inside = tmp_path / "root"
    (inside / "AudioSet").mkdir(parents=True)
    (inside / "AudioSet" / "a.wav").write_bytes(b"inside")
    (tmp_path / "secret.wav").write_bytes(b"outside")
    if kind == "http":
        server = FileServer(tmp_path).__enter__()
        request.addfinalizer(server.__exit__)
        root = f"{server.url}/root"
    elif kind in ("s3", "memory"):
        fs = request.getfixturevalue("s3") if kind == "s3" else fsspec.filesystem("memory")
        place = "hive/leading" if kind == "s3" else "/leading"
        fs.put(str(inside), f"{place}/root", recursive=True)
        fs.pipe(f"{place}/secret.wav", b"outside")
        root = f"{kind}://{place.lstrip('/')}/root"
    else:
        root = str(inside) if kind == "folder" else str(pack(inside, tmp_path / f"root.{kind}"))
    for roots in (Roots(parent=root), Roots(folders=(("AudioSet", root), (path.split("/")[0], root)))):
        try:
            opened = Catalogue(roots).locate(path).open()
        except (OSError, SourceRootError):
            continue
        data = Path(opened).read_bytes() if isinstance(opened, str) else opened.read()
        assert data != b"outside"


def pack(folder, archive):
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as packed:
            packed.write(folder / "AudioSet" / "a.wav", "AudioSet/a.wav")
            packed.writestr("../secret.wav", b"outside")
    else:
        with tarfile.open(archive, "w") as packed:
            packed.add(folder / "AudioSet", "AudioSet")
            packed.add(folder.parent / "secret.wav", "../secret.wav")
    return archive


def test_a_root_one_too_high_is_recognised_and_named(corpora, tmp_path, mini):
    (tmp_path / "D").mkdir()
    (tmp_path / "D" / "corpora").symlink_to(corpora)
    with pytest.warns(VariantSourceWarning, match=f"one too high: the corpora are in {tmp_path}/D/corpora, not in"):
        found = Mixer(tmp_path / "D")(mini[0])
    np.testing.assert_array_equal(found["mix"], Mixer(corpora)(mini[0])["mix"])


def test_a_root_that_holds_corpora_is_not_too_high(tmp_path):
    for place in ("par/AudioSet/a.wav", "par/old/ESC-50-master/audio/1.wav"):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).touch()
    with pytest.raises(SourceRootError, match="there is no such folder"):
        locate(tmp_path / "par", "ESC-50-master/audio/1.wav")


def test_a_slip_in_the_name_of_a_corpus(tmp_path):
    for slip, nearest in (("Audioest", "AudioSet"), ("VGGSond", "VGGSound"), ("ESC5", "ESC50")):
        with pytest.raises(SourceRootError, match=f"{slip!r} is no corpus of Hive. Did you mean .*{nearest[:3]}"):
            parse_roots({slip: "/data/x"})
    for fine in ({"My recordings": "/data/x"}, {"AudioSet2": "/data/AudioSet2"}, {"audio_set": "/data/x"}):
        assert parse_roots(fine).folders


def test_a_root_whose_name_is_not_utf8(corpora, tmp_path, mini, shared, subprocess_environment):
    root = os.fsdecode(os.fsencode(tmp_path) + b"/r\xff\xfe")
    os.symlink(corpora, root)
    lost = parse_recipe({**mini[0].to_dict(), "num_sources": 1, "sources": [{**mini[0].to_dict()["sources"][0]}]})
    assert Mixer(root)(lost)["mix"].any()
    with pytest.raises(SourceNotFoundError, match="there is no such file"):
        locate(root, "ESC-50-master/audio/none.wav")
    metadata = os.fsencode(shared / "mini" / "hub")
    command = [sys.executable, "-c", "import sys; from hive_datasets.cli.main import main; sys.exit(main())", "verify"]
    run = subprocess.run([*command, metadata, b"--dataset-paths", os.fsencode(root)], env=subprocess_environment)
    assert run.returncode == 0


def test_what_ends_early_is_not_read_as_whole(tmp_path):
    """Of a tar whose end is missing, since it was listed or before."""
    with tarfile.open(tmp_path / "AudioSet.tar", "w") as archive:
        member = tarfile.TarInfo("x/a.flac")
        member.size = 100_000
        archive.addfile(member, io.BytesIO(bytes(100_000)))
    os.truncate(tmp_path / "AudioSet.tar", 50_000)
    located = Catalogue(parse_roots(tmp_path)).locate("AudioSet/x/a.flac")
    with pytest.raises(TruncatedSourceError, match="of 100,000 bytes only 49,488 are there"):
        located.read()


def test_a_file_that_may_not_be_read(tmp_path):
    (tmp_path / "AudioSet" / "x").mkdir(parents=True)
    (tmp_path / "AudioSet" / "x" / "a.flac").write_bytes(b"1")
    located = Catalogue(parse_roots(tmp_path)).locate("AudioSet/x/a.flac")
    assert located.read() == b"1"
    (tmp_path / "AudioSet" / "x" / "a.flac").unlink()
    with pytest.raises(SourceError, match="No such file"):
        located.read()
