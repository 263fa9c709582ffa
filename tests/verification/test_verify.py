"""Verification against the oracle: what the `Mixer` can render."""

import json
import os
import warnings
import zipfile

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from datasets import load_dataset

from hive_datasets import (
    HiveError,
    MetadataUnavailableError,
    Mixer,
    Recipe,
    Source,
    SourceRootError,
    verify_sources,
)
from hive_datasets.recipe.tables import hub_from_table, table_from_recipes
from hive_datasets.sources.video import extract_audio
from hive_datasets.verification import verify
from hive_datasets.verification.checks import LEVELS, Facts
from hive_datasets.verification.memory import Memory, Seen, memory_file
from hive_datasets.verification.result import PARTLY_BAD, STATUSES
from tests.copies import own
from tests.damage import at_other_rates, rewrite
from tests.file_server import FileServer
from tests.sources.videos import write_video


@pytest.fixture
def metadata(shared):
    return shared / "mini" / "hub"


def statuses(result):
    return dict(zip(result.needs.paths, result.statuses, strict=True))


def can_render(recipe, roots):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            rendered = Mixer(roots)(recipe)
        except HiveError:
            return False
    silent = any(not stem.any() for stem in rendered["sources"])
    return bool(np.isfinite(rendered["mix"]).all()) and not silent


@pytest.mark.parametrize("level", LEVELS)
def test_everything_is_there(metadata, corpora, mini, level):
    result = verify_sources(metadata, corpora, check=level)
    low = set(at_other_rates(mini)) if level != "exists" else set()
    assert result.is_clean == (not low)
    assert {path for path, status in statuses(result).items() if status != "found"} == low
    assert {finding.path for finding in result.findings()} == low
    assert [step.corpus for step in result.next_steps] == ["Voicebank_DEMAND"] * bool(low)
    assert result.usable.all()
    assert sum(summary.needed for summary in result.corpora) == len(result.needs.paths) == 51
    assert [(m.split, m.num_sources, m.usable, m.total) for m in result.mixtures if m.split == "test"] == [
        ("test", sources, 2, 2) for sources in (2, 3, 4, 5)
    ]


def test_real_rows_of_the_published_metadata(shared, corpora):
    result = verify_sources(shared / "hive_rows.json", corpora, check="decode")
    assert result.is_clean
    assert (len(result.usable), result.usable.all()) == (12, True)


def test_every_kind_of_damage_is_told_apart(metadata, damaged, mini):
    copy, expected = damaged
    result = verify_sources(metadata, copy, check="decode")
    found = statuses(result)
    assert {path: found[path] for path in expected} == expected
    assert {status for path, status in found.items() if path not in expected} == {"found"}
    assert set(expected.values()) == set(STATUSES) - {"found", "unreachable", "other_length"}
    # a finding each, with the mixtures that it affects
    findings = {finding.path: finding for finding in result.findings()}
    assert set(findings) == set(expected)
    for path, finding in findings.items():
        rows = [recipe for recipe in mini if any(source.path == path for source in recipe.sources)]
        assert (finding.corpus, finding.status) == (path.split("/")[0], expected[path])
        assert finding.rows == len(rows) or (finding.status in PARTLY_BAD and 0 < finding.rows < len(rows))
        assert finding.detail
    assert not result.is_clean


def test_usable_mixtures_are_those_that_can_be_rendered(metadata, damaged, mini):
    """The oracle renders every mixture."""
    copy, _ = damaged
    result = verify_sources(metadata, copy, check="decode")
    usable = {(row["split"], row["mix_id"]) for row in result.usable_mixtures().to_pylist()}
    expected = {(recipe.split, recipe.mix_id) for recipe in mini if can_render(recipe, copy)}
    assert usable == expected
    assert 0 < len(expected) < len(mini)
    assert sum(mixtures.usable for mixtures in result.mixtures) == len(expected)


def test_a_file_that_is_too_short_for_some_mixtures(tmp_path, mini, copy):
    """Those that need what is there can be used, and its finding counts the others."""
    long = next(s for recipe in mini for s in recipe.sources if s.chunk_start_second > 0)
    needing = [recipe for recipe in mini if any(source.path == long.path for source in recipe.sources)]
    ends = sorted({s.chunk_end_second for recipe in needing for s in recipe.sources if s.path == long.path})
    assert len(ends) > 1
    rewrite(copy / long.path, lambda frames, rate: frames[: int(ends[0] * rate)])
    pq.write_table(hub_from_table(table_from_recipes(needing)), tmp_path / "a.parquet")
    result = verify_sources(tmp_path / "a.parquet", copy, check="header")
    expected = [can_render(recipe, copy) for recipe in needing]
    assert result.usable.tolist() == expected
    assert 0 < sum(expected) < len(expected)
    (finding,) = (finding for finding in result.findings() if finding.status != "other_rate")
    assert (finding.status, finding.rows) == ("too_short", expected.count(False))
    assert "a chunk ends at frame" in finding.detail


def test_levels_see_more_and_more(metadata, damaged):
    copy, expected = damaged
    bad = {}
    for level in LEVELS:
        found = statuses(verify_sources(metadata, copy, check=level))
        bad[level] = {path for path, status in found.items() if status != "found"}
    assert bad["exists"] < bad["header"] < bad["decode"] == set(expected)


def test_results_are_remembered_until_a_file_changes(metadata, copy, mini, monkeypatch):
    checked = []
    for name in ("check_header", "check_frames"):
        check = getattr(__import__("hive_datasets.verification.checks", fromlist=[name]), name)
        monkeypatch.setattr(
            f"hive_datasets.verification.verify.{name}",
            lambda located, *more, check=check: checked.append(located.path) or check(located, *more),
        )

    def run(level):
        checked.clear()
        return statuses(verify_sources(metadata, copy, check=level)), len(checked)

    assert run("header")[1] == 51
    assert run("header")[1] == 0
    assert run("decode")[1] == 51  # looks more closely
    assert run("decode")[1] == 0
    assert run("header")[1] == 0  # which is known too
    path = mini[0].sources[0].path
    os.utime(own(copy / path), (1, 1))
    assert run("decode")[1] == 1
    (copy / path).write_text("damaged")
    found, count = run("header")
    assert (found[path], count) == ("unreadable", 1)
    found, count = run("header")
    assert (found[path], count) == ("unreadable", 0)
    assert statuses(verify_sources(metadata, copy, check="exists"))[path] == "found"


def test_other_needs_are_decoded_again(tmp_path, mini, copy, monkeypatch):
    first, second = tmp_path / "first.parquet", tmp_path / "second.parquet"
    path = mini[0].sources[0].path
    others = [recipe for recipe in mini if path in {source.path for source in recipe.sources}]
    pq.write_table(hub_from_table(table_from_recipes(others[:1])), first)
    pq.write_table(hub_from_table(table_from_recipes(others)), second)
    assert len(others) > 1
    verify_sources(first, copy, check="decode")
    seen = []
    monkeypatch.setattr(
        "hive_datasets.verification.verify.check_frames",
        lambda located, crops: seen.append(located.path) or (Facts("ok", "", 44100, 1, 10**9), []),
    )
    verify_sources(first, copy, check="decode")
    assert seen == []
    verify_sources(second, copy, check="decode")
    assert path in seen


def test_what_was_checked_survives_an_interruption(metadata, copy, monkeypatch):
    check, seen = verify.check_header, []

    def interrupt(located):
        seen.append(located)
        if len(seen) == 20:
            raise KeyboardInterrupt
        return check(located)

    monkeypatch.setattr(verify, "check_header", interrupt)
    with pytest.raises(KeyboardInterrupt):
        verify_sources(metadata, copy, check="header", num_workers=1)
    seen.clear()
    monkeypatch.setattr(verify, "check_header", lambda located: seen.append(located) or check(located))
    assert verify_sources(metadata, copy, check="header").usable.all()
    assert len(seen) == 51 - 19


def test_only_some_splits_and_corpora(metadata, damaged, mini):
    copy, _ = damaged
    result = verify_sources(metadata, copy, splits=["test"])
    assert {mixtures.split for mixtures in result.mixtures} == {"test"}
    result = verify_sources(metadata, copy, corpora=["VoiceBank"])
    assert [summary.corpus for summary in result.corpora] == ["Voicebank_DEMAND"]
    assert result.is_clean
    concerned = [recipe for recipe in mini if any(s.path.startswith("Voicebank") for s in recipe.sources)]
    assert len(result.usable) == len(concerned)


def test_a_corpus_without_a_root_and_one_whose_root_is_wrong(metadata, corpora, tmp_path):
    roots = {folder.name: folder for folder in corpora.iterdir()}
    del roots["FSD50K"]
    roots["ESC-50-master"] = tmp_path / "nowhere"
    result = verify_sources(metadata, roots)
    summaries = {summary.corpus: summary for summary in result.corpora}
    assert summaries["FSD50K"].missing == summaries["FSD50K"].needed == 10
    assert summaries["ESC-50-master"].missing == 20
    assert summaries["FreeSound"].missing == 0
    steps = {step.corpus: step for step in result.next_steps}
    assert steps["FSD50K"].problem == "no root is configured for it"
    assert "nowhere: there is no such folder or archive" in steps["ESC-50-master"].problem
    for name in ("FSD50K", "ESC-50-master"):  # it lies beside the other roots
        assert json.loads(steps[name].configuration) == {name: str(corpora / name)}
        assert steps[name].advice.startswith(f"{corpora / name} bears its name. Get it from https://")
        assert "Licence: C" in steps[name].advice
    (step,) = verify_sources(metadata, {"ESC50": tmp_path / "none" / "x"}, corpora=["ESC50"]).next_steps
    assert "github.com/karolpiczak/ESC-50" in step.advice
    assert "Licence: CC BY-NC 3.0" in step.advice
    assert json.loads(step.configuration) == {"ESC-50-master": "/path/to/ESC-50-master"}


def test_a_root_that_is_right_but_broken(metadata, corpora, tmp_path):
    (tmp_path / "FSD50K.zip").write_bytes(b"no zip")
    roots = {folder.name: folder for folder in corpora.iterdir()} | {"FSD50K": tmp_path / "FSD50K.zip"}
    (step,) = verify_sources(metadata, roots).next_steps
    assert json.loads(step.configuration) == {"FSD50K": str(corpora / "FSD50K")}  # beside the others
    (step,) = verify_sources(metadata, {"FSD50K": tmp_path / "FSD50K.zip"}, corpora=["FSD50K"]).next_steps
    assert ("it is not a zip" in step.problem, step.configuration) == (True, None)
    (step,) = verify_sources(metadata, {"FSD50K": tmp_path / "nowhere"}, corpora=["FSD50K"]).next_steps
    assert json.loads(step.configuration) == {"FSD50K": str(tmp_path / "FSD50K.zip")}
    (step,) = verify_sources(metadata, {"ESC50": corpora / "ESC-50-master" / "audio"}, corpora=["FSD50K"]).next_steps
    assert json.loads(step.configuration) == {"FSD50K": "/path/to/FSD50K"}


def test_the_line_that_mends_a_root(metadata, corpora, tmp_path):
    roots = {folder.name: folder for folder in corpora.iterdir()}
    roots["ESC-50-master"] = corpora / "ESC-50-master" / "audio"
    roots["FSD50K"] = corpora
    result = verify_sources(metadata, roots)
    assert result.is_clean  # all is found
    for step in result.next_steps:
        assert "found by a known variant" in step.problem
        roots |= json.loads(step.configuration)
    assert {step.corpus for step in result.next_steps} == {"ESC-50-master", "FSD50K"}
    result = verify_sources(metadata, roots)
    assert set(result.statuses) == {"found"}
    assert result.next_steps == []


def test_archives_are_verified_and_remembered(metadata, corpora, tmp_path, monkeypatch):
    from tests.sources.conftest import zip_folder

    zip_folder(corpora / "ESC-50-master", tmp_path / "ESC-50-master.zip")
    options = {"dataset_paths": {"ESC50": tmp_path / "ESC-50-master.zip"}, "check": "decode", "corpora": ["ESC50"]}
    assert verify_sources(metadata, **options).is_clean
    monkeypatch.setattr("hive_datasets.verification.verify.check_frames", None)
    assert verify_sources(metadata, **options).is_clean


@pytest.fixture
def write_mixture(tmp_path):
    """Write metadata of one mixture of 4 s, of seconds of one file of AudioSet; returns its recipe and its file."""

    def write(name, start, path="AudioSet/x/a.wav", **source):
        fields = {"crop_end_second": 4.0, "chunk_start_second": start, "chunk_end_second": start + 4.0, **source}
        recipe = Recipe("a", "train", 44100, 4.0, (Source("s1", path, "Bark", 0.0, rms_gain=1.0, snr_db=0.0,
                        applied_weight=1.0, **fields),), 1.0, 0.95)  # fmt: skip
        file = tmp_path / f"{name}.parquet"
        pq.write_table(hub_from_table(table_from_recipes([recipe])), file)
        return recipe, file

    return write


def write_noise(file, seconds=10, silent=(), rate=44100):
    frames = 0.1 * np.random.default_rng(0).standard_normal(seconds * rate)
    for start, stop in silent:
        frames[start * rate : stop * rate] = 0
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, frames, rate)


def available(roots, file):
    options = {"data_dir": str(file), "available_only": True, "split": "train", "streaming": True}
    try:
        return [row["mix_id"] for row in load_dataset("hive", dataset_paths=str(roots), **options)]
    except MetadataUnavailableError as error:
        assert "can be rendered here" in str(error)
        return []


def test_a_fault_of_one_crop_is_none_of_another(tmp_path, write_mixture):
    """Whatever was checked before."""
    roots = tmp_path / "roots"
    write_noise(roots / "AudioSet" / "x" / "a.wav", silent=[(0, 4)])
    (_, silent), (good_recipe, good) = write_mixture("silent", 0.0), write_mixture("good", 5.0)
    assert verify_sources(silent, roots, check="decode").statuses == ["silent"]
    assert verify_sources(good, roots, check="header").statuses == ["found"]
    assert available(roots, good) == ["a"]
    assert Mixer(roots)(good_recipe)["mix"].any()
    assert available(roots, silent) == []
    assert verify_sources(good, roots, check="decode").statuses == ["found"]
    assert verify_sources(silent, roots, check="header").statuses == ["found"]  # which a header does not tell
    assert verify_sources(silent, roots, check="decode").statuses == ["silent"]


def test_a_fault_stays_known_when_other_crops_are_decoded(tmp_path, write_mixture):
    roots = tmp_path / "roots"
    write_noise(roots / "AudioSet" / "x" / "a.wav", silent=[(0, 4)])
    (_, silent), (_, good) = write_mixture("silent", 0.0), write_mixture("good", 5.0)
    assert verify_sources(silent, roots, check="decode").statuses == ["silent"]
    assert verify_sources(good, roots, check="decode").statuses == ["found"]
    assert (available(roots, silent), available(roots, good)) == ([], ["a"])


def test_one_file_under_two_names(tmp_path, write_mixture):
    roots = {"AudioSet": tmp_path / "roots", "Audio Set": tmp_path / "roots"}
    write_noise(tmp_path / "roots" / "x" / "a.wav", silent=[(0, 4)])
    (silent, _), (good, _) = write_mixture("silent", 0.0), write_mixture("good", 5.0, path="audioset/x/a.wav")
    for recipes in ([silent, good], [good, silent]):
        pq.write_table(hub_from_table(table_from_recipes(recipes)), tmp_path / "both.parquet")
        result = verify_sources(tmp_path / "both.parquet", roots, check="decode", rescan=True)
        assert dict(zip(result.needs.paths, result.statuses, strict=True)) == {
            "AudioSet/x/a.wav": "silent",
            "audioset/x/a.wav": "found",
        }
        assert len(available(json.dumps({k: str(v) for k, v in roots.items()}), tmp_path / "both.parquet")) == 1


def test_a_connection_that_breaks_while_decoding(tmp_path, write_mixture, monkeypatch):
    monkeypatch.setenv("HIVE_BLOCK_CACHE_BYTES", "0")
    write_noise(tmp_path / "AudioSet" / "x" / "a.wav", seconds=20)
    _, metadata = write_mixture("a", 15.0)
    with FileServer(tmp_path) as server:
        roots = {"AudioSet": f"{server.url}/AudioSet"}
        server.broken_from = 1_000_000
        assert verify_sources(metadata, roots, check="decode").statuses == ["unreachable"]
        server.broken_from = None
        assert available(json.dumps(roots), metadata) == ["a"]
        assert verify_sources(metadata, roots, check="decode").statuses == ["found"]


def test_formats_that_are_decoded_from_the_start(tmp_path, write_mixture):
    roots = tmp_path / "roots"
    write_noise(roots / "AudioSet" / "x" / "a.wav", seconds=30)
    frames, rate = soundfile.read(roots / "AudioSet" / "x" / "a.wav")
    file = roots / "AudioSet" / "x" / "a.ogg"
    soundfile.write(file, frames, rate)
    data = bytearray(file.read_bytes())
    data[len(data) // 4 : len(data) // 3] = bytes(len(data) // 3 - len(data) // 4)
    file.write_bytes(data)
    recipe, metadata = write_mixture("a", 25.0, path="AudioSet/x/a.ogg")
    result = verify_sources(metadata, roots, check="decode")
    assert result.usable.tolist() == [can_render(recipe, roots)] == [False]


def test_only_what_a_mixture_takes_of_a_long_crop_counts(tmp_path, write_mixture):
    roots = tmp_path / "roots"
    file = roots / "AudioSet" / "x" / "a.wav"
    write_noise(file)
    rewrite(file, lambda frames, rate: np.where(np.arange(len(frames))[:, None] == 6 * rate, np.nan, frames), "FLOAT")
    recipe, metadata = write_mixture("a", 0.0, crop_end_second=9.0, chunk_end_second=9.0)
    assert verify_sources(metadata, roots, check="decode").is_clean
    assert can_render(recipe, roots)


def test_a_file_too_short_for_one_mixture_stays_so(tmp_path, write_mixture):
    roots = tmp_path / "roots"
    write_noise(roots / "AudioSet" / "x" / "a.wav", seconds=5)
    (_, beyond), (_, inside) = write_mixture("beyond", 5.0), write_mixture("inside", 1.0)
    assert verify_sources(beyond, roots, check="decode").statuses == ["too_short"]
    assert verify_sources(inside, roots, check="decode").statuses == ["found"]
    assert (available(roots, beyond), available(roots, inside)) == ([], ["a"])


def test_a_repaired_archive_is_looked_at_again(tmp_path, write_mixture):
    """Its directory may say the same of every member."""
    from tests.sources.conftest import zip_folder

    write_noise(tmp_path / "AudioSet" / "x" / "a.wav")
    _, metadata = write_mixture("a", 1.0)
    roots = tmp_path / "roots"
    roots.mkdir()
    zip_folder(tmp_path / "AudioSet", roots / "AudioSet.zip", zipfile.ZIP_DEFLATED)
    whole = (roots / "AudioSet.zip").read_bytes()
    (roots / "AudioSet.zip").write_bytes(whole[:1000] + bytes(1000) + whole[2000:])
    assert verify_sources(metadata, roots, check="decode").statuses == ["unreadable"]
    assert available(roots, metadata) == []
    (roots / "AudioSet.zip").write_bytes(whole)
    assert available(roots, metadata) == ["a"]
    assert verify_sources(metadata, roots, check="decode").statuses == ["found"]


def test_what_a_connection_broke_is_not_remembered(tmp_path, write_mixture, monkeypatch):
    monkeypatch.setenv("HIVE_BLOCK_CACHE_BYTES", "0")
    write_noise(tmp_path / "AudioSet" / "x" / "a.wav")
    _, metadata = write_mixture("a", 1.0)
    with FileServer(tmp_path) as server:
        roots = {"AudioSet": f"{server.url}/AudioSet"}
        server.failures = 1000
        result = verify_sources(metadata, roots, check="decode")
        assert result.statuses[0] in ("unreachable", "missing")
        assert not result.usable.any()
        server.failures = 0
        assert verify_sources(metadata, roots, check="decode").statuses == ["found"]
        server.failures = 1000
        assert verify_sources(metadata, roots, check="decode", rescan=True).statuses != ["found"]


def test_the_configured_metadata_and_roots(corpora, monkeypatch):
    with pytest.raises(SourceRootError, match="no source roots are configured"):
        verify_sources()
    monkeypatch.setenv("HIVE_DATASET_PATHS", str(corpora))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MetadataUnavailableError):
        verify_sources("/no/such/metadata")
    with pytest.raises(ValueError, match="exists, header, decode, not 'listen'"):
        verify_sources(check="listen")
    with pytest.raises(ValueError, match="num_workers must be at least 1, not -1"):
        verify_sources(num_workers=-1)


def test_a_damaged_memory_is_made_anew(metadata, copy):
    verify_sources(metadata, copy, check="header")
    for file in memory_file(str(copy / "ESC-50-master")).parent.glob("*.sqlite"):
        file.write_bytes(b"garbage" * 1000)
    assert verify_sources(metadata, copy, check="header").usable.all()
    for file in memory_file(str(copy / "ESC-50-master")).parent.glob("*.sqlite"):
        data = file.read_bytes()
        file.write_bytes(data[:4096] + b"garbage!" * (len(data) // 8 - 512))
    assert verify_sources(metadata, copy).is_clean
    assert verify_sources(metadata, copy, check="header").usable.all()


def test_names_that_are_no_unicode_can_be_remembered(tmp_path):
    memory = Memory(str(tmp_path))
    seen = Seen(os.fsdecode(b"\xff.wav"), 1, 2, Facts("empty"), 7, ((1.0, 2.5, "silent", "detail"),))
    memory.keep([seen])
    assert list(memory) == [seen]
    memory.keep([seen._replace(version=3, crops=None, faults=())])  # it has changed, and was not decoded again
    assert list(memory) == [seen._replace(version=3, crops=None, faults=())]
    memory.close()


def test_copies_of_other_tools_at_another_rate_and_of_another_codec(tmp_path, write_mixture):
    """They can be mixed, and it is said in figures what that means."""
    roots = tmp_path / "roots"
    path = "AudioSet/audioset_data/audio/unbal_train/-_c-EF_hi__.flac"
    write_noise(roots / "AudioSet" / "Bark" / "id_-_c-EF_hi__.ogg", rate=16000)
    recipe, metadata = write_mixture("a", 0.0, path=path, chunk_end_second=10.0)
    result = verify_sources(metadata, roots, check="decode")
    (finding,) = result.findings()
    assert (finding.status, finding.detail) == (
        "other_rate",
        "16000 Hz: nothing above 8,000 Hz, and the authors' up to 22,050",
    )
    assert result.usable.all() and can_render(recipe, roots)
    write_noise(roots / "AudioSet" / "Bark" / "id_-_c-EF_hi__.ogg", rate=48000)
    (step,) = verify_sources(metadata, roots, check="header").next_steps
    assert "1 of them are of a lossy codec, so that their samples are not the authors'" in step.problem


def test_audio_of_video_that_was_cut_otherwise(tmp_path, write_mixture):
    """By more than the 10 frames that are tolerated."""
    frames = (1000 * np.random.default_rng(0).standard_normal((441_344, 1))).astype(np.int16)
    video = write_video(tmp_path / "vggsound" / "video" / "-_c-EF_hi___000010.mp4", frames, 44100)
    length = soundfile.info(extract_audio(str(video))).frames
    for missing, statuses in ((0, ["variant"]), (9, ["variant"]), (11, ["other_length"]), (-11, ["too_short"])):
        end = (length - missing + 0.5) / 44100
        _, metadata = write_mixture("a", 0.0, path="vggsound/wav/-_c-EF_hi___000010.wav", chunk_end_second=end)
        assert verify_sources(metadata, tmp_path, check="header").statuses == statuses
