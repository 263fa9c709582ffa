"""What mixtures need, as text for a terminal."""

from __future__ import annotations

from ..utils.tables import format_table
from .needs import CorpusNeeds, Requirements


def format_requirements(needs: Requirements) -> str:
    """As a table of corpora, and where each is to be had."""
    rows = [["corpus", "files", "there", "hours", "download", "prepared"]]
    rows += [_row(each) for each in needs.corpora]
    rows.append(_total(needs.corpora))
    chosen, total = needs.mixtures
    parts = [f"{chosen:,} of {total:,} mixtures need", format_table(rows), "Downloads are estimates."]
    for each in needs.corpora:
        where, login = each.where or "no program may get it", each.login or "not needed"
        lines = [f"{each.title}: {where}. Licence: {each.licence or 'unknown'}. Login: {login}."]
        lines += [f"    {each.note}"] if each.note else []
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _row(each: CorpusNeeds) -> list[str]:
    return [
        each.title,
        f"{each.files:,}",
        "?" if each.there is None else f"{each.there:,}",
        f"{each.seconds / 3600:,.1f}",
        "by hand" if each.download_bytes is None else format_size(each.download_bytes),
        format_size(each.prepared_bytes),
    ]


def _total(corpora: tuple[CorpusNeeds, ...]) -> list[str]:
    there = [each.there for each in corpora if each.there is not None]
    downloads = [each.download_bytes for each in corpora]
    return [
        "total",
        f"{sum(each.files for each in corpora):,}",
        f"{sum(there):,}" if there else "?",
        f"{sum(each.seconds for each in corpora) / 3600:,.1f}",
        format_size(sum(size or 0 for size in downloads)) + (" + ?" if None in downloads else ""),
        format_size(sum(each.prepared_bytes for each in corpora)),
    ]


def format_size(num_bytes: float) -> str:
    """Bytes in words.

    Example:
        >>> format_size(999), format_size(1_500_000), format_size(2.44e12)
        ('0.0 MB', '1.5 MB', '2.44 TB')
    """
    if num_bytes >= 1e12:
        return f"{num_bytes / 1e12:,.2f} TB"
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.1f} MB"
