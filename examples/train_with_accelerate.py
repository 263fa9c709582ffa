"""Train the separator of `train_separator.py` on several processes, by Accelerate: on GPUs, machines, or two cores.

    accelerate launch examples/train_with_accelerate.py FOLDER
    accelerate launch --cpu --num_processes 2 examples/train_with_accelerate.py FOLDER

What differs from training on one: `accelerator.prepare` for the model and the optimizer, and
`register_for_checkpointing` for the loader, which finds its rank by itself. The state is that of all ranks, so a run of
8 processes goes on as one of 4, with the same global batches.

Needs ``pip install "hive-datasets[train]"``.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from accelerate import Accelerator
from train_separator import Separator, loss_of

import hive_datasets
from hive_datasets import RenderExamples, SelectTarget, TrainingLoader


def main(options: argparse.Namespace) -> None:
    """Train, from the last checkpoint on."""
    accelerator = Accelerator(cpu=options.cpu)
    torch.manual_seed(0)
    with accelerator.main_process_first():  # which makes the table on disk, for the others to open
        ds = hive_datasets.load_dataset("hive", options.name, split="train", dataset_paths=options.dataset_paths)
    select = SelectTarget(silent=0.05, snr_db=(-5, 5))
    render = RenderExamples(16000, select=select, device=accelerator.device, on_error="replace", num_threads=2)
    loader = TrainingLoader(
        ds, options.batch_size // accelerator.num_processes, render, num_workers=options.num_workers
    )
    model = Separator()
    model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=6e-4))
    accelerator.register_for_checkpointing(loader)
    checkpoint = options.folder / "checkpoint"
    if checkpoint.is_dir():
        accelerator.load_state(str(checkpoint))
    step = 0
    while loader.epoch < options.epochs:
        for batch in loader:
            loss = loss_of(model(batch["mixture"], batch["query"]), batch["target"], batch["mixture"])
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
            mean = accelerator.reduce(loss.detach(), "mean").item()
            told = {"consumed": loader.state_dict()["consumed"], "loss_db": mean}
            accelerator.print(json.dumps(told), flush=True)
            step += 1
            if step % options.save_every == 0:
                save(accelerator, checkpoint)
    save(accelerator, checkpoint)
    accelerator.end_training()


def save(accelerator: Accelerator, checkpoint: Path) -> None:
    """Write a checkpoint aside, and put it in the place of the one before when all ranks have written."""
    aside = checkpoint.with_suffix(".part")
    accelerator.save_state(str(aside))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        shutil.rmtree(checkpoint, ignore_errors=True)
        aside.rename(checkpoint)
    accelerator.wait_for_everyone()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for the checkpoint")
    parser.add_argument("--name", default="demo", help="of the configuration: default for all of Hive, or 2mix to 5mix")
    parser.add_argument("--dataset-paths", help="the folder of the corpora; the demo needs none")
    parser.add_argument("--batch-size", type=int, default=8, help="of all processes together")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--save-every", type=int, default=1000, metavar="STEPS")
    parser.add_argument("--num-workers", type=int, default=1, help="processes that make examples, of each process")
    parser.add_argument("--cpu", action="store_true", help="leave GPUs alone")
    main(parser.parse_args())
