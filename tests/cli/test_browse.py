import json
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

from hive_datasets.cli import browse
from hive_datasets.cli.main import main

pytest.importorskip("matplotlib")


def test_it_serves_until_ctrl_c(subprocess_environment):
    code = "import sys; from hive_datasets.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "browse", "--demo", "--port", "0", "--no-open", "--quiet", "--split", "test"]
    environment = {**subprocess_environment, "PYTHONWARNINGS": "default"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        said = process.stdout.readline()
        address = re.fullmatch(r"8 mixtures at (http://127\.0\.0\.1:\d+/)\n", said)[1]
        with urllib.request.urlopen(f"{address}mixtures?num_sources=2") as response:
            assert json.load(response)["total"] == 2
        with urllib.request.urlopen(f"{address}0/mix.wav") as response:
            assert len(response.read()) == 44 + 2 * 441000
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
        assert "Traceback" not in process.stderr.read()


@pytest.fixture
def served(monkeypatch):
    """What would be served, and opened."""
    seen = []
    monkeypatch.setattr(browse.BrowseServer, "serve_forever", lambda server: seen.append(server) or server.close())
    monkeypatch.setattr(browse.webbrowser, "open", seen.append)
    return seen


def test_only_the_first_mixtures_unless_asked(shared, corpora, served, monkeypatch):
    monkeypatch.setattr(browse, "_LIMIT", 10)
    arguments = ["browse", str(shared / "mini" / "hub"), "--dataset-paths", str(corpora), "--port", "0", "--quiet"]
    assert main(arguments) == 0
    address, server = served
    assert address == server.url
    assert (len(server.collection), server.note) == (10, "The first 10 mixtures; --limit lists more.")
    assert main([*arguments, "--limit", "20", "--no-open", "--stems", "unscaled"]) == 0
    assert (len(served[2].collection), served[2].note, served[2].mixer.stems) == (20, "", "unscaled")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--label", "Barq"], "Nearest: 'Bark'"),
        (["--host", "203.0.113.1"], "203.0.113.1, port 0 cannot be listened at: Cannot assign"),
        (["--port", "99999"], "port"),
    ],
)
def test_mistakes(shared, corpora, served, capsys, more, message):
    arguments = ["browse", str(shared / "mini" / "hub"), "--dataset-paths", str(corpora), "--port", "0", "--quiet"]
    try:
        code = main([*arguments, *more])
    except SystemExit as error:
        code = error.code
    assert code in (1, 2)
    assert message in capsys.readouterr().err


def test_without_roots(shared, served, capsys):
    assert main(["browse", str(shared / "mini" / "hub")]) == 2
    assert "Here: --dataset-paths." in capsys.readouterr().err
    assert served == []


def test_without_matplotlib_it_says_so_and_serves(served, capsys, monkeypatch):
    from hive_datasets.utils import pictures

    pictures._palette.cache_clear()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["browse", "--demo", "--port", "0", "-q"]) == 0
    assert "no pictures: pip install 'hive-datasets[plot]'" in capsys.readouterr().err
    assert len(served) == 2


def test_without_a_web_server(served, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "waitress", None)
    assert main(["browse", "--demo", "--port", "0", "-q"]) == 2
    assert "pip install 'hive-datasets[browse]'" in capsys.readouterr().err
