"""The registry of the corpora that Hive draws on; its entries are data, in `metadata/corpora.json`."""

from __future__ import annotations

import difflib
import functools
import json
import re
from dataclasses import dataclass
from importlib import resources
from typing import Any, NamedTuple


class ParquetRule(NamedTuple):
    """How the rows of parquet with audio in it name a corpus' clips.

    Attributes:
        column: the column that has the clip's name, with a dot before a field in it; where it is empty or a row has
            none there, the path in the column of audio, and then what is usual.
        audio: the column of audio, where there are several.
        in_folder: whether the file's folder is the last folder of the metadata path: `unbal_train` of AudioSet.
    """

    column: str = ""
    audio: str = ""
    in_folder: bool = False


@dataclass(frozen=True, slots=True)
class Corpus:
    """One source corpus of Hive.

    Attributes:
        name: this library's name of it.
        title: its name in prose.
        prefix: the first component of its paths in the metadata.
        aliases: other names that users and the authors write.
        clips: how many clips Hive's training set draws on.
        hours: their hours.
        sampling_rate: native rate in Hz; None where it varies.
        path: what its metadata paths look like.
        variants: the rules of `hive_datasets.sources.variants` by which its files may be named otherwise.
        never_in: folders whose files bear the same names and are other recordings.
        licence, homepage: where it comes from, and on which terms.
        licence_id: the Hub's identifier of the licence; "other" if it has none.
        may_be_shared: whether the licence lets others pass its audio on. Not so where it is for academic or
            non-commercial research only, or where the licence is of annotations and the audio is of YouTube's videos.
        packaging: how it is packed for download.
        parquet: how rows of parquet name its clips; None for what is usual.
    """

    name: str
    title: str
    prefix: str
    aliases: tuple[str, ...]
    clips: int
    hours: float
    sampling_rate: int | None
    path: str
    licence: str
    licence_id: str
    may_be_shared: bool
    homepage: str
    packaging: str
    variants: tuple[str, ...]
    never_in: tuple[str, ...] = ()
    parquet: ParquetRule | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that stands for this corpus."""
        return (self.name, self.prefix, self.title, *self.aliases)


@functools.cache
def list_corpora() -> tuple[Corpus, ...]:
    """The corpora of Hive, the largest first.

    Example:
        >>> [corpus.prefix for corpus in list_corpora()][:3]
        ['BBC_Sound_Effects', 'AudioSet', 'vggsound']
    """
    text = resources.files("hive_datasets.metadata").joinpath("corpora.json").read_text(encoding="utf-8")
    return tuple(Corpus(**{name: _frozen(name, value) for name, value in entry.items()}) for entry in json.loads(text))


def find_corpus(name: str) -> Corpus | None:
    """The corpus that goes by `name`, upper or lower case and with any of ``-_ `` between words; None if none does.

    Example:
        >>> find_corpus("esc_50").title
        'ESC-50'
    """
    return _corpora_by_name().get(_fold(name))


def find_nearest_name(name: str) -> str | None:
    """The name of a corpus that a name is a slip of; None if it is a corpus' own, or like none.

    Example:
        >>> find_nearest_name("Audioest"), find_nearest_name("AudioSet"), find_nearest_name("Recordings")
        ('AudioSet', None, None)
    """
    known = {_fold(each): each for corpus in list_corpora() for each in reversed(corpus.names)}
    close = [] if _fold(name) in known else difflib.get_close_matches(_fold(name), known, n=1, cutoff=0.8)
    return known[close[0]] if close else None


@functools.cache
def _corpora_by_name() -> dict[str, Corpus]:
    return {_fold(name): corpus for corpus in list_corpora() for name in corpus.names}


def _frozen(name: str, value: Any) -> Any:
    if name == "parquet":
        return ParquetRule(**value)
    return tuple(value) if isinstance(value, list) else value


def _fold(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


def name_of(name: str) -> str:
    """This library's name of a corpus; of unknown ones, the name in lower case, by which it is compared.

    Example:
        >>> name_of("esc-50"), name_of("Recordings")
        ('ESC50', 'recordings')
    """
    corpus = find_corpus(name)
    return corpus.name if corpus else name.casefold()


def title_of(path: str) -> str:
    """The title of the corpus that a metadata path belongs to; of unknown ones, the path's first component.

    Example:
        >>> title_of("vggsound/wav/abc_000010.wav")
        'VGGSound'
    """
    prefix = path.partition("/")[0]
    corpus = find_corpus(prefix)
    return corpus.title if corpus else prefix
