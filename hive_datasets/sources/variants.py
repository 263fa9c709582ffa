"""Known ways in which a copy of a corpus differs from the metadata's paths. Pure comparison of names.

A file that is not where the metadata says may still be there under a name that differs in a known way. Which ways
are known for which corpus is data, in ``metadata/corpora.json``. A candidate is explained by the set of rules that
it needs; the one that needs the least wins. Rules are compared from the last to the first, so that any candidate
without, say, another extension goes before all with one.
"""

from __future__ import annotations

import itertools
import os
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .corpora import Corpus

#: The rules and what they mean for a file, in the order of preference.
RULES = {
    "root_too_deep": "below a root that is a folder inside the corpus",
    "root_too_shallow": "below a root that is a folder above the corpus",
    "folders": "in other folders",
    "case": "in upper or lower case",
    "spaces": "with other spaces",
    "unicode": "in another Unicode form",
    "youtube_prefix": "with a Y before the YouTube id",
    "id_prefix": "with id_ before the YouTube id",
    "times": "with other times behind the YouTube id, or the same in other words",
    "extension": "with another extension",
    "video": "as video, or as audio that PyAV reads",
    "cut": "as all of the clip that they are cut from",
}
#: What is known of a corpus that has no entry in the registry.
DEFAULT_RULES = ("root_too_deep", "root_too_shallow")
#: Extensions of audio that libsndfile reads.
AUDIO_SUFFIXES = frozenset(
    {".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64", ".rf64"}
)
#: Of files whose audio PyAV reads.
VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".webm", ".m4a", ".aac", ".wma", ".mov", ".avi"})
_LOSSY_SUFFIXES = (VIDEO_SUFFIXES - {".mp4", ".mkv", ".mov", ".avi"}) | {".mp3", ".ogg", ".oga", ".opus"}
#: A YouTube id, which may hold and begin with - and _, and what tools put around it: always by its 11 characters.
_YOUTUBE = re.compile(
    r"(?P<prefix>id_|Y)?(?P<id>[A-Za-z0-9_-]{11})(?:_(?P<start>\d+(?:\.\d+)?)(?:[-_](?P<end>\d+(?:\.\d+)?))?)?"
)
#: Times in names are seconds or milliseconds; a clip of VGGSound, of which the metadata tells only the start, has 10 s.
_UNITS, _CLIP_SECONDS = (1.0, 1000.0), 10.0

_WEIGHTS = {rule: 1 << position for position, rule in enumerate(RULES)}
_FOLDS: dict[str, Callable[[str], str]] = {
    "case": str.casefold,
    "spaces": lambda text: " ".join(text.split()),
    "unicode": lambda text: unicodedata.normalize("NFC", text),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """Candidates for a metadata path, judged.

    Attributes:
        candidates: the best ones: one, or several that nothing tells apart.
        rules: the rules that they need, in the order of `RULES`.
        others: candidates that the rules admit too, but that need more of them.
    """

    candidates: tuple[str, ...]
    rules: tuple[str, ...]
    others: tuple[str, ...] = ()


def choose(wanted: str, candidates: Iterable[str], root: str, corpus: Corpus | None) -> Choice | None:
    """The candidates that stand for a metadata path; None if none does.

    Args:
        wanted: the metadata path after its first component.
        candidates: paths relative to the root; those that are no audio are left out.
        root: the root, whose own name may be a folder of the metadata path.
        corpus: its entry in the registry, which says which rules hold.

    Example:
        >>> choose("audio/1-5-A-0.wav", ["1-5-A-0.wav", "old/1-5-A-0.wav"], "/data/ESC-50-master/audio", None)
        Choice(candidates=('1-5-A-0.wav',), rules=('root_too_deep',), others=())
    """
    ranked = []
    suffixes = {*AUDIO_SUFFIXES, *VIDEO_SUFFIXES, _suffix(wanted)}
    for candidate in candidates:
        rules = explain(wanted, candidate, root, corpus) if _suffix(candidate) in suffixes else None
        if rules is not None:
            shared = _count_shared_folders(wanted.split("/")[:-1], candidate.split("/")[:-1])
            ranked.append(((sum(_WEIGHTS[rule] for rule in rules), -shared), candidate, rules))
    if not ranked:
        return None
    ranked.sort()
    best = ranked[0][0]
    return Choice(
        candidates=tuple(candidate for rank, candidate, _ in ranked if rank == best),
        rules=ranked[0][2],
        others=tuple(candidate for rank, candidate, _ in ranked if rank != best),
    )


def explain(wanted: str, candidate: str, root: str, corpus: Corpus | None) -> tuple[str, ...] | None:
    """The rules by which a candidate stands for a path, in the order of `RULES`; None if it does not.

    Example:
        >>> from hive_datasets import find_corpus
        >>> explain("audio/unbal_train/a-B.flac", "audio/unbal_train/Ya-B.wav", "/data", find_corpus("AudioSet"))
        ('youtube_prefix', 'extension')
    """
    *wanted_folders, wanted_name = wanted.split("/")
    *folders, name = candidate.split("/")
    rules = _explain_name(wanted_name, name)
    allowed = corpus.variants if corpus is not None else DEFAULT_RULES
    if rules is None:
        return None
    rules |= _explain_folders(wanted_folders, folders, root)
    if not rules <= set(allowed) or _is_barred({*root.split("/"), *folders} - set(wanted_folders), corpus):
        return None
    return tuple(rule for rule in RULES if rule in rules)


def loose_keys(name: str) -> tuple[str, str]:
    """What a name has in common with all its variants: with and without a Y before it.

    Example:
        >>> loose_keys(" Rain.WAV")
        ('rain', 'yrain')
    """
    key = loose_key(name)
    return key, "y" + key


def loose_key(name: str) -> str:
    """A file's name without what the rules let differ."""
    stem = os.path.splitext(name)[0]
    if stem.isascii():  # as nearly all are
        stem = stem.strip() if " " not in stem else " ".join(stem.split())
        youtube = _YOUTUBE.fullmatch(stem)
        return (youtube["id"] if youtube else stem).casefold()
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", stem).casefold()).split())


def is_audio(name: str) -> bool:
    """Whether libsndfile reads a file, by its name."""
    return _suffix(name) in AUDIO_SUFFIXES


def is_lossy(name: str) -> bool:
    """Whether a file keeps no samples, by its name; that is not said of video, as which VGGSound is published."""
    return _suffix(name) in _LOSSY_SUFFIXES


def is_video(name: str) -> bool:
    """Whether PyAV reads the audio of a file, by its name."""
    return _suffix(name) in VIDEO_SUFFIXES


def cut_of(path: str) -> tuple[float, float] | None:
    """From which second to which of its clip a file is, by its name; None if that does not tell.

    Example:
        >>> cut_of("AVE_Dataset/AVE_Dataset/AVE_truncate/2iwPgYGH_Ew_0_10.wav")
        (0.0, 10.0)
    """
    youtube = _YOUTUBE.fullmatch(os.path.splitext(path.rpartition("/")[2])[0])
    return (float(youtube["start"]), float(youtube["end"])) if youtube and youtube["end"] else None


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _explain_name(wanted: str, name: str) -> set[str] | None:
    (wanted_stem, wanted_suffix), (stem, suffix) = os.path.splitext(wanted), os.path.splitext(name)
    rules = {"video" if is_video(name) else "extension"} if suffix != wanted_suffix else set()
    folds = _explain_text(wanted_stem, stem)
    if folds is None and stem.startswith("Y"):
        folds = _explain_text(wanted_stem, stem[1:])
        rules |= {"youtube_prefix"} if folds is not None else set()
    if folds is None:
        folds = _explain_youtube(wanted_stem, stem, is_video(name))
    return None if folds is None else rules | folds


def _explain_youtube(wanted: str, stem: str, is_video: bool) -> set[str] | None:
    """The rules by which two names are of the same seconds of the same video of YouTube; None if they are not.

    Example:
        >>> sorted(_explain_youtube("-_bcdefghi_", "id_-_bcdefghi__30.000-40.000", False))
        ['id_prefix', 'times']
        >>> _explain_youtube("-_bcdefghi__000010", "-_bcdefghi__20000_30000", False)
    """
    ours, theirs = _YOUTUBE.fullmatch(wanted), _YOUTUBE.fullmatch(stem)
    if ours is None or theirs is None or ours["id"] != theirs["id"] or ours["prefix"]:
        return None
    rules = {{"id_": "id_prefix", "Y": "youtube_prefix"}[theirs["prefix"]]} if theirs["prefix"] else set()
    if ours["start"] is None:
        return rules | {"times"} if theirs["start"] else rules
    start = float(ours["start"])
    end = float(ours["end"]) if ours["end"] else start + _CLIP_SECONDS
    if theirs["start"] is None:
        return rules | {"cut"} if ours["end"] and is_video else None
    for unit in _UNITS:
        if float(theirs["start"]) == start * unit and (theirs["end"] is None or float(theirs["end"]) == end * unit):
            return rules | ({"times"} if ours.group("start", "end") != theirs.group("start", "end") else set())
    return None


def _explain_text(wanted: str, text: str) -> set[str] | None:
    """The least of case, spaces and Unicode form by which two names are the same; None if they are not."""
    if wanted == text:
        return set()
    for count in range(1, len(_FOLDS) + 1):
        for rules in itertools.combinations(_FOLDS, count):
            if _fold(wanted, rules) == _fold(text, rules):
                return set(rules)
    return None


def _fold(text: str, rules: Iterable[str]) -> str:
    for rule in ("unicode", "case", "spaces"):
        if rule in rules:
            text = _FOLDS[rule](text)
    return text


def _explain_folders(wanted: list[str], folders: list[str], root: str) -> set[str]:
    if wanted == folders:
        return set()
    shared = _count_shared_folders(wanted, folders)
    if wanted[len(wanted) - shared :] == folders[len(folders) - shared :]:
        if shared == len(wanted):
            return {"root_too_shallow"}
        root_name = root.rstrip("/").rpartition("/")[2]
        if shared == len(folders) and _same_folder(wanted[-shared - 1], root_name):
            return {"root_too_deep"}
    return {"folders"}


def _count_shared_folders(wanted: list[str], folders: list[str]) -> int:
    """How many of the last folders are the same."""
    pairs = zip(reversed(wanted), reversed(folders), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: _same_folder(*pair), pairs))


def _same_folder(one: str, other: str) -> bool:
    return one == other or _fold(one, _FOLDS) == _fold(other, _FOLDS)


def _is_barred(folders: set[str], corpus: Corpus | None) -> bool:
    """Whether a file lies in a folder whose files bear the same names and are other recordings."""
    return corpus is not None and any(_fold(name, _FOLDS) in map(str.casefold, corpus.never_in) for name in folders)
