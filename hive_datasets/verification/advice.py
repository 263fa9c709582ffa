"""What to do next about corpora that are not complete."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator

from ..errors import SourceRootError
from ..sources import find_corpus
from ..sources.catalogue import Catalogue, LocatedSource, list_named
from ..sources.storage import is_archive
from .memory import count_faulty
from .needs import corpus_of
from .result import CorpusSummary, NextStep, Verification

_ADVICE = {
    "missing": "{get}",
    "too_short": "Fetch them again: {get}",
    "unreadable": "Fetch them again: {get}",
    "unreachable": "They are there, but cannot be had now: allow them to be read, or try again later.",
    "empty": "Fetch them again: {get}",
    "truncated": "Fetch them again: {get}",
    "ambiguous": "Several files fit each: remove or rename all but one.",
    "silent": "Fetch them again, or do without them (available_only=True): {get}",
    "non_finite": "Fetch them again, or do without them (available_only=True): {get}",
    "other_rate": "Their mixtures can be rendered, but with another bandwidth than the authors'. The originals: {get}",
}


def advise(
    result: Verification, catalogue: Catalogue, broken: dict[str, str], sources: dict[int, LocatedSource]
) -> list[NextStep]:
    """What to do, corpus by corpus, those with most files first.

    Args:
        result: what was found.
        catalogue: the roots.
        broken: corpora whose root cannot be opened, and why.
        sources: the files found under other names (and maybe others), by their positions in the list of paths.
    """
    positions: dict[str, dict[str, list[int]]] = {}
    for position, status in enumerate(result.statuses):
        if status != "found":
            by_status = positions.setdefault(corpus_of(result.needs.paths[position]), {})
            by_status.setdefault(status, []).append(position)
    steps = []
    for summary in result.corpora:
        if summary.corpus in broken:
            configuration = _configure_otherwise(catalogue, summary.corpus)
            steps.append(NextStep(summary.corpus, broken[summary.corpus], where_to_get(summary.corpus), configuration))
        else:
            steps.extend(_recall_faults(summary, result, catalogue))
            steps.extend(_advise_on(summary, positions.get(summary.corpus, {}), result, catalogue, sources))
    return steps


def _advise_on(
    summary: CorpusSummary,
    positions: dict[str, list[int]],
    result: Verification,
    catalogue: Catalogue,
    sources: dict[int, LocatedSource],
) -> Iterator[NextStep]:
    name = summary.corpus
    for status, advice in _ADVICE.items():
        found = positions.get(status)
        if not found:
            continue
        _, detail = result.details[found[0]]
        root = catalogue.open_root(f"{name}/any")[0].storage.root
        problem = (
            f"{len(found):,} of {summary.needed:,} files are {status.replace('_', ' ')} in {root}, "
            f"such as {result.needs.paths[found[0]]!r}: {detail}"
        )
        wrong_root = status == "missing" and len(found) == summary.needed
        nearby = _find_nearby(catalogue, name, root) if wrong_root else None
        configuration = _configure(name, nearby) if nearby else None
        yield NextStep(name, problem, advice.format(get=where_to_get(name)), configuration)
    variants = [sources[position] for position in positions.get("variant", [])]
    if variants:
        rules = Counter(rule for source in variants for rule in source.rules)
        named = ", ".join(f"{rule} ({count:,})" for rule, count in rules.most_common())
        mended = _mended_root(variants)
        advice = (
            "Point the root at the corpus itself." if mended else "Nothing needs to be done: they are used as they are."
        )
        problem = f"{len(variants):,} of {summary.needed:,} files are found by a known variant of their paths: {named}"
        yield NextStep(name, problem, advice, _configure(name, mended) if mended else None)


def _recall_faults(summary: CorpusSummary, result: Verification, catalogue: Catalogue) -> Iterator[NextStep]:
    """What looking files up does not tell, and a look into them did once: `available_only` goes by that, too."""
    if result.level == "exists":
        root = catalogue.open_root(f"{summary.corpus}/any")[0].storage.root
        count = count_faulty(root)
        if count:
            problem = (
                f"{count:,} files in {root} were found to be faulty by an earlier check, which this one does not tell"
            )
            yield NextStep(
                summary.corpus, problem, "Check again with --check header or decode: the rest is remembered."
            )


def where_to_get(name: str) -> str:
    """Where a corpus comes from, how it is packed, and under which licence."""
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
    """The one folder or archive that bears one of the corpus' names and lies where a root is, in it or beside it."""
    roots = [catalogue.roots.parent] if catalogue.roots.parent else [root for _, root in catalogue.roots.folders]
    for place in dict.fromkeys([*roots, *map(os.path.dirname, roots)]):
        if os.path.isdir(place):
            found = [path for path in list_named(place, name) if os.path.isdir(path) or is_archive(path)]
            if len(found) == 1 and found[0] != but:
                return found[0]
    return None
