"""`TrainingLoader`: every batch as it should be, whatever happened before."""

import itertools
import re
import threading

import numpy as np
import pytest

import hive_datasets
from hive_datasets import ElasticSampler, RecipeTable, RenderExamples, SelectTarget, TrainingLoader
from hive_datasets.errors import SourceNotFoundError, UnreadableSourceWarning
from hive_datasets.training.loader import render_ahead


@pytest.fixture(scope="module")
def table(demo):
    return RecipeTable(hive_datasets.load_dataset("hive", "demo", split="train"))


@pytest.fixture(scope="module")
def options(demo):
    return {"sampling_rate": 8000, "dataset_paths": demo / "sources", "select": SelectTarget(silent=0.2, swap=0.5)}


def summary(batch):
    """What tells batches apart, down to the samples."""
    return batch["mix_id"], batch["query"], batch["options"], batch["mixture"].tobytes(), batch["target"].tobytes()


@pytest.fixture(scope="module")
def whole(table, options):
    """Three epochs, one after another, by the slow and obvious way."""
    render, sampler = RenderExamples(**options), ElasticSampler(table, seed=4)
    batches = []
    for epoch in range(3):
        rows = list(sampler)
        for start in range(0, 20, 5):
            examples = []
            for recipe in table.__getitems__(rows[start : start + 5]):
                row = render.select.find_partner(recipe, epoch, 24)
                partner = None if row is None else table[row]
                examples += render.select(recipe, epoch, partner=partner)
            batches.append(summary(render(examples)))
    return batches


def epochs(loader):
    return (summary(batch) for batch in itertools.chain.from_iterable(itertools.repeat(loader)))


@pytest.mark.parametrize(("num_workers", "prefetch"), [(0, 0), (0, 3), (2, 0), (1, 2)])
def test_resumed_after_any_batch(table, options, whole, num_workers, prefetch):
    if num_workers:
        pytest.importorskip("torch")
        import torch

        random = torch.get_rng_state()
    for kill in (1, 4, 5, 11):
        loader = TrainingLoader(table, 5, RenderExamples(**options), seed=4, num_workers=num_workers, prefetch=prefetch)
        seen = list(itertools.islice(epochs(loader), kill))
        state = loader.state_dict()
        if kill == 5:  # the same loader goes on, too
            seen += itertools.islice(epochs(loader), 3)
            state = loader.state_dict()
        other = TrainingLoader(table, 5, RenderExamples(**options), num_workers=2 - num_workers if num_workers else 0)
        other.load_state_dict(state)
        seen += itertools.islice(epochs(other), 12 - len(seen))
        assert seen == whole
    assert not num_workers or torch.equal(torch.get_rng_state(), random)  # which is the user's


def test_global_batches_are_the_same_on_any_ranks(table, options, whole):
    """Of 6 rows; the state of one number of ranks is resumed by another."""

    def start(world_size, state=None):
        loaders = [
            TrainingLoader(table, 6 // world_size, RenderExamples(**options), seed=4, rank=rank, world_size=world_size)
            for rank in range(world_size)
        ]
        for loader in loaders:
            if state:
                loader.load_state_dict(state)
        assert {len(loader) for loader in loaders} == {4}
        return loaders, zip(*map(epochs, loaders), strict=True)

    def rows(parts):
        return sorted(pair for mix_ids, queries, *_ in parts for pair in zip(mix_ids, queries, strict=True))

    expected = [rows(parts) for parts in itertools.islice(start(1)[1], 10)]
    seen, state = [], None
    for world_size, steps in ((2, 3), (3, 2), (1, 1), (6, 4)):
        loaders, batches = start(world_size, state)
        seen += [rows(parts) for parts in itertools.islice(batches, steps)]
        states = [loader.state_dict() for loader in loaders]
        assert states.count(states[0]) == world_size
        state = states[-1]
    assert seen == expected


@pytest.mark.parametrize(("drop_last", "lengths"), [(True, [7, 7, 7]), (False, [7, 7, 7, 3])])
def test_the_last_batch(table, options, drop_last, lengths):
    loader = TrainingLoader(table, 7, RenderExamples(**options), drop_last=drop_last)
    assert [len(batch["mixture"]) for batch in loader] == lengths and len(loader) == len(lengths)
    assert (loader.epoch, loader.state_dict()["consumed"]) == (1, 24)


def test_an_epoch_without_a_batch(table, options):
    """Which would be an endless loop for who trains until a number of steps."""
    with pytest.raises(ValueError, match="24 rows for 2 ranks are fewer than batch_size=13 each"):
        next(iter(TrainingLoader(table, 13, RenderExamples(**options), rank=0, world_size=2)))


def test_a_balanced_label_is_the_target(table, demo):
    render = RenderExamples(8000, dataset_paths=demo / "sources")
    loader = TrainingLoader(table, 8, render, seed=2, balanced=True)
    order = loader.sampler.order
    for epoch in range(2):
        labels = [label for batch in loader for label in batch["label"]]
        assert labels == list(order.labels(2, epoch, np.arange(24)))


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("on_error", ["raise", "skip", "replace"])
def test_a_file_vanishes(copy, mini, on_error, num_workers):
    """In the second epoch, between two batches; the order stays, and one warning tells of it."""
    if num_workers:
        pytest.importorskip("torch")
    recipes = [recipe for recipe in mini if recipe.split == "train"][:24]
    path = recipes[9].sources[0].path

    def start():
        render = RenderExamples(8000, dataset_paths=copy, on_error=on_error)
        return TrainingLoader(recipes, 4, render, seed=1, num_workers=num_workers, prefetch=0)

    loader = start()
    whole = [[batch["mix_id"] for batch in loader] for _ in range(3)]
    lacking = {recipe.mix_id for recipe in recipes if any(source.path == path for source in recipe.sources)}
    loader = start()
    seen = [[batch["mix_id"] for batch in loader], []]
    assert not loader.skipped
    batches = iter(loader)
    seen[1].append(next(batches)["mix_id"])
    (copy / path).unlink()
    lost = [mix_id for batch in whole[1][1:] for mix_id in batch if mix_id in lacking]
    assert lost
    if on_error == "raise":
        with pytest.raises(SourceNotFoundError, match=re.escape(path)):
            seen[1].extend(batch["mix_id"] for batch in batches)
        assert seen[1] == whole[1][: len(seen[1])]
        assert loader.state_dict()["consumed"] == 24 + 4 * len(seen[1])  # what failed can be tried again
        return
    done = {"skip": "left out", "replace": "replaced by others of their batches"}[on_error]
    with pytest.warns(UnreadableSourceWarning) as told:
        seen[1] += [batch["mix_id"] for batch in batches]
    assert [str(each.message) for each in told] == [
        f"epoch 1: {len(lost)} mixtures could not be read and were {done}. By file: {path} ({len(lost)})"
    ]
    assert loader.skipped == {path: len(lost)}
    with pytest.warns(UnreadableSourceWarning, match=f"epoch 2: {len(lacking)} mixtures"):
        seen.append([batch["mix_id"] for batch in loader])
    for epoch, before in zip(seen[1:], whole[1:], strict=True):
        after = [batch for batch in before if on_error == "replace" or set(batch) - lacking]
        assert len(epoch) == len(after)
    for found, batch in zip(seen[1][1:], whole[1][1:], strict=on_error == "replace"):
        readable = [mix_id for mix_id in batch if mix_id not in lacking]
        if on_error == "replace":
            assert len(found) == 4 and set(found) == set(readable)
            assert all(one == other for one, other in zip(found, batch, strict=True) if other not in lacking)
        else:
            assert found == readable


def test_what_comes_before_an_error_is_handed_out():
    def render(batch):
        if batch == 3:
            raise SourceNotFoundError("no file")
        return batch

    for depth in (0, 1, 5):
        batches, seen = render_ahead(render, iter(range(6)), depth), []
        with pytest.raises(SourceNotFoundError):
            seen.extend(batches)
        assert seen == [0, 1, 2]


def test_the_thread_ends_with_the_loop(table, options):
    loader = TrainingLoader(table, 5, RenderExamples(**options), prefetch=2)
    batches = iter(loader)
    next(batches)
    assert any(thread.name.startswith("hive-datasets-render") for thread in threading.enumerate())
    batches.close()
    assert not any(thread.name.startswith("hive-datasets-render") for thread in threading.enumerate())


@pytest.mark.parametrize(
    "options",
    [{"batch_size": 0}, {"batch_size": True}, {"num_workers": -1}, {"prefetch": 0.5}, {"rank": 1}, {"world_size": 2}],
)
def test_options_out_of_range(table, options):
    with pytest.raises(ValueError, match=r"must be a whole number|give both, or neither"):
        TrainingLoader(table, **{"batch_size": 2, **options})
