"""What each of two processes does, in `test_ranks.py`.

ranks.py FOLDER accelerate         takes batches through accelerate, resumed in the second epoch
ranks.py FOLDER train RANK LIFE    trains with DDP; rank 1 dies in its first life, and both are begun anew
"""

import json
import os
import sys
from pathlib import Path

import torch
from torch import distributed
from torch.utils.data import DataLoader

from hive_datasets import (
    ElasticSampler,
    RecipeTable,
    RenderExamples,
    SelectTarget,
    TrainingLoader,
    demo_folder,
    read_recipes,
)

DEMO = demo_folder()
TABLE = RecipeTable(list(read_recipes(DEMO / "metadata" / "train")))


def train(folder, name, life, dies):
    """Two epochs; what each step was on goes into a file a rank and life."""
    render = RenderExamples(8000, select=SelectTarget(silent=0.1), device="cpu", dataset_paths=DEMO / "sources")
    loader = TrainingLoader(TABLE, 2, render, seed=3, num_workers=1)
    torch.manual_seed(0)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Conv1d(1, 1, 5, padding=2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    parts, checkpoint = {"model": model, "optimizer": optimizer, "loader": loader}, folder / f"{name}.pt"
    if checkpoint.exists():
        for part, state in torch.load(checkpoint).items():
            parts[part].load_state_dict(state)
    rank = distributed.get_rank()
    with (folder / f"{name}-{rank}-{life}.jsonl").open("w") as log:
        while loader.epoch < 2:
            for batch in loader:
                consumed = loader.state_dict()["consumed"]
                if dies and rank == 1 and consumed == 32:
                    os._exit(7)
                loss = (model(batch["mixture"][:, None])[:, 0] - batch["target"]).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                told = {"consumed": consumed, "mix_id": batch["mix_id"], "loss": loss.item()}
                log.write(json.dumps(told) + "\n")
                log.flush()
                if rank == 0:
                    torch.save({part: each.state_dict() for part, each in parts.items()}, f"{checkpoint}.part")
                    os.replace(f"{checkpoint}.part", checkpoint)
                distributed.barrier()


def accelerate(folder):
    """Batches of a `DataLoader` that accelerate shares among ranks, against those that were never interrupted."""
    from accelerate import Accelerator
    from accelerate.utils import gather_object

    accelerator = Accelerator(cpu=True)

    def start(num_workers, state=None):
        sampler = ElasticSampler(TABLE, seed=1)
        if state:
            sampler.load_state_dict(state)
        loader = DataLoader(TABLE, 2, sampler=sampler, num_workers=num_workers, collate_fn=list)
        return sampler, accelerator.prepare(loader)

    def epoch(loader, steps=None):
        batches = []
        for number, batch in enumerate(loader, start=1):
            batches.append(gather_object([recipe.mix_id for recipe in batch]))
            if number == steps:
                break
        return batches

    _, loader = start(1)
    whole = [epoch(loader) for _ in range(3)]
    sampler, loader = start(1)
    before = [epoch(loader), epoch(loader, steps=2)]
    _, loader = start(0, sampler.state_dict(consumed=24 + 2 * 4))
    after = [epoch(loader), epoch(loader)]
    render = RenderExamples(8000, device="cpu", dataset_paths=DEMO / "sources")
    ours = accelerator.prepare(TrainingLoader(TABLE, 2, render, seed=1))
    rendered = [gather_object(batch["mix_id"]) for batch in ours]
    if accelerator.is_main_process:
        found = {"whole": whole, "before": before, "after": after, "rendered": rendered}
        (folder / "accelerate.json").write_text(json.dumps(found))
    accelerator.end_training()


if __name__ == "__main__":
    target = Path(sys.argv[1])
    if sys.argv[2] == "accelerate":
        accelerate(target)
    else:
        own_rank, own_life = map(int, sys.argv[3:])
        store = f"file://{target / f'store-{own_life}'}"
        distributed.init_process_group("gloo", init_method=store, rank=own_rank, world_size=2)
        train(target, "killed", own_life, dies=own_life == 0)
        train(target, "whole", own_life, dies=False)
        distributed.destroy_process_group()
