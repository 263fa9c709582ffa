"""What to do next about corpora that are not complete."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable

from ..errors import SourceRootError
from ..sources import find_corpus
from ..sources.catalogue import Catalogue, LocatedSource
from ..sources.roots import name_of_root
from ..sources.storage import is_archive
from .needs import corpus_of
from .result import NextStep, Verification


def advise(
    result: Verification, catalogue: Catalogue, broken: dict[str, str], sources: dict[int, LocatedSource]
) -> list[NextStep]:
    """What to do, corpus by corpus, those with most files first.

    Args:
        result: what was found.
        catalogue: the roots.
        broken: corpora whose root cannot be opened, and why.
        sources: the files that were found, by their positions in the list of paths.
    """
    steps = []
    for summary in result.corpora:
        name, bad = summary.corpus, summary.needed - summary.found - summary.variant
        where = _where_to_get(name)
        if name in broken:
            steps.append(NextStep(name, broken[name], where, _configure_otherwise(catalogue, name)))
            continue
        if bad:
            kinds = {kind: getattr(summary, kind) for kind in ("missing", "too_short", "unreadable", "wrong")}
            figures = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in kinds.items() if count)
            steps.append(NextStep(name, f"of {summary.needed:,} files: {figures}", where))
        if summary.variant:
            found = [source for source in sources.values() if corpus_of(source.path) == name and source.rules]
            rules = Counter(rule for source in found for rule in source.rules)
            named = ", ".join(f"{rule} ({count:,})" for rule, count in rules.most_common())
            root = _mended_root(found)
            advice = (
                "Point the root at the corpus itself."
                if root
                else "Nothing needs to be done: they are used under the names that they have."
            )
            problem = f"{summary.variant:,} files are found by a known variant of their paths: {named}"
            steps.append(NextStep(name, problem, advice, _configure(name, root) if root else None))
    return steps


def _where_to_get(name: str) -> str:
    corpus = find_corpus(name)
    if corpus is None:
        return "It is not one of Hive's corpora: ask whoever made the metadata."
    return f"Get it from {corpus.homepage} ({corpus.packaging}). Licence: {corpus.licence}."


def _configure(name: str, root: str) -> str:
    return json.dumps({name: root})


def _configure_otherwise(catalogue: Catalogue, name: str) -> str | None:
    """The line for a corpus that has no root, or one that cannot be opened; None if it is right and the root is not."""
    try:
        configured, _ = catalogue.roots.match(f"{name}/any")
    except SourceRootError:
        configured = None
    found = _find_nearby(catalogue, name, configured)
    if found is None and configured is not None and ("://" in configured or os.path.exists(configured)):
        return None
    return _configure(name, found or f"/path/to/{name}")


def _mended_root(sources: Iterable[LocatedSource]) -> str | None:
    """The root below which most of the files would be where the metadata says, if there is one."""
    roots: Counter[str] = Counter()
    for source in sources:
        rest = "/" + source.path.partition("/")[2]
        if source.location.endswith(rest) and "::" not in source.location:
            roots[source.location.removesuffix(rest)] += 1
    return roots.most_common(1)[0][0] if roots else None


def _find_nearby(catalogue: Catalogue, name: str, but: str | None) -> str | None:
    """A folder or archive that bears one of the corpus' names and lies where a root is, or beside one."""
    corpus = find_corpus(name)
    roots = [root for _, root in catalogue.roots.folders]
    places = [catalogue.roots.parent] if catalogue.roots.parent else [*map(os.path.dirname, roots), *roots]
    for place in dict.fromkeys(places):
        if place and os.path.isdir(place):
            for entry in sorted(os.listdir(place)):
                path = os.path.join(place, entry)
                is_named = entry == name or (corpus is not None and find_corpus(name_of_root(entry)) == corpus)
                if is_named and path != but and (os.path.isdir(path) or is_archive(path)):
                    return path
    return None
