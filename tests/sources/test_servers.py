"""What a server's failures mean: only its own word that a file is not there makes it missing."""

import os
import random
import signal
import subprocess
import sys
import time

import fsspec
import numpy as np
import pytest

from hive_datasets import (
    Mixer,
    SourceNotFoundError,
    SourceRootError,
    SourceUnreachableError,
    load_dataset,
    prepare_sources,
    read_recipes,
    verify_sources,
    write_mixtures,
)
from hive_datasets.sources import Roots, servers
from hive_datasets.sources.catalogue import Catalogue
from hive_datasets.sources.ranges import RemoteBytes, open_bytes
from tests.file_server import FileServer


@pytest.fixture
def server(corpora, monkeypatch):
    """The corpora on a server that can be made to fail; nothing is cached."""
    monkeypatch.setenv("HIVE_BLOCK_CACHE_BYTES", "0")
    with FileServer(corpora) as server:
        yield server


def audio(status):
    return lambda path: status if path.endswith((".wav", ".flac")) else None


@pytest.mark.parametrize("listing", [True, False])
@pytest.mark.parametrize("status", [404, 410, 403, 401, 429, 500, 503, "loop"])
def test_statuses(server, mini, status, listing):
    server.listing = listing
    mixer = Mixer(server.url)
    mixer(mini[0])  # so that the root is listed
    server.fault = audio(status)
    kind = SourceNotFoundError if status in (404, 410) else SourceUnreachableError
    with pytest.raises(kind, match=f"mixture {mini[20].mix_id}, source s1") as raised:
        Mixer(server.url)(mini[20])
    if kind is SourceUnreachableError:
        assert f"{server.url} cannot be reached" in str(raised.value) and raised.value.path == mini[20].sources[0].path


def test_a_port_that_nobody_listens_at(mini, corpora):
    with FileServer(corpora) as server:
        url = server.url
    with pytest.raises(SourceUnreachableError, match=f"{url} cannot be reached"):
        Mixer(url)(mini[0])


def test_verification_of_a_dead_host(shared, corpora):
    with FileServer(corpora) as server:
        url = server.url
    start = time.monotonic()
    result = verify_sources(shared / "mini" / "hub", url)
    assert time.monotonic() - start < 30
    assert set(result.statuses) == {"unreachable"} and not result.usable.any()
    assert result.next_steps
    for step in result.next_steps:
        assert "when the server can be reached" in step.advice and "Get it from" not in step.advice


def test_a_file_that_is_refused_says_nothing_of_others(server, mini):
    """Where nothing is listed, files are asked for one by one."""
    server.listing = False
    mixer = Mixer(server.url)
    refused = os.path.basename(mini[0].sources[0].path)
    server.fault = lambda path: 403 if path.endswith(refused) else None
    with pytest.raises(SourceUnreachableError, match="403"):
        mixer(mini[0])
    other = next(recipe for recipe in mini if not any(source.path.endswith(refused) for source in recipe.sources))
    assert mixer(other)["mix"].any()


def test_a_folder_that_is_closed_hides_no_other(server, mini):
    server.fault = lambda path: 403 if path.rstrip("/").endswith("Voicebank_DEMAND") else None
    opened, _ = Catalogue(Roots(folders=(("x", server.url),))).open_root("x/any")
    assert 40 < len(opened.index()) < 89


def test_the_users_configuration_is_kept(server, mini, monkeypatch):
    """Headers as for a token: with ours, a silent server is waited for no longer."""
    monkeypatch.setenv("HIVE_TIMEOUT", "0.5")
    monkeypatch.setitem(fsspec.config.conf, "http", {"client_kwargs": {"headers": {"X-Token": "secret"}}})
    options = servers.open_filesystem(f"{server.url}/a")[0].client_kwargs
    assert options["headers"] == {"X-Token": "secret"} and options["timeout"].sock_read == 0.5


def test_one_file_that_fails_is_unreachable_and_is_not_remembered(server, shared, mini):
    path = mini[0].sources[0].path
    server.fault = lambda asked: 500 if asked.endswith(os.path.basename(path)) else None
    for _ in range(2):
        result = verify_sources(shared / "mini" / "hub", server.url, check="header")
        assert dict(zip(result.needs.paths, result.statuses, strict=True))[path] == "unreachable"
        assert "missing" not in result.statuses
    server.fault = None
    assert verify_sources(shared / "mini" / "hub", server.url, check="header").usable.all()


def test_what_passes_is_tried_again(server, shared, corpora):
    """Of 30 % of random failures, nothing is lost."""
    chance = random.Random(0)
    server.fault = lambda path: chance.choice([500, 502, 503]) if chance.random() < 0.3 else None
    options = {"data_dir": str(shared / "mini" / "hub"), "split": "train", "streaming": True}
    rows = list(load_dataset("hive", dataset_paths=server.url, on_error="skip", **options))
    expected = list(load_dataset("hive", dataset_paths=corpora, **options))
    assert [row["mix_id"] for row in rows] == [row["mix_id"] for row in expected]
    for row, other in zip(rows, expected, strict=True):
        np.testing.assert_array_equal(row["mixture"]["mix"], other["mixture"]["mix"])


def test_retry_after(server, mini, monkeypatch):
    assert servers._seconds("Fri, 01 Jan 2100 00:00:00 GMT") > 1e9 and servers._seconds("soon") == 0.0
    pauses = []
    monkeypatch.setattr(servers.time, "sleep", pauses.append)
    asked = []
    server.headers = {"Retry-After": "7"}
    server.fault = lambda path: 429 if path.endswith(".wav") and not asked.append(path) and len(asked) < 3 else None
    open_bytes(f"{server.url}/{mini[0].sources[0].path}")
    assert pauses and set(pauses) <= {7.0, 0.001} and 7.0 in pauses
    server.headers = {"Retry-After": "3600"}
    server.fault = audio(503)
    with pytest.raises(SourceUnreachableError, match="asks to be left alone for 3,600 s"):
        open_bytes(f"{server.url}/{mini[0].sources[0].path}")


@pytest.mark.parametrize("run", ["stream", "render", "prepare"])
def test_a_run_ends_with_it_whatever_is_skipped(server, shared, tmp_path, run):
    metadata = shared / "mini" / "hub"
    Mixer(server.url)(next(read_recipes(metadata)))
    server.fault = audio(500)
    with pytest.raises(SourceUnreachableError, match="cannot be reached: it answers 500"):
        if run == "stream":
            options = {"split": "train", "streaming": True, "on_error": "skip", "dataset_paths": server.url}
            list(load_dataset("hive", data_dir=str(metadata), **options))
        elif run == "render":
            write_mixtures(metadata, tmp_path / "out", dataset_paths=server.url)
        else:
            prepare_sources(metadata, tmp_path / "out", dataset_paths=server.url, sampling_rate=8000)
    server.fault = None
    if run == "prepare":
        prepared = prepare_sources(metadata, tmp_path / "out", dataset_paths=server.url, sampling_rate=8000)
        assert prepared.clips and not prepared.lacking


def test_a_server_that_stalls(server, mini, monkeypatch):
    monkeypatch.setenv("HIVE_TIMEOUT", "0.5")
    path = mini[0].sources[0].path
    size = os.path.getsize(f"{server.RequestHandlerClass.keywords['directory']}/{path}")
    server.fault = audio("stall")
    start = time.monotonic()
    with pytest.raises(SourceUnreachableError, match=f"{server.url}.*did not answer within 0.5 s .HIVE_TIMEOUT."):
        RemoteBytes(f"{server.url}/{path}", size, 1).read_at(0, 1000)
    assert time.monotonic() - start < 5
    monkeypatch.setenv("HIVE_TIMEOUT", "soon")
    with pytest.raises(SourceRootError, match="HIVE_TIMEOUT must be a number of seconds"):
        servers.find_timeout()


@pytest.mark.parametrize("command", ["prepare", "verify", "render", "preview"])
def test_interrupted_while_a_server_stalls(server, shared, tmp_path, subprocess_environment, command):
    """Within two seconds, threads included, although the server would be waited for ten times as long."""
    metadata = str(shared / "mini" / "hub")
    out = [] if command == "verify" else ["--out", str(tmp_path / "out")]
    more = {
        "prepare": ["--num-workers", "4"],
        "verify": ["--check", "header", "--num-workers", "4"],
        "render": ["--num-workers", "2"],
    }
    arguments = [command, metadata, "--dataset-paths", server.url, *out]
    arguments += [*more.get(command, ["--any-licence", "--num-workers", "4"]), "--timeout", "20", "--quiet"]
    server.fault = audio("stall")
    code = f"import sys; from hive_datasets.cli.main import main; sys.exit(main({arguments!r}))"
    environment = {**subprocess_environment, "PYTHONWARNINGS": "default"}
    run = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)
    assert server.stalling.wait(60)
    start = time.monotonic()
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=20)
    assert time.monotonic() - start < 2
    assert run.returncode == 130 and "interrupted" in said and "Traceback" not in said
