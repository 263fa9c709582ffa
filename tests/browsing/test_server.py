import contextlib
import http.client
import io
import json
import socket
import sys
import threading

import numpy as np
import pytest
import soundfile

from hive_datasets import Mixer, Subset
from hive_datasets.browsing import BrowseServer, Collection
from hive_datasets.utils import pictures
from tests.browsing.serving import serving
from tests.copies import own

pytest.importorskip("matplotlib")


@pytest.fixture
def serve(shared):
    """Start servers of the mixtures of `mini`; returns their addresses."""
    with contextlib.ExitStack() as stack:

        def start(mixer, **options):
            collection = Collection(Subset(shared / "mini" / "hub").tables())
            return stack.enter_context(serving(BrowseServer(collection, mixer, **options)))

        yield start


@pytest.fixture
def get(serve, corpora):
    """Ask a server; returns status, headers and body."""
    mixer = Mixer(corpora)

    def ask(path, method="GET", headers=(), server=serve(mixer)):  # noqa: B008
        connection = http.client.HTTPConnection(*server.server_address, timeout=60)
        try:
            connection.request(method, path, headers=dict(headers))
            response = connection.getresponse()
            return response.status, dict(response.headers), response.read()
        finally:
            connection.close()

    return ask


def test_the_page_needs_nothing_else(get):
    status, headers, body = get("/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"http://" not in body
    assert b"https://" not in body


def test_lists(get, mini):
    facets = json.loads(get("/facets")[2])
    assert (facets["total"], facets["note"]) == (64, "")
    assert dict(facets["num_sources"]) == {"2": 16, "3": 16, "4": 16, "5": 16}
    first = json.loads(get("/mixtures?num_sources=3&label=Bark")[2])
    recipes = [recipe for recipe in mini if recipe.num_sources == 3 and "Bark" in recipe.labels]
    assert first["total"] == len(recipes)
    assert {found["mix_id"] for found in first["mixtures"]} == {recipe.mix_id for recipe in recipes}
    rows = []
    while len(rows) < 64:
        page = json.loads(get(f"/mixtures?offset={len(rows)}")[2])
        assert 0 < len(page["mixtures"]) <= 12
        rows += [found["row"] for found in page["mixtures"]]
    assert rows == list(range(64))
    assert json.loads(get("/mixtures?offset=64")[2])["mixtures"] == []


def test_sound_is_that_of_the_mixture(get, shared, corpora):
    recipe = list(Subset(shared / "mini" / "hub").recipes())[5]
    rendered = Mixer(corpora)(recipe)
    names = ["mix", *(f"s{n}" for n in range(1, recipe.num_sources + 1))]
    for name, expected in zip(names, [rendered["mix"], *rendered["sources"]], strict=True):
        status, headers, body = get(f"/5/{name}.wav")
        assert (status, headers["Content-Type"]) == (200, "audio/wav")
        found, rate = soundfile.read(io.BytesIO(body))
        assert rate == 44100
        assert np.abs(found - expected).max() <= 0.5 / 32768
        assert get(f"/5/{name}.png")[2].startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("span", "status", "part"),
    [
        ("bytes=0-99", 206, slice(0, 100)),
        ("bytes=1000-", 206, slice(1000, None)),
        ("bytes=-500", 206, slice(-500, None)),
        ("bytes=352800-999999", 206, slice(352800, None)),
        ("bytes=999999-", 416, slice(0, 0)),
        ("bytes=5-4", 200, slice(None)),  # no range, which is as if none were asked for
        ("bytes=-", 200, slice(None)),
        ("lines=1-2", 200, slice(None)),
    ],
)
def test_players_seek(get, span, status, part):
    whole = get("/0/mix.wav")[2]
    found, headers, body = get("/0/mix.wav", headers={"Range": span})
    assert (found, body) == (status, whole[part])
    if status == 206:
        start = len(whole) + part.start if part.start < 0 else part.start
        assert headers["Content-Range"] == f"bytes {start}-{start + len(body) - 1}/{len(whole)}"
    assert get("/0/mix.wav", "HEAD", {"Range": span})[2] == b""


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/64/mix.wav", "there is no mixture 64, but 64"),
        ("/0/s9.wav", "mixture 0 has no signal 's9', but mix, s1, s2"),
        ("/0/mix.mp3", "there is no /0/mix.mp3"),
        ("/../../etc/passwd", "there is no /../../etc/passwd"),
        ("/mixtures?offset=x", "offset must be a number, not 'x'"),
        ("/mixtures?offset=-5", "offset must be a number"),
    ],
)
def test_what_is_not_there(get, path, message):
    status, _, body = get(path)
    assert status == 404
    assert message in json.loads(body)["error"]


def test_what_cannot_be_rendered_is_said(serve, get, copy, shared):
    recipe = next(Subset(shared / "mini" / "hub").recipes())
    (copy / recipe.sources[0].path).unlink()
    status, _, body = get("/0/mix.wav", server=serve(Mixer(copy)))
    assert status == 500
    assert recipe.sources[0].path in json.loads(body)["error"]


def test_samples_that_are_no_numbers_are_not_sent(serve, get, copy, shared):
    recipe = next(Subset(shared / "mini" / "hub").recipes())
    path = copy / next(source.path for source in recipe.sources if source.path.endswith(".wav"))
    samples, rate = soundfile.read(path, dtype="float32")
    soundfile.write(own(path), samples * np.float32("nan"), rate, subtype="FLOAT")
    server = serve(Mixer(copy))
    for name in ("mix.wav", "mix.png", "s1.wav"):
        status, _, body = get(f"/0/{name}", server=server)
        assert status == 500
        assert "samples that are NaN" in json.loads(body)["error"]


def test_only_this_machine_is_answered(get, serve, corpora):
    """A page of somebody else that points a name of its own here learns nothing."""
    assert get("/facets", headers={"Host": "evil.example:80"})[0] == 404
    assert get("/facets", headers={"Host": "localhost:1234"})[0] == 200
    assert get("/facets", headers={"Host": "LocalHost"})[0] == 200
    assert get("/facets", headers={"Host": "[::1]:80"})[0] == 200
    other = serve(Mixer(corpora), host="127.0.0.2")
    assert other.url.startswith("http://127.0.0.2:")
    assert get("/facets", server=other)[0] == 200
    server = serve(Mixer(corpora), host="0.0.0.0")
    assert server.url == f"http://{socket.gethostname()}:{server.server_address[1]}/"
    assert get("/facets", headers={"Host": "my-machine"}, server=server)[0] == 200


def test_many_at_once_render_once(get, serve, corpora, monkeypatch):
    rendered = []

    class Counting(Mixer):
        def __call__(self, recipe):
            rendered.append(recipe.mix_id)
            return super().__call__(recipe)

    server = serve(Counting(corpora))
    threads = [
        threading.Thread(target=get, args=(f"/7/{name}",), kwargs={"server": server})
        for name in ("mix.wav", "s1.wav", "s2.wav", "mix.png", "s1.png")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rendered) == 1


def test_addresses_that_are_none(serve, get, corpora):
    server = serve(Mixer(corpora))
    with socket.create_connection(server.server_address, timeout=60) as connection:
        connection.sendall(b"GET http://[ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert connection.makefile("rb").read()[:11] in (b"", b"HTTP/1.1 40")
    assert get("/facets", server=server)[0] == 200


def test_connections_that_ask_nothing_are_closed_and_too_many_wait(serve, corpora):
    server = serve(Mixer(corpora), max_connections=4, idle_seconds=1)
    silent = [socket.create_connection(server.server_address, timeout=20) for _ in range(5)]
    for connection in silent:  # half a request
        connection.sendall(b"GET / HTTP/1.1\r\n")
    with contextlib.closing(http.client.HTTPConnection(*server.server_address, timeout=20)) as connection:
        connection.request("GET", "/facets")
        assert connection.getresponse().status == 200
    assert all(connection.recv(100) == b"" for connection in silent)
    for connection in silent:
        connection.close()


def test_sources_are_there_where_the_mixture_is_not(serve, get, copy, mini, corpora):
    recipe = next(recipe for recipe in mini if len({source.path for source in recipe.sources}) > 2)
    (copy / recipe.sources[1].path).unlink()
    for stems in ("scaled", "unscaled"):
        server, expected = serve(Mixer(copy, stems=stems)), Mixer(corpora, stems=stems)(recipe)["sources"]
        row = next(row for row in range(64) if server.collection.recipe(row) == recipe)
        assert [get(f"/{row}/{name}.wav", server=server)[0] for name in ("mix", "s1", "s2", "s3")] == [
            500,
            200,
            500,
            200,
        ]
        found, _ = soundfile.read(io.BytesIO(get(f"/{row}/s3.wav", server=server)[2]))
        assert np.abs(found - np.clip(expected[2], -1, 1 - 1 / 32768)).max() <= 0.5 / 32768


def test_without_matplotlib_there_is_sound(serve, get, corpora, monkeypatch):
    pictures._palette.cache_clear()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    server = serve(Mixer(corpora))
    assert json.loads(get("/facets", server=server)[2])["has_pictures"] is False
    assert get("/0/mix.wav", server=server)[0] == 200
    assert get("/0/mix.png", server=server)[0] == 404


def test_others_are_not_told_where_files_are(serve, copy, mini, capsys):
    (copy / mini[0].sources[0].path).unlink()
    row = 0
    for host, is_told in (("127.0.0.1", True), ("0.0.0.0", False)):
        server = serve(Mixer(copy), host=host)
        row = next(r for r in range(64) if server.collection.recipe(r) == mini[0])
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.server_address[1])) as connection:
            connection.request("GET", f"/{row}/mix.wav")
            said = json.loads(connection.getresponse().read())["error"]
        assert (str(copy) in said) is is_told and mini[0].mix_id in said
    assert str(copy) in capsys.readouterr().err
