import json

import datasets
import pytest
import soundfile

from hive_datasets import RecordError
from hive_datasets.curation import read_clip, read_records
from hive_datasets.curation.records import iterate_records

ROWS = [
    {"audio_path": "/corpus/a.wav", "text_label": "Dog", "captions": ["a dog"], "id": 7},
    {"audio_path": "sub/b.wav", "text_label": ["Dog", "Bark"], "captions": [], "id": 8},
    {"audio_path": "s3://bucket/c.wav", "text_label": [], "captions": None, "id": 9},
]


@pytest.mark.parametrize("name", ["mine.json", "mine.jsonl"])
def test_the_authors_json(tmp_path, name):
    file = tmp_path / name
    text = json.dumps(ROWS) if name.endswith(".json") else "\n".join(map(json.dumps, ROWS))
    file.write_text(text, encoding="utf-8-sig")
    assert list(iterate_records(read_records(file))) == [
        {"audio": "/corpus/a.wav", "labels": ["Dog"], "captions": ["a dog"], "id": 7},
        {"audio": str(tmp_path / "sub" / "b.wav"), "labels": ["Dog", "Bark"], "captions": [], "id": 8},
        {"audio": "s3://bucket/c.wav", "labels": [], "captions": None, "id": 9},
    ]


def test_a_folder_of_audio(corpora):
    """All of it, also what has "train" or "test" in its path."""
    found = [record["audio"] for record in iterate_records(read_records(corpora))]
    assert found == sorted(str(path) for path in corpora.rglob("*") if path.suffix in (".wav", ".flac"))


def test_a_folder_of_folders(tmp_path):
    for name in ("Dog/train.wav", "Cat/b.flac"):
        (tmp_path / name).parent.mkdir()
        soundfile.write(tmp_path / name, [0.0] * 100, 16000)
    records = iterate_records(read_records(tmp_path))
    named = {record["audio"].rpartition("/")[2]: record["labels"] for record in records}
    assert named == {"train.wav": ["Dog"], "b.flac": ["Cat"]}
    soundfile.write(tmp_path / "c.wav", [0.0] * 100, 16000)  # no longer equally deep
    assert [record["labels"] for record in iterate_records(read_records(tmp_path))] == [[], [], []]
    (tmp_path / "[x]").mkdir()
    soundfile.write(tmp_path / "[x]" / "c.wav", [0.0] * 100, 16000)
    assert len(read_records(tmp_path / "[x]")) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_datasets_of_any_kind(stream):
    if stream:
        pytest.importorskip("torchcodec")  # without which datasets renames no column of a stream with audio

    def make(columns, **features):
        ds = datasets.Dataset.from_dict(columns)
        for name, feature in features.items():
            ds = ds.cast_column(name, feature)
        return ds.to_iterable_dataset() if stream else ds

    audio = datasets.Audio(sampling_rate=16000)
    ds = make({"sound": ["a.wav"], "labels": [["Dog"]], "mine": [1]}, sound=audio)
    assert list(iterate_records(read_records(ds))) == [
        {"audio": {"bytes": None, "path": "a.wav"}, "labels": ["Dog"], "mine": 1}
    ]
    ds = make({"audio": ["a.wav", "b.wav"], "label": [1, 0]}, label=datasets.ClassLabel(names=["Cat", "Dog"]))
    assert [record["labels"] for record in iterate_records(read_records(ds))] == [["Dog"], ["Cat"]]
    ds = make({"audio_path": ["a.wav"], "text_label": ["Dog"]})
    assert next(iterate_records(read_records(ds)))["labels"] == ["Dog"]
    with pytest.raises(RecordError, match="no column audio, nor one of type Audio, only path"):
        read_records(make({"path": ["a.wav"]}))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("column", ["label", "labels", "text_label"])
def test_labels_that_are_numbers(stream, column):
    """-1 is what the Hub has for none."""
    names = datasets.ClassLabel(names=["Cat", "Dog"])
    for feature, values in ((names, [1, -1]), (datasets.Sequence(names), [[1, 0], []])):
        features = datasets.Features({"audio": datasets.Value("string"), column: feature})
        ds = datasets.Dataset.from_dict({"audio": ["a.wav", "b.wav"], column: values}, features=features)
        found = iterate_records(read_records(ds.to_iterable_dataset() if stream else ds))
        expected = [["Dog"], []] if feature is names else [["Dog", "Cat"], []]
        assert [record["labels"] for record in found] == expected


def test_columns_that_only_some_records_have(tmp_path):
    rows = [
        {"audio_path": "a.wav", "text_label": None},
        {"audio_path": "b.wav", "text_label": "\u2028", "note": "\x85"},
    ]
    for name, text in (
        ("a.json", json.dumps(rows)),
        ("a.jsonl", "\n".join(json.dumps(r, ensure_ascii=False) for r in rows)),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        found = list(iterate_records(read_records(tmp_path / name)))
        assert [record.get("note") for record in found] == [None, "\x85"]
        assert [record["labels"] for record in found] == [[], []]


def test_decoded_samples_become_files():
    ds = datasets.Dataset.from_list([{"audio": {"array": [0.5] * 100, "sampling_rate": 8000}, "labels": []}])
    (record,) = iterate_records(read_records(ds))
    assert read_clip(record).samples.tolist() == [0.5] * 100


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("{}", "holds dict, not a list"),
        ("[]", "has no records"),
        ("[3]", "record 1 is 3, not an object"),
        ('[{"audio_path": "a.wav"}, {"text_label": "Dog"}]', "record 2 has no audio_path"),
        ('[{"audio_path": "a.wav", "text_label": 3}]', "record 1: labels are 3: they must be"),
        ('[{"audio_path": "a.wav", "x": 1}, {"audio_path": "b.wav", "x": "y"}]', "values of several types"),
    ],
)
def test_json_that_is_none_of_it(tmp_path, text, message):
    (tmp_path / "mine.json").write_text(text)
    with pytest.raises(RecordError, match=message):
        read_records(tmp_path / "mine.json")


def test_lines_that_are_none_of_it(tmp_path):
    """They are read as they come, so that it shows when it is their turn."""
    (tmp_path / "mine.jsonl").write_text('{"audio_path": "a.wav"}\n\n{"audio_path":')
    records = iterate_records(read_records(tmp_path / "mine.jsonl"))
    assert next(records) == {"audio": str(tmp_path / "a.wav"), "labels": []}
    with pytest.raises(RecordError, match="line 3 is no JSON"):
        next(records)


def test_what_is_not_there(tmp_path):
    with pytest.raises(RecordError, match="neither a folder nor a file of JSON: it is not there"):
        read_records(tmp_path / "mine.csv")
    with pytest.raises(RecordError, match=r"mine.json is not there"):
        read_records(tmp_path / "mine.json")
    for name in ("empty", "text"):
        (tmp_path / name).mkdir()
        if name == "text":
            (tmp_path / name / "notes.txt").write_text("nothing to hear")
        with pytest.raises(RecordError, match="no audio is found there"):
            read_records(tmp_path / name)


def test_a_folder_with_metadata(tmp_path):
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, [0.0] * 100, 16000)
    (tmp_path / "metadata.csv").write_text("file_name,label,room\na.wav,Dog,1\nb.wav,Cat,2\n")
    found = [tuple(record.values()) for record in iterate_records(read_records(tmp_path))]
    assert found == [(str(tmp_path / "a.wav"), ["Dog"], "Dog", 1), (str(tmp_path / "b.wav"), ["Cat"], "Cat", 2)]
    (tmp_path / "metadata.csv").write_text("name,label\na.wav,Dog\n")
    with pytest.raises(RecordError, match=r"metadata.csv: record 1 has no file_name, only name, label"):
        read_records(tmp_path)
    (tmp_path / "metadata.csv").rename(tmp_path / "metadata.parquet")
    with pytest.raises(RecordError, match=r"metadata.parquet cannot be read"):
        read_records(tmp_path)
    (tmp_path / "metadata.parquet").unlink()
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "b.wav", "labels": ["Cat", "Meow"]}')
    assert [record["labels"] for record in iterate_records(read_records(tmp_path))] == [["Cat", "Meow"]]


def test_a_folder_with_links_and_hidden_files(tmp_path):
    for name in ("Dog/a.wav", "Cat/b.m4a", "Dog/._a.wav", ".trash/c.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "Dog" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "Pig").symlink_to(tmp_path / "Cat", target_is_directory=True)
    found = {record["audio"]: record["labels"] for record in iterate_records(read_records(tmp_path))}
    expected = {"Dog/a.wav": ["Dog"], "Cat/b.m4a": ["Cat"], "Pig/b.m4a": ["Pig"]}
    assert found == {str(tmp_path / name): labels for name, labels in expected.items()}


def test_what_is_no_dataset():
    ds = datasets.Dataset.from_dict({"audio": ["a.wav"]})
    with pytest.raises(RecordError, match=r"records are a DatasetDict, .*: choose a split of it"):
        read_records(datasets.DatasetDict(train=ds))
    with pytest.raises(RecordError, match="records are a list, neither a Dataset nor a path"):
        read_records([{"audio": "a.wav"}])
