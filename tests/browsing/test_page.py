"""The page, in headless Chromium."""

import contextlib
import re

import pytest

from hive_datasets import Mixer, Subset
from hive_datasets.browsing import BrowseServer, Collection
from tests.browsing.serving import serving

pytest.importorskip("matplotlib")
BLACK = 30  # of 255: a background that is darker is dark


@pytest.fixture
def serve(shared):
    with contextlib.ExitStack() as stack:

        def start(roots):
            collection = Collection(Subset(shared / "mini" / "hub").tables())
            return stack.enter_context(serving(BrowseServer(collection, Mixer(roots), note="A note."))).url

        yield start


@pytest.fixture
def open_page(chromium, serve, corpora):
    """Open the page in a window of its own; fails at the end if a script did."""
    contexts, errors = [], []

    def start(fragment="", roots=corpora, **options):
        context = chromium.new_context(**{"viewport": {"width": 1100, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(serve(roots) + fragment)
        page.wait_for_function("document.querySelector('article') && facets")
        return page

    yield start
    for context in contexts:
        context.close()
    assert errors == []


def moves(page, index=0):
    """Wait until the time of a player has moved, by itself."""
    page.wait_for_function(
        """index => { const audio = mixtures[index].audio; audio.since ??= audio.currentTime;
        return !audio.paused && audio.currentTime > audio.since + 0.2; }""",
        arg=index,
    )
    page.evaluate("index => { mixtures[index].audio.since = undefined; }", index)


def hears(page, own, sources, index=0):
    """Wait until what is heard of a mixture is its own sound or not, and of its sources these."""
    page.wait_for_function(
        """([index, own, sources]) => {
        const m = mixtures[index], is = (gain, wanted) => Math.abs(gain.value - wanted) < 0.001;
        return is(m.dry.gain, own) && (m.playing ?? []).length === sources.length && sources.every(
          (wanted, number) => is(m.wet.gain, 1) && is(m.playing[number].gain.gain, wanted)); }""",
        arg=[index, own, sources],
    )


def labels(page):
    return page.locator("article h2").evaluate_all("all => all.map(h2 => h2.firstChild.textContent)")


def test_it_lists_and_pages(open_page, shared):
    page = open_page()
    recipes = list(Subset(shared / "mini" / "hub").recipes())
    assert page.locator("#count").inner_text() == "64 of 64 mixtures. A note."
    assert labels(page) == [" + ".join(recipe.labels) for recipe in recipes[:12]]
    while page.locator("#more").is_visible():  # there is more where the list ends
        count = page.locator("article").count()
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        page.wait_for_function(f"document.querySelectorAll('article').length > {count} || more.hidden")
    assert labels(page) == [" + ".join(recipe.labels) for recipe in recipes]
    assert page.locator("#more").is_hidden()
    text = page.locator("article").nth(5).inner_text()
    for source in recipes[5].sources:
        assert source.label in text
        assert source.path in text
    assert f"{recipes[5].sources[1].snr_db:+.1f} dB" in text


def test_it_filters(open_page, shared):
    recipes = list(Subset(shared / "mini" / "hub").recipes())
    page = open_page()
    page.fill("input[name=label]", "Bark")
    page.select_option("select[name=num_sources]", "3")
    expected = [" + ".join(r.labels) for r in recipes if "Bark" in r.labels and r.num_sources == 3]
    page.wait_for_function(f"document.querySelectorAll('article').length === {len(expected)}")
    assert labels(page) == expected
    assert page.locator("#count").inner_text().startswith(f"{len(expected)} of 64")
    address = page.url
    again = open_page("#" + address.partition("#")[2])
    assert labels(again) == expected
    page.select_option("select[name=corpus]", "MUSIC21")
    page.wait_for_function("document.querySelectorAll('article').length < 2")


def test_it_plays(open_page):
    page = open_page()
    page.evaluate("mixtures[0].audio.play()")
    moves(page)
    page.wait_for_function("mixtures[0].meter.value > 0.01")
    hears(page, 1, [])
    page.evaluate("mixtures[1].audio.play()")  # one at a time
    moves(page, 1)
    assert page.evaluate("mixtures[0].audio.paused")
    assert page.evaluate("Math.abs(mixtures[1].audio.duration - 4) < 0.01")


def test_solo_and_mute_sum_the_sources(open_page, shared, corpora):
    page = open_page("#num_sources=3")
    article = page.locator("article").first
    page.evaluate("mixtures[0].audio.loop = true")
    article.get_by_role("button", name="solo").nth(1).click()
    page.evaluate("mixtures[0].audio.play()")
    moves(page)
    hears(page, 0, [0, 1, 0])
    article.get_by_role("button", name="solo").nth(2).click()
    hears(page, 0, [0, 1, 1])
    article.get_by_role("button", name="mute").nth(1).click()
    hears(page, 0, [0, 0, 1])
    assert article.locator(".stem.silent").count() == 2
    assert article.locator("[aria-pressed=true]").count() == 3
    article.get_by_role("button", name="mute").nth(2).click()
    hears(page, 0, [0, 0, 0])
    page.wait_for_function("mixtures[0].meter.value < 0.0001")
    page.keyboard.press("0")
    hears(page, 1, [])
    page.wait_for_function("mixtures[0].meter.value > 0.001")


def test_what_is_heard_of_all_sources_is_the_mixture(open_page):
    """The browser's own sum of the decoded sources, sample by sample."""
    page = open_page("#num_sources=5")
    difference = page.evaluate(
        """async () => {
        const m = mixtures[0];
        m.toggle(0, "mute");
        await Promise.all(m.stems.map(stem => m.load(stem)));
        const mix = await context.decodeAudioData(await (await fetch(m.url("mix", "wav"))).arrayBuffer());
        const whole = mix.getChannelData(0), parts = m.stems.map(stem => stem.buffer.getChannelData(0));
        const errors = whole.map((sample, i) => Math.abs(sample - parts.reduce((sum, part) => sum + part[i], 0)));
        return errors.reduce((a, b) => Math.max(a, b));
        }"""
    )
    assert difference < 4 / 32768  # each of six files is rounded to a step, and resampled to the context's rate


def test_a_source_alone(open_page):
    page = open_page("#num_sources=2")
    page.get_by_role("button", name="play only").nth(1).click()
    moves(page)
    hears(page, 0, [0, 1])
    page.wait_for_function("mixtures[0].meter.value > 0.001")


def test_pictures_are_drawn_and_lead_to_their_place(open_page):
    page = open_page()
    picture = page.locator("article").first.locator(".picture").first
    page.wait_for_function("document.querySelector('.picture img').complete")
    assert picture.locator("img").evaluate("image => [image.naturalWidth, image.naturalHeight]") == [640, 152]
    box = picture.bounding_box()
    picture.click(position={"x": box["width"] / 2, "y": 20})
    assert page.evaluate("mixtures[0].audio.currentTime") == pytest.approx(2.0, abs=0.5)
    moves(page)


def test_keys(open_page):
    page = open_page()
    assert page.evaluate("mixtures.indexOf(current)") == 0
    for key, index in (("k", 0), ("j", 1), ("j", 2), ("k", 1)):
        page.keyboard.press(key)
        page.wait_for_function(f"mixtures.indexOf(current) === {index}")
    page.keyboard.press("Space")
    moves(page, 1)
    page.keyboard.press("1")
    assert page.evaluate("mixtures[1].stems.map(stem => stem.solo)")[:2] == [True, False]
    page.keyboard.press("Shift+Digit2")
    assert page.evaluate("mixtures[1].stems.map(stem => stem.mute)")[:2] == [False, True]
    page.keyboard.press("Space")
    page.wait_for_function("mixtures[1].audio.paused")
    before = page.evaluate("mixtures[1].audio.currentTime = 0.5")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("mixtures[1].audio.currentTime") == pytest.approx(before + 1, abs=0.01)
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("mixtures[1].audio.currentTime") == pytest.approx(before, abs=0.01)


def test_going_on_takes_the_sound_along(open_page):
    page = open_page()
    page.keyboard.press("Space")
    moves(page, 0)
    page.keyboard.press("j")
    moves(page, 1)
    assert page.evaluate("mixtures.filter(mixture => !mixture.audio.paused).length") == 1
    assert page.locator("article.playing").count() == 1
    page.evaluate("choose(mixtures[0])")
    page.keyboard.press("Space")  # pauses what is heard, whatever is chosen
    page.wait_for_function("mixtures.every(mixture => mixture.audio.paused)")


def test_keys_lead_past_the_end_of_the_list(open_page):
    page = open_page()
    for index in range(1, 14):
        page.keyboard.press("j")
        page.wait_for_function(f"mixtures.indexOf(current) === {index}")


def test_what_two_ask_for_comes_once(open_page):
    """As scrolling and a key do."""
    page = open_page()
    rows = page.evaluate(
        """async () => { const first = showMore(); showMore(); await first;
        return mixtures.map(mixture => mixture.facts.row); }"""
    )
    assert rows == list(range(24))


def test_after_the_mouse_the_keys_are_the_players(open_page):
    page = open_page("#num_sources=2")
    button = page.get_by_role("button", name="play only").nth(1)
    button.click()
    moves(page)
    assert button.inner_text() != "\u25b6"
    page.keyboard.press("Space")
    page.wait_for_function("mixtures[0].audio.paused")
    assert page.evaluate("mixtures[0].audio.currentTime") > 0.2
    page.wait_for_function("mixtures[0].stems[1].buttons.alone.textContent === '\\u25b6'")
    button.click()
    moves(page)
    button.click()
    page.wait_for_function("mixtures[0].audio.paused")


def test_a_changed_address_chooses(open_page):
    page = open_page()
    page.evaluate("location.hash = 'num_sources=4'")
    page.wait_for_function("document.getElementById('count').textContent.startsWith('16 of 64')")
    assert page.locator("select[name=num_sources]").input_value() == "4"


def test_everything_is_reached_by_tab(open_page):
    page = open_page("#num_sources=2")
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("(e => e.name || e.getAttribute('aria-label') || e.tagName)(document.activeElement)"))
    assert {"label", "corpus", "num_sources", "split"} <= reached
    names = page.locator("article").first.get_by_role("button").evaluate_all("all => all.map(b => b.ariaLabel)")
    assert len(names) == 6
    assert set(names) <= reached


def test_on_a_phone(open_page):
    page = open_page(viewport={"width": 360, "height": 740}, device_scale_factor=2, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.evaluate("mixtures[0].element.querySelector('h2').firstChild.textContent = 'x'.repeat(200)")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.get_by_role("button", name="solo").first.tap()
    page.wait_for_function("mixtures[0].stems[0].solo")
    for button in page.locator("article").first.get_by_role("button").all():
        box = button.bounding_box()
        assert min(box["width"], box["height"]) >= 36


@pytest.mark.parametrize(("scheme", "is_dark"), [("dark", True), ("light", False)])
def test_in_the_dark(open_page, scheme, is_dark):
    page = open_page(color_scheme=scheme)
    background = page.evaluate(
        """() => { const canvas = new OffscreenCanvas(1, 1).getContext("2d");
        canvas.fillStyle = getComputedStyle(document.querySelector("form")).backgroundColor;
        canvas.fillRect(0, 0, 1, 1);
        return canvas.getImageData(0, 0, 1, 1).data[0]; }"""
    )
    assert (background < BLACK) == is_dark


def test_the_other_sources_are_heard_where_one_is_missing(open_page, copy, shared):
    recipe = next(recipe for recipe in Subset(shared / "mini" / "hub").recipes() if recipe.num_sources == 3)
    lost = recipe.sources[1].path
    (copy / lost).unlink()
    page = open_page("#num_sources=3", roots=copy)
    page.evaluate("mixtures[0].audio.play().catch(() => {})")
    page.wait_for_function("mixtures[0].clock === 's1'")
    assert lost in page.locator("article .error").first.inner_text()
    solo = page.locator("article").first.get_by_role("button", name="solo")
    assert [solo.nth(index).is_disabled() for index in range(3)] == [False, True, False]
    page.evaluate("mixtures[0].playFrom(0)")
    page.wait_for_function("(mixtures[0].playing ?? []).length === 2")
    solo.nth(2).click()
    moves(page)
    page.wait_for_function("Math.abs(mixtures[0].playing[1].gain.gain.value - 1) < 0.001")
    page.wait_for_function("Math.abs(mixtures[0].playing[0].gain.gain.value) < 0.001")
    assert lost in page.locator("article .error").first.inner_text()


def test_it_finds_a_mixture_by_its_name(open_page, shared):
    page = open_page()
    recipes = list(Subset(shared / "mini" / "hub").recipes())
    wanted = [recipe for recipe in recipes if "_00000007" in recipe.mix_id]
    page.locator("input[name=mix_id]").press_sequentially("_00000007")
    page.wait_for_function(f"document.querySelectorAll('article').length === {len(wanted)}")
    assert labels(page) == [" + ".join(recipe.labels) for recipe in wanted]
    page.reload()
    page.wait_for_function(f"facets && document.querySelectorAll('article').length === {len(wanted)}")
    page.fill("input[name=mix_id]", "")
    page.wait_for_function("document.querySelectorAll('article').length === 12")


def test_axes(open_page):
    page = open_page()
    article = page.locator("article").first
    assert article.locator(".times").inner_text().split("\n") == ["0 s", "1 s", "2 s", "3 s", "4 s"]
    marks = article.locator(".picture").first.locator("span")
    assert marks.all_inner_texts() == ["16k", "4k", "1k"]
    heights = marks.evaluate_all("all => all.map(mark => mark.getBoundingClientRect().top)")
    assert heights == sorted(heights)


def test_without_any_audio_it_says_so(open_page, tmp_path):
    page = open_page(roots=tmp_path)
    page.wait_for_function("!mixtures[0].message.hidden")  # nothing was pressed
    assert str(tmp_path) in page.locator("article .error").first.inner_text()


def test_nothing_wrong_is_heard_until_the_sources_are_there(open_page):
    page, held = open_page("#num_sources=2"), []
    page.route(re.compile(r"/s\d\.wav$"), lambda route: held.append(route))
    page.evaluate("mixtures[0].audio.loop = true")
    page.evaluate("mixtures[0].audio.play()")
    moves(page)
    page.get_by_role("button", name="solo").nth(1).click()
    hears(page, 0, [])
    page.evaluate("mixtures[0].audio.pause()")
    page.get_by_role("button", name="play only").nth(1).click()
    page.wait_for_function("mixtures[0].isAlone(1)")
    assert page.evaluate("mixtures[0].audio.paused")
    while len(held) < 2:
        page.wait_for_function("true")
    for route in held:
        route.continue_()
    moves(page)
    hears(page, 0, [0, 1])


def test_names_of_others_stay_text(chromium, mini, corpora, tmp_path):
    """Labels are not HTML, whatever is in them."""
    import json

    evil = '<img src=x onerror="document.title=1">&<b>'
    row = json.loads(mini[0].to_json())
    row["sources"][0]["label"] = row["mix_id"] = evil
    (tmp_path / "m.json").write_text(json.dumps([row]))
    with serving(BrowseServer(Collection(Subset(tmp_path / "m.json").tables()), Mixer(corpora), note=evil)) as server:
        page = chromium.new_page()
        page.goto(server.url)
        page.wait_for_selector("article")
        assert page.title() == "Hive: mixtures"
        assert evil in page.locator("article h2").inner_text()
        assert page.locator("article b img").count() == page.locator("article h2 img").count() == 0
        page.close()
