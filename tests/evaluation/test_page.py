"""Pages of evaluations and comparisons, from the disk, in headless Chromium."""

import json

import numpy as np
import pytest
import soundfile

from hive_datasets import EvaluationError, OutputError, Subset, compare_evaluations, evaluate_separator
from hive_datasets.evaluation.examples import KEY, read_examples
from hive_datasets.evaluation.page import write_comparison_page
from hive_datasets.evaluation.votes import count_votes

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def runs(demo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    options = {"dataset_paths": demo / "sources", "sampling_rate": 16000, "metrics": ["sdr", "leakage"]}
    subset = Subset(demo / "metadata", limit=12)
    for name in ("mixture", "ideal-ratio-mask"):
        evaluate_separator(name, subset, folder / name, examples=12, **options)
    return folder


@pytest.fixture
def open_page(chromium):
    """Open a page in a window of its own; fails at the end if a script did, or a file was not there."""
    contexts, errors = [], []

    def start(file, **options):
        context = chromium.new_context(**{"viewport": {"width": 1100, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("requestfailed", lambda request: errors.append(request.url))
        page.goto(file.as_uri())
        page.wait_for_function("typeof all !== 'undefined' && document.querySelector('article')")
        return page

    yield start
    for context in contexts:
        context.close()
    assert errors == []


def plays(page, number, card=0):
    """Wait until a signal of an example moves on by itself, and no other does."""
    page.wait_for_function(
        """([card, number]) => { const players = cards[card].players, player = players[number];
        player.since ??= player.currentTime;
        return !player.paused && player.currentTime > player.since + 0.1 &&
          players.every(other => other === player || other.paused); }""",
        arg=[card, number],
    )
    page.evaluate("([card, number]) => { cards[card].players[number].since = undefined; }", [card, number])


def test_what_is_heard_is_what_was_scored(runs):
    folder = runs / "ideal-ratio-mask"
    for example in read_examples(folder):
        mixture, target, estimate, residual = (
            soundfile.read(folder / "examples" / f"{example['file']}.{name}.flac")[0]
            for name in ("mixture", "target", "estimate", "residual")
        )
        assert np.abs(mixture - estimate - residual).max() < 2 / 32768
        measured = 10 * np.log10((target**2).mean() / ((estimate - target) ** 2).mean())
        assert measured == pytest.approx(example["sdr"], abs=0.1)
        assert max(abs(signal).max() for signal in (mixture, target, estimate, residual)) < 1.0
    reasons = [example["why"] for example in read_examples(folder)]
    assert [reasons.count(why) for why in ("sample", "best", "middling", "worst")] == [6, 2, 2, 2]


def test_numbers_and_pictures(open_page, runs):
    page = open_page(runs / "ideal-ratio-mask" / "index.html")
    summary = json.loads((runs / "ideal-ratio-mask" / "summary.json").read_text())
    assert page.locator("#count").inner_text() == "42 targets of 12 mixtures asked, 42 scored, 0 failed."
    text = page.locator("#metrics").inner_text()
    for name in ("sdr", "sdr_improvement", "leakage"):
        assert f"{summary['metrics'][name]['mean']['value']:.2f} (" in text
    figures = page.locator("figcaption").all_inner_texts()
    assert figures[0] == "SDR (plain) improvement: targets"
    assert {
        "SDR (plain) improvement by label (targets)",
        "SDR (plain) improvement by SNR in the mixture (targets)",
    } <= {*figures}
    page.select_option("#column", "sdr")
    page.wait_for_function("document.querySelector('figcaption').textContent === 'SDR (plain): targets'")
    heights = page.locator(".histogram i").evaluate_all("all => all.map(bar => parseFloat(bar.style.height))")
    assert len(heights) == 30 and max(heights) == 100
    page.wait_for_function("[...document.images].slice(0, 4).every(image => image.complete && image.naturalWidth > 0)")


def test_it_plays_and_goes_on_with_another(open_page, runs):
    page = open_page(runs / "ideal-ratio-mask" / "index.html")
    page.get_by_role("button", name="Mixture").first.click()
    plays(page, 0)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("3")
    plays(page, 2)
    assert page.evaluate("cards[0].players[2].currentTime") > 2
    page.keyboard.press("j")  # another example
    page.keyboard.press("2")
    plays(page, 1, card=1)
    assert page.evaluate("cards[0].players.every(player => player.paused)")
    page.keyboard.press("ArrowRight")
    page.keyboard.press(" ")
    page.wait_for_function("cards[1].players[1].paused")
    page.keyboard.press("k")
    assert page.evaluate("current === cards[0]")


def test_it_filters(open_page, runs):
    page = open_page(runs / "ideal-ratio-mask" / "index.html")
    examples = read_examples(runs / "ideal-ratio-mask")
    for name, value in (("why", "worst"), ("label", examples[0]["label"]), ("num_sources", "3")):
        page.select_option(f"#filters select[name={name}]", value)
        count = sum(str(example[name]) == value for example in examples)
        page.wait_for_function(f"document.querySelectorAll('article').length === {count}")
        assert page.locator("#shown").inner_text() == f"{count} of 12 examples."
        page.select_option(f"#filters select[name={name}]", "")
    page.fill("#filters input[name=mix_id]", examples[0]["mix_id"][-1])
    count = sum(examples[0]["mix_id"][-1] in example["mix_id"] for example in examples)
    page.wait_for_function(f"document.querySelectorAll('article').length === {count}")


def test_two_runs_beside_each_other(open_page, runs, tmp_path):
    found = compare_evaluations(runs / "mixture", runs / "ideal-ratio-mask")
    page = open_page(write_comparison_page(found, tmp_path))
    assert page.locator("h1").inner_text() == "A: mixture, B: ideal-ratio-mask"
    assert "better" in page.locator("#metrics").inner_text()
    assert page.locator(".histogram div").first.locator("i").count() == 2
    names = page.locator("article").first.get_by_role("button").all_inner_texts()
    assert [name[2:] for name in names] == ["Mixture", "Target", "A: mixture", "B: ideal-ratio-mask"]
    page.keyboard.press("4")
    plays(page, 3)
    heard = [{tuple(each[name] for name in KEY) for each in read_examples(runs / name)} for name in names_of(found)]
    assert page.locator("article").count() == len(heard[0] & heard[1]) >= 6


def names_of(comparison):
    return [run.summary["separator"] for run in (comparison.a, comparison.b)]


def test_both_are_heard_at_one_level(demo, runs, tmp_path):
    """Of which one alone goes beyond full scale."""

    def click(mixtures, sampling_rate, queries):
        mixtures[:, 1000] += 5.0
        return mixtures

    options = {"dataset_paths": demo / "sources", "sampling_rate": 16000, "metrics": ["sdr", "leakage"]}
    clicks = evaluate_separator(click, Subset(demo / "metadata", limit=12), tmp_path / "b", examples=12, **options)
    page = tmp_path / "page"
    write_comparison_page(compare_evaluations(runs / "mixture", clicks), page)
    for number in range(6):
        files = [page / "examples" / f"{number:03d}.{name}.flac" for name in ("a", "b", "mixture")]
        a, b, mixture = (soundfile.read(file)[0] for file in files)
        assert np.abs(a - mixture).max() < 2 / 32768 and np.abs(b - mixture)[1001:].max() < 3 / 32768
        assert b[1000] - a[1000] > 0.7
    write_comparison_page(compare_evaluations(runs / "mixture", clicks), page)  # once more into its own folder
    with pytest.raises(OutputError, match="has examples, which are of something else"):
        write_comparison_page(compare_evaluations(runs / "mixture", clicks), clicks.folder)


def test_less_leakage_is_best(runs, demo, tmp_path):
    options = {"dataset_paths": demo / "sources", "sampling_rate": 8000, "metrics": ["leakage"], "examples": 12}
    evaluate_separator("ideal-ratio-mask", Subset(demo / "metadata", limit=12), tmp_path, **options)
    by_reason = {}
    for example in read_examples(tmp_path):
        by_reason.setdefault(example["why"], []).append(example["leakage"])
    assert max(by_reason["best"]) < min(by_reason["middling"]) <= max(by_reason["middling"]) < min(by_reason["worst"])


def test_blind(open_page, runs, tmp_path):
    found = compare_evaluations(runs / "mixture", runs / "ideal-ratio-mask")
    page = open_page(write_comparison_page(found, tmp_path / "page", is_blind=True), accept_downloads=True)
    body = page.locator("body").inner_text()
    assert "ideal" not in body and "dB in the mixture" in body and page.title() == "Evaluation, blind"
    assert page.locator("#metrics").is_hidden()
    count = page.locator("article").count()
    votes = []
    for _ in range(count):  # for what is B, whichever side it is on
        side = page.evaluate("current.keptState.order.indexOf('b')")
        page.keyboard.press("xy"[side])
        votes.append(side)
        page.keyboard.press("j")
    assert page.locator("#tally").inner_text() == f"{count} of {count} voted on."
    page.reload()
    assert page.locator("#tally").inner_text() == f"{count} of {count} voted on."  # they are kept
    page.locator("article").first.get_by_role("button", name="neither").click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save votes").click()
    saved.value.save_as(tmp_path / "votes.json")
    counted = count_votes([tmp_path / "votes.json", tmp_path / "votes.json"], found)
    assert (counted.a, counted.b, counted.equal, counted.listeners) == (0, 2 * (count - 1), 2, 2)
    assert counted.p_value == pytest.approx(2 / 2 ** (2 * (count - 1)))
    page.get_by_role("button", name="Show which is which").click()
    assert (
        page.locator("#tally").inner_text().endswith(f"A (mixture): 0, B (ideal-ratio-mask): {count - 1}, neither: 1.")
    )
    assert page.locator("#metrics").is_visible()
    other = compare_evaluations(runs / "ideal-ratio-mask", runs / "mixture")
    with pytest.raises(EvaluationError, match="votes on mixture and ideal-ratio-mask, not on ideal-ratio-mask and"):
        count_votes([tmp_path / "votes.json"], other)
    (tmp_path / "votes.json").write_text("[]")
    with pytest.raises(EvaluationError, match="no votes as the page of a comparison saves them"):
        count_votes([tmp_path / "votes.json"], found)


def test_sides_are_by_chance(open_page, runs, tmp_path):
    found = compare_evaluations(runs / "mixture", runs / "ideal-ratio-mask")
    file = write_comparison_page(found, tmp_path, is_blind=True)
    orders = {open_page(file).evaluate("all.map(card => card.keptState.order[0]).join('')") for _ in range(3)}
    assert len(orders) > 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_the_dark_and_on_a_phone(open_page, runs, scheme):
    file = runs / "ideal-ratio-mask" / "index.html"
    page = open_page(file, color_scheme=scheme, viewport={"width": 360, "height": 740}, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator("article").first.get_by_role("button", name="Estimate").tap()
    plays(page, 2)
    text = page.evaluate("getComputedStyle(document.body).color")
    assert text == ("rgb(255, 255, 255)" if scheme == "dark" else "rgb(0, 0, 0)")


def test_a_label_cannot_end_the_script(tmp_path, demo):
    def separate(mixtures, sampling_rate, queries):
        return mixtures

    options = {"dataset_paths": demo / "sources", "sampling_rate": 8000, "metrics": ["sdr"]}
    name = "</script><script>throw 1</script>"
    found = evaluate_separator(separate, Subset(demo / "metadata", limit=1), tmp_path, name=name, **options)
    text = (found.folder / "index.html").read_text()
    assert name not in text and text.count("</script>") == 2
