"""Hive for AudioSep: its trainer's data interface, rebuilt from its documentation, takes what the example hands it.

That documentation: a batch is ``{"audio_text": {"text": [...], "waveform": (batch_size, 1, samples)}}`` at 32 kHz;
`training_step` gives the waveforms to ``waveform_mixer(waveforms=)``, which returns mixtures and segments of that
shape, the query encoder the texts and the segments, (batch_size, samples), and the model ``mixture`` and ``condition``;
the loss compares what it says with the segments.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from hive_datasets import Mixer, RenderExamples, SelectTarget, TrainingLoader

torch = pytest.importorskip("torch")
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def audiosep(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import audiosep

    return audiosep


class Trainee(torch.nn.Module):
    """What AudioSep's `training_step` does with a batch, about a model of one number."""

    def __init__(self, waveform_mixer):
        super().__init__()
        self.waveform_mixer, self.gain = waveform_mixer, torch.nn.Parameter(torch.ones(1))

    def training_step(self, batch):
        texts, waveforms = batch["audio_text"]["text"], batch["audio_text"]["waveform"]
        mixtures, segments = self.waveform_mixer(waveforms=waveforms)
        size = len(texts)
        assert mixtures.shape == segments.shape == (size, 1, 160_000)
        conditions = torch.tensor([[float(len(text))] for text in texts])
        assert all(isinstance(text, str) for text in texts) and conditions.shape == (size, 1)
        estimates = self.gain * mixtures.squeeze(1)
        return (estimates - segments.squeeze(1)).abs().mean(), mixtures, segments


def mix_neighbours(waveforms):
    """As AudioSep does by itself: each clip with the next."""
    return waveforms + waveforms.roll(-1, 0), waveforms


@pytest.mark.parametrize("mixtures", [True, False])
def test_its_trainer_takes_the_batches(audiosep, demo, demo_recipes, mixtures):
    render = RenderExamples(32000, select=SelectTarget(), device="cpu", dataset_paths=demo / "sources")
    loader = TrainingLoader(demo_recipes, 4, render)
    batches = audiosep.AudioSepBatches(loader, mixtures)
    trainee = Trainee(audiosep.HiveMixer() if mixtures else mix_neighbours)
    mixer, by_id = Mixer(demo / "sources", 32000), {recipe.mix_id: recipe for recipe in demo_recipes}
    expected = TrainingLoader(demo_recipes, 4, render)
    assert len(batches) == 6
    for batch, plain in zip(batches, expected, strict=True):
        assert batch["audio_text"]["waveform"].shape == (4, 1 + mixtures, 160_000)
        loss, mixed, segments = trainee.training_step(batch)
        loss.backward()
        assert torch.isfinite(trainee.gain.grad) and batch["audio_text"]["text"] == plain["query"]
        for row, (mix_id, label) in enumerate(zip(plain["mix_id"], plain["label"], strict=True)):
            rendered = mixer(by_id[mix_id])
            stem = rendered["sources"][by_id[mix_id].labels.index(label)]
            assert torch.equal(segments[row, 0, :128_000], torch.from_numpy(stem))  # 4 s, then silence
            assert not segments[row, 0, 128_000:].any()
            if mixtures:
                assert torch.equal(mixed[row, 0, :128_000], torch.from_numpy(rendered["mix"]))
    other = audiosep.AudioSepBatches(TrainingLoader(demo_recipes, 4, render))
    other.load_state_dict(batches.state_dict())
    assert other.loader.epoch == 1


def test_longer_mixtures_are_cut_and_other_rates_refused(audiosep, demo, demo_recipes):
    from hive_datasets import read_recipes

    longer = list(read_recipes(demo / "metadata" / "test"))
    render = RenderExamples(32000, device="cpu", dataset_paths=demo / "sources")
    (batch,) = audiosep.AudioSepBatches(TrainingLoader(longer, 8, render))
    assert batch["audio_text"]["waveform"].shape == (8, 2, 160_000)
    other = RenderExamples(16000, device="cpu", dataset_paths=demo / "sources")
    with pytest.raises(ValueError, match="AudioSep takes 32000 Hz, not 16000"):
        next(iter(audiosep.AudioSepBatches(TrainingLoader(longer, 8, other))))


def test_the_example_runs(subprocess_environment):
    command = [sys.executable, EXAMPLES / "audiosep.py"]
    environment = {**subprocess_environment, "PYTHONWARNINGS": "default"}
    out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=100).stdout
    assert out.startswith("waveform: (4, 2, 160000); mixtures and segments: (4, 1, 160000) each\n")
    assert out.count("dB against the rest of its mixture") == 4
