"""What mixtures need, against counting it source by source."""

import pyarrow.parquet as pq
import pytest

from hive_datasets import MetadataUnavailableError, Subset, find_corpus
from hive_datasets.acquisition.demand import collect_demand
from hive_datasets.acquisition.needs import find_requirements
from hive_datasets.acquisition.report import format_requirements
from hive_datasets.recipe.parsing import parse_recipe
from hive_datasets.recipe.tables import table_from_recipes
from hive_datasets.sources.published import find_published


@pytest.fixture
def metadata(shared):
    return shared / "mini" / "hub"


def clips_of(recipes):
    sources = (source for recipe in recipes for source in recipe.sources)
    return {(s.path, s.chunk_start_second, s.chunk_end_second) for s in sources}


def prepared_bytes(clips, rate=44100):
    return sum(2 * (int((end - start) * rate) + 1) for _, start, end in clips)


def test_what_all_mixtures_need(metadata, corpora, mini):
    needs = find_requirements(metadata, {"ESC50": corpora / "ESC-50-master", "AVE": corpora / "nowhere"})
    clips = clips_of(mini)
    assert needs.mixtures == (64, 64)
    for each in needs.corpora:
        own = {clip for clip in clips if clip[0].startswith(f"{each.corpus}/")}
        paths = {path for path, _, _ in own}
        assert each.files == len(paths)
        assert each.seconds == pytest.approx(sum(end - start for _, start, end in own))
        assert each.prepared_bytes == prepared_bytes(own)
        assert each.there == (len(paths) if each.corpus == "ESC-50-master" else 0)
        assert each.licence == find_corpus(each.corpus).licence
    by_corpus = {each.corpus: each for each in needs.corpora}
    assert by_corpus["ESC-50-master"].download_bytes == 0
    assert by_corpus["FSD50K"].download_bytes == pytest.approx(10 * 32.7e9 / 51197, rel=1e-3)
    assert by_corpus["clotho_v2"].download_bytes == find_published("Clotho").bytes // 3  # one archive of three
    assert by_corpus["MUSIC_dataset"].download_bytes is None
    assert dict(needs.needed_files()) == {
        prefix: sorted({path for path, _, _ in clips if path.startswith(f"{prefix}/")}) for prefix in by_corpus
    }
    text = format_requirements(needs)
    assert "ESC-50                   20     20" in text
    assert "Only ids of YouTube are published" in text


def test_clips_are_told_apart_by_all_of_their_times(row, tmp_path):
    """Of several tables, in which the same clips are again."""

    def mixture(number, *spans):
        sources = [
            {**row["sources"][0], "chunk_start_second": start, "chunk_end_second": end, "source_id": f"s{place}"}
            for place, (start, end) in enumerate(spans, 1)
        ]
        return parse_recipe({**row, "mix_id": f"m{number}", "sources": sources, "num_sources": len(sources)})

    recipes = [mixture(0, (0.0, 10.0), (5.0, 15.0)), mixture(1, (0.0, 9.5), (0.0, 10.0)), mixture(2, (5.0, 15.0))]
    demand = collect_demand(table_from_recipes([recipe]) for recipe in recipes)
    assert sorted(demand.clips.tolist()) == [0, 0, 1, 1, 2]
    assert sorted(demand.seconds.tolist()) == [9.5, 10.0, 10.0]
    by_use = demand.seconds[demand.clips].tolist()
    assert by_use == [end - start for recipe in recipes for _, start, end in clips_in_order(recipe)]


def clips_in_order(recipe):
    return [(s.path, s.chunk_start_second, s.chunk_end_second) for s in recipe.sources]


@pytest.mark.parametrize("balanced", [False, True])
def test_a_budget_is_kept_and_the_list_is_taken_by_what_reads(metadata, mini, tmp_path, balanced):
    needs = find_requirements(metadata, budget=12_000_000, balanced=balanced)
    assert needs.write_mixtures(tmp_path / "a.parquet") == needs.mixtures[0]
    assert pq.read_metadata(tmp_path / "a.parquet").num_rows == needs.mixtures[0]
    chosen = list(Subset(metadata, available_only=tmp_path / "a.parquet").recipes())
    assert len(chosen) == needs.mixtures[0] > 8
    assert prepared_bytes(clips_of(chosen)) == sum(each.prepared_bytes for each in needs.corpora) <= 12_000_000
    again = find_requirements(Subset(metadata, available_only=tmp_path / "a.parquet"), budget=12_000_000)
    assert again.mixtures == (needs.mixtures[0], needs.mixtures[0])


def test_only_mixtures_of_some_corpora(metadata, mini):
    needs = find_requirements(metadata, corpora=["ESC50", "FSD-50K"])
    expected = [r.mix_id for r in mini if {s.path.split("/")[0] for s in r.sources} <= {"ESC-50-master", "FSD50K"}]
    assert sorted(needs.chosen_mixtures().column("mix_id").to_pylist()) == sorted(expected) != []
    with pytest.raises(MetadataUnavailableError, match="no mixture has sources of VGGSound; there are AudioSet"):
        find_requirements(metadata, corpora=["VGGSound"])
    with pytest.raises(MetadataUnavailableError, match="AudioSet alone and whose sources fit into 9 b"):
        find_requirements(metadata, corpora=["AudioSet"], budget=9)
