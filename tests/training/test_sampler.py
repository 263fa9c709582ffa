"""`ElasticSampler`, alone and as what loaders of PyTorch take their order from."""

import itertools
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hive_datasets
from hive_datasets import ElasticSampler, RecipeTable
from hive_datasets.training.order import ShuffledOrder


@pytest.fixture(scope="module")
def recipes(demo_recipes):
    """As many as are wanted: 1,000."""
    return list(itertools.islice(itertools.cycle(demo_recipes), 1000))


def test_an_epoch_is_the_order(demo_recipes):
    sampler = ElasticSampler(demo_recipes, seed=3)
    for epoch in range(3):
        assert sampler.epoch == epoch and len(sampler) == 24
        assert list(sampler) == ShuffledOrder(24).rows(3, epoch, np.arange(24)).tolist()


@given(
    st.integers(1, 200),
    st.lists(st.tuples(st.integers(1, 8), st.integers(0, 6)), min_size=1, max_size=6),
    st.integers(0, 2),
)
def test_on_any_ranks_in_turn_rows_come_once(recipes, num_rows, legs, epochs_before):
    """Each leg: some ranks take some rows each, of which one's state goes on."""
    table, seen, state = RecipeTable(recipes[:num_rows]), [], None
    for number, (world_size, steps) in enumerate([*legs, (1, None)]):
        ranks = [ElasticSampler(table, 5, rank, world_size) for rank in range(world_size)]
        for rank in ranks:
            state = state or rank.state_dict(consumed=epochs_before * num_rows)
            rank.load_state_dict(state)
        taken = [list(itertools.islice(rank, steps)) for rank in ranks]
        seen += [row for turn in zip(*taken, strict=True) for row in turn]
        states = [rank.state_dict() for rank in ranks]
        assert states.count(states[0]) == world_size
        if states[0]["consumed"] == (epochs_before + 1) * num_rows:
            left = num_rows - len(seen)
            assert (
                0 <= left < world_size and seen == ranks[0].order.rows(5, epochs_before, np.arange(len(seen))).tolist()
            )
            assert number == len(legs) or steps is not None
            return
        state = states[number % world_size]
        assert state["consumed"] == epochs_before * num_rows + len(seen)
    raise AssertionError("the last leg ends the epoch")


@pytest.mark.parametrize(("tail", "length"), [("drop", 6), ("pad", 7)])
def test_what_becomes_of_the_last_rows(recipes, tail, length):
    ranks = [ElasticSampler(recipes[:26], 0, rank, 4, tail=tail) for rank in range(4)]
    rows = [list(rank) for rank in ranks]
    assert [len(each) for each in rows] == [len(rank) for rank in ranks] == [length] * 4
    order = ShuffledOrder(26).rows(0, 0, np.arange(26)).tolist()
    assert [row for turn in zip(*rows, strict=True) for row in turn] == (order + order[:2])[: 4 * length]
    assert [rank.consumed for rank in ranks] == [26] * 4
    assert len(list(ranks[0])) == length and ranks[0].epoch == 2


def test_an_iteration_that_ended_goes_on_where_it_was(recipes):
    sampler, whole = ElasticSampler(recipes, seed=1), list(ElasticSampler(recipes, seed=1))
    first = list(itertools.islice(sampler, 10))
    assert sampler.consumed == 10 and first + list(sampler) == whole


@pytest.mark.parametrize("options", [{"weights": np.arange(24.0)}, {"balanced": True}])
def test_other_orders_resume_too(demo_recipes, options):
    whole = [row for sampler in [ElasticSampler(demo_recipes, 2, **options)] for _ in range(3) for row in sampler]
    sampler = ElasticSampler(demo_recipes, 2, **options)
    seen = [*sampler, *itertools.islice(sampler, 5)]
    ranks = [ElasticSampler(demo_recipes, 0, rank, 2, tail="pad", **options) for rank in range(2)]
    for rank in ranks:
        rank.load_state_dict(sampler.state_dict())
    rest = [list(rank) for rank in ranks]
    seen += [row for turn in zip(*rest, strict=True) for row in turn][:19]
    assert seen == whole[:48]
    with pytest.raises(ValueError, match=r"another order: (weighted|balanced) .*; this one is shuffled"):
        ElasticSampler(demo_recipes).load_state_dict(sampler.state_dict())


def test_a_state_is_of_a_table(demo_recipes):
    state = ElasticSampler(demo_recipes, seed=9).state_dict(consumed=100)
    assert state["consumed"] == 100 and all(isinstance(value, (int, str)) for value in state.values())
    sampler = ElasticSampler(demo_recipes)
    sampler.load_state_dict(state)
    assert (sampler.seed, sampler.epoch) == (9, 4)
    for other in (demo_recipes[:23], demo_recipes[::-1]):
        with pytest.raises(ValueError, match=r"another table, of 24 rows .*check metadata, split, filters"):
            ElasticSampler(other).load_state_dict(state)
    with pytest.raises(ValueError, match=r"no state of ElasticSampler: it lacks num_rows"):
        sampler.load_state_dict({name: value for name, value in state.items() if name != "num_rows"})
    with pytest.raises(ValueError, match=r"consumed must be a number of rows, not -1"):
        sampler.load_state_dict({**state, "consumed": -1})


@pytest.mark.parametrize(
    "options",
    [
        {"seed": -1},
        {"seed": 0.5},
        {"rank": 2, "world_size": 2},
        {"world_size": 0},
        {"rank": True},
        {"tail": "keep"},
        {"weights": [1.0], "balanced": True},
        {"weights": [1.0]},
    ],
)
def test_options_out_of_range(demo_recipes, options):
    with pytest.raises(ValueError, match=r"must be|exclude each other|1 weights for 24 rows"):
        ElasticSampler(demo_recipes, **options)


def test_without_pytorch(subprocess_environment):
    """The name is there, and the order; with PyTorch it is one of its samplers."""
    code = """
        import sys
        sys.modules["torch"] = None
        import hive_datasets
        assert "hive_datasets.training" not in sys.modules and "ElasticSampler" in dir(hive_datasets)
        recipes = list(hive_datasets.read_recipes(hive_datasets.demo_folder() / "metadata" / "train"))
        render = hive_datasets.RenderExamples(8000, dataset_paths=hive_datasets.demo_folder() / "sources")
        loader = hive_datasets.TrainingLoader(recipes, 8, render)
        print(sorted(hive_datasets.ElasticSampler(recipes)), sum(len(batch["mixture"]) for batch in loader))
        try:
            next(iter(hive_datasets.TrainingLoader(recipes, 8, num_workers=1)))
        except ImportError as error:
            print(error)
    """
    code = "\n".join(line[8:] for line in code.splitlines())
    environment = {**subprocess_environment, "USE_TORCH": "0"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    needs = 'num_workers=1 needs PyTorch: pip install "hive-datasets[torch]"'
    assert run.stdout.splitlines() == [f"{list(range(24))} 24", needs]


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize(("before", "after"), [((0, 1), (2, 1)), ((2, 2), (1, 3)), ((1, 3), (0, 2))])
def test_loaders_of_pytorch(demo, stateful, before, after):
    """Workers and ranks before a kill and after it; global batches of 6 rows, of 3 epochs, killed after any of them."""
    data = pytest.importorskip("torch.utils.data")
    ds = hive_datasets.load_dataset("hive", "demo", split="train", dataset_paths=demo / "sources")
    table = RecipeTable(ds)
    assert isinstance(ElasticSampler(table), data.Sampler)
    kind = data.DataLoader
    if stateful:
        kind = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader

    def start(workers, world_size, state=None):
        for rank in range(world_size):
            sampler = ElasticSampler(ds, 1, rank, world_size)
            loader = kind(table, 6 // world_size, sampler=sampler, num_workers=workers, collate_fn=list)
            if state and not stateful:
                sampler.load_state_dict(state)
            yield sampler, loader

    def steps(loaders):
        """Global batches, of all epochs from here on."""
        while True:
            for parts in zip(*(loader for _, loader in loaders), strict=True):
                yield {recipe.mix_id for part in parts for recipe in part}

    whole = list(itertools.islice(steps(list(start(0, 1))), 12))
    assert Counter(len(batch) for batch in whole) == {6: 12}
    for kill in (1, 4, 5):
        loaders = list(start(*before))
        seen = list(itertools.islice(steps(loaders), kill))
        if stateful:  # whose states are of as many workers and ranks
            states = [loader.state_dict() for _, loader in loaders]
            loaders = list(start(*before))
            for (_, loader), state in zip(loaders, states, strict=True):
                loader.load_state_dict(state)
        else:
            loaders = list(start(*after, loaders[0][0].state_dict(consumed=6 * kill)))
        seen += list(itertools.islice(steps(loaders), 12 - kill))
        assert seen == whole
