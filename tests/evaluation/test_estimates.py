"""Folders of estimates that were rendered elsewhere."""

import os
import re

import numpy as np
import pytest
import soundfile

from hive_datasets import EvaluationError
from hive_datasets.evaluation import EstimateFolder, Target
from hive_datasets.evaluation.batches import Batch
from hive_datasets.evaluation.estimates import write_estimate

TARGET = Target("sample_7", "validation", "Dog", "a dog", ("s2",), "", 2)


def batch_of(target=TARGET, length=400, rate=8000):
    return Batch((target,), np.zeros((1, length), np.float32), np.zeros((1, length), np.float32), rate)


def write(file, samples=400, rate=8000):
    file.parent.mkdir(parents=True, exist_ok=True)
    signal = np.linspace(-0.5, 0.5, samples).astype(np.float32)
    soundfile.write(file, signal, rate, "FLOAT" if file.suffix == ".wav" else "PCM_24")
    return signal


@pytest.mark.parametrize(
    "path",
    ["sample_7.Dog.wav", "a/b/sample_7/Dog.flac", "validation/2mix/00001/sample_7.s2.wav", "val/sample_7.Dog.wav"],
)
def test_layouts(tmp_path, path):
    signal = write(tmp_path / path)
    write(tmp_path / "sample_7.mix.wav")
    folder = EstimateFolder(tmp_path)
    assert folder.find(TARGET) == tmp_path / path
    assert folder.read_batch(batch_of())[0] == pytest.approx(signal, abs=1e-6)


def test_the_split_decides_among_several(tmp_path):
    for split in ("train", "val"):
        write(tmp_path / split / "sample_7.Dog.wav")
    assert EstimateFolder(tmp_path).find(TARGET) == tmp_path / "val" / "sample_7.Dog.wav"
    write(tmp_path / "other" / "val" / "sample_7.Dog.wav")
    with pytest.raises(EvaluationError, match=r"several files fit: .*other.*, .*val") as caught:
        EstimateFolder(tmp_path).find(TARGET)
    assert (caught.value.mix_id, caught.value.label) == ("sample_7", "Dog")


def test_no_other_split_is_taken_for_it(tmp_path):
    """mix_ids repeat in each."""
    write(tmp_path / "train" / "sample_7.s2.wav")
    with pytest.raises(EvaluationError, match=r"there is no file sample_7\.Dog\.wav"):
        EstimateFolder(tmp_path).find(TARGET)
    assert EstimateFolder(tmp_path / "train").find(TARGET).name == "sample_7.s2.wav"  # whoever says so, means it


def test_one_file_is_not_of_two_splits(tmp_path):
    write(tmp_path / "sample_7.Dog.wav")
    other = Target("sample_7", "test", "Dog", "", ("s1",), "", 2)
    with pytest.raises(EvaluationError, match="is the estimate of sample_7 in validation, or in test"):
        EstimateFolder(tmp_path).find_missing([TARGET, other])


def test_files_that_are_no_estimates(tmp_path):
    file, folder = tmp_path / "sample_7.Dog.wav", EstimateFolder(tmp_path)
    assert folder.find_missing([TARGET]) == ["sample_7.Dog.wav"]
    with pytest.raises(
        EvaluationError, match=re.escape(f"no file sample_7.Dog.wav in {tmp_path}, nor sample_7.s2.wav")
    ):
        folder.read_batch(batch_of())
    for samples, rate, problem in (
        (400, 16000, "is of 16,000 Hz, and the mixture of 8,000 Hz: .*sampling_rate=16000"),
        (399, 8000, "has 399 samples, and the mixture 400"),
        (401, 8000, "has 401 samples, and the mixture 400"),
    ):
        write(file, samples, rate)
        with pytest.raises(EvaluationError, match=problem):
            EstimateFolder(tmp_path).read_batch(batch_of())
    file.write_bytes(b"RIFF")
    with pytest.raises(EvaluationError, match=r"sample_7\.Dog\.wav cannot be read"):
        EstimateFolder(tmp_path).read_batch(batch_of())


def test_segments_are_cut_of_whole_files(tmp_path):
    signal = write(tmp_path / "sample_7.Dog.wav", 1000)
    target = Target("sample_7", "test", "Dog", "", ("s2",), "", 2, start_second=0.05, is_segment=True)
    assert np.array_equal(EstimateFolder(tmp_path).read_batch(batch_of(target))[0], signal[400:800])


def test_written_ones_are_found_as_they_were(tmp_path):
    target = Target("song/1", "", "a/b", "", (), "", 2)
    signal = np.random.default_rng(0).normal(size=400).astype(np.float32) * 3
    write_estimate(tmp_path, target, signal, 8000)
    assert np.array_equal(EstimateFolder(tmp_path).read_batch(batch_of(target))[0], signal)


def test_no_two_targets_have_one_file(tmp_path):
    targets = [
        Target(mix_id, split, label, "", (), "", 2)
        for mix_id in ("a/x", "b/x", "x")
        for split in ("", "test")
        for label in ("a/b", "a_b", "a%2Fb")
    ]
    for number, target in enumerate(targets):
        write_estimate(tmp_path, target, np.full(400, number, np.float32), 8000)
    half_written = tmp_path / "test" / ".x.a_b.wav.abc.incomplete"
    half_written.mkdir()
    write(half_written / "x.a_b.wav")
    folder = EstimateFolder(tmp_path)
    assert [folder.read_batch(batch_of(target))[0, 0] for target in targets] == list(range(len(targets)))


def test_nothing_is_written_outside(tmp_path):
    target = Target("../../up", "..", "../../a", "", (), "", 2)
    write_estimate(tmp_path / "a" / "b", target, np.zeros(4, np.float32), 8000)
    assert [path.relative_to(tmp_path).parts[:2] for path in tmp_path.rglob("*.wav")] == [("a", "b")]


def test_it_tells_whether_files_have_changed(tmp_path):
    write(tmp_path / "sample_7.Dog.wav")
    before = EstimateFolder(tmp_path).version
    assert EstimateFolder(tmp_path).version == before
    os.utime(tmp_path / "sample_7.Dog.wav", (1, 1))
    assert EstimateFolder(tmp_path).version != before
