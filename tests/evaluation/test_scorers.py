"""Models that listen, tiny ones of random weights."""

import numpy as np
import pytest

from hive_datasets import Subset, evaluate_separator
from hive_datasets.backends import Clip
from hive_datasets.evaluation import ClapSimilarity, TagProbability, measure_frechet_distance
from hive_datasets.ontology import audioset_classes

tiny = pytest.importorskip("tests.backends.tiny")
pytest.importorskip("torchmetrics")

from hive_datasets.backends.clap import ClapJudge, embed_clips, embed_texts  # noqa: E402
from hive_datasets.backends.transformers_tagger import TransformersTagger  # noqa: E402


@pytest.fixture(scope="module")
def clap(tmp_path_factory):
    return ClapJudge(tiny.save_clap(tmp_path_factory.mktemp("clap")))


def clips(count, seed=0, length=8000):
    return [Clip(each.astype(np.float32), 16000) for each in np.random.default_rng(seed).normal(size=(count, length))]


@pytest.mark.filterwarnings("ignore:At least one mel filter")  # the tiny model's
def test_beside_the_metrics(demo, clap, tmp_path):
    tagger = TransformersTagger(tiny.save_ast(tmp_path / "ast", audioset_classes()))
    scorers = [ClapSimilarity(clap), TagProbability(tagger)]
    options = {"dataset_paths": demo / "sources", "sampling_rate": 16000, "metrics": ["sdr"], "scorers": scorers}
    seen = []

    def separate(mixtures, sampling_rate, queries):
        seen.extend(Clip(mixture, sampling_rate) for mixture in mixtures)
        return mixtures

    found = evaluate_separator(separate, Subset(demo / "metadata", limit=2), tmp_path / "out", **options)
    rows = found.table.to_pylist()
    audio = embed_clips(clap, seen)
    told = tagger.tag(seen)
    for row, embedded, probabilities in zip(rows, audio, told, strict=True):
        text = embed_texts(clap, (f"the sound of {row['label']}",))[0]
        assert row["clap"] == pytest.approx(float(text @ embedded), abs=1e-5) and -1 <= row["clap"] <= 1
        assert row["tag_probability"] == pytest.approx(probabilities[audioset_classes().index(row["label"])], abs=1e-5)
    assert found.summary["metrics"]["clap"]["scored"] == len(rows)


def test_frechet_distance(clap):
    linalg = pytest.importorskip("scipy.linalg")
    first, second = clips(20, length=2000), clips(15, seed=1, length=1000)
    assert measure_frechet_distance(first, first, clap) == pytest.approx(0.0, abs=1e-6)
    a, b = (np.float64(embed_clips(clap, each)) for each in (first, second))
    root = linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    wanted = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    assert measure_frechet_distance(iter(first), second, clap, batch_size=7) == pytest.approx(wanted, abs=1e-6)
    with pytest.raises(ValueError, match="a set of 1 clips has no spread"):
        measure_frechet_distance(first[:1], second, clap)
