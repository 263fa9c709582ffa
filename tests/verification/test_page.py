"""The page, as a browser shows it."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from hive_datasets import verify_sources
from hive_datasets.verification import page
from hive_datasets.verification.page import write_page
from hive_datasets.verification.result import Finding

FLAGS = """
--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --hide-scrollbars --window-size=1200,1600
""".split()  # noqa: SIM905


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Run headless Chromium with more arguments; returns what it prints."""
    command = shutil.which("chromium") or shutil.which("google-chrome")
    if command is None:
        pytest.skip("there is no Chromium (apt-get install chromium)")
    profile = tmp_path_factory.mktemp("chromium")

    def run(*arguments):
        flags = [command, *FLAGS, f"--user-data-dir={profile}", *map(str, arguments)]
        return subprocess.run(flags, capture_output=True, text=True, check=True, timeout=120).stdout

    return run


@pytest.fixture
def result(shared, damaged):
    return verify_sources(shared / "mini" / "hub", damaged[0], check="decode")


def rows_of(html, table):
    body = re.search(rf'id="{table}".*?<tbody[^>]*>(.*?)</tbody>', html, re.DOTALL)[1]
    return re.findall(r"<tr( hidden=\"\")?>(.*?)</tr>", body, re.DOTALL)


def cells(row):
    return [re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)]


def test_what_a_browser_makes_of_it(result, tmp_path, browser):
    write_page(result, tmp_path / "page.html")
    html = browser("--dump-dom", f"file://{tmp_path}/page.html")
    usable = int(result.usable.sum())
    assert f"{usable} of 64 mixtures are usable" in html
    corpora = [cells(row)[:8] for _, row in rows_of(html, "corpora")]
    assert ["ESC-50", "20", "13", "1", "1", "1", "3", "1"] in corpora
    assert len(rows_of(html, "mixtures")) == 12
    labels = [cells(row)[:3] for _, row in rows_of(html, "labels")]
    assert labels == [[label.label, str(label.usable), str(label.total)] for label in result.labels]
    findings = re.search(r'<tbody id="findings">(.*?)</tbody>', html, re.DOTALL)[1]
    assert findings.count("<tr>") == 18
    assert "18 of 18 findings" in html
    assert "github.com/karolpiczak/ESC-50" in html
    assert "http" not in re.sub(r'<a href="https://[^"]*">https://[^<]*</a>', "", html)  # nothing is fetched


def test_searching(result, tmp_path, browser):
    write_page(result, tmp_path / "page.html")
    html = browser("--dump-dom", f"file://{tmp_path}/page.html#esc%2050%20unreadable")
    assert "1 of 18 findings" in html
    assert "0 of 18 findings" in browser("--dump-dom", f"file://{tmp_path}/page.html#50%")  # no valid escape
    html = browser("--dump-dom", f"file://{tmp_path}/page.html#helicopter")
    shown = [cells(row)[0] for hidden, row in rows_of(html, "labels") if not hidden]
    assert shown == ["Helicopter"]


def test_it_looks_like_something(result, tmp_path, browser):
    """Rendered, there are the bars of the chart in their colours."""
    from matplotlib.image import imread

    write_page(result, tmp_path / "page.html")
    browser(f"--screenshot={tmp_path}/page.png", f"file://{tmp_path}/page.html")
    pixels = (imread(tmp_path / "page.png")[..., :3] * 255).round().astype(int)
    assert pixels.shape == (1600, 1200, 3)
    for colour in ((0x2E, 0x8B, 0x57), (0xC0, 0x39, 0x2B), (0xE0, 0x8E, 0x2B), (0x8E, 0x44, 0xAD), (0x8F, 0xBC, 0x5A)):
        assert (np.abs(pixels - colour).max(axis=2) <= 2).sum() > 100, colour


def test_text_of_others_stays_text(result, tmp_path, browser, monkeypatch):
    """File names and labels are not HTML, whatever is in them."""
    evil = '<!--<script></script><img src=x onerror="document.title=1">$verdict & <b>'
    monkeypatch.setattr(type(result), "findings", lambda self: iter([Finding("A", evil, evil, "missing", evil, 1)]))
    result.needs.labels[0] = evil
    write_page(result, tmp_path / "page.html")
    html = browser("--dump-dom", f"file://{tmp_path}/page.html")
    assert "<title>Hive: sources verified</title>" in html
    html = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert "<img" not in html
    assert html.count("$verdict &amp; &lt;b&gt;") == 4


def test_a_million_findings_are_cut(result, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "MAX_FINDINGS", 5)
    write_page(result, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "The first 5 of 18; a report file has all." in text
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)[1]
    assert json.loads(data) == [list(finding) for finding in result.findings()][:5]


def test_it_fits_a_phone_and_leads_to_the_corpora(shared, tmp_path):
    api = pytest.importorskip("playwright.sync_api")
    command = shutil.which("chromium") or shutil.which("google-chrome")
    if command is None:
        pytest.skip("there is no Chromium (apt-get install chromium)")
    write_page(verify_sources(shared / "mini" / "hub", {"AudioSet": tmp_path}), tmp_path / "page.html")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=command, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.goto(f"file://{tmp_path}/page.html")
        tables = "[document.documentElement, ...document.querySelectorAll('table')].map(all => all.scrollWidth)"
        widths = page.evaluate(tables)
        links = page.locator("#steps a").evaluate_all("all => all.map(link => link.href)")
        first = page.locator(".findings td").nth(1).evaluate("cell => getComputedStyle(cell, '::before').content")
        browser.close()
    assert max(widths) <= 390
    assert any(link.startswith("https://huggingface.co/datasets/") for link in links)
    assert "path" in first
