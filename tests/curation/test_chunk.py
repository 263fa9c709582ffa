import datasets
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from hive_datasets.curation import Chunk
from hive_datasets.curation.clips import END, START, read_clip
from tests.curation.models import tone
from tests.curation.test_clips import files_of


def literal_chunks(samples, rate, window_seconds=10, step_seconds=5, min_tail_seconds=5):
    """The rules of the authors, with their energy mended: seconds and energy of each chunk, None for a short tail."""
    if len(samples) / rate <= window_seconds:
        return [(0, len(samples) / rate, np.mean(samples**2))]
    chunks = []
    start = 0
    while True:
        end = min(start + window_seconds * rate, len(samples))
        segment = samples[start:end]
        energy = None if (end - start) / rate < min_tail_seconds else np.mean(segment**2)
        chunks.append((start / rate, end / rate, energy))
        if end == len(samples):
            return chunks
        start += step_seconds * rate


def test_every_chunk_of_every_file(corpora):
    for path in files_of(corpora):
        samples, rate = soundfile.read(path, dtype="float64", always_2d=True)
        expected = literal_chunks(samples, rate)
        results = Chunk().process([{"audio": str(path)}])
        found = [result.record for result in results]
        assert [(row[START], row[END]) for row in found] == [(start, end) for start, end, _ in expected]
        for row, (*_, energy) in zip(found, expected, strict=True):
            assert row["chunk_energy"] == (None if energy is None else pytest.approx(energy, rel=1e-6))
        kept = [energy is not None and energy >= 5e-4 for *_, energy in expected]
        assert [result.reason is None for result in results] == kept


def test_how_many_there_are(corpora):
    """As a figure, so that a change of both rules would be seen."""
    records = [{"audio": str(path)} for path in files_of(corpora)]
    reasons = [result.reason and result.reason.what for result in Chunk().process(records)]
    assert {reason: reasons.count(reason) for reason in set(reasons)} == {None: 118, "energy under 0.0005": 194}


@given(st.floats(0.01, 60), st.sampled_from([8000, 11025, 44100]), st.integers(1, 3))
def test_any_length(seconds, rate, channels):
    frames = max(1, round(seconds * rate))
    samples = np.random.default_rng(frames).uniform(-1, 1, (frames, channels)).astype(np.float32)
    results = Chunk().process([{"audio": {"array": samples.T, "sampling_rate": rate}}])
    expected = literal_chunks(samples.astype(np.float64), rate)
    assert [(result.record[START], result.record[END]) for result in results] == [chunk[:2] for chunk in expected]
    for result, (*_, energy) in zip(results, expected, strict=True):
        assert result.record["chunk_energy"] == (None if energy is None else pytest.approx(energy, rel=1e-6))


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (10, [(0, 10)]),
        (10.0001, [(0, 10), (5, 10.0001)]),
        (14.9, [(0, 10), (5, 14.9)]),
        (15, [(0, 10), (5, 15)]),
        (19.99, [(0, 10), (5, 15), (10, 19.99)]),
        (20, [(0, 10), (5, 15), (10, 20)]),
    ],
)
def test_where_windows_end(seconds, expected):
    batch = Chunk()({"audio": [tone(seconds, sampling_rate=10000)]})
    assert list(zip(batch[START], batch[END], strict=True)) == expected


def test_other_parameters():
    chunk = Chunk(window_seconds=4, step_seconds=4, min_tail_seconds=2, min_energy=0)
    rows = chunk.process([{"audio": tone(17)}])
    assert [(row.record[START], row.record[END], row.reason and row.reason.what) for row in rows] == [
        (0, 4, None),
        (4, 8, None),
        (8, 12, None),
        (12, 16, None),
        (16, 17, "tail under 2 s"),
    ]


def test_quiet_recordings():
    quiet = {"audio": [tone(5, 0.01), tone(5, 0.0), tone(12, 0.01)]}
    assert Chunk()(quiet)[START] == []
    assert Chunk(min_whole_energy=0)(quiet)[END] == [5, 5]
    assert Chunk(min_energy=1e-5)(quiet)[END] == [5, 10, 12]


def test_chunks_of_chunks():
    first = Chunk(window_seconds=20, step_seconds=20)({"audio": [tone(60)]})
    again = Chunk()(first)
    assert list(zip(again[START], again[END], strict=True)) == [
        (start + offset, start + offset + 10) for start in (0, 20, 40) for offset in (0, 5, 10)
    ]


def test_what_cannot_be_read_has_a_reason(tmp_path, corpora):
    (tmp_path / "empty.wav").touch()
    good = str(files_of(corpora)[0])
    rows = Chunk(min_energy=0).process([{"audio": str(tmp_path / name)} for name in ("gone.wav", "empty.wav")])
    assert [row.reason.what for row in rows] == ["unreadable", "empty"]
    assert rows[0].reason.detail == f"{tmp_path}/gone.wav: there is no such file"
    batch = Chunk(min_energy=0)({"audio": [str(tmp_path / "gone.wav"), good], "mine": [1, 2]})
    assert set(batch["mine"]) == {2}


def test_samples_that_are_no_numbers(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full(16000, np.nan, np.float32), 16000, subtype="FLOAT")
    (row,) = Chunk().process([{"audio": str(tmp_path / "a.wav")}])
    assert (row.reason.what, row.reason.detail[-38:]) == (
        "unreadable",
        "a.wav: it has samples that are not numbers"[-38:],
    )


def test_copies(corpora):
    path = next(path for path in files_of(corpora) if soundfile.info(path).duration > 15)
    lazy, copied = (Chunk(min_energy=0, copy=copy)({"audio": [str(path)]}) for copy in (False, True))
    assert set(lazy["audio"]) == {str(path)}
    for number, audio in enumerate(copied["audio"]):
        record = {name: values[number] for name, values in lazy.items()}
        np.testing.assert_array_equal(read_clip({"audio": audio}).samples, read_clip(record).samples)
    assert copied["original_start_second"] == lazy[START]


@pytest.mark.parametrize("kind", ["table", "stream", "processes"])
def test_with_datasets(corpora, kind):
    """`map` takes it as it is; other columns stay."""
    files = [str(path) for path in files_of(corpora)[:12]]
    ds = datasets.Dataset.from_dict({"audio": files, "labels": [["Dog"]] * 12, "number": range(12)})
    if kind == "stream":
        ds = ds.to_iterable_dataset(num_shards=3)
    rows = list(ds.map(Chunk(), batched=True, batch_size=5, **({"num_proc": 2} if kind == "processes" else {})))
    expected = Chunk()({"audio": files, "labels": [["Dog"]] * 12, "number": range(12)})
    assert [row["number"] for row in rows] == expected["number"]
    assert [row["chunk_energy"] for row in rows] == expected["chunk_energy"]
    assert list(rows[0]) == ["audio", "labels", "number", START, END, "chunk_energy"]


@pytest.mark.parametrize(
    "parameters",
    [{"step_seconds": 11}, {"step_seconds": 0}, {"min_tail_seconds": 11}, {"min_energy": -1}, {"min_whole_energy": -1}],
)
def test_parameters_that_make_no_sense(parameters):
    with pytest.raises(ValueError, match="must be"):
        Chunk(**parameters)
