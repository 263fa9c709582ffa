import numpy as np
import pytest

from hive_datasets import BackendError
from hive_datasets.backends import AudioTagger, Clip

tiny = pytest.importorskip("tests.backends.tiny")

from hive_datasets.backends import transformers_tagger  # noqa: E402
from hive_datasets.backends.transformers_tagger import TransformersTagger  # noqa: E402
from hive_datasets.curation import TagAudioSet  # noqa: E402
from hive_datasets.ontology import audioset_classes  # noqa: E402
from tests.curation.models import tone  # noqa: E402

torch, transformers = tiny.torch, tiny.transformers

#: Of AST's own parameters, where torchaudio is not installed.
pytestmark = pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Its outputs are in another order than AudioSet's."""
    return tiny.save_ast(tmp_path_factory.mktemp("ast"), audioset_classes()[::-1])


@pytest.fixture(scope="module")
def clips():
    rng = np.random.default_rng(0)
    return [
        Clip(rng.normal(0, 0.1, length).astype(np.float32), rate) for length, rate in ((48000, 16000), (4410, 44100))
    ]


def test_probabilities(folder, clips):
    tagger = TransformersTagger(folder)
    assert isinstance(tagger, AudioTagger)
    model = transformers.ASTForAudioClassification.from_pretrained(folder).eval()
    extractor = transformers.ASTFeatureExtractor.from_pretrained(folder)
    for clip, row in zip(clips, tagger.tag(clips), strict=True):
        given = extractor(clip.resampled(16000), sampling_rate=16000, return_tensors="pt")
        with torch.inference_mode():
            expected = torch.sigmoid(model(**given).logits)[0].numpy()[::-1]
        np.testing.assert_allclose(row, expected, atol=1e-6)


def test_less_memory_than_clips(folder, clips, monkeypatch):
    expected = TransformersTagger(folder).tag(clips * 3)
    opened = transformers_tagger._open(TransformersTagger(folder))
    forward = opened[0].forward

    def small(values, *arguments, **options):
        if len(values) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(values, *arguments, **options)

    monkeypatch.setattr(opened[0], "forward", small)
    np.testing.assert_allclose(TransformersTagger(folder).tag(clips * 3), expected, atol=1e-6)


def test_as_a_step(folder):
    batch = TagAudioSet(TransformersTagger(folder), top_k=1)({"audio": [tone(1), "gone.wav"], "labels": [[], ["Dog"]]})
    assert batch["labels"] == [batch["tag_labels"][0], ["Dog"]]
    assert batch["tag_version"][0].startswith("main, transformers ")


def test_models_that_tell_something_else(tmp_path, clips, monkeypatch):
    folder = tiny.save_ast(tmp_path, [*audioset_classes()[:526], "Something"])
    with pytest.raises(BackendError, match="does not tell 1 of AudioSet's 527 classes: 'Field recording'"):
        TransformersTagger(folder).tag(clips)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # or the Hub is tried for half a minute
    with pytest.raises(BackendError, match="cannot be loaded from nowhere/at-all"):
        TransformersTagger("nowhere/at-all").tag(clips)
