"""A verification as one self-contained HTML page."""

from __future__ import annotations

import itertools
import json
import re
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from ..utils.files import written_aside
from .report import describe_mixtures, describe_scope, format_share
from .result import CorpusSummary, Verification

#: Findings that the page holds; a report file has all.
MAX_FINDINGS = 50_000
_COUNTS = ("found", "variant", "missing", "too_short", "unreadable", "wrong")


def write_page(result: Verification, file: Path) -> None:
    """Write a verification as an HTML file that needs nothing else; it appears when it is whole."""
    page = resources.files("hive_datasets.verification").joinpath("page.html").read_text(encoding="utf-8")
    total = len(result.details)
    findings = list(itertools.islice(result.findings(), MAX_FINDINGS))
    left_out = f"The first {MAX_FINDINGS:,} of {total:,}; a report file has all." if total > MAX_FINDINGS else ""
    usable, mixtures = int(result.usable.sum()), len(result.usable)
    text = Template(page).substitute(
        level=escape(result.level),
        verdict=escape(
            f"{usable:,} of {mixtures:,} {describe_scope(result)} are usable ({format_share(usable, mixtures)})"
        ),
        legend="".join(f'<span><i class="{name}"></i>{_words(name)}</span>' for name in _COUNTS),
        corpus_heads="".join(f"<th>{_words(name)}</th>" for name in ("needed", *_COUNTS)),
        corpora="\n".join(map(_corpus_row, result.corpora)),
        mixtures="\n".join(
            _coverage_row(describe_mixtures(coverage), coverage.usable, coverage.total) for coverage in result.mixtures
        ),
        labels="\n".join(_coverage_row(coverage.label, coverage.usable, coverage.total) for coverage in result.labels),
        steps="\n".join(
            f"<li><b>{escape(step.corpus)}</b>: {escape(step.problem)}<br>{_with_links(step.advice)}"
            + (f"<br><code>{escape(step.configuration)}</code>" if step.configuration else "")
            + "</li>"
            for step in result.next_steps
        )
        or "<li>Nothing: all is there.</li>",
        left_out=left_out,
        # in a script element, "</script" ends the text, and "<!--" changes how it is read
        findings=json.dumps(findings).replace("<", "\\u003c"),
    )
    with written_aside(file) as aside:
        aside.write_text(text, encoding="utf-8", errors="surrogateescape")


def _corpus_row(summary: CorpusSummary) -> str:
    cells = "".join(f"<td>{getattr(summary, name):,}</td>" for name in ("needed", *_COUNTS))
    parts = "".join(
        f'<i class="{name}" style="width:{100 * count / summary.needed:.3f}%" title="{count:,} {_words(name)}"></i>'
        for name in _COUNTS
        if (count := getattr(summary, name))
    )
    return f'<tr><th>{escape(summary.title)}</th>{cells}<td class="chart"><div class="bar">{parts}</div></td></tr>'


def _coverage_row(name: str, usable: int, total: int) -> str:
    bar = f'<div class="bar"><i class="found" style="width:{100 * usable / total:.3f}%"></i></div>'
    return (
        f"<tr><th>{escape(name)}</th><td>{usable:,}</td><td>{total:,}</td>"
        f'<td>{format_share(usable, total)}</td><td class="chart">{bar}</td></tr>'
    )


def _with_links(text: str) -> str:
    """Text as HTML, its addresses as links.

    Example:
        >>> _with_links("Get it <here>: https://a.org/b?c&d.")
        'Get it &lt;here&gt;: <a href="https://a.org/b?c&amp;d">https://a.org/b?c&amp;d</a>.'
    """
    parts = re.split(r"(https?://[^\s<>()]*[^\s<>().,;])", text)
    links = [f'<a href="{part}">{part}</a>' for part in map(escape, parts[1::2])]
    return "".join(itertools.chain(*itertools.zip_longest(map(escape, parts[::2]), links, fillvalue="")))


def _words(name: str) -> str:
    return name.replace("_", " ")
