import pytest

from hive_datasets.cli.main import main


def test_what_is_said(shared, tmp_path, capsys):
    arguments = ["package", str(shared / "mini" / "json"), "--out", str(tmp_path / "out"), "--rows-per-shard", "24"]
    assert main([*arguments, "--title", "Mine", "--licence", "cc0-1.0"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("64 mixtures in 4 parquet files, 0.0 MB, in ")
    assert "writing: 64 mixtures" in err
    assert main(arguments) == 2
    assert "is there already, and not empty: remove it, or choose another name" in capsys.readouterr().err


def test_a_licence_that_the_hub_does_not_list(shared, tmp_path, capsys):
    arguments = ["package", str(shared / "mini" / "json"), "--out", str(tmp_path / "out"), "--licence", "CC0"]
    with pytest.raises(SystemExit):
        main(arguments)
    assert "'CC0' is none of the Hub's licences. Nearest: cc, cc0-1.0" in capsys.readouterr().err
