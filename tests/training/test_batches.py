"""`RenderExamples`: what `Mixer` renders one by one, as a step of training takes it."""

import re
from collections import Counter

import numpy as np
import pytest

from hive_datasets import Mixer, RenderExamples, SelectTarget, SourceNotFoundError, UnknownLabelError
from hive_datasets.rendering.device import DeviceMixer
from hive_datasets.training import LabelEncoder

EVERYTHING = SelectTarget(silent=0.3, single=0.3, snr_db=(-5, 5), gain_db=(-6, 6), polarity=0.5)
SIGNALS = ("target", "interference", "sources")


def on_device(*arguments, **options):
    """The way of CUDA, on PyTorch's CPU."""
    torch = pytest.importorskip("torch")
    render = RenderExamples(*arguments, device="cpu", **options)
    render._render._device_mixer = DeviceMixer(torch.device("cpu"))
    return render


@pytest.mark.parametrize("signals", [("target",), ("target", "interference"), SIGNALS, ()])
@pytest.mark.parametrize("kind", [RenderExamples, on_device])
def test_signals(mini, corpora, signals, kind):
    """Mixtures of 4 and of 10 s and of 2 to 5 sources in one batch, with every option."""
    recipes, mixer = mini[2:14], Mixer(corpora, 16000)
    batch = kind(16000, select=EVERYTHING, signals=signals, dataset_paths=corpora, num_threads=2)(recipes, epoch=1)
    examples = [example for recipe in recipes for example in EVERYTHING(recipe, 1)]
    assert {"mixture", *signals} <= set(batch) and ("target" in batch) == ("target" in signals)
    assert batch["query"] == batch["label"] == [example.label for example in examples]
    assert batch["options"] == [example.options for example in examples]
    assert batch["labels"] == [example.recipe.labels for example in examples]
    assert batch["mix_id"] == [recipe.mix_id for recipe in recipes] and batch["sampling_rate"] == 16000
    names = {"mixture", "num_samples", "mask", *SIGNALS} & set(batch)
    batch = {name: np.asarray(batch[name]) for name in names}
    for row, example in enumerate(examples):
        rendered, length = mixer(example.recipe), batch["num_samples"][row]
        target = rendered["sources"][list(example.targets)].sum(0)
        expected = {"mixture": rendered["mix"], "target": target, "interference": rendered["mix"] - target}
        for name in {"mixture", *signals} - {"sources"}:
            np.testing.assert_allclose(batch[name][row, :length], expected[name], atol=1e-5)
            assert not batch[name][row, length:].any()
        if "sources" in signals:
            count = example.recipe.num_sources
            np.testing.assert_allclose(batch["sources"][row, :count, :length], rendered["sources"], atol=1e-5)
            assert not batch["sources"][row, count:].any() and batch["mask"][row].tolist() == [
                number < count for number in range(batch["mask"].shape[1])
            ]
    assert {len(example.targets) for example in examples} == {0, 1}


def test_several_examples_of_a_mixture_are_rendered_once(mini, corpora):
    """Each source of a mixture is read once, however many of its stems are targets."""
    render = RenderExamples(select=SelectTarget("all"), dataset_paths=corpora)
    read, recipes = Counter(), mini[:4]
    original = render._render.mixer.render

    def counted(recipe, *arguments):
        read[recipe.mix_id] += 1
        original(recipe, *arguments)

    render._render.mixer.render = counted
    batch = render(recipes)
    assert read == Counter(recipe.mix_id for recipe in recipes)
    assert batch["label"] == [label for recipe in recipes for label in recipe.labels]
    sources = [stem for recipe in recipes for stem in Mixer(corpora)(recipe)["sources"]]
    for target, length, stem in zip(batch["target"], batch["num_samples"], sources, strict=True):
        assert np.array_equal(target[:length], stem)


def test_labels_as_numbers(mini, corpora):
    encoder = LabelEncoder(ancestors=True, ontology="audioset")
    rng = np.random.default_rng(0)
    embeddings = {label: rng.standard_normal(8) for label in {label for recipe in mini for label in recipe.labels}}
    batch = RenderExamples(8000, encoder=encoder, embeddings=embeddings, dataset_paths=corpora)(mini[:6])
    for row, label in enumerate(batch["label"]):
        assert encoder.classes[batch["query_class"][row]] == label
        assert np.array_equal(batch["query_classes"][row], encoder.multi_hot([label]))
        assert np.array_equal(batch["mixture_classes"][row], encoder.multi_hot(mini[row].labels))
        assert np.array_equal(batch["embedding"][row], embeddings[label].astype(np.float32))
    with pytest.raises(UnknownLabelError):
        RenderExamples(8000, encoder=LabelEncoder(["Owl"]), dataset_paths=corpora)(mini[:1])
    with pytest.raises(KeyError, match=r"mixture sample_0+ and others: embeddings has no vector of"):
        RenderExamples(8000, embeddings={"Owl": [1.0]}, dataset_paths=corpora)(mini[:1])


def test_on_a_device_all_arrays_are_tensors(mini, corpora):
    torch = pytest.importorskip("torch")
    encoder = LabelEncoder(ontology="audioset", ancestors=True)
    render = RenderExamples(8000, device="cpu", encoder=encoder, signals=SIGNALS, dataset_paths=corpora)
    batch = render(mini[:3])
    kinds = {name: value.dtype for name, value in batch.items() if isinstance(value, torch.Tensor)}
    floats = ("mixture", *SIGNALS, "query_classes", "mixture_classes")
    whole = {"num_samples": torch.int64, "query_class": torch.int64, "mask": torch.bool}
    assert kinds == {**dict.fromkeys(floats, torch.float32), **whole}
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="pin_memory=True needs a CUDA device"):
            RenderExamples(pin_memory=True)


@pytest.fixture
def lost(copy, mini):
    """A copy that lacks a file, 12 mixtures, and which of them need it."""
    recipes = [recipe for recipe in mini if recipe.split == "train"][:12]
    path = recipes[3].sources[1].path
    (copy / path).unlink()
    lacking = [any(source.path == path for source in recipe.sources) for recipe in recipes]
    assert 0 < sum(lacking) < 12
    return copy, path, recipes, lacking


@pytest.mark.parametrize("stems", ["one", "all"])
def test_what_cannot_be_read(lost, stems):
    folder, path, recipes, lacking = lost
    select = SelectTarget(stems)
    pairs = zip(recipes, lacking, strict=True)
    examples = [(example, not lack) for recipe, lack in pairs for example in select(recipe)]
    with pytest.raises(SourceNotFoundError, match=re.escape(path)):
        RenderExamples(8000, dataset_paths=folder, select=select)(recipes)
    skip = RenderExamples(8000, dataset_paths=folder, select=select, on_error="skip")
    batch = skip(recipes)
    readable = [(example.recipe.mix_id, example.label) for example, is_read in examples if is_read]
    assert list(zip(batch["mix_id"], batch["label"], strict=True)) == readable
    assert skip.skipped == {path: sum(lacking)}
    replace = RenderExamples(8000, dataset_paths=folder, select=select, on_error="replace")
    whole = replace(recipes)
    assert len(whole["mixture"]) == len(whole["target"]) == len(examples) and replace.skipped == {path: sum(lacking)}
    others = iter(range(len(readable)))
    for row, (example, is_read) in enumerate(examples):
        place = readable.index((example.recipe.mix_id, example.label)) if is_read else next(others)
        assert (whole["mix_id"][row], whole["label"][row]) == readable[place]
        assert np.array_equal(whole["mixture"][row], batch["mixture"][place])
        assert np.array_equal(whole["target"][row], batch["target"][place])
    unread = [recipe for recipe, lack in zip(recipes, lacking, strict=True) if lack]
    assert len(skip(unread)["mixture"]) == 0
    with pytest.raises(SourceNotFoundError):
        replace(unread)


@pytest.mark.parametrize("options", [{"signals": "target"}, {"signals": ["mix"]}, {"on_error": "ignore"}])
def test_options_out_of_range(options):
    with pytest.raises(ValueError, match="must be"):
        RenderExamples(**options)
