import pytest

from hive_datasets.cli.main import main

pytest.importorskip("matplotlib")


@pytest.fixture
def arguments(shared, corpora, tmp_path):
    metadata = str(shared / "mini" / "hub")
    return ["preview", metadata, "--dataset-paths", str(corpora), "--out", str(tmp_path / "out"), "--quiet"]


def test_what_is_said(arguments, capsys, tmp_path):
    assert main([*arguments, "--per-group", "1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("11 mixtures, ")
    assert "Passed over: 34 mixtures, which draw on AudioSet, Clotho v2, DCASE 2024 task 9, MUSIC21, whose" in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md", "data"]


def test_mixtures_that_are_left_out(arguments, copy, mini, capsys):
    (copy / mini[0].sources[0].path).unlink()
    arguments[3] = str(copy)
    # as many as it takes to meet a mixture of that file
    assert main([*arguments, "--any-licence", "--title", "Ours", "--limit", "20"]) == 1
    assert "Left out: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--label", "Barq"], 2, "Nearest: 'Bark'"),
        (["--label", "Trumpet"], 2, "draws only on corpora whose licence lets others pass their audio on"),
        (["--out", "/proc/out"], 2, "/proc/out cannot be written"),
        (["--per-group", "0"], 2, "no whole number of at least 1"),
        (["--stems", "unscaled"], 2, "unrecognized arguments"),
    ],
)
def test_mistakes(arguments, capsys, tmp_path, more, code, message):
    try:
        found = main([*arguments, *more])
    except SystemExit as error:
        found = error.code
    assert found == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
