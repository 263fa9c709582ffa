import numpy as np
import pytest

from hive_datasets.backends import AudioJudge, Clip, Question

tiny = pytest.importorskip("tests.backends.tiny")

from hive_datasets.backends import clap  # noqa: E402
from hive_datasets.backends.clap import ClapJudge  # noqa: E402
from hive_datasets.curation import LeafLabel, SingleEvent  # noqa: E402
from tests.curation.models import tone  # noqa: E402

torch, transformers = tiny.torch, tiny.transformers

QUESTION = Question("Which?", ("0", "1", "-1"), ("the sound of a dog", "rain", "some other sound"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.save_clap(tmp_path_factory.mktemp("clap"))


def noise(seconds, rate=48000, seed=0):
    return Clip(np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate)).astype(np.float32), rate)


def probabilities(folder, windows):
    """Straight from the model: of several windows, of the mean of their embeddings."""
    model = transformers.ClapModel.from_pretrained(folder).eval()
    extractor = transformers.ClapFeatureExtractor.from_pretrained(folder)
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(
        list(QUESTION.captions), padding=True, return_tensors="pt"
    )
    with torch.inference_mode():
        audio = [
            model(**tokens, **extractor(window, sampling_rate=48000, return_tensors="pt")).audio_embeds[0]
            for window in windows
        ]
        given = extractor(windows[0], sampling_rate=48000, return_tensors="pt")
        text = model(**tokens, **given).text_embeds
        mean = torch.nn.functional.normalize(torch.stack(audio).mean(0), dim=0)
        return torch.softmax(model.logit_scale_a.exp() * (text @ mean), 0).tolist()


def test_the_likeliest_caption(folder):
    judge = ClapJudge(folder)
    assert isinstance(judge, AudioJudge)
    clips = [noise(3), noise(10, 16000, 1), noise(25, seed=2), noise(0.05, 8000, 3)]
    for clip, answer in zip(clips, judge.ask(clips, [QUESTION] * 4), strict=True):
        samples = clip.resampled(48000)
        windows = np.array_split(samples, 3) if len(samples) > 480000 else [samples]
        expected = probabilities(folder, windows)
        assert list(answer.probabilities.values()) == pytest.approx(expected, abs=1e-5)
        assert answer.choice == QUESTION.choices[int(np.argmax(expected))]


def test_nothing_is_taken_at_random(folder):
    first, second = (ClapJudge(folder).ask([noise(31)], [QUESTION]) for _ in range(2))
    assert first == second


def test_less_memory_than_clips(folder, monkeypatch):
    clips = [noise(1, seed=seed) for seed in range(5)]
    expected = ClapJudge(folder).ask(clips, [QUESTION] * 5)
    model = clap._open(ClapJudge(folder))[0]
    features = model.get_audio_features

    def small(input_features, **options):
        if len(input_features) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return features(input_features, **options)

    monkeypatch.setattr(model, "get_audio_features", small)
    for one, other in zip(ClapJudge(folder).ask(clips, [QUESTION] * 5), expected, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def test_the_steps(folder):
    batch = {"audio": [tone(1, channels=2), "gone.wav"], "labels": [["Animal"], ["Animal"]]}
    assert 0 < SingleEvent(ClapJudge(folder))(batch)["single_event_score"][0] < 1
    leaves = LeafLabel(ClapJudge(folder))(batch)
    assert leaves["leaf_label_reason"][1] == "unreadable: gone.wav: there is no such file"
