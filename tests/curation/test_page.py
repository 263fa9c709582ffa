import base64
import io
import re
import shutil

import pytest
import soundfile

from hive_datasets.curation import Chunk, CurationPipeline, run_pipeline
from hive_datasets.curation.page import table_of, write_examples
from tests.curation.test_run import PIPELINE


@pytest.fixture(scope="module")
def curation(corpora, tmp_path_factory):
    return run_pipeline(PIPELINE, corpora, tmp_path_factory.mktemp("page") / "out", records_per_shard=10, limit=40)


def test_what_is_on_it(curation):
    page = write_examples(curation).read_text()
    assert f"40 records read, {curation.kept:,} kept" in page
    titles = re.findall(r"<h2>(.*?) <small>([\d,]+)</small></h2>", page)
    expected = [("Kept", f"{curation.kept:,}")] + [
        (f"{step}: {reason}", f"{number:,}")
        for step, count in curation.counts.items()
        for reason, number in count.dropped.items()
    ]
    assert sorted(titles) == sorted(expected)
    for section in page.split("<section>")[1:]:
        assert 1 <= section.count("<article>") <= 4
    assert "http" not in page.replace("http-equiv", "")
    players = re.findall(r"data:audio/flac;base64,([^']+)", page)
    assert len(players) == page.count("<article>")
    for data in players:
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(data)))
        assert 0.1 < len(samples) / rate <= 10 and abs(samples).max() > 0


def test_names_that_are_markup(tmp_path, corpora):
    file = tmp_path / "<b>&'.wav"
    shutil.copy(next(corpora.rglob("*.wav")), file)
    curation = run_pipeline(CurationPipeline([Chunk(min_energy=0)]), tmp_path, tmp_path / "out")
    page = write_examples(curation).read_text()
    assert "<b>&'" not in page and "&lt;b&gt;&amp;&#x27;.wav" in page


def test_the_table(curation):
    rows = table_of(curation)
    assert [row[0] for row in rows if row[0]] == [step.name for step in PIPELINE.steps]
    assert rows[0] == ("Chunk", "taken", "40")


def test_in_a_browser(curation):
    """The page loads, and its players play."""
    browsers = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    page_file = write_examples(curation)
    with browsers.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 360, "height": 800})
        page.goto(page_file.as_uri())
        page.evaluate("document.querySelector('audio').play()")
        page.wait_for_function("document.querySelector('audio').currentTime > 0.05", timeout=30_000)
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        if page.locator("img").count():
            assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 100)")
        browser.close()
