import dataclasses
import io
import re

import numpy as np
import pytest

from hive_datasets import compute_statistics
from hive_datasets.statistics.report import describe_lengths, draw_statistics, format_statistics


@pytest.fixture(scope="module")
def found(shared):
    return compute_statistics(shared / "mini" / "hub")


def test_the_table(found):
    text = format_statistics(found, top=3)
    assert text.startswith("64 mixtures of 224 sources, 0.1 hours\n")
    assert re.search(r"^train +12 +12 +12 +12 +48$", text, re.MULTILINE)
    assert "label (3 of 13)" in text
    label, count = next(iter(found.label_sources.items()))
    assert re.search(rf"^{label} +{count} +{found.label_mixtures[label]}$", text, re.MULTILINE)
    assert len(re.findall(r"^.* \+ .*$", text, re.MULTILINE)) == 3
    assert re.search(r"^ESC-50 +83 +50 +37\.1 %$", text, re.MULTILINE)
    assert max(map(len, re.findall("#+", text))) == 40
    assert re.search(r"^10 +8 +#{6}$", text, re.MULTILINE)  # of 56 mixtures of 4 s, 40 characters


def test_the_picture(found):
    image = pytest.importorskip("matplotlib.image")
    pixels = image.imread(io.BytesIO(draw_statistics(found)))
    assert pixels.shape == (1200, 1440, 4)
    for colour in ("1f77b4", "2ca02c", "ff7f0e"):  # bars
        wanted = np.frombuffer(bytes.fromhex(colour), np.uint8) / 255
        assert (np.abs(pixels[..., :3] - wanted).max(axis=2) < 0.01).sum() > 1000


def test_labels_that_are_no_formulas(found):
    pytest.importorskip("matplotlib")
    counts = {r"cost $\frac$ x": 3, "雨": 2}
    pairs = {tuple(sorted(counts)): 2}
    assert draw_statistics(dataclasses.replace(found, label_sources=counts, pairs=pairs)).startswith(b"\x89PNG")


def test_many_lengths(found):
    many = dataclasses.replace(found, mixture_seconds={4 + number / 100: 1 for number in range(250)})
    assert describe_lengths(many) == "from 4 to 6.49 s"
    text = format_statistics(many)
    assert "length of mixtures, s, from\n4" in text
    assert re.search(r"^6 +50 +#{20}$", text, re.MULTILINE)
