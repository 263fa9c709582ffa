import itertools
import warnings

import datasets
import pytest
from datasets import load_dataset
from packaging.version import parse

from hive_datasets import HiveError, Mixture, SourceRootError, UnreadableSourceWarning, skip_unreadable
from tests.copies import linked_copy


@pytest.fixture
def holed(demo, tmp_path):
    """The demo's sources with one file missing and one cut short, and the ids of the mixtures that remain."""
    with linked_copy(demo / "sources", tmp_path / "sources"):
        yield from _holed(tmp_path)


def _holed(tmp_path):
    clock = tmp_path / "sources" / "vggsound" / "wav" / "demo-clock_000020.wav"
    clock.unlink()
    (rain,) = (tmp_path / "sources").rglob("demo-rain.flac")
    rain.write_bytes(rain.read_bytes()[:1000])
    whole = load_dataset("hive", "demo", split="train", streaming=True).decode(False)
    left = [row["mix_id"] for row in whole if not {"Clock", "Rain"} & set(row["labels"])]
    assert 0 < len(left) < 24
    yield str(tmp_path / "sources"), left


@pytest.fixture
def load(demo, holed):
    def load(**options):
        return load_dataset(
            "hive", data_dir=str(demo / "metadata"), split="train", streaming=True, dataset_paths=holed[0], **options
        )

    return load


def ids(stream):
    return [row["mix_id"] for row in stream]


def collect(stream):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        seen = ids(stream)
    return seen, [str(w.message) for w in caught if w.category is UnreadableSourceWarning]


def test_by_default_a_stream_raises(load):
    with pytest.raises(HiveError, match=r"demo-(clock|rain)"):
        for row in load():
            row["mixture"]["mix"]


def test_skipping_warns_once_a_file_and_counts_at_the_end(load, holed):
    seen, messages = collect(load(on_error="skip"))
    assert seen == holed[1]
    assert len(messages) == 3
    assert {"demo-clock" in m for m in messages[:2]} == {"demo-rain" in m for m in messages[:2]} == {True, False}
    assert messages[2] == f"skipped {24 - len(seen)} of 24 mixtures whose sources cannot be read"


def test_a_stream_that_would_raise_is_made_to_skip(load, holed, monkeypatch):
    stream = load(sampling_rate=16000)
    monkeypatch.setenv("HIVE_DATASET_PATHS", "/nowhere")  # what it was loaded with stays
    load_dataset("hive", "demo", streaming=True)
    assert collect(skip_unreadable(stream))[0] == holed[1]
    assert next(iter(skip_unreadable(stream.skip(2))))["mixture"]["sampling_rate"] == 16000


def test_a_whole_dict_of_splits(demo, holed):
    splits = load_dataset(
        "hive", data_dir=str(demo / "metadata"), streaming=True, dataset_paths=holed[0], on_error="skip"
    )
    assert collect(splits["train"])[0] == holed[1]


def test_after_shuffling_sharding_and_threads(load, holed):
    stream = load().cast_column("mixture", Mixture(on_error="skip"))
    for variant in (
        stream.shuffle(seed=1, buffer_size=5),
        stream.decode(num_threads=3),
        stream.shuffle(seed=2, buffer_size=50).decode(num_threads=2),
    ):
        seen, messages = collect(skip_unreadable(variant))
        assert sorted(seen) == sorted(holed[1])
        assert messages[-1].startswith("skipped")
    parts = [collect(skip_unreadable(stream.shard(2, index)))[0] for index in range(2)]
    assert sorted(itertools.chain(*parts)) == sorted(holed[1])
    parts = [collect(skip_unreadable(stream).shard(2, index))[0] for index in range(2)]
    assert sorted(itertools.chain(*parts)) == sorted(holed[1])


def test_it_can_be_mapped_shuffled_and_taken_from(load, holed):
    stream = load(on_error="skip")
    assert collect(stream.map(lambda row: {"n": row["mixture"]["mix"].size}))[0] == holed[1]
    assert sorted(collect(stream.shuffle(seed=0, buffer_size=3))[0]) == sorted(holed[1])
    assert collect(stream.take(2))[0] == holed[1][:2]


before_4_8_5 = pytest.mark.skipif(
    parse(datasets.__version__) < parse("4.8.5"), reason="before 4.8.5, decode(num_threads=) resumes too far"
)


@pytest.mark.parametrize("threads", [0, pytest.param(2, marks=before_4_8_5)])
def test_resuming_is_exact(load, holed, threads):
    def make():
        if threads:
            stream = load().cast_column("mixture", Mixture(on_error="skip")).decode(num_threads=threads)
            return skip_unreadable(stream)
        return load(on_error="skip")

    left = holed[1]
    for consumed in range(1, len(left)):
        stream = make()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnreadableSourceWarning)
            iterator = iter(stream)
            first = [next(iterator)["mix_id"] for _ in range(consumed)]
            state = stream.state_dict()
            resumed = make()
            resumed.load_state_dict(state)
            assert first + ids(resumed) == left
            if threads:
                list(iterator)  # or `datasets` would leave what its threads have begun to the end of the process


@pytest.mark.filterwarnings("ignore::hive_datasets.UnreadableSourceWarning")  # which the workers do not collect
def test_in_dataloader_workers(load, holed):
    torch = pytest.importorskip("torch")
    loader = torch.utils.data.DataLoader(load(on_error="skip"), batch_size=None, num_workers=2)
    assert sorted(row["mix_id"] for row in loader) == sorted(holed[1])


def test_nothing_configured_is_not_skipped(demo):
    stream = load_dataset("hive", data_dir=str(demo / "metadata"), split="train", streaming=True, on_error="skip")
    with pytest.raises(SourceRootError, match="no source roots are configured"):
        next(iter(stream))


def test_a_corpus_without_a_root_is_skipped_with_one_warning(demo):
    roots = {"AudioSet": demo / "sources" / "AudioSet", "vggsound": demo / "sources" / "vggsound"}
    stream = load_dataset(
        "hive", data_dir=str(demo / "metadata"), split="train", streaming=True, on_error="skip", dataset_paths=roots
    )
    seen, messages = collect(stream)
    assert len(seen) < 24
    subjects = [message.split("'")[1] for message in messages[:-1]]
    assert len(subjects) == len(set(subjects)) <= 10


def test_what_cannot_be_skipped(load):
    with pytest.raises(TypeError, match="to_iterable_dataset"):
        skip_unreadable(load_dataset("hive", "demo", split="test"))
    with pytest.raises(ValueError, match="before decode"):
        skip_unreadable(load().decode(num_threads=2))
    with pytest.raises(ValueError, match="decoding of column 'mixture' is off"):
        skip_unreadable(load().decode(False))
    with pytest.raises(ValueError, match="no Mixture column"):
        skip_unreadable(load().select_columns(["mix_id"]))
