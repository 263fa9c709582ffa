import json
import os

import pytest

from hive_datasets import SourceRootError, find_corpus, list_corpora
from hive_datasets.sources.roots import config_file, find_roots, join_root, name_of_root, parse_roots

AUTHORS_KEYS = [
    "AudioSet",
    "AVE",
    "BBC_Sound_Effects",
    "clothov2",
    "DCASE_real",
    "DCASE_synth",
    "ESC50",
    "FreeSound",
    "FSD50K",
    "MUSIC21",
    "SoundBible",
    "VGGSound",
    "Voicebank_DEMAND",
]


def test_the_registry_holds_the_twelve_corpora():
    corpora = list_corpora()
    assert len(corpora) == 12
    assert sum(corpus.clips for corpus in corpora) == 898_564
    # the published total is 2,442.60: each of the twelve is rounded to 0.01
    assert sum(corpus.hours for corpus in corpora) == pytest.approx(2442.60, abs=12 * 0.005)
    assert all(corpus.path.startswith(corpus.prefix + "/") and corpus.homepage for corpus in corpora)


def test_every_shared_file_belongs_to_a_corpus(corpora):
    assert {find_corpus(folder.name).prefix for folder in corpora.iterdir()} == {c.prefix for c in list_corpora()}


@pytest.mark.parametrize("key", [*AUTHORS_KEYS, "ClothoV2", "DCASE", "audioset", "esc-50", "vgg_sound"])
def test_names_that_users_write(key, tmp_path):
    corpus = find_corpus(key)
    roots = parse_roots({key: str(tmp_path / "my copy")})
    assert roots.locate(f"{corpus.prefix}/x/y.wav") == f"{tmp_path}/my copy/x/y.wav"


def test_names_are_unambiguous():
    names = [name for corpus in list_corpora() for name in {n.casefold() for n in corpus.names}]
    assert len(names) == len(set(names))
    assert find_corpus("nonsense") is None


def test_name_goes_before_basename_goes_before_alias():
    rows = {"AVE": "/a/AVE_Dataset", "AVE_Dataset": "/b/ave", "ave dataset": "/c"}
    assert parse_roots(rows).locate("AVE_Dataset/x.wav") == "/b/ave/x.wav"
    del rows["AVE_Dataset"]
    assert parse_roots(rows).locate("AVE_Dataset/x.wav") == "/a/AVE_Dataset/x.wav"
    del rows["AVE"]
    assert parse_roots(rows).locate("AVE_Dataset/x.wav") == "/c/x.wav"


def test_a_basename_is_matched_as_the_authors_match_it():
    assert parse_roots({"mine": "/data/vggsound/"}).locate("vggsound/wav/a.wav") == "/data/vggsound/wav/a.wav"


def test_ambiguous_roots_are_an_error_but_one_folder_twice_is_not():
    with pytest.raises(
        SourceRootError, match=r"several source roots fit 'clotho_v2' by their alias: /a, /b.*clothov2 -> /a"
    ):
        parse_roots({"clothov2": "/a", "ClothoV2": "/b"}).locate("clotho_v2/x.wav")
    assert parse_roots({"DCASE_real": "/d", "DCASE_synth": "/d"}).locate("DCASE2024_T9/x.wav") == "/d/x.wav"


def test_a_missing_root_lists_what_was_tried_and_what_is_configured():
    with pytest.raises(SourceRootError) as caught:
        parse_roots({"AudioSet": "/data/AudioSet"}, "the test").locate("ESC-50-master/audio/x.wav")
    for part in ("'ESC-50-master'", "ESC50", "the test: AudioSet -> /data/AudioSet", '{"ESC-50-master": '):
        assert part in str(caught.value)


def test_a_corpus_of_ones_own():
    assert parse_roots({"MyCorpus": "/data/mine"}).locate("mycorpus/x.wav") == "/data/mine/x.wav"


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "a/../../b.wav", "a", "", "a/", "../a/b", "a//etc/passwd", "a/./b", "a/b/"]
)
def test_paths_that_leave_the_root_are_refused(path):
    with pytest.raises(SourceRootError, match="not a metadata path"):
        parse_roots({"a": "/data/a"}).locate(path)


def test_one_folder_for_all(tmp_path):
    for value in (tmp_path, str(tmp_path)):
        assert parse_roots(value).locate("AudioSet/a/b.flac") == f"{tmp_path}/AudioSet/a/b.flac"


def test_json_file_and_json_text(tmp_path, monkeypatch):
    file = tmp_path / "dataset_paths.json"
    file.write_text(json.dumps({"AudioSet": "/data/AudioSet", "ESC50": "esc", "AVE": "$HERE/ave", "FSD50K": "~/fsd"}))
    monkeypatch.setenv("HERE", "/here")
    roots = parse_roots(file)
    assert roots.locate("AudioSet/x.wav") == "/data/AudioSet/x.wav"
    assert roots.locate("ESC-50-master/x.wav") == f"{tmp_path}/esc/x.wav"  # relative to the file
    assert roots.locate("AVE_Dataset/x.wav") == "/here/ave/x.wav"
    assert roots.locate("FSD50K/x.wav") == os.path.expanduser("~/fsd/x.wav")
    assert parse_roots('{"AudioSet": "/d"}').locate("AudioSet/x.wav") == "/d/x.wav"
    monkeypatch.chdir(tmp_path)
    absolute = parse_roots({"AudioSet": "relative"})
    monkeypatch.chdir("/")
    assert absolute.locate("AudioSet/x.wav") == f"{tmp_path}/relative/x.wav"  # where the call was made


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("/no/such/thing", "/no/such/thing does not exist"),
        ("{broken", "not valid JSON"),
        (5, "a mapping or a path, not int"),
        ({"AudioSet": 5}, "not a pair of corpus and folder"),
    ],
)
def test_what_are_no_roots(value, message):
    with pytest.raises(SourceRootError, match=message):
        parse_roots(value)


def test_a_json_file_that_is_no_mapping(tmp_path):
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(SourceRootError, match="must be a JSON object"):
        parse_roots(tmp_path / "a.json")


def test_argument_goes_before_environment_goes_before_config_file(monkeypatch, tmp_path):
    def located(given=None):
        return find_roots(given).locate("AudioSet/x")

    with pytest.raises(SourceRootError, match="no source roots are configured") as caught:
        located()
    assert str(config_file()) in str(caught.value)
    config_file().parent.mkdir(parents=True)
    config_file().write_text('{"AudioSet": "/config"}')
    assert located() == "/config/x"
    monkeypatch.setenv("HIVE_DATASET_PATHS", '{"AudioSet": "/environment"}')
    assert located() == "/environment/x"
    file = tmp_path / "paths.json"
    file.write_text('{"AudioSet": "/file"}')
    monkeypatch.setenv("HIVE_DATASET_PATHS", str(file))
    assert located() == "/file/x"
    file.write_text('{"AudioSet": "/changed"}')
    os.utime(file, ns=(1, 1))
    assert located() == "/changed/x"
    monkeypatch.setenv("HIVE_DATASET_PATHS", str(tmp_path))
    assert located() == f"{tmp_path}/AudioSet/x"
    assert located(parse_roots({"AudioSet": "/argument"})) == "/argument/x"


def test_a_root_that_bears_the_name_of_a_corpus_is_that_ones(tmp_path):
    (tmp_path / "ESC-50-master").mkdir()
    roots = parse_roots(tmp_path / "ESC-50-master")
    assert roots.locate("ESC-50-master/audio/x.wav") == f"{tmp_path}/ESC-50-master/audio/x.wav"
    with pytest.raises(SourceRootError, match="no source root fits 'AudioSet'"):
        roots.locate("AudioSet/x.wav")
    with pytest.raises(SourceRootError, match="is empty"):
        parse_roots(" ")


@pytest.mark.parametrize(
    ("root", "name"),
    [
        ("/data/ESC-50-master/", "ESC-50-master"),
        ("/data/ESC-50.tar.gz", "ESC-50"),
        ("s3://bucket/a/ESC-50.zip", "ESC-50"),
        ("https://zenodo.org/records/1/files/FSD50K.zip?download=1", "FSD50K"),
        ("zip://x/ESC-50-master::/data/a.zip", "ESC-50-master"),
        ("zip://::/data/ESC-50.zip", "ESC-50"),
        ("/data/FSD50K.dev_audio", "FSD50K.dev_audio"),
    ],
)
def test_the_name_of_a_root(root, name):
    assert name_of_root(root) == name


@pytest.mark.parametrize(
    ("parent", "joined"),
    [
        ("/data", "/data/AudioSet"),
        ("s3://bucket/hive/", "s3://bucket/hive/AudioSet"),
        ("/data/all.zip", "zip://AudioSet::/data/all.zip"),
        ("s3://bucket/all.tar", "tar://AudioSet::s3://bucket/all.tar"),
        ("zip://::/data/all.zip", "zip://AudioSet::/data/all.zip"),
        ("zip://hive::/data/all.zip", "zip://hive/AudioSet::/data/all.zip"),
    ],
)
def test_a_root_inside_another(parent, joined):
    assert join_root(parent, "AudioSet") == joined
