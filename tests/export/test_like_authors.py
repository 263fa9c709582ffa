"""Byte for byte what the authors' own script writes: a literal copy of its algorithm is the oracle."""

import io
import json
import tarfile

import pytest
import soundfile

from hive_datasets import SourceError, Subset, read_recipes, write_mixtures
from hive_datasets.cli.main import main
from hive_datasets.mixing.literal import LiteralMixer
from tests.reference import render_mixture


def theirs(folder, recipe):
    """The files of a mixture, as their script leaves it to `soundfile`."""
    mix, stems = render_mixture(folder, recipe.to_dict())
    for name, signal in [("mix", mix), *((f"s{number}", stem) for number, stem in enumerate(stems, start=1))]:
        file = io.BytesIO()
        soundfile.write(file, signal, recipe.sample_rate, format="WAV")
        yield f"{recipe.mix_id}.{name}.wav", file.getvalue()


@pytest.fixture(scope="module", params=["mini", "hive_rows"])
def written(request, shared, corpora, tmp_path_factory):
    metadata = {"mini": shared / "mini" / "hub", "hive_rows": shared / "hive_rows.json"}[request.param]
    folder = tmp_path_factory.mktemp("like")
    write_mixtures(metadata, folder, dataset_paths=corpora, like_authors=True, num_workers=2)
    return folder, list(read_recipes(metadata))


def test_every_wav_is_theirs(written, corpora):
    folder, recipes = written
    found = {}
    for file in folder.glob("*/*/*.tar"):
        split, mix = file.parts[-3:-1]
        with tarfile.open(file) as tar:
            found |= {(split, mix, member.name): tar.extractfile(member).read() for member in tar}
    expected = {}
    for recipe in recipes:
        place = ({"validation": "val"}.get(recipe.split, recipe.split), f"{recipe.num_sources}mix")
        expected |= {(*place, name): data for name, data in theirs(corpora, recipe)}
        number = int(recipe.mix_id.removeprefix("sample_"))
        facts = {"mix_id": number, "speaker_num": recipe.num_sources, "sample_rate": 44100, "labels": recipe.labels}
        expected[(*place, f"{recipe.mix_id}.json")] = json.dumps(facts, ensure_ascii=False).encode()
    assert found.keys() == expected.keys()
    assert [key for key in found if found[key] != expected[key]] == []


def test_ours_are_not(shared, corpora, tmp_path):
    """They round where libsndfile floors; or this option would be of no use."""
    recipe = next(read_recipes(shared / "mini" / "hub" / "test"))
    one = Subset(shared / "mini" / "hub" / "test", limit=1)
    write_mixtures(one, tmp_path, to="folder", stems="unscaled", dataset_paths=corpora)
    (file,) = tmp_path.glob(f"*/*/*/{recipe.mix_id}.mix.wav")
    assert file.read_bytes() != dict(theirs(corpora, recipe))[file.name]


@pytest.mark.parametrize(
    "options", [{"audio": "flac"}, {"subtype": "FLOAT"}, {"sampling_rate": 16000}, {"to": "parquet"}]
)
def test_what_theirs_has_not(shared, tmp_path, options):
    with pytest.raises(ValueError, match="like_authors is 16-bit WAV in tars or folders"):
        write_mixtures(shared / "mini" / "hub", tmp_path, like_authors=True, **options)


def test_on_the_command_line(shared, corpora, tmp_path, capsys):
    arguments = [
        "render",
        str(shared / "mini" / "hub"),
        "--dataset-paths",
        str(corpora),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main([*arguments, "--like-authors", "--split", "val", "--quiet", "--num-workers", "1"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("*") if path.name[0] != ".") == ["val"]
    with pytest.raises(SystemExit):
        main([*arguments, "--like-authors", "--sampling-rate", "16000"])
    assert "leave --audio, --subtype, --sampling-rate, --prepared" in capsys.readouterr().err


def test_its_errors_name_the_source(mini, copy):
    path = copy / mini[0].sources[0].path
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SourceError, match=f"mixture {mini[0].mix_id}, source s1: .* cannot be read from {copy}"):
        LiteralMixer(copy)(mini[0])
    path.unlink()
    with pytest.raises(SourceError, match="there is no such file"):
        LiteralMixer(copy)(mini[0])
