import io
import json
import subprocess
import sys

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import yaml

from hive_datasets import Mixer, Mixture, SourceRootError, Subset, find_corpus, parse_recipe, write_preview
from hive_datasets.errors import HiveError, MetadataUnavailableError, OutputError, SourceError
from hive_datasets.export import columns, preview
from hive_datasets.sources.corpora import title_of

pytest.importorskip("matplotlib")
STEP = 1 / 32768


@pytest.fixture(scope="module")
def whole(metadata, corpora, tmp_path_factory):
    """A preview of all of `mini`, whatever the licences."""
    folder = tmp_path_factory.mktemp("preview")
    return write_preview(metadata, folder, dataset_paths=corpora, any_licence=True)


def may_be_shown(recipe):
    corpora = [find_corpus(source.path.partition("/")[0]) for source in recipe.sources]
    return all(corpus is not None and corpus.may_be_shared for corpus in corpora)


def undecoded(rows):
    for name, feature in rows.features.items():
        if isinstance(feature, datasets.Audio):
            rows = rows.cast_column(name, datasets.Audio(decode=False))
        elif isinstance(feature, datasets.Image):
            rows = rows.cast_column(name, datasets.Image(decode=False))
        elif name == "sources":
            rows = rows.cast_column(name, datasets.Sequence(datasets.Audio(decode=False)))
    return rows


def load(folder, **options):
    return {split: undecoded(rows) for split, rows in datasets.load_dataset(str(folder), **options).items()}


@pytest.fixture(scope="module")
def loaded(whole):
    return load(whole.folder, streaming=True)


def card_of(folder):
    _, header, text = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(header), text


def test_every_row_is_its_mixture(whole, loaded, mini, corpora):
    mixer = Mixer(corpora)
    recipes = {(recipe.split, recipe.mix_id): recipe for recipe in mini}
    assert (whole.mixtures, whole.restricted, whole.skipped) == (64, 0, ())
    for split, rows in loaded.items():
        for row in rows:
            recipe = recipes.pop((split, row["mix_id"]))
            assert parse_recipe(row["recipe"]) == recipe
            assert (row["labels"], row["num_sources"]) == (recipe.labels, recipe.num_sources)
            assert row["snr_db"] == [source.snr_db for source in recipe.sources]
            assert row["paths"] == [source.path for source in recipe.sources]
            assert row["seconds"] == recipe.target_duration
            assert row["corpora"] == list(dict.fromkeys(title_of(source.path) for source in recipe.sources))
            rendered = mixer(recipe)
            players = [row["mixture"], *row["sources"]]
            signals = [rendered["mix"], *rendered["sources"]]
            for player, signal in zip(players, signals, strict=True):
                found, rate = soundfile.read(io.BytesIO(player["bytes"]))
                assert rate == 44100
                assert np.abs(found - signal).max() <= 0.5 * STEP
    assert not recipes


def test_what_the_viewer_needs(whole):
    """Read back: sizes of rows, clips and row groups, page indexes, types."""
    for file in whole.folder.glob("data/*.parquet"):
        parquet = pq.ParquetFile(file)
        for index in range(parquet.num_row_groups):
            group = parquet.metadata.row_group(index)
            assert group.num_rows <= 100
            assert group.total_byte_size <= 110_000_000
            assert all(group.column(number).has_offset_index for number in range(group.num_columns))
        for row in parquet.read().to_pylist():
            clips = [row["mixture"], *row["sources"]]
            assert all(len(clip["bytes"]) for clip in clips)
            assert all(clip["path"] and "/" not in clip["path"] for clip in clips)
        features = json.loads(parquet.schema_arrow.metadata[b"huggingface"])["info"]["features"]
        assert features["mixture"]["_type"] == "Audio"
        assert features["spectrogram"]["_type"] == "Image"


def test_row_groups_are_cut(brief_metadata, corpora, tmp_path, monkeypatch):
    monkeypatch.setattr(columns, "MAX_GROUP_ROWS", 4)
    monkeypatch.setattr(columns, "MAX_GROUP_BYTES", 3_000_000)
    monkeypatch.setattr(preview, "_FILE_ROWS", 20)
    subset = Subset(brief_metadata, splits=["train"])
    write_preview(subset, tmp_path / "out", dataset_paths=corpora, any_licence=True)
    files = sorted((tmp_path / "out" / "data").iterdir())
    assert [file.name for file in files] == ["train-00000.parquet", "train-00001.parquet", "train-00002.parquet"]
    for file in files:
        parquet = pq.ParquetFile(file)
        assert parquet.num_row_groups >= 2
        for index in range(parquet.num_row_groups):
            rows = parquet.read_row_group(index).to_pylist()
            assert len(rows) <= 4
            assert len(rows) == 1 or sum(map(columns.count_audio_bytes, rows)) <= 3_000_000


def test_the_picture(loaded):
    """One strip a signal, brighter where there is more."""
    image = pytest.importorskip("matplotlib.image")
    for row in loaded["test"]:
        pixels = image.imread(io.BytesIO(row["spectrogram"]["bytes"]))
        assert pixels.shape[:2] == (92 * (1 + row["num_sources"]) - 4, 512)
        strips = [pixels[92 * n + 20 : 92 * n + 88, :, :3].mean(axis=(0, 2)) for n in range(1 + row["num_sources"])]
        signal, _ = soundfile.read(io.BytesIO(row["mixture"]["bytes"]))
        power = np.add.reduceat(signal**2, np.linspace(0, len(signal), 512, endpoint=False).astype(int))
        assert np.corrcoef(strips[0], np.log(power + 1e-9))[0, 1] > 0.5
        assert all(strip.mean() <= strips[0].mean() * 1.05 for strip in strips[1:])


def test_the_card(whole, mini, cache):
    header, text = card_of(whole.folder)
    assert header["configs"] == [
        {
            "config_name": "preview",
            "data_files": [
                {"split": split, "path": f"data/{split}-*.parquet"} for split in ("train", "validation", "test")
            ],
            "default": True,
        }
    ]
    info = header["dataset_info"]
    assert {split["name"]: split["num_examples"] for split in info["splits"]} == {
        "train": 48,
        "validation": 8,
        "test": 8,
    }
    assert info["download_size"] == whole.num_bytes == sum(f.stat().st_size for f in whole.folder.glob("data/*"))
    assert [feature["name"] for feature in info["features"]][:3] == ["mix_id", "mixture", "sources"]
    assert (header["license"], header["task_categories"]) == ("other", ["audio-to-audio"])
    assert (header["license_name"], header["license_link"]) == ("terms-of-the-corpora", "LICENSE.md")
    assert "| CC BY-NC 3.0 |" in (whole.folder / "LICENSE.md").read_text()
    assert header["size_categories"] == ["n<1K"]
    assert {"pretty_name", "tags", "source_datasets"} <= set(header)
    assert "64 mixtures (56 of 4 s, 8 of 10 s), 0.08 hours, of 224 sources" in text
    assert "Chicken, rooster (29)" in text
    assert "| [ESC-50](https://github.com/karolpiczak/ESC-50) | 83 | CC BY-NC 3.0 |" in text
    assert "**Not every licence here lets others pass the audio on.**" in text
    assert datasets.load_dataset_builder(str(whole.folder), cache_dir=cache).config.name == "preview"


def test_only_what_may_be_shown(brief_metadata, corpora, mini, tmp_path, cache):
    result = write_preview(brief_metadata, tmp_path / "out", dataset_paths=corpora)
    expected = {(recipe.split, recipe.mix_id) for recipe in mini if may_be_shown(recipe)}
    assert 0 < len(expected) < 64
    found = {(split, row["mix_id"]) for split, rows in load(result.folder, cache_dir=cache).items() for row in rows}
    assert found == expected
    assert result.restricted == 64 - len(expected)
    header, text = card_of(result.folder)
    assert header["license"] == ["cc", "cc-by-4.0", "cc-by-nc-3.0"]
    assert result.restricted_corpora == ("AudioSet", "Clotho v2", "DCASE 2024 task 9", "MUSIC21")
    assert f"{result.restricted} of 64 mixtures were left out" in text
    assert "| [AudioSet]" not in text


def test_corpora_that_nobody_knows_are_not_shown(mini, tmp_path, corpora):
    rows = [recipe.to_dict() for recipe in mini if may_be_shown(recipe)][:3]
    rows[1]["sources"][0]["path"] = "mine/a.wav"
    (tmp_path / "m.json").write_text(json.dumps(rows))
    assert write_preview(tmp_path / "m.json", tmp_path / "out", dataset_paths=corpora).restricted == 1


def test_the_licence_of_corpora_that_nobody_knows(mini, tmp_path, copy):
    row = next(recipe for recipe in mini if may_be_shown(recipe)).to_dict()
    path = row["sources"][0]["path"]
    row["sources"][0]["path"] = f"mine/{path}"
    (copy / "mine" / path).parent.mkdir(parents=True)
    (copy / path).rename(copy / "mine" / path)
    (tmp_path / "m.json").write_text(json.dumps([row]))
    result = write_preview(tmp_path / "m.json", tmp_path / "out", dataset_paths=copy, any_licence=True)
    header, text = card_of(result.folder)
    assert header["license"] == "other"
    assert "| mine | 1 | not known |" in text


def test_nothing_may_be_shown(metadata, corpora, mini, tmp_path):
    ids = [recipe.mix_id for recipe in mini if recipe.split == "train" and not may_be_shown(recipe)]
    subset = Subset(metadata, splits=["train"], mix_ids=ids)
    with pytest.raises(
        MetadataUnavailableError, match=f"none of {len(ids)} mixtures draws only on .*AudioSet.*any_licence=True"
    ):
        write_preview(subset, tmp_path / "out", dataset_paths=corpora)
    assert not (tmp_path / "out").exists()


def test_the_first_of_each_group_in_turns(brief_metadata, corpora, mini, tmp_path, cache):
    subset = Subset(brief_metadata, splits=["train"])
    result = write_preview(subset, tmp_path / "out", dataset_paths=corpora, per_group=2, any_licence=True)
    rows = load(result.folder, cache_dir=cache)["train"]
    assert rows["num_sources"] == [2, 3, 4, 5, 2, 3, 4, 5]
    first = [
        [recipe.mix_id for recipe in mini if (recipe.split, recipe.num_sources) == ("train", n)][:2]
        for n in range(2, 6)
    ]
    assert list(rows["mix_id"]) == [mix_id for turn in zip(*first, strict=True) for mix_id in turn]


def test_a_column_for_each_stem(metadata, corpora, tmp_path, cache):
    subset = Subset(metadata, num_sources=[2, 4], splits=["test"])
    options = {"dataset_paths": corpora, "any_licence": True, "sampling_rate": 16000}
    result = write_preview(subset, tmp_path / "out", stem_columns=True, **options)
    rows = load(result.folder, cache_dir=cache)["test"]
    assert rows.column_names[:6] == ["mix_id", "mixture", "source_1", "source_2", "source_3", "source_4"]
    for row in rows:
        is_there = [row[f"source_{n}"] is not None and bool(row[f"source_{n}"]["bytes"]) for n in range(1, 5)]
        assert is_there == [n <= row["num_sources"] for n in range(1, 5)]
    assert "`mixture` is the sum of `source_1`, `source_2`, ...;" in card_of(result.folder)[1]


def test_recipes_can_be_rendered_again(loaded, corpora):
    rows = loaded["test"].cast_column("recipe", Mixture(dataset_paths=corpora))
    for row in rows:
        if row["mixture"]["path"].endswith(".flac"):
            found, _ = soundfile.read(io.BytesIO(row["mixture"]["bytes"]))
            assert np.abs(found - row["recipe"]["mix"]).max() <= 0.5 * STEP


def test_players_decode(whole, mini, corpora):
    """As `datasets` does it, with torchcodec."""
    try:
        import torchcodec  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        pytest.skip(f"torchcodec does not work here: {str(error).splitlines()[0]}")
    row = next(iter(datasets.load_dataset(str(whole.folder), split="train", streaming=True)))
    recipes, mixer = {recipe.mix_id: recipe for recipe in mini if recipe.split == "train"}, Mixer(corpora)
    rendered = mixer(recipes[row["mix_id"]])
    samples = row["mixture"].get_all_samples()
    assert samples.sample_rate == 44100
    assert np.abs(samples.data.numpy()[0] - rendered["mix"]).max() <= 0.5 * STEP
    stems = np.stack([source.get_all_samples().data.numpy()[0] for source in row["sources"]])
    assert np.abs(stems.sum(axis=0) - samples.data.numpy()[0]).max() <= (1 + len(stems)) * 0.5 * STEP + 1e-6
    assert row["spectrogram"].size[0] == 512


def test_neither_torch_nor_torchcodec_is_needed(tmp_path, subprocess_environment):
    code = """
import sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
absent = ("torch", "torchcodec")
PathFinder.find_spec = classmethod(lambda cls, name, *where: None if name in absent else find(name, *where))
from hive_datasets.cli.main import main
sys.exit(main(["preview", "--demo", "--limit", "4", "--quiet", "--out", sys.argv[1]]))
"""
    result = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "out"],
        env={**subprocess_environment, "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("4 mixtures, ")


def test_the_demo_has_no_corpora(demo, tmp_path):
    result = write_preview(demo / "metadata", tmp_path / "out", dataset_paths=demo / "sources", per_group=1)
    assert (result.mixtures, result.restricted) == (12, 0)
    header, text = card_of(result.folder)
    assert (header["license"], header["source_datasets"]) == ("cc0-1.0", ["original"])
    assert "Every sound is generated" in text


@pytest.mark.parametrize("audio", ["flac", "wav", "mp3"])
def test_a_minute_is_no_longer_than_the_viewer_shows(mini, corpora, tmp_path, audio):
    """It has shown rows of 5 MB; there is no limit to keep."""
    row = {**mini[-1].to_dict(), "target_duration": 60.0}
    (tmp_path / "m.json").write_text(json.dumps([row]))
    options = {"dataset_paths": corpora, "any_licence": True}
    result = write_preview(tmp_path / "m.json", tmp_path / "out", audio=audio, **options)
    (table,) = map(pq.read_table, result.folder.glob("data/*.parquet"))
    assert table["mixture"][0].as_py()["path"].endswith(f".{audio}")
    assert audio != "wav" or len(table["mixture"][0].as_py()["bytes"]) > 5_000_000


def test_names_of_others_stay_text(mini, corpora, tmp_path):
    row = json.loads(mini[0].to_json())
    row["sources"][0]["label"] = "<script>alert(1)</script>\n---\n# x | y"
    (tmp_path / "m.json").write_text(json.dumps([row]))
    options = {"dataset_paths": corpora, "any_licence": True}
    result = write_preview(tmp_path / "m.json", tmp_path / "out", title="A\n# B <b>", **options)
    header, text = card_of(result.folder)
    assert header["pretty_name"] == "A\n# B <b>"
    assert "\n# A \\# B &lt;b&gt;\n" in text
    assert "<script>" not in text
    assert "\n---\n" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; --- \\# x \\| y (1)" in text


@pytest.mark.parametrize("kind", ["link", "here", "unfinished"])
def test_an_empty_folder_is_filled(demo, tmp_path, kind, monkeypatch):
    """Where a symbolic link leads, where the user is, or where a process was killed."""
    folder = tmp_path / "real"
    folder.mkdir()
    if kind == "link":
        (tmp_path / "out").symlink_to(folder)
    elif kind == "here":
        monkeypatch.chdir(folder)
    else:
        (folder / ".out.abc.incomplete" / "data").mkdir(parents=True)
    given = {"link": tmp_path / "out", "here": ".", "unfinished": folder}[kind]
    inode = folder.stat().st_ino
    write_preview(demo / "metadata", given, dataset_paths=demo / "sources", per_group=1)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "data"]
    assert folder.stat().st_ino == inode


def test_mixtures_that_cannot_be_rendered(brief_metadata, mini, copy, tmp_path):
    path = mini[0].sources[0].path
    (copy / path).unlink()
    lacking = {recipe.mix_id for recipe in mini if any(source.path == path for source in recipe.sources)}
    result = write_preview(brief_metadata, tmp_path / "out", dataset_paths=copy, any_licence=True)
    assert {skipped.mix_id for skipped in result.skipped} == lacking
    assert result.mixtures == 64 - len(result.skipped)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="not one of 64 mixtures could be rendered"):
        write_preview(brief_metadata, tmp_path / "none", dataset_paths=tmp_path / "empty", any_licence=True)
    with pytest.raises(SourceRootError, match="no source roots are configured"):
        write_preview(brief_metadata, tmp_path / "none", any_licence=True)
    assert not (tmp_path / "none").exists()


def test_what_is_in_the_way(metadata, corpora, tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(OutputError, match="is there already"):
        write_preview(metadata, tmp_path, dataset_paths=corpora)
    with pytest.raises(OutputError, match="is a URL"):
        write_preview(metadata, "s3://bucket/out", dataset_paths=corpora)
    with pytest.raises(OutputError, match="cannot be written"):
        write_preview(metadata, "/proc/out", dataset_paths=corpora)
    for options in ({"audio": "ogg"}, {"per_group": 0}, {"num_workers": 0}):
        with pytest.raises(ValueError):
            write_preview(metadata, tmp_path / "out", dataset_paths=corpora, **options)


def test_without_matplotlib(demo, tmp_path, monkeypatch):
    from hive_datasets.utils import pictures

    pictures._palette.cache_clear()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(HiveError, match=r"pip install 'hive-datasets\[plot\]'"):
        write_preview(demo / "metadata", tmp_path / "out", dataset_paths=demo / "sources")
    assert not (tmp_path / "out").exists()
