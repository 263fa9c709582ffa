import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_datasets import find_corpus, list_corpora
from hive_datasets.sources.variants import RULES, choose, explain, loose_key, loose_keys

BBC = "mnt/fast/nobackup/scratch4weeks/xm00178/WavCaps/data/waveforms/BBC_Sound_Effects_flac"
AUDIOSET = "audioset_data/audio/unbal_train"


@pytest.mark.parametrize(
    ("corpus", "wanted", "root", "candidate", "rules"),
    [
        ("ESC50", "audio/1-5-A-0.wav", "/d/ESC-50-master", "audio/1-5-A-0.wav", ()),
        ("ESC50", "audio/1-5-A-0.wav", "/d/ESC-50-master/audio", "1-5-A-0.wav", ("root_too_deep",)),
        ("BBC", f"{BBC}/1.flac", "/d/BBC_Sound_Effects_flac", "1.flac", ("root_too_deep",)),
        ("BBC", f"{BBC}/1.flac", "/d/waveforms", "BBC_Sound_Effects_flac/1.flac", ("root_too_deep",)),
        ("BBC", f"{BBC}/1.flac", "/d/sounds", "1.flac", ("folders",)),
        ("Clotho", "evaluation/a b.wav", "/d/clotho_v2/evaluation", "a b.wav", ("root_too_deep",)),
        ("ESC50", "audio/1-5-A-0.wav", "/d", "ESC-50-master/audio/1-5-A-0.wav", ("root_too_shallow",)),
        ("AudioSet", f"{AUDIOSET}/a-B.flac", "/d", "a-B.flac", ("folders",)),
        ("AudioSet", f"{AUDIOSET}/a-B.flac", "/d", f"{AUDIOSET}/Ya-B.flac", ("youtube_prefix",)),
        ("AudioSet", f"{AUDIOSET}/a-B.flac", "/d", "Ya-B.wav", ("folders", "youtube_prefix", "extension")),
        ("VGGSound", "wav/Ya_000001.wav", "/d", "wav/Ya_000001.wav", ()),
        ("AudioSet", f"{AUDIOSET}/a-B.flac", "/d", f"{AUDIOSET}/A-b.flac", None),  # another video
        ("Clotho", "evaluation/Rain.wav", "/d", "evaluation/rain.WAV", ("case", "extension")),
        ("Clotho", "evaluation/ Rain  one.wav", "/d", "evaluation/Rain one.wav", ("spaces",)),
        ("Clotho", "evaluation/é.wav", "/d", unicodedata.normalize("NFD", "evaluation/é.wav"), ("unicode",)),
        ("Clotho", "evaluation/ É.wav", "/d", "e\u0301.flac", ("folders", "case", "spaces", "unicode", "extension")),
        ("Voicebank", "clean_trainset_28spk_wav/p1.wav", "/d", "p1.wav", ("folders",)),
        ("Voicebank", "clean_trainset_28spk_wav/p1.wav", "/d", "noisy_trainset_28spk_wav/p1.wav", None),
        ("Voicebank", "clean_trainset_28spk_wav/p1.wav", "/d/noisy_trainset_28spk_wav", "p1.wav", None),
        ("SoundBible", "x/SoundBible_flac/1001.flac", "/d", "FreeSound_flac/1001.flac", None),
        ("FSD50K", "FSD50K.dev_audio/1.wav", "/d", "FSD50K.dev_audio/2.wav", None),
        ("ESC50", "audio/a.wav", "/d", "audio/ a.wav", None),  # no rule of this corpus
        # as popular tools leave clips of YouTube, whose ids hold - and _, and may begin with them
        ("AudioSet", f"{AUDIOSET}/-_c-EF_hi__.flac", "/d", "id_-_c-EF_hi__.m4a", ("folders", "id_prefix", "video")),
        (
            "AudioSet",
            f"{AUDIOSET}/-_c-EF_hi__.flac",
            "/d",
            "Bark/-_c-EF_hi___30-40.ogg",
            ("folders", "times", "extension"),
        ),
        ("AudioSet", f"{AUDIOSET}/-_c-EF_hi__.flac", "/d", f"{AUDIOSET}/-_c-EF_hi___30000_40000.flac", ("times",)),
        ("AudioSet", f"{AUDIOSET}/-_c-EF_hi__.flac", "/d", "c/-_c-EF_hi___30.wav", ("folders", "times", "extension")),
        ("AudioSet", f"{AUDIOSET}/-_c-EF_hi__.flac", "/d", f"{AUDIOSET}/_c-EF_hi___.flac", None),
        ("AudioSet", f"{AUDIOSET}/id_b-EF_hi_.flac", "/d", f"{AUDIOSET}/id_b-EF_hi_.flac", ()),
        ("VGGSound", "wav/-_c-EF_hi___000010.wav", "/d", "video/-_c-EF_hi___000010.mp4", ("folders", "video")),
        ("VGGSound", "wav/-_c-EF_hi___000010.wav", "/d", "wav/-_c-EF_hi___10_20.wav", ("times",)),
        ("VGGSound", "wav/-_c-EF_hi___000010.wav", "/d", "wav/-_c-EF_hi___10000_20000.wav", ("times",)),
        ("VGGSound", "wav/-_c-EF_hi___000010.wav", "/d", "wav/-_c-EF_hi___20000_30000.wav", None),
        ("VGGSound", "wav/-_c-EF_hi___000010.wav", "/d", "wav/-_c-EF_hi___000020.wav", None),
        ("VGGSound", "wav/-_c-EF_hi___000010.wav", "/d", "wav/-_c-EF_hi__.wav", None),  # which seconds of it?
        ("AVE", "AVE_truncate/-_c-EF_hi___2_9.wav", "/d", "AVE_truncate/-_c-EF_hi__.mp4", ("video", "cut")),
        ("AVE", "AVE_truncate/-_c-EF_hi___2_9.wav", "/d", "AVE_truncate/-_c-EF_hi___2_9.mp4", ("video",)),
        ("AVE", "AVE_truncate/-_c-EF_hi___2_9.wav", "/d", "AVE_truncate/-_c-EF_hi___2_8.wav", None),
        ("FreeSound", "x/FreeSound_flac/12345678901.flac", "/d", "id_12345678901.flac", None),  # no ids of YouTube
        (None, "x/a.wav", "/d/x", "a.wav", ("root_too_deep",)),
        (None, "x/a.wav", "/d", "y/a.wav", None),
    ],
)
def test_rules(corpus, wanted, root, candidate, rules):
    corpus = corpus and find_corpus(corpus)
    assert explain(wanted, candidate, root, corpus) == rules
    if rules is not None:
        assert loose_key(candidate.rpartition("/")[2]) in loose_keys(wanted.rpartition("/")[2])


def test_every_rule_of_the_registry_is_known():
    assert {rule for corpus in list_corpora() for rule in corpus.variants} == set(RULES)


def test_the_candidate_that_needs_the_least_wins():
    corpus = find_corpus("AudioSet")
    candidates = ["x/a-B.wav", f"{AUDIOSET}/Ya-B.flac", "y/a-B.flac", f"{AUDIOSET}/a-B.wav"]
    choice = choose(f"{AUDIOSET}/a-B.flac", candidates, "/d", corpus)
    assert (choice.candidates, choice.rules) == (("y/a-B.flac",), ("folders",))
    # ... then a Y, then another extension: the last rules weigh most
    assert choice.others == (f"{AUDIOSET}/Ya-B.flac", f"{AUDIOSET}/a-B.wav", "x/a-B.wav")
    assert choose("a.flac", ["b.flac"], "/d", corpus) is None


def test_more_folders_in_common_win_and_equals_are_all_told():
    corpus = find_corpus("AudioSet")
    wanted = f"{AUDIOSET}/a.flac"
    assert choose(wanted, ["x/a.flac", "x/unbal_train/a.flac"], "/d", corpus).candidates == ("x/unbal_train/a.flac",)
    assert choose(wanted, ["y/a.flac", "x/a.flac"], "/d", corpus).candidates == ("x/a.flac", "y/a.flac")


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(names, st.sampled_from(["wav", "flac"]), st.sampled_from(["", " ", "  "]), st.booleans())
def test_a_variant_of_any_name_is_found_and_explained(stem, suffix, space, decomposed):
    """What the loose key lets an index find, the rules explain."""
    corpus = find_corpus("Clotho")
    wanted = f"{stem}.wav"
    name = space + (unicodedata.normalize("NFD", stem) if decomposed else stem) + "." + suffix
    assert loose_key(name) == loose_key(wanted)
    assert explain(wanted, name, "/d", corpus) is not None


@given(
    st.text("abYZ019-_", min_size=11, max_size=11),
    st.sampled_from(["{}", "Y{}", "id_{}", "{}_30", "{}_30.000", "{}_30-40", "{}_30.000-40.000", "{}_30000_40000"]),
)
def test_an_id_of_youtube_is_found_whatever_is_around_it(youtube_id, pattern):
    """By its 11 characters, whatever they are; and no other is taken for it."""
    corpus = find_corpus("AudioSet")
    name = f"{pattern.format(youtube_id)}.wav"
    assert loose_key(name) in loose_keys(f"{youtube_id}.flac")
    assert explain(f"x/{youtube_id}.flac", f"x/{name}", "/d", corpus) is not None
    other = youtube_id[::-1]
    if other != youtube_id:
        assert explain(f"x/{other}.flac", f"x/{name}", "/d", corpus) is None
