from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_datasets.export.samples import describe_sample
from hive_datasets.export.tables import count_text_bytes, hash_recipes
from hive_datasets.recipe.tables import table_from_recipes

FLOATS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(0, 60),
    st.integers(0, 10**6).map(float),
    st.sampled_from([0.0, -0.0, 1e-4, 9.999e-5, 1e16, 1e15, 5e-324]),
)
TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=8), st.sampled_from(['"', "\\", "\n", "\x7f", "é\u2028"])
)


@given(data=st.data(), rate=st.sampled_from([None, 16000]), num_sources=st.integers(1, 3))
def test_bytes_of_texts_are_those_of_the_texts(demo_recipes, data, rate, num_sources):
    """Whatever is in them: as Python's JSON writes it."""
    source = demo_recipes[0].sources[0]
    recipes = [
        replace(
            demo_recipes[0],
            mix_id=data.draw(TEXTS),
            sample_rate=data.draw(st.sampled_from([8000, 44100, 192000])),
            target_duration=data.draw(FLOATS),
            final_max_amplitude=data.draw(FLOATS),
            sources=tuple(
                replace(source, label=data.draw(TEXTS), path=data.draw(TEXTS), snr_db=data.draw(FLOATS))
                for _ in range(num_sources)
            ),
        )
        for _ in range(data.draw(st.integers(0, 4)))
    ]

    def describe(recipe):
        return describe_sample(recipe, rate, "scaled")

    twice = ("mix_id", "label") if rate else ("mix_id", "label", "sample_rate")
    found = count_text_bytes(table_from_recipes(recipes), describe, twice)
    assert found.tolist() == [len(describe(recipe).encode()) for recipe in recipes]


def test_a_hash_tells_every_value_apart_and_no_way_of_storing_them(demo_recipes):
    recipe = demo_recipes[0]
    table = table_from_recipes([recipe, demo_recipes[1]])
    stored = [table, pa.concat_tables([table[:1], table[1:]]), pa.concat_tables([table[1:], table])[1:]]
    assert len({hash_recipes(each, "way") for each in stored}) == 1
    others = [
        replace(recipe, mix_id="other"),
        replace(recipe, target_duration=np.nextafter(recipe.target_duration, 9.0).item()),
        replace(recipe, sources=recipe.sources[::-1]),
        *(
            replace(recipe, sources=(replace(recipe.sources[0], **{name: value}), *recipe.sources[1:]))
            for name, value in (("path", "AudioSet/x.wav"), ("label", "x"), ("crop_start_second", 0.125))
        ),
        # the same texts, otherwise divided
        replace(
            recipe,
            sources=tuple(
                replace(s, label=label) for s, label in zip(recipe.sources, ("EngineC", "lock"), strict=True)
            ),
        ),
    ]
    hashes = {hash_recipes(table_from_recipes([other, demo_recipes[1]]), "way") for other in others}
    assert len(hashes | {hash_recipes(table, "way"), hash_recipes(table, "other way")}) == len(others) + 2


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows(demo_recipes, rows):
    table = table_from_recipes(demo_recipes[:rows])
    assert len(count_text_bytes(table, lambda recipe: "{}")) == rows
    assert hash_recipes(table, "")
