import subprocess
import sys

import numpy as np
import pytest

from hive_datasets import BackendError, Ontology
from hive_datasets.backends import AudioTagger, Clip
from hive_datasets.backends.sherpa import SherpaTagger, check_labels
from hive_datasets.curation import TagAudioSet
from hive_datasets.ontology import audioset_classes
from tests.curation.models import tone

onnx = pytest.importorskip("onnx")
pytest.importorskip("sherpa_onnx")


def export(file, kind, final="Sigmoid"):
    """A model of one layer: the mean over time of the features, times weights."""
    helper, types = onnx.helper, onnx.TensorProto
    bins, axes = (80, ["N", "T", 80]) if kind == "zipformer" else (64, ["N", 64, "T"])
    weights = np.random.default_rng(0).normal(0, 0.05, (bins, 527)).astype(np.float32)
    constants = {"w": weights, "time": np.array([1 if kind == "zipformer" else 2]), "zero": np.array(0, np.float32)}
    nodes = [
        helper.make_node("ReduceMean", ["x", "time"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["logits"]),
        helper.make_node(final, ["logits"], ["probs" if kind == "ced" else "final"]),
    ]
    inputs = [helper.make_tensor_value_info("x", types.FLOAT, axes)]
    if kind == "zipformer":
        inputs.append(helper.make_tensor_value_info("x_lens", types.INT64, ["N"]))
        nodes += [
            helper.make_node("Cast", ["x_lens"], ["lengths"], to=types.FLOAT),
            helper.make_node("Mul", ["lengths", "zero"], ["nothing"]),
            helper.make_node("ReduceSum", ["nothing"], ["none"], keepdims=0),
            helper.make_node("Add", ["final", "none"], ["probs"]),
        ]
    outputs = [helper.make_tensor_value_info("probs", types.FLOAT, ["N", 527])]
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tagger", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, file)
    return str(file)


def write_labels(file, change=lambda lines: lines):
    audioset = Ontology.audioset()
    lines = [f'{number},{audioset.id_of(name)},"{name}"' for number, name in enumerate(audioset_classes())]
    file.write_text("\n".join(change(["index,mid,display_name", *lines])) + "\n")
    return str(file)


@pytest.fixture(params=["zipformer", "ced"])
def tagger(request, tmp_path):
    onnx_file = export(tmp_path / "model.onnx", request.param)
    return SherpaTagger(onnx_file, write_labels(tmp_path / "labels.csv"), request.param)


def test_probabilities(tagger):
    rng = np.random.default_rng(0)
    clips = [
        Clip(rng.normal(0, 0.1, rate * seconds).astype(np.float32), rate) for rate, seconds in ((16000, 3), (44100, 1))
    ]
    assert isinstance(tagger, AudioTagger)
    found = tagger.tag(clips)
    assert found.shape == (2, 527)
    assert 0 < found.min() < 0.4 < 0.6 < found.max() < 1
    np.testing.assert_array_equal(found[1:], tagger.tag(clips[1:]))
    resampled = Clip(clips[1].resampled(16000), 16000)
    np.testing.assert_array_equal(found[1:], tagger.tag([resampled]))


def test_as_a_step(tagger):
    noise = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    audio = {"array": np.stack([noise, noise]), "sampling_rate": 16000}
    batch = TagAudioSet(tagger, top_k=2)({"audio": [audio, "gone.wav"], "labels": [[], []]})
    best = np.argsort(-tagger.tag([Clip(noise, 16000)])[0])[:2]
    assert batch["tag_labels"] == [[audioset_classes()[number] for number in best], []]
    assert batch["tag_model"][0] == f"sherpa-onnx {tagger.kind} model.onnx"


def test_a_model_that_gives_logits(tmp_path):
    model = export(tmp_path / "model.onnx", "zipformer", "Identity")
    tagger = SherpaTagger(model, write_labels(tmp_path / "labels.csv"))
    with pytest.raises(BackendError, match="which are no probabilities"):
        TagAudioSet(tagger)({"audio": [tone(1)], "labels": [[]]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [line.replace('"', "") for line in lines], "line 2: display_name must be in double quotes"),
        (lambda lines: lines[1:], "line 1: it must be index,mid,display_name"),
        (lambda lines: lines[:-1], "there must be 527 rows, not 526"),
        (lambda lines: [*lines, '527,/m/x,"More"'], "line 529: there must be 527 rows"),
        (lambda lines: [lines[0], *lines[2:]], "line 2: index must be 0, not 1"),
        (
            lambda lines: [*lines[:5], lines[5].replace("Conversation", "Chat"), *lines[6:]],
            "class 4 of AudioSet is 'Conv",
        ),
        (lambda lines: [*lines[:3], "", *lines[3:]], "line 4: display_name must be in double quotes"),
        (lambda lines: [lines[0], '0,"Speech"'], "line 2: there must be 527 rows of three columns"),
    ],
)
def test_labels_that_would_end_the_process(tmp_path, change, message):
    file = write_labels(tmp_path / "labels.csv", change)
    with pytest.raises(BackendError, match=message):
        check_labels(file)
    with pytest.raises(BackendError, match=message):
        SherpaTagger(export(tmp_path / "model.onnx", "zipformer"), file).tag([Clip(np.zeros(16000, np.float32), 16000)])


def test_what_is_not_there(tmp_path):
    clip = Clip(np.zeros(16000, np.float32), 16000)
    with pytest.raises(BackendError, match=r"there is no model at nowhere.onnx"):
        SherpaTagger("nowhere.onnx", "labels.csv").tag([clip])
    model = export(tmp_path / "model.onnx", "zipformer")
    with pytest.raises(BackendError, match=r"nowhere.csv cannot be read: No such file"):
        SherpaTagger(model, "nowhere.csv").tag([clip])
    with pytest.raises(ValueError, match="'zipformer' or 'ced'"):
        SherpaTagger(model, "labels.csv", "yamnet")


def test_a_file_that_is_no_model(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no model")
    tagger = SherpaTagger(str(tmp_path / "model.onnx"), write_labels(tmp_path / "labels.csv"))
    with pytest.raises(BackendError, match=r"model.onnx cannot be loaded"):
        tagger.tag([Clip(np.zeros(16000, np.float32), 16000)])


def test_without_sherpa_onnx():
    script = """if True:
        import sys
        sys.modules["sherpa_onnx"] = None
        from hive_datasets.backends.sherpa import SherpaTagger
        SherpaTagger("a.onnx", "b.csv").tag([])
    """
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert "BackendError: sherpa_onnx is needed: pip install 'hive-datasets[sherpa]'" in ended.stderr
