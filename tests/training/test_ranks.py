"""Two real processes that train in step, and the trainers that users have."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hive_datasets import RenderExamples, TrainingLoader

SCRIPT = Path(__file__).with_name("ranks.py")


@pytest.fixture
def environment(subprocess_environment):
    pytest.importorskip("torch")
    root = str(Path(__file__).parents[2])
    return {**subprocess_environment, "PYTHONWARNINGS": "default", "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}


def read(folder, name, life):
    """The lines of both ranks, step by step."""
    logs = [folder / f"{name}-{rank}-{life}.jsonl" for rank in range(2)]
    return list(zip(*([json.loads(line) for line in log.read_text().splitlines()] for log in logs), strict=True))


def test_in_step_though_one_dies(tmp_path, environment):
    """Rank 1 dies in the second epoch. What both go on with is what they would have done, to the last bit."""
    for life in range(2):
        command = [sys.executable, SCRIPT, tmp_path, "train"]
        ranks = [subprocess.Popen([*command, str(rank), str(life)], env=environment) for rank in range(2)]
        died = ranks[1].wait(timeout=200)
        if died:
            ranks[0].kill()  # it waits for the other
        assert (died, ranks[0].wait(timeout=200)) == ((7, -9) if life == 0 else (0, 0))
    first, second, whole = read(tmp_path, "killed", 0), read(tmp_path, "killed", 1), read(tmp_path, "whole", 1)
    steps = first + second
    assert len(first) == 7 and steps == whole
    assert [[part["consumed"] for part in step] for step in steps] == [[4 * n, 4 * n] for n in range(1, 13)]
    for epoch in range(2):
        parts = [part for step in steps[6 * epoch : 6 * epoch + 6] for part in step]
        rendered = [mix_id for part in parts for mix_id in part["mix_id"]]
        assert sorted(rendered) == [f"sample_{number:08d}" for number in range(24)]  # each once, by one of them


def test_through_accelerate(tmp_path, environment):
    pytest.importorskip("accelerate")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([*command, SCRIPT, tmp_path, "accelerate"], env=environment, check=True, timeout=200)
    found = json.loads((tmp_path / "accelerate.json").read_text())
    whole, before, after = found["whole"], found["before"], found["after"]
    assert before == [whole[0], whole[1][:2]] and after == [whole[1][2:], whole[2]]
    for epoch in whole:
        assert sorted(mix_id for batch in epoch for mix_id in batch) == [f"sample_{row:08d}" for row in range(24)]
    assert whole[0] != whole[1] and list(map(sorted, found["rendered"])) == list(map(sorted, whole[0]))


@pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore::FutureWarning:lightning", "ignore:.*LeafSpec")
def test_in_lightning(demo, demo_recipes, tmp_path):
    """It takes the loader as it is, and a checkpoint in the middle of an epoch goes on with the next batch."""
    torch = pytest.importorskip("torch")
    lightning = pytest.importorskip("lightning.pytorch")

    class Model(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.gain, self.seen = torch.nn.Parameter(torch.zeros(1)), []

        def training_step(self, batch, number):
            self.seen.append(batch["mix_id"])
            return (self.gain * batch["mixture"] - batch["target"]).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def fit(steps, checkpoint=None):
        model = Model()
        render = RenderExamples(8000, device="cpu", dataset_paths=demo / "sources")
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = lightning.Trainer(max_steps=steps, accelerator="cpu", enable_checkpointing=False, **quiet)
        loader = TrainingLoader(demo_recipes, 4, render, seed=1)
        trainer.fit(model, loader, ckpt_path=checkpoint, weights_only=False)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        return model.seen, model.gain.item()

    whole, gain = fit(14)
    for kill in (3, 6, 9):
        before, _ = fit(kill)
        after, other = fit(14, tmp_path / "last.ckpt")
        assert before + after == whole and other == gain
