"""What to do next about corpora that are not complete."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from ..errors import SourceRootError
from ..sources import find_corpus
from ..sources.catalogue import Catalogue, LocatedSource, list_named
from ..sources.storage import is_root
from .memory import recall
from .needs import corpus_of
from .result import CorpusSummary, NextStep, Verification

_AGAIN = "Fetch them again."
#: Of each status: what is wrong with the files, and what to do; those of which the source helps, marked with True.
_ADVICE = {
    "missing": ("missing", "", True),
    "too_short": ("too short", _AGAIN, True),
    "unreadable": ("unreadable", _AGAIN, True),
    "empty": ("empty", _AGAIN, True),
    "truncated": ("cut short or damaged", _AGAIN, True),
    "unreachable": (
        "not to be had now",
        "Allow them to be read, or check again when the server can be reached.",
        False,
    ),
    "ambiguous": ("ambiguous", "Several files fit each: remove or rename all but one.", False),
    "silent": ("silent where they are needed", "Fetch them again, or do without them (available_only=True).", True),
    "non_finite": ("NaN where they are needed", "Fetch them again, or do without them (available_only=True).", True),
    "other_rate": ("at another rate", "They can be mixed, but the samples are not the authors'.", True),
    "other_length": ("longer than the authors'", "They can be mixed, but may be other seconds of the clip.", True),
}


def advise(
    result: Verification,
    catalogue: Catalogue,
    broken: dict[str, str],
    unreachable: Collection[str],
    sources: dict[int, LocatedSource],
) -> list[NextStep]:
    """What to do, corpus by corpus, those with most files first.

    Args:
        result: what was found.
        catalogue: the roots.
        broken: corpora whose root cannot be opened, and why.
        unreachable: those of them whose server cannot be reached.
        sources: the files found under other names (and maybe others), by their positions in the list of paths.
    """
    positions: dict[str, dict[str, list[int]]] = {}
    for position, status in enumerate(result.statuses):
        if status != "found":
            by_status = positions.setdefault(corpus_of(result.needs.paths[position]), {})
            by_status.setdefault(status, []).append(position)
    steps = []
    for summary in result.corpora:
        if summary.corpus in unreachable:
            advice = "Nothing is known of its files: check again when the server can be reached."
            steps.append(NextStep(summary.corpus, broken[summary.corpus], advice))
        elif summary.corpus in broken:
            steps.append(_advise_on_root(summary.corpus, broken[summary.corpus], catalogue))
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
    root = catalogue.open_root(f"{name}/any")[0].storage.root
    where = where_to_get(name)
    for status, (what, advice, is_to_get) in _ADVICE.items():
        found = positions.get(status)
        if not found:
            continue
        path, (_, detail) = result.needs.paths[found[0]], result.details[found[0]]
        problem = f"{len(found):,} of {summary.needed:,} files are {what} in {root}, such as {path!r}: {detail}"
        has_wrong_root = status == "missing" and len(found) == summary.needed
        nearby = _find_nearby(catalogue, name, root) if has_wrong_root else None
        if nearby:
            yield NextStep(name, problem, f"{nearby} bears its name. {where}", _configure(name, nearby))
        else:
            yield NextStep(name, problem, " ".join(filter(None, [advice, where if is_to_get else ""])))
            where = "" if is_to_get else where  # once is enough
    variants = [sources[position] for position in positions.get("variant", [])]
    if variants:
        rules = Counter(rule for source in variants for rule in source.rules)
        named = ", ".join(f"{rule} ({count:,})" for rule, count in rules.most_common())
        mended = _mended_root(variants)
        advice = (
            "Point the root at the corpus itself." if mended else "Nothing needs to be done: they are used as they are."
        )
        problem = f"{len(variants):,} of {summary.needed:,} files are found by a known variant of their paths: {named}"
        lossy = sum(source.is_lossy for source in variants)
        if lossy:
            problem += f"; {lossy:,} of them are of a lossy codec, so that their samples are not the authors'"
        yield NextStep(name, problem, advice, _configure(name, mended) if mended else None)


def _recall_faults(summary: CorpusSummary, result: Verification, catalogue: Catalogue) -> Iterator[NextStep]:
    """What looking files up does not tell, and a look into them did once: `available_only` goes by that, too."""
    if result.level == "exists":
        opened, _ = catalogue.open_root(f"{summary.corpus}/any")
        root = opened.storage.root
        count = sum(opened.identify(seen.path) == (seen.size, seen.version) for seen in recall(root, only_faulty=True))
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


def _advise_on_root(name: str, problem: str, catalogue: Catalogue) -> NextStep:
    """What to do about a corpus that has no root, or one that cannot be opened."""
    try:
        configured, _ = catalogue.roots.match(f"{name}/any")
    except SourceRootError:
        configured = None
    nearby = _find_nearby(catalogue, name, configured)
    if nearby:
        return NextStep(name, problem, f"{nearby} bears its name. {where_to_get(name)}", _configure(name, nearby))
    is_there = configured is not None and ("://" in configured or os.path.exists(configured))
    return NextStep(name, problem, where_to_get(name), None if is_there else _configure(name, f"/path/to/{name}"))


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
            found = [path for path in list_named(place, name) if is_root(path)]
            if len(found) == 1 and found[0] != but:
                return found[0]
    return None
