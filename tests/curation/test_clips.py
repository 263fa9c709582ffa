import io
import shutil

import datasets
import numpy as np
import pytest
import soundfile

from hive_datasets.curation.clips import END, START, copy_audio, open_audio, read_clip, replace_audio, sum_of_squares
from hive_datasets.errors import (
    ChunkOutOfRangeError,
    EmptySourceError,
    SourceError,
    SourceFormatError,
    SourceNotFoundError,
    TruncatedSourceError,
)


def files_of(corpora):
    return sorted(path for path in corpora.rglob("*") if path.suffix in (".wav", ".flac"))


def test_mono_of_every_file(corpora):
    for path in files_of(corpora):
        expected, rate = soundfile.read(path, dtype="float32", always_2d=True)
        clip = read_clip({"audio": str(path)})
        assert clip.sampling_rate == rate
        np.testing.assert_allclose(clip.samples, expected.mean(axis=1), atol=1e-7)


def test_seconds_are_frames(corpora):
    """Of any file, and whatever their floats."""
    for path in files_of(corpora)[::5]:
        expected, rate = soundfile.read(path, dtype="float32", always_2d=True)
        total = len(expected)
        for start, stop in ((0, total), (total // 3, 2 * total // 3), (total - 1, total)):
            clip = read_clip({"audio": str(path), START: start / rate, END: stop / rate})
            np.testing.assert_allclose(clip.samples, expected[start:stop].mean(axis=1), atol=1e-7)


@pytest.fixture
def forms(corpora, tmp_path):
    """One recording in every form that a record may hold, and its samples, (channels, T)."""
    path = next(path for path in files_of(corpora) if soundfile.info(path).channels == 2)
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    data = path.read_bytes()
    return samples.T, [
        str(path),
        path,
        f"file://{path}",
        {"bytes": data, "path": "x.flac"},
        {"bytes": None, "path": str(path)},
        {"array": samples.T, "sampling_rate": rate},
    ]


def test_all_forms_are_heard_alike(forms):
    samples, values = forms
    for value in values:
        np.testing.assert_allclose(read_clip({"audio": value}).samples, samples.mean(0), atol=1e-7)
        with open_audio({"audio": value, START: 1.0, END: 2.0}) as audio:
            blocks = np.concatenate([block.copy() for block in audio.blocks(1000)])
            rate = audio.extent.sampling_rate
        np.testing.assert_array_equal(blocks, samples.T[rate : 2 * rate])


def test_what_datasets_decodes(forms):
    pytest.importorskip("torchcodec")
    samples, values = forms
    ds = datasets.Dataset.from_dict({"audio": [values[0]]}).cast_column("audio", datasets.Audio())
    np.testing.assert_allclose(read_clip(ds[0]).samples, samples.mean(0), atol=1e-6)
    with open_audio(ds[0]) as audio:
        assert audio.channels == 2


@pytest.mark.parametrize(("channels", "rate"), [(1, 8000), (8, 44100), (2, 192000), (6, 48000)])
def test_many_channels_and_high_rates(tmp_path, channels, rate):
    samples = np.random.default_rng(0).uniform(-1, 1, (rate, channels)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    clip = read_clip({"audio": str(tmp_path / "a.wav")})
    np.testing.assert_allclose(clip.samples, samples.mean(1), atol=1e-6)
    assert clip.resampled(16000).shape == (16000,)


def test_seconds_that_are_missing():
    """As `datasets` and pandas hand them on: None, or NaN."""
    audio = {"array": np.zeros(16000), "sampling_rate": 16000}
    for start in (None, float("nan"), np.float32("nan")):
        assert len(read_clip({"audio": audio, START: start, END: start}).samples) == 16000
    with pytest.raises(SourceFormatError, match="chunk_start_second is 'soon', no number"):
        read_clip({"audio": audio, START: "soon"})


def test_encodings_that_cannot_be_sought(tmp_path):
    samples = np.sin(np.arange(8000 * 12) / 9) / 2
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="GSM610")
    whole = read_clip({"audio": str(tmp_path / "a.wav")}).samples
    part = read_clip({"audio": str(tmp_path / "a.wav"), START: 5.0, END: 10.0}).samples
    np.testing.assert_array_equal(part, whole[40000:80000])


def test_seconds_beyond_where_a_file_is_cut(tmp_path, corpora):
    """There they are, by its header."""
    record = {"audio": cut(tmp_path / "a.flac", corpora)}
    seconds = soundfile.info(record["audio"]).duration
    with pytest.raises(TruncatedSourceError, match="cannot be decoded"):
        read_clip({**record, START: seconds - 0.5, END: seconds})


def write(file, samples=(), **options):
    soundfile.write(file, np.asarray(samples, np.float32), 16000, **options)
    return str(file)


def cut(file, corpora):
    source = next(path for path in files_of(corpora) if path.suffix == ".flac")
    file.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    return str(file)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda folder, _: str(folder / "gone.wav"), SourceNotFoundError, "gone.wav: there is no such file"),
        (lambda folder, _: str(folder), SourceNotFoundError, "it is a folder, not a file"),
        (lambda folder, _: f"file://{folder}/gone.wav", SourceNotFoundError, "there is no such file"),
        (lambda folder, _: write(folder / "a.wav"), EmptySourceError, "a.wav: it has no frames"),
        (
            lambda folder, _: shutil.copy("/dev/null", folder / "a.wav"),
            EmptySourceError,
            "a.wav: the file has no bytes",
        ),
        (lambda folder, _: {"bytes": b"", "path": "a.mp3"}, EmptySourceError, "a.mp3: the file has no bytes"),
        (
            lambda folder, _: {"bytes": b"text", "path": None},
            SourceFormatError,
            "audio without a path: libsndfile cannot",
        ),
        (
            lambda folder, corpora: cut(folder / "a.flac", corpora),
            TruncatedSourceError,
            "a.flac: it.* cannot be decoded",
        ),
        (lambda folder, _: write(folder / "a.wav", [np.nan], subtype="FLOAT"), SourceFormatError, "are not numbers"),
        (lambda folder, _: None, SourceFormatError, "audio is None, neither a path"),
        (lambda folder, _: {"array": np.zeros((1, 2, 3)), "sampling_rate": 8000}, SourceFormatError, "has 3 axes"),
        (lambda folder, _: "nowhere://a.wav", SourceError, "cannot be read"),
    ],
)
def test_what_cannot_be_read(tmp_path, corpora, make, error, message):
    with pytest.raises(SourceError, match=message) as raised:
        read_clip({"audio": make(tmp_path, corpora)})
    assert type(raised.value) is error


@pytest.mark.parametrize(("start", "end"), [(-1, 1), (2, 1), (0, 1.01), (1, 1)])
def test_seconds_that_are_not_there(start, end):
    with pytest.raises(ChunkOutOfRangeError, match=r"it has 1.000 s, of which"):
        read_clip({"audio": {"array": np.zeros(16000), "sampling_rate": 16000}, START: start, END: end})


def test_ten_frames_past_the_end_are_tolerated():
    record = {"audio": {"array": np.zeros(16000), "sampling_rate": 16000}, START: 0.5, END: 1 + 10 / 16000}
    assert len(read_clip(record).samples) == 8000


@pytest.mark.parametrize(
    ("subtype", "format"), [("PCM_16", "wav"), ("PCM_24", "wav"), ("PCM_16", "flac"), ("PCM_24", "flac")]
)
def test_a_copy_keeps_every_bit(tmp_path, subtype, format):
    rng = np.random.default_rng(0)
    file = tmp_path / f"a.{format}"
    soundfile.write(file, rng.uniform(-1, 1, (48000, 2)), 48000, subtype=subtype)
    columns = copy_audio({"audio": str(file), START: 0.25, END: 0.75})
    data, rate = soundfile.read(io.BytesIO(columns["audio"]["bytes"]), dtype="int32", always_2d=True)
    np.testing.assert_array_equal(data, soundfile.read(file, dtype="int32")[0][12000:36000])
    assert (rate, columns[START], columns[END]) == (48000, 0.0, 0.5)
    assert (columns["original_path"], columns["original_start_second"], columns["original_end_second"]) == (
        str(file),
        0.25,
        0.75,
    )


def test_what_flac_cannot_hold_becomes_floats():
    samples = np.full((100, 1), 1.5, np.float32)
    columns = replace_audio({"audio": "a.mp3"}, samples, 44100)
    assert columns["audio"]["path"] == "a.wav"
    assert soundfile.read(io.BytesIO(columns["audio"]["bytes"]))[0].max() == 1.5


def test_where_it_came_from_is_not_lost_when_it_is_replaced_again():
    once = {"audio": "a.wav", START: 5.0, END: 6.0, "labels": []}
    once |= replace_audio(once, np.zeros((44100, 1), np.float32), 44100)
    twice = once | replace_audio(once, np.zeros((44100, 1), np.float32), 44100)
    assert (twice["original_path"], twice["original_start_second"]) == ("a.wav", 5.0)


def test_sums_of_squares():
    block = np.random.default_rng(0).normal(0, 0.1, (100_003, 2)).astype(np.float32)
    assert sum_of_squares(block[::2]) == pytest.approx(float((block[::2].astype(np.float64) ** 2).sum()), rel=1e-6)
