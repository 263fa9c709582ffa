import json

import numpy as np
import pytest

from hive_datasets import BackendError
from hive_datasets.backends import AudioJudge, Clip, Question

tiny = pytest.importorskip("tests.backends.tiny")

from hive_datasets.backends import transformers_judge  # noqa: E402
from hive_datasets.backends.transformers_judge import TransformersJudge  # noqa: E402
from hive_datasets.curation import LeafLabel, SingleEvent  # noqa: E402

torch, transformers = tiny.torch, tiny.transformers

YES_OR_NO = Question("Only one sound?", ("True", "False"), ("one", "several"))
NUMBERS = Question("Which?", (*map(str, range(12)), "-1"), ("",) * 13)


@pytest.fixture(scope="module", params=[2, 3])
def folder(request, tmp_path_factory):
    return tiny.save_thinker(tmp_path_factory.mktemp("thinker"), request.param)


@pytest.fixture(scope="module")
def clips():
    rng = np.random.default_rng(0)
    lengths = [(3 * 16000, 16000), (10 * 16000, 16000), (44100, 44100), (800, 16000)]
    return [Clip(rng.normal(0, 0.1, length).astype(np.float32), rate) for length, rate in lengths]


def logits_after(folder, clip, text, answered=""):
    """All logits of the next token, from the whole sequence, without generating, padding or a cache."""
    judge = transformers_judge._open.__wrapped__(TransformersJudge(folder))
    heard = judge.extractor(
        [clip.resampled(16000)], sampling_rate=16000, return_attention_mask=True, return_tensors="pt"
    )
    count = int(judge.count_tokens(heard["attention_mask"].sum(-1))[0])
    prompt = (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|audio_bos|>"
        + "<|AUDIO|>" * count
        + f"<|audio_eos|>{text}<|im_end|>\n<|im_start|>assistant\n{answered}"
    )
    given = judge.tokenizer([prompt], return_tensors="pt")
    with torch.inference_mode():
        out = judge.model(
            **given, input_features=heard["input_features"], feature_attention_mask=heard["attention_mask"]
        )
    return judge.tokenizer, out.logits[0, -1].double()


def test_the_probability_of_true(folder, clips):
    """sigmoid(logsumexp(tokens of True) - logsumexp(tokens of False)) at the last position, of each clip by itself."""
    judge = TransformersJudge(folder, batch_size=4)
    assert isinstance(judge, AudioJudge)
    for clip, answer in zip(clips, judge.ask(clips, [YES_OR_NO] * 4), strict=True):
        tokenizer, logits = logits_after(folder, clip, YES_OR_NO.text)
        tokens = {word: tokenizer.convert_tokens_to_ids([word, f"Ġ{word}"]) for word in ("True", "False")}
        true, false = (torch.logsumexp(logits[tokens[word]], 0) for word in ("True", "False"))
        expected = torch.sigmoid(true - false).item()
        assert answer.probabilities["True"] == pytest.approx(expected, abs=1e-5)
        assert answer.probabilities["False"] == pytest.approx(1 - expected, abs=1e-5)


def test_choices_of_several_tokens(folder, clips):
    """Some begin alike: what is told is how likely each step was, of what could follow."""
    for clip, answer in zip(clips, TransformersJudge(folder).ask(clips, [NUMBERS] * 4), strict=True):
        assert answer.choice in NUMBERS.choices
        expected, said = 1.0, ""
        for letter in [*answer.choice, "<|im_end|>"]:
            tokenizer, logits = logits_after(folder, clip, NUMBERS.text, said)
            following = {
                choice[len(said) : len(said) + 1] or "<|im_end|>"
                for choice in NUMBERS.choices
                if choice.startswith(said)
            }
            tokens = tokenizer.convert_tokens_to_ids(sorted(following))
            expected *= logits[tokens].softmax(0)[tokens.index(tokenizer.convert_tokens_to_ids(letter))].item()
            said += letter
        assert answer.probability == pytest.approx(expected, rel=1e-4)


def test_batches_do_not_matter(folder, clips):
    questions = [YES_OR_NO, NUMBERS, YES_OR_NO, NUMBERS]
    together = TransformersJudge(folder, batch_size=4).ask(clips, questions)
    alone = TransformersJudge(folder, batch_size=1).ask(clips, questions)
    for one, other in zip(together, alone, strict=True):
        assert one.choice == other.choice
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def test_only_the_last_position_has_logits(folder, clips):
    opened = transformers_judge._open(TransformersJudge(folder))
    seen = []
    hook = opened.model.lm_head.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1]))
    TransformersJudge(folder).ask(clips, [NUMBERS] * 4)
    hook.remove()
    assert set(seen) == {1}


def test_less_memory_than_clips(folder, clips, monkeypatch):
    expected = TransformersJudge(folder, batch_size=1).ask(clips, [YES_OR_NO] * 4)
    judge = TransformersJudge(folder, batch_size=4)
    model = transformers_judge._open(judge).model
    generate, sizes = model.generate, []

    def small(**options):
        sizes.append(len(options["input_ids"]))
        if sizes[-1] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return generate(**options)

    monkeypatch.setattr(model, "generate", small)
    for one, other in zip(judge.ask(clips, [YES_OR_NO] * 4), expected, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
    assert sizes == [4, 2, 1, 1, 2, 1, 1]


def test_the_steps(folder):
    audio = {"array": np.random.default_rng(0).normal(0, 0.1, (2, 44100)), "sampling_rate": 44100}
    batch = {"audio": [audio, "gone.wav"], "labels": [["Speech"], ["Speech"]]}
    events = SingleEvent(TransformersJudge(folder))(batch)
    assert 0 < events["single_event_score"][0] < 1
    assert events["single_event_reason"] == ["", "unreadable: gone.wav: there is no such file"]
    leaves = LeafLabel(TransformersJudge(folder))(batch)
    assert leaves["leaf_label_reason"][0] in ("", "none of the leaves: below Speech")


def test_models_that_are_none(tmp_path):
    clip = Clip(np.zeros(1600, np.float32), 16000)
    with pytest.raises(BackendError, match=r"AutoConfig cannot be loaded from .*nowhere"):
        TransformersJudge(str(tmp_path / "nowhere")).ask([clip], [YES_OR_NO])
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(BackendError, match="is a bert, none of qwen2_5_omni"):
        TransformersJudge(str(tmp_path)).ask([clip], [YES_OR_NO])
