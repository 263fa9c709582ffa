"""What all commands have in common."""

import subprocess
import sys
from pathlib import Path

import pytest

from hive_datasets.cli import main as module
from hive_datasets.cli.main import main
from hive_datasets.cli.parser import EXIT_CODES

COMMANDS = """
browse compare convert curate evaluate fetch needs package prepare preview render stats verify
""".split()  # noqa: SIM905


def said(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    output = capsys.readouterr()
    return ended.value.code, output.out + output.err


def test_the_commands_are_all_there(capsys):
    code, text = said(capsys, "--help")
    listed = {line.split()[0] for line in text.splitlines() if line.startswith("    ") and line[4] != " "}
    assert (code, listed & set(COMMANDS)) == (0, set(COMMANDS))


@pytest.mark.parametrize("command", ["hive-datasets", "hive-verify-sources"])
def test_interrupted_while_imports_go_on(command, tmp_path, subprocess_environment):
    (tmp_path / "datasets.py").write_text("raise KeyboardInterrupt\n")
    environment = {**subprocess_environment, "PYTHONPATH": str(tmp_path)}
    script = Path(sys.executable).parent / command
    ended = subprocess.run([script, "--help"], env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "hive-datasets: interrupted\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_says_the_same_in_the_same_words(capsys, command):
    code, text = said(capsys, command, "--help")
    assert code == 0
    assert f"examples:\n  hive-datasets {command} " in text
    for number, meaning in EXIT_CODES.items():
        assert f"{number:<4}{meaning}" in text
    assert "-q, --quiet" in text
    assert ("\n  -o" in text) == (command not in ("browse", "fetch", "needs", "stats", "verify"))
    assert ("--num-workers N" in text) == (command not in ("browse", "compare", "convert", "needs", "package", "stats"))
    assert ("--split SPLIT [SPLIT ...]" in text) == (command not in ("compare", "convert", "curate"))
    assert "--jobs" not in text


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_can_be_typed(command, monkeypatch):
    """All options are there; what they would do is not done."""
    examples = __import__(f"hive_datasets.cli.{command}", fromlist=["_EXAMPLES"])._EXAMPLES
    done = []
    monkeypatch.setattr(getattr(module, command), "run", lambda options: done.append(options) or 0)
    for example in examples:
        assert main([command, *example.split()]) == 0
    assert len(done) == len(examples) > 0


@pytest.mark.parametrize(
    ("arguments", "offered"),
    [
        (["rendr", "--demo"], "render"),
        (["stats", "--lable", "Dog"], "--label"),
        (["verify", "--check", "heder"], "header"),
        (["render", "--demo", "--out", "x", "--to", "parket"], "parquet"),
    ],
)
def test_the_nearest_is_offered(capsys, arguments, offered):
    code, text = said(capsys, *arguments)
    assert code == 2
    assert text.endswith(f". Did you mean {offered}?\n")


@pytest.mark.parametrize("option", ["--label", "--split", "--num-sources"])
def test_metadata_behind_an_option_of_several_values_is_no_value(capsys, tmp_path, option):
    code, text = said(capsys, "stats", option, "2", str(tmp_path))
    assert code == 2 and f"argument {option}: '{tmp_path}' is" in text


def test_nothing_is_offered_that_is_not_alike(capsys):
    assert "Did you mean" not in said(capsys, "sing")[1]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion(capsys, shell):
    code, script = said(capsys, "--print-completion", shell)
    assert code == 0
    assert "--num-sources" in script and "preview" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_errors_name_options(capsys):
    assert main(["stats", "--demo", "--num-sources", "7", "--quiet"]) == 2
    assert "there is no mixture of 7 sources" in capsys.readouterr().err
    assert main(["stats", "--available-list", "/nowhere", "--demo", "--quiet"]) == 2
    assert "/nowhere does not exist" in capsys.readouterr().err
    assert main(["prepare", "x", "--dataset-paths", "/nowhere", "-o", "y", "-q"]) == 2
    assert capsys.readouterr().err == "hive-datasets: --dataset-paths: /nowhere does not exist\n"
