"""The audio of video files, against ffmpeg where it is there."""

import io
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from hive_datasets import EmptySourceError, SourceFormatError
from hive_datasets.sources.video import extract_audio
from tests.sources.videos import write_video


@pytest.fixture
def noise():
    return (3000 * np.random.default_rng(0).standard_normal((44_100, 2))).astype(np.int16)


def decode(opened, **options):
    return soundfile.read(extract_audio(opened, **options), dtype="int16", always_2d=True)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {}),
        ("a.m4a", {"picture": False}),
        ("a.mp4", {"delay": 4410}),
        ("a.mkv", {"codec": "libopus"}),
        ("a.webm", {"codec": "libopus", "picture": False}),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_are_those_of_ffmpeg(tmp_path, noise, name, options, channels):
    command = shutil.which("ffmpeg")
    if command is None:
        pytest.skip("ffmpeg is not installed")
    rate = 48_000 if "codec" in options else 44_100
    file = write_video(tmp_path / name, noise[:, :channels], rate, **options)
    subprocess.run([command, "-v", "error", "-i", file, tmp_path / "a.wav"], check=True)
    expected, own_rate = soundfile.read(tmp_path / "a.wav", dtype="int16", always_2d=True)
    frames, found_rate = decode(str(file))
    assert (found_rate, frames.shape) == (own_rate, expected.shape)
    np.testing.assert_allclose(frames, expected, atol=1)  # of two builds of the decoder


def test_priming_is_left_out(tmp_path, noise):
    """As the edit list says: the sound is as long as what went in, and begins with it."""
    signal = (10_000 * np.sin(np.arange(44_100) / 20)).astype(np.int16)[:, None]
    frames, _ = decode(str(write_video(tmp_path / "a.mp4", signal, 44_100)))
    assert 0 <= len(frames) - len(signal) < 1024  # the last frame is a whole one, unless the edit list cuts it too
    np.testing.assert_allclose(frames[2000:40_000], signal[2000:40_000], atol=700)


def test_an_open_file_and_a_cut(tmp_path, noise):
    file = write_video(tmp_path / "a.mp4", np.tile(noise, (3, 1)), 44_100)
    whole, _ = decode(io.BytesIO(file.read_bytes()))
    cut, _ = decode(str(file), cut=(1.0, 2.0))
    np.testing.assert_array_equal(cut, whole[44_100:88_200])
    with pytest.raises(EmptySourceError, match="no audio from second 0 to 0"):
        extract_audio(str(file), cut=(0.0, 0.0))


def test_what_has_no_audio(tmp_path):
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width = video.height = 32
        container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(video.encode(None))
    with pytest.raises(SourceFormatError, match="no audio track"):
        extract_audio(str(tmp_path / "a.mp4"))
    (tmp_path / "b.mp4").write_text("this is no video")
    with pytest.raises(SourceFormatError, match="PyAV cannot read it"):
        extract_audio(str(tmp_path / "b.mp4"))


def test_what_is_cut_short(tmp_path, noise):
    """A stream that ends is no fault to ffmpeg, and its length tells; an mp4 has what it needs at its end."""
    stream = write_video(tmp_path / "a.mkv", np.tile(noise, (5, 1)), 48_000, codec="libopus", picture=False)
    video = write_video(tmp_path / "a.mp4", np.tile(noise, (5, 1)), 48_000)
    for file in (stream, video):
        data = file.read_bytes()
        file.write_bytes(data[: len(data) // 2])
    assert 90_000 < len(decode(str(stream))[0]) < 130_000
    with pytest.raises(SourceFormatError, match="PyAV cannot read it"):
        extract_audio(str(video))
