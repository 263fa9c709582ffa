"""Batches: what `Mixer` renders one by one."""

import pickle
import threading

import numpy as np
import pytest

from hive_datasets import (
    Mixer,
    RecipeError,
    RecordError,
    RenderMixtures,
    SourceNotFoundError,
    SourceRootError,
    load_dataset,
)
from hive_datasets.rendering.device import DeviceMixer


def on_device(**options):
    """The way of CUDA, on PyTorch's CPU."""
    torch = pytest.importorskip("torch")
    render = RenderMixtures(**options)
    render._device_mixer = DeviceMixer(torch.device("cpu"))
    return render


def assert_is(batch, mixtures, tolerance=0.0):
    assert len(batch["mix"]) == len(mixtures)
    for row, mixture in enumerate(mixtures):
        n, length = mixture["sources"].shape
        assert (batch["num_sources"][row], batch["num_samples"][row]) == (n, length)
        sources, mix = np.asarray(batch["sources"][row]), np.asarray(batch["mix"][row])
        np.testing.assert_allclose(sources[:n, :length], mixture["sources"], atol=tolerance)
        np.testing.assert_allclose(mix[:length], mixture["mix"], atol=tolerance)
        assert not sources[n:].any() and not sources[:, length:].any() and not mix[length:].any()


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("reuse", [False, True])
def test_on_the_cpu(mini, corpora, num_threads, reuse):
    """Mixtures of 4 and of 10 s and of 2 to 5 sources in one batch."""
    render = RenderMixtures(dataset_paths=corpora, num_threads=num_threads, reuse=reuse)
    mixer = Mixer(corpora)
    for recipes in (mini[:20], mini[20:22], mini[30:50]):
        batch = render(recipes)
        assert_is(batch, [mixer(recipe) for recipe in recipes])
        assert batch["positions"].tolist() == list(range(len(recipes)))


@pytest.mark.parametrize("stems", ["scaled", "unscaled"])
@pytest.mark.parametrize("rate", [None, 16000, 48000])
def test_as_on_a_device(mini, corpora, rate, stems):
    render = on_device(sampling_rate=rate, dataset_paths=corpora, num_threads=2, stems=stems)
    mixer = Mixer(corpora, sampling_rate=rate, stems=stems)
    for recipes in (mini[:8], mini[8:40]):
        assert_is(render(recipes), [mixer(recipe) for recipe in recipes], tolerance=1e-5)


def test_a_rate_without_a_period_on_a_device(mini, corpora):
    render, mixer = on_device(sampling_rate=44101, dataset_paths=corpora), Mixer(corpora, sampling_rate=44101)
    assert_is(render(mini[:4]), [mixer(recipe) for recipe in mini[:4]], tolerance=1e-5)


@pytest.mark.parametrize("kind", [RenderMixtures, on_device])
def test_only_the_sum_of_some_sources(mini, corpora, kind):
    """Of mixtures of 4 and of 10 s: of one source, of several, and of none."""
    recipes, mixer = mini[4:12], Mixer(corpora, 16000)
    targets = [[0], [1], [], [0, 1], (1,), [], [0], {1}]
    batch = kind(sampling_rate=16000, dataset_paths=corpora, num_threads=2).render_targets(recipes, targets)
    for row, (recipe, chosen) in enumerate(zip(recipes, targets, strict=True)):
        mixture, length = mixer(recipe), batch["num_samples"][row]
        mix, target = np.asarray(batch["mix"][row]), np.asarray(batch["target"][row])
        np.testing.assert_allclose(mix[:length], mixture["mix"], atol=1e-5)
        np.testing.assert_allclose(target[:length], mixture["sources"][sorted(chosen)].sum(0), atol=1e-5)
        assert not mix[length:].any() and not target[length:].any()
    assert set(batch) == {"mix", "target"} | (set(RenderMixtures(dataset_paths=corpora)(recipes)) - {"mix", "sources"})


def test_prepared_sources(mini, prepared):
    expected = [Mixer(prepared=prepared)(recipe) for recipe in mini[:16]]
    assert_is(RenderMixtures(prepared=prepared, num_threads=2)(mini[:16]), expected)
    assert_is(on_device(prepared=prepared)(mini[:16]), expected, tolerance=1e-6)


def test_reused_memory_is_overwritten_and_other_memory_is_not(mini, corpora):
    for reuse in (False, True):
        render = RenderMixtures(dataset_paths=corpora, reuse=reuse)
        first = render(mini[20:22])["mix"]
        before = first.copy()
        render(mini[30:32])
        assert np.array_equal(first, before) is not reuse


def rows(shared, **options):
    return load_dataset("hive", data_dir=str(shared / "mini" / "hub"), split="train", streaming=True, **options)


@pytest.mark.parametrize("is_declared", [True, False])
def test_in_map(shared, corpora, is_declared):
    render = RenderMixtures(dataset_paths=corpora, num_threads=2, sampling_rate=32000)
    stream = rows(shared).decode(False).shuffle(seed=0, buffer_size=20)
    declared = render.features(stream.features) if is_declared else None
    mapped = stream.map(render, batched=True, batch_size=5, remove_columns="mixture", features=declared)
    if is_declared:
        assert mapped.column_names == ["mix_id", "num_sources", "labels", "mix", "sources", "sampling_rate"]
    expected = {row["mix_id"]: row for row in rows(shared, sampling_rate=32000, dataset_paths=corpora)}
    seen = set()
    for row in mapped:
        seen.add(row["mix_id"])
        mixture = expected[row["mix_id"]]["mixture"]
        assert row["labels"] == expected[row["mix_id"]]["labels"] and row["sampling_rate"] == 32000
        np.testing.assert_allclose(np.asarray(row["mix"]), mixture["mix"], atol=1e-5)
        np.testing.assert_allclose(np.asarray(row["sources"]), mixture["sources"], atol=1e-5)
    assert seen == set(expected)


def test_rows_of_a_dataset_and_dicts(shared, corpora, mini):
    render = RenderMixtures(dataset_paths=corpora)
    some = list(rows(shared).decode(False).take(3))
    assert [row["mixture"]["mix_id"] for row in some] == [row["mix_id"] for row in some]
    assert_is(render(some), [Mixer(corpora)(row["mixture"]) for row in some])
    assert_is(render([mini[0].to_dict()]), [Mixer(corpora)(mini[0])])


def test_decoded_rows_are_refused(shared, corpora):
    render = RenderMixtures(dataset_paths=corpora)
    row = next(iter(rows(shared, dataset_paths=corpora)))
    for batch in ({"mixture": [row["mixture"]]}, [row]):
        with pytest.raises(ValueError, match=r"column 'mixture' is decoded already.*decode\(False\)"):
            render(batch)
    with pytest.raises(ValueError, match="there is no column 'mixture', but mix_id"):
        render({"mix_id": ["a"]})


@pytest.mark.parametrize("make", [RenderMixtures, on_device])
def test_what_cannot_be_read(mini, copy, make):
    lost = mini[3].sources[0].path
    (copy / lost).unlink()
    bad = [position for position, recipe in enumerate(mini[:10]) if lost in {s.path for s in recipe.sources}]
    with pytest.raises(SourceNotFoundError, match=f"mixture {mini[bad[0]].mix_id}"):
        make(dataset_paths=copy, num_threads=2)(mini[:10])
    batch = make(dataset_paths=copy, num_threads=2, on_error="skip")(mini[:10])
    kept = [position for position in range(10) if position not in bad]
    assert batch["positions"].tolist() == kept
    assert_is(batch, [Mixer(copy)(mini[position]) for position in kept], tolerance=1e-5)
    columns = RenderMixtures(dataset_paths=copy, on_error="skip")(
        {"mixture": [recipe.to_dict() for recipe in mini[:10]], "mix_id": [recipe.mix_id for recipe in mini[:10]]}
    )
    assert columns["mix_id"] == [mini[position].mix_id for position in kept]
    assert all(len(column) == len(kept) for column in columns.values())
    with pytest.raises(SourceRootError, match="no source roots are configured"):  # which is no fault of a source
        make(on_error="skip")(mini[:1])


def test_each_row_is_read_from_where_its_dataset_was_told(shared, corpora, prepared, demo):
    streams = [
        rows(shared, dataset_paths=corpora),
        rows(shared, prepared=prepared),
        load_dataset("hive", "demo", split="train", streaming=True),
    ]
    render = RenderMixtures()
    some = [next(iter(stream.decode(False))) for stream in streams]
    for batch in (render(some), render(some[::-1])):
        mixes = {mix.tobytes() for mix in batch["mix"]}
        assert len(mixes) == 3 or len(mixes) == 2  # prepared sources may agree to the bit
    expected = next(iter(streams[2]))["mixture"]["mix"]
    np.testing.assert_array_equal(render(some)["mix"][2], expected)


def test_a_batch_says_what_it_is_of(shared, corpora, mini):
    some = list(rows(shared).decode(False).take(3))
    batch = RenderMixtures(dataset_paths=corpora)(some[1:])
    assert batch["mix_id"] == [row["mix_id"] for row in some[1:]]
    assert batch["labels"] == [row["labels"] for row in some[1:]]
    assert batch["num_sources"].tolist() == [len(labels) for labels in batch["labels"]]
    more = RenderMixtures(dataset_paths=corpora, columns=["mixture"])(some)
    assert more["mixture"] == [row["mixture"] for row in some]
    with pytest.raises(ValueError, match="columns mixture: give rows of a dataset that have them"):
        RenderMixtures(dataset_paths=corpora, columns=["mixture"])(mini[:2])
    with pytest.raises(ValueError, match="names that a batch has not by itself, not 'mixture'"):
        RenderMixtures(columns="mixture")


def test_as_numpy_and_ray_hand_rows_over(shared, corpora):
    some = list(rows(shared).decode(False).take(2))
    expected = RenderMixtures(dataset_paths=corpora)(some)["mix"]
    stored = rows(shared).decode(False).with_format("numpy")
    handed = [
        {**row, "mixture": {**row["mixture"], "sources": np.array(row["mixture"]["sources"], object)}} for row in some
    ]
    for given in (list(stored.take(2)), handed):
        np.testing.assert_array_equal(RenderMixtures(dataset_paths=corpora)(given)["mix"], expected)


def test_torch_rows_are_refused_and_not_rendered_otherwise(shared, corpora):
    pytest.importorskip("torch")
    stored = rows(shared, dataset_paths=corpora).decode(False).with_format("torch")
    with pytest.raises(RecipeError, match=r"has 32 bits, .* with_format\(None\)"):
        RenderMixtures()(list(stored.take(2)))


def test_devices_are_those_of_pytorch(mini, corpora):
    torch = pytest.importorskip("torch")
    expected = RenderMixtures(dataset_paths=corpora)(mini[:3])
    for device in ("cpu", torch.device("cpu"), "cpu:0"):
        batch = RenderMixtures(dataset_paths=corpora, device=device)(mini[:3])
        for name, value in batch.items():
            if isinstance(expected[name], np.ndarray):
                assert value.device.type == "cpu" and value.dtype == torch.from_numpy(expected[name]).dtype
                np.testing.assert_array_equal(value.numpy(), expected[name])
    for wrong in ("meta", "gpu", object()):
        with pytest.raises(ValueError, match="device="):
            RenderMixtures(device=wrong)
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match=r"device=1: PyTorch .* finds no CUDA device"):
            RenderMixtures(device=1)


def test_a_device_is_not_for_map(shared, corpora):
    with pytest.raises(ValueError, match="map stores arrays"):
        on_device(dataset_paths=corpora)({"mixture": [next(iter(rows(shared).decode(False)))["mixture"]]})


def test_it_is_not_for_filter(shared, corpora):
    stream = rows(shared).decode(False).filter(RenderMixtures(dataset_paths=corpora), batched=True)
    with pytest.raises(RecordError, match="RenderMixtures tells of no row whether to keep it"):
        next(iter(stream))
    render = RenderMixtures(16000, dataset_paths=corpora)
    loud = rows(shared).decode(False).filter(lambda b: [mix.max() > 0.94 for mix in render(b)["mix"]], batched=True)
    assert 0 < len(list(loud)) < 48  # in a function of one's own it tells


def test_one_row_is_no_batch(shared, corpora):
    row = next(iter(rows(shared).decode(False)))
    with pytest.raises(ValueError, match="this is one row"):
        RenderMixtures(dataset_paths=corpora)(row)


def test_a_batch_that_failed_does_not_write_into_the_next(mini, copy, monkeypatch):
    render = RenderMixtures(dataset_paths=copy, num_threads=2, reuse=True)
    expected = render(mini[30:34])["mix"].copy()
    (copy / mini[20].sources[0].path).unlink()
    render_one, never = render.mixer.render, threading.Event()

    def wait(recipe, *arguments):
        never.wait(0.2 if recipe is mini[21] else 0)  # till after the other has failed
        render_one(recipe, *arguments)

    monkeypatch.setattr(render.mixer, "render", wait)
    with pytest.raises(SourceNotFoundError):
        render(mini[20:22])
    rendered = render(mini[30:34])["mix"]
    never.wait(0.3)
    np.testing.assert_array_equal(rendered, expected)


def test_nothing_is_an_empty_batch(corpora):
    for render in (RenderMixtures(dataset_paths=corpora), on_device(dataset_paths=corpora)):
        batch = render([])
        assert batch["mix"].shape == (0, 0) and batch["sources"].shape == (0, 0, 0)


def test_recipes_of_different_rates(mini, corpora):
    from dataclasses import replace

    recipes = [mini[0], replace(mini[1], sample_rate=16000)]
    with pytest.raises(ValueError, match=r"\[16000, 44100\] Hz: say at which to render, sampling_rate="):
        RenderMixtures(dataset_paths=corpora)(recipes)
    assert len(RenderMixtures(16000, dataset_paths=corpora)(recipes)["mix"]) == 2


def test_it_can_be_sent_to_another_process(mini, corpora):
    render = RenderMixtures(dataset_paths=corpora, num_threads=2, reuse=True)
    expected = render(mini[:2])
    data = pickle.dumps(render)
    assert len(data) < 5000
    np.testing.assert_array_equal(pickle.loads(data)(mini[:2])["mix"], expected["mix"])


@pytest.mark.parametrize("options", [{"num_threads": 0}, {"on_error": "ignore"}, {"sampling_rate": -1}, {"stems": "x"}])
def test_options_out_of_range(options):
    with pytest.raises(ValueError):
        RenderMixtures(**options)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_recipes_from_dataloader_workers_rendered_here(shared, corpora, context):
    torch = pytest.importorskip("torch")
    stream = rows(shared).decode(False)
    loader = torch.utils.data.DataLoader(
        stream, batch_size=4, num_workers=2, collate_fn=list, multiprocessing_context=context
    )
    render = RenderMixtures(dataset_paths=corpora)
    seen = sorted(row["mix_id"] for batch in loader for row in batch if len(render(batch)["mix"]))
    assert seen == sorted(row["mix_id"] for row in stream)
