"""Evaluations and comparisons as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..utils.tables import format_table
from .comparison import Comparison
from .metrics import LESS_IS_BETTER, METRICS
from .protocols import tell_headlines
from .votes import Votes

#: Aggregations in words.
AGGREGATIONS = {"mean": "mean", "median": "median", "class_median": "mean of labels' medians"}
#: Groups in words, and how many are shown of each kind, the largest first.
KINDS = {
    "split": "split",
    "num_sources": "number of sources",
    "snr": "SNR in the mixture",
    "corpus": "corpus",
    "level 1": "kind of sound",
    "level 2": "kind of sound",
    "label": "label",
}
_GROUPS_SHOWN = ("num_sources", "snr", "level 1")
_LABELS_SHOWN = 5


def title_of(column: str) -> str:
    """A column of scores in words.

    Example:
        >>> title_of("si_sdr_improvement"), title_of("clap")
        ('SI-SDR improvement', 'clap')
    """
    name = column.removesuffix("_improvement")
    if name not in METRICS:
        return column
    return METRICS[name].title + (" improvement" if name != column else "")


def format_evaluation(summary: Mapping[str, Any]) -> str:
    """What an evaluation comes to, as tables."""
    blocks = [_count(summary)]
    if "protocol" in summary:
        protocol = summary["protocol"]
        lines = [f"protocol {protocol['name']}", *(f"  {line}" for line in tell_headlines(summary, AGGREGATIONS))]
        lines += [f"  known: {protocol['known']}", f"  not known: {protocol['unknown']}"]
        blocks.append(
            "\n".join([*lines, *([f"  published: {protocol['published']}"] if protocol["published"] else [])])
        )
    rows = [["dB", *AGGREGATIONS.values(), "targets"]]
    for column, found in summary["metrics"].items():
        numbers = [_interval(found[name]) for name in AGGREGATIONS]
        rows.append([title_of(column), *numbers, f"{found['scored']:,} of {found['asked']:,}"])
    blocks.append(format_table(rows))
    main = next(iter(summary["metrics"]), None)
    if main is not None:
        shown = [main, f"{main}_improvement"] if f"{main}_improvement" in summary["metrics"] else [main]
        blocks += [_groups(summary, kind, shown) for kind in _GROUPS_SHOWN]
        blocks.append(_labels(summary, shown[-1]))
    blocks.append(
        "In brackets, 95 % intervals (bootstrap over mixtures). "
        f"Data {summary['data_hash'][:12]}, scored {summary['scored_hash'][:12]}."
    )
    return "\n\n".join(block for block in blocks if block)


def format_comparison(comparison: Comparison) -> str:
    """Which run is better, as a table and in words."""
    a, b = (each.summary["separator"] for each in (comparison.a, comparison.b))
    lines = [f"A: {a} ({comparison.a.folder})", f"B: {b} ({comparison.b.folder})"]
    lines.append(f"{len(comparison.table):,} targets that both have scored.")
    if comparison.only_a or comparison.only_b:
        lines.append(f"Left out: {comparison.only_a:,} that only A has scored, {comparison.only_b:,} that only B has.")
    if not comparison.is_same_data:
        lines.append(f"They were not asked alike, but differ in {', '.join(comparison.differing)}: beware.")
    rows = [["dB", "A", "B", "B - A", "better / worse / equal", "sign test", "B is"]]
    for name, found in comparison.differences.items():
        rows.append(
            [
                title_of(name),
                _number(found.a),
                _number(found.b),
                _interval(asdict(found.difference)),
                f"{found.better:,} / {found.worse:,} / {found.equal:,}",
                f"p = {found.p_value:.2g}",
                found.verdict,
            ]
        )
    note = "Counts are of mixtures. B is better, or worse, if neither 95 % interval nor sign test leaves it to chance."
    return "\n\n".join(["\n".join(lines), format_table(rows), note])


def format_votes(votes: Votes) -> str:
    """What listeners preferred, in words."""
    return (
        f"Votes of {votes.listeners:,} listener{'' if votes.listeners == 1 else 's'}: A {votes.a:,}, B {votes.b:,}, "
        f"neither {votes.equal:,}; sign test p = {votes.p_value:.2g}."
    )


def _count(summary: Mapping[str, Any]) -> str:
    text = (
        f"{summary['separator']}: {summary['asked']:,} targets of {summary['mixtures']:,} mixtures asked, "
        f"{summary['scored']:,} scored"
    )
    if summary["silent"]:
        text += f"; in {summary['silent']:,} of these silence is right, and only leakage is measured"
    lines = [text + "."]
    if summary["failed"]:
        reason, _ = next(iter(summary["errors"].items()))
        lines.append(f"Failed: {summary['failed']:,}, which no mean counts. {reason}")
    return "\n".join(lines)


def _groups(summary: Mapping[str, Any], kind: str, columns: Sequence[str]) -> str:
    groups = summary["by"][kind][columns[0]]
    if len(groups) < 2:
        return ""
    rows = [[KINDS[kind], *map(title_of, columns), "targets"]]
    for name, first in groups.items():
        numbers = [_interval(summary["by"][kind][column][name]["mean"]) for column in columns]
        rows.append([name, *numbers, f"{first['scored']:,} of {first['asked']:,}"])
    return format_table(rows)


def _labels(summary: Mapping[str, Any], column: str) -> str:
    """The best and the worst."""
    found = {name: each for name, each in summary["by"]["label"][column].items() if each["scored"]}
    ordered = sorted(found, key=lambda name: found[name]["mean"]["value"], reverse=column not in LESS_IS_BETTER)
    if len(ordered) < 2:
        return ""
    shown = ordered if len(ordered) <= 2 * _LABELS_SHOWN else [*ordered[:_LABELS_SHOWN], *ordered[-_LABELS_SHOWN:]]
    rows = [["label, best and worst", title_of(column), "targets"]]
    rows += [[name, _interval(found[name]["mean"]), f"{found[name]['scored']:,}"] for name in shown]
    return format_table(rows)


def _interval(found: Mapping[str, Any]) -> str:
    if found["value"] is None:
        return "-"
    if found["low"] is None:
        return _number(found["value"])
    return f"{_number(found['value'])} ({_number(found['low'])} to {_number(found['high'])})"


def _number(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}"  # no -0.00
