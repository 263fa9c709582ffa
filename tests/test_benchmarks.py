"""The ways that benchmarks compare give the mixtures that they say they give."""

import gc

import numpy as np
import pytest

pytest.importorskip("lhotse")
pytest.importorskip("torch")
pytest.importorskip("webdataset")

from benchmarks.corpus import make_prepared, make_tars
from benchmarks.ways import WAYS, WAYS_AT_OTHER_RATE, Corpus


@pytest.fixture(scope="module")
def corpus(demo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    sources, metadata = demo / "sources", demo / "metadata"
    prepared = make_prepared(folder / "prepared", sources, metadata)
    return Corpus("demo", sources, metadata, prepared, make_tars(folder / "tars", sources, metadata))


def mix_of(mixture):
    """The mixture itself, whatever a way hands out: of a batch, the first."""
    if isinstance(mixture, dict):
        mixture = mixture.get("mixture", mixture)
        return np.asarray(mixture["mix"])
    if isinstance(mixture, tuple):  # which holds the sources too
        return next(np.asarray(part) for part in mixture if np.ndim(part) == 1)
    return np.asarray(mixture[0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("way", [way for way in WAYS if not way.startswith("floor")])
def test_way(corpus, way):
    wanted = mix_of(next(iter(next(iter(WAYS.values()))(corpus)())))
    mixtures = iter(WAYS[way](corpus)())
    found = mix_of(next(mixtures))
    if "tars" in way or "decode" in way:  # which leave something open if they are left early
        assert len(list(mixtures)) == 23
    del mixtures
    gc.collect()  # and webdataset in any case
    assert found.shape == wanted.shape
    # lhotse resamples otherwise, and workers may begin with another shard
    if "workers" not in way:
        assert np.corrcoef(found, wanted)[0, 1] > 0.99


@pytest.mark.parametrize("way", WAYS_AT_OTHER_RATE)
def test_way_at_another_rate(corpus, way):
    assert mix_of(next(iter(WAYS_AT_OTHER_RATE[way](corpus)()))).shape == (128_000,)


@pytest.mark.parametrize("way", [way for way in WAYS if way.startswith("floor")])
def test_floor(corpus, way):
    sources, mix = next(iter(WAYS[way](corpus)()))
    assert sources.shape[1:] == mix.shape == (176400,)
