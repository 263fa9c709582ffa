import json
import subprocess
import sys

import pytest

from hive_datasets.cli.main import main


@pytest.fixture
def arguments(shared, corpora, tmp_path):
    metadata = str(shared / "mini" / "hub")
    return ["render", metadata, "--dataset-paths", str(corpora), "--out", str(tmp_path / "out"), "--quiet"]


def test_rendering_the_demo(tmp_path, capsys):
    code = main(["render", "--demo", "--out", str(tmp_path), "--split", "train", "--num-sources", "2"])
    out, err = capsys.readouterr()
    assert code == 0
    assert out == f"6 mixtures in 1 shard, 0.006 GB, in {tmp_path}. Already there: 0 shards.\n"
    assert "rendering: 100%" in err
    assert [path.name for path in tmp_path.rglob("*.tar")] == ["tar_00001.tar"]


def test_as_json_and_again(arguments, capsys, tmp_path):
    arguments += ["--format", "json", "--limit", "10", "--num-workers", "1"]
    assert main([*arguments, "--dry-run"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert not (tmp_path / "out").exists()
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == told
    assert err == ""
    assert (told["mixtures"], told["shards"], told["kept"], told["skipped"]) == (10, 4, 0, 0)
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out) == {**told, "kept": 4}


def test_choices(arguments, capsys, tmp_path, mini):
    (tmp_path / "ids.txt").write_text("sample_00000003\n\nsample_00000002\n")
    choice = ["--mix-ids", str(tmp_path / "ids.txt"), "--split", "train", "--to", "folder", "--audio", "flac"]
    assert main([*arguments, *choice, "--subtype", "PCM_24", "--stems", "unscaled", "--sampling-rate", "16000"]) == 0
    names = {path.name for path in (tmp_path / "out").rglob("*.flac")}
    assert {name.partition(".")[0] for name in names} == {"sample_00000002", "sample_00000003"}


def test_dry_run(arguments, capsys):
    assert main([*arguments, "--dry-run"]) == 0
    assert capsys.readouterr().out == "64 mixtures in 12 shards; 0.121 GB to be written.\n"
    assert main([*arguments, "--dry-run", "--audio", "flac"]) == 0
    assert "; about 0.0" in capsys.readouterr().out


def test_what_was_left_out_and_clipped(arguments, copy, mini, capsys, tmp_path):
    (copy / mini[0].sources[0].path).unlink()
    arguments[3] = str(copy)
    arguments += ["--limit", "20", "--sampling-rate", "8000"]
    assert main([*arguments, "--stems", "unscaled"]) == 1
    out = capsys.readouterr().out
    assert "Clipped: " in out
    assert f"listed in {tmp_path / 'out' / 'skipped.csv'}. The first: mixture sample_" in out
    assert main([*arguments, "--stems", "unscaled", "--on-error", "raise"]) == 2
    assert "cannot be read from" in capsys.readouterr().err


def test_shards_of_other_runs_are_told(arguments, capsys):
    arguments += ["--num-sources", "2", "--num-sources", "3", "--sampling-rate", "8000"]
    assert main([*arguments, "--mixtures-per-shard", "4"]) == 0
    capsys.readouterr()
    assert main([*arguments, "--mixtures-per-shard", "4", "--split", "train", "--limit", "4"]) == 2
    assert "let them be replaced: --overwrite" in capsys.readouterr().err
    assert main([*arguments, "--mixtures-per-shard", "4", "--split", "train", "--limit", "4", "--overwrite"]) == 0
    assert "Beside them, from earlier runs, of other mixtures: 4 shards, train/" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--label", "Brak"], 2, "no mixture has the label 'Brak'. Nearest: 'Bark'"),
        (["--audio", "flac", "--subtype", "FLOAT"], 2, "FLAC has PCM_16 and PCM_24 only"),
        (["--demo"], 2, "--demo has metadata and sounds of its own"),
        (["--sampling-rate", "16"], 2, "'16' is no sampling rate in Hz, such as 16000"),
        (["--limit", "0"], 2, "no whole number of at least 1"),
        (["--out", "/proc/nowhere"], 2, "/proc/nowhere/.hive-datasets cannot be written"),
        (["--mix-ids", "/nowhere/ids.txt"], 2, "/nowhere/ids.txt cannot be read: No such file"),
        (["--mix-ids", "/dev/null"], 2, "/dev/null lists no mix_id"),
        (["--limit", "9" * 30], 2, "below 2**31"),
        (["--audio", "flac", "--sampling-rate", "700001"], 2, "flac of 700,001 Hz cannot be written"),
    ],
)
def test_mistakes(arguments, capsys, more, code, message):
    try:
        found = main([*arguments, *more])
    except SystemExit as error:
        found = error.code
    assert found == code
    assert message in capsys.readouterr().err


def test_no_roots(arguments, capsys):
    del arguments[2:4]
    assert main(arguments) == 2
    assert "no source roots are configured" in (err := capsys.readouterr().err)
    assert "--dataset-paths" in err


def test_warnings_are_words(corpora, shared, tmp_path, subprocess_environment):
    """Without the line of code that they come from."""
    roots = json.dumps({"ESC50": str(corpora / "ESC-50-master"), "FSD50K": str(tmp_path / "nowhere")})
    code = "import sys; from hive_datasets.cli.main import main; sys.exit(main())"
    arguments = ["stats", shared / "mini" / "hub", "--available-only", "--dataset-paths", roots, "--quiet"]
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**subprocess_environment, "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
    )
    assert result.stderr.startswith("hive-datasets: ")
    assert "nowhere" in result.stderr
    assert "Warning" not in result.stderr and ".py" not in result.stderr
