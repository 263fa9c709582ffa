import json
import subprocess
import sys

import pytest

from hive_datasets.cli.main import main


def test_as_text_json_and_picture(shared, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    metadata = str(shared / "mini" / "hub")
    assert main(["stats", metadata, "--picture", str(tmp_path / "p.png"), "--top", "2"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("64 mixtures of 224 sources")
    assert "label (2 of 13)" in out
    assert "picture written to" in err
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert main(["stats", metadata, "--format", "json", "--quiet", "--split", "test"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["mixtures"] == 8
    assert err == ""


def test_the_demo_and_what_is_available(corpora, shared, capsys):
    assert main(["stats", "--demo", "--quiet"]) == 0
    assert capsys.readouterr().out.startswith("40 mixtures of 140 sources")
    roots = json.dumps({"ESC50": str(corpora / "ESC-50-master")})
    arguments = ["stats", str(shared / "mini" / "hub"), "--quiet", "--available-only", "--dataset-paths", roots]
    assert main([*arguments, "--format", "json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["corpus_sources"]) == ["ESC-50"]


def test_whoever_reads_may_stop(shared, tmp_path, subprocess_environment):
    pytest.importorskip("matplotlib")
    code = "import sys; from hive_datasets.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "stats", shared / "mini" / "hub", "--quiet", "--picture", tmp_path / "p.png"]
    environment = {**subprocess_environment, "PYTHONWARNINGS": "default"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        process.stdout.close()
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == f"picture written to {tmp_path / 'p.png'}\n"
    assert (tmp_path / "p.png").exists()


def test_labels_that_a_terminal_has_not(shared, mini, tmp_path, subprocess_environment):
    row = json.loads(mini[0].to_json())
    row["sources"][0]["label"] = "Дождь\x1b[31m\nred"
    (tmp_path / "m.json").write_text(json.dumps([row]))
    code = "import sys; from hive_datasets.cli.main import main; sys.exit(main())"
    result = subprocess.run(
        [sys.executable, "-c", code, "stats", tmp_path / "m.json", "--quiet"],
        env={**subprocess_environment, "PYTHONIOENCODING": "ascii", "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\\u0414\\u043e\\u0436\\u0434\\u044c [31m red" in result.stdout


def test_mistakes(shared, capsys, tmp_path, monkeypatch):
    metadata = str(shared / "mini" / "hub")
    assert main(["stats", metadata, "--label", "Barq"]) == 2
    assert "no mixture has the label 'Barq'. Nearest: 'Bark'" in capsys.readouterr().err
    for name, message in {"p.jpg": "must end with .png", "no/p.png": "is in no folder", "d.png": "is a folder"}.items():
        (tmp_path / "d.png").mkdir(exist_ok=True)
        with pytest.raises(SystemExit) as exit_:
            main(["stats", metadata, "--picture", str(tmp_path / name)])
        assert exit_.value.code == 2
        assert message in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["stats", metadata, "--quiet", "--picture", str(tmp_path / "p.png")]) == 2
    assert "pip install 'hive-datasets[plot]'" in capsys.readouterr().err
    assert not (tmp_path / "p.png").exists()


def test_a_picture_that_cannot_be_written_costs_no_report(shared, capsys):
    pytest.importorskip("matplotlib")
    assert main(["stats", str(shared / "mini" / "hub"), "--quiet", "--picture", "/proc/p.png"]) == 2
    out, err = capsys.readouterr()
    assert out.startswith("64 mixtures of 224 sources")
    assert err.startswith("hive-datasets: /proc/p.png cannot be written: ")
