"""Which samples of which chunks metadata needs, against a set of every sample."""

from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_datasets.preparation.clips import TO_END, Clip, collect_clips, iterate_clips
from hive_datasets.recipe.tables import crop_samples, table_from_recipes

RATE = 10


@st.composite
def uses(draw):
    """Sources of few files and chunks, so that many fall together."""
    found = []
    for _ in range(draw(st.integers(1, 12))):
        start = draw(st.sampled_from([0.0, 5.0]))
        crop = draw(st.integers(0, 60)) / 10
        found.append(
            {
                "path": draw(st.sampled_from(["a/1.wav", "a/2.wav", "b/1.wav"])),
                "chunk_start_second": start,
                "chunk_end_second": start + draw(st.sampled_from([5.0, 10.0])),
                "crop_start_second": crop,
                "crop_end_second": crop + draw(st.sampled_from([0.5, 4.0])),
            }
        )
    return found


def to_recipes(template, found):
    """A recipe for every pair of uses."""
    source = template.sources[0]
    for index in range(0, len(found), 2):
        sources = tuple(replace(source, **use) for use in found[index : index + 2])
        yield replace(template, mix_id=f"m{index}", sources=sources, target_duration=3.0)


@given(found=uses())
def test_only_crops_is_the_union_of_them(demo_recipes, found):
    recipes = list(to_recipes(demo_recipes[0], found))
    tables = [table_from_recipes([recipe]) for recipe in recipes]
    clips = list(iterate_clips(collect_clips(tables, RATE, only_crops=True)))
    needed = {
        (source.path, source.chunk_start_second, source.chunk_end_second, sample)
        for recipe in recipes
        for source in recipe.sources
        for sample in range(*source.crop_samples(RATE, 3 * RATE))
    }
    there = [
        (clip.path, clip.chunk_start_second, clip.chunk_end_second, sample)
        for clip in clips
        for sample in range(clip.start, clip.stop)
    ]
    assert set(there) == needed and len(there) == len(needed)
    ends = {(clip.path, clip.chunk_start_second, clip.chunk_end_second, clip.stop) for clip in clips}
    assert not any((clip.path, clip.chunk_start_second, clip.chunk_end_second, clip.start) in ends for clip in clips)
    assert clips == sorted(
        clips, key=lambda clip: (clip.path, clip.chunk_start_second, clip.chunk_end_second, clip.start)
    )


@given(found=uses())
def test_whole_chunks_are_there_once(demo_recipes, found):
    tables = [table_from_recipes(to_recipes(demo_recipes[0], found))]
    clips = list(iterate_clips(collect_clips(tables, RATE)))
    names = ("path", "chunk_start_second", "chunk_end_second")
    chunks = {tuple(use[name] for name in names) for use in found}
    assert [(clip.path, clip.chunk_start_second, clip.chunk_end_second) for clip in clips] == sorted(chunks)
    assert all((clip.start, clip.stop) == (0, TO_END) for clip in clips)


def test_many_tables_are_united_on_the_way(demo_recipes, monkeypatch):
    tables = [table_from_recipes([recipe]) for recipe in demo_recipes]
    whole = collect_clips(tables, 44100, only_crops=True)
    monkeypatch.setattr("hive_datasets.preparation.clips._PENDING_ROWS", 5)
    assert collect_clips(iter(tables), 44100, only_crops=True).equals(whole)


def test_crops_of_a_table_are_those_of_its_sources(mini):
    """Truncated as Python does it, where float arithmetic comes out just below a whole number."""
    table = table_from_recipes(mini)
    for rate in (44100, 32000, 16000):
        starts, stops = crop_samples(table, rate)
        crops = [s.crop_samples(rate, int(r.target_duration * rate)) for r in mini for s in r.sources]
        assert list(zip(starts.tolist(), stops.tolist(), strict=True)) == crops
        # also of a part of a table, whose arrays have an offset
        sliced = crop_samples(pa.concat_tables([table.slice(3, 2), table.slice(7, 4)]), rate)[0].tolist()
        assert sliced == [s.crop_samples(rate, 1)[0] for r in (*mini[3:5], *mini[7:11]) for s in r.sources]


@pytest.mark.parametrize(
    ("clip", "samples"),
    [(Clip("a", 0.0, 10.0), 101), (Clip("a", 5.0, 10.0, 10, 30), 20), (Clip("a", 5.0, 10.0, 40, 90), 11)],
)
def test_a_clip_has_no_more_samples_than_its_chunk(clip, samples):
    assert clip.max_samples(RATE) == samples
