"""Statistics as text, and as one picture."""

from __future__ import annotations

import io
import itertools
import warnings
from collections.abc import Iterable
from typing import Any

from ..errors import HiveError
from .counting import CHUNK_BIN, SNR_BIN, Statistics

#: Characters of the longest bar of a histogram.
_BAR = 40
#: More lengths of mixtures than these are not listed one by one.
_MOST_LENGTHS = 5
#: Labels in the chart of pairs, and in that of labels.
_PICTURE_PAIRS, _PICTURE_LABELS = 30, 40


def format_statistics(found: Statistics, top: int = 20) -> str:
    """Statistics as text; of labels and pairs, the `top` most frequent."""
    splits = list(dict.fromkeys(split for split, _ in found.groups))
    numbers = sorted({num_sources for _, num_sources in found.groups})
    groups = [
        [split, *(f"{found.groups.get((split, n), 0):,}" for n in numbers), f"{_of_split(found, split):,}"]
        for split in splits
    ]
    labels = [
        [label, f"{count:,}", f"{found.label_mixtures[label]:,}"]
        for label, count in itertools.islice(found.label_sources.items(), top)
    ]
    pairs = [[" + ".join(pair), f"{count:,}"] for pair, count in itertools.islice(found.pairs.items(), top)]
    corpora = [
        [title, f"{count:,}", f"{found.corpus_mixtures[title]:,}", f"{100 * count / found.sources:.1f} %"]
        for title, count in found.corpus_sources.items()
    ]
    return "\n\n".join(
        [
            f"{found.mixtures:,} mixtures of {found.sources:,} sources, {found.seconds / 3600:,.1f} hours",
            _table(["mixtures", *(f"of {n}" for n in numbers), "all"], groups),
            _table([_headed("label", len(labels), len(found.label_sources)), "sources", "mixtures"], labels),
            _table([_headed("labels together", len(pairs), len(found.pairs)), "mixtures"], pairs),
            _table(["corpus", "sources", "mixtures", "share"], corpora),
            _histogram("SNR against the first source, dB", _by_whole(found.snr_db)),
            _histogram("length of mixtures, s", found.mixture_seconds)
            if len(found.mixture_seconds) <= _MOST_LENGTHS
            else _histogram("length of mixtures, s, from", _by_whole(found.mixture_seconds)),
            _histogram("length of chunks, s, from", found.chunk_seconds),
        ]
    )


def draw_statistics(found: Statistics) -> bytes:
    """Statistics as one picture, PNG.

    Raises:
        HiveError: matplotlib is not installed.
    """
    figure = find_matplotlib().Figure(figsize=(18, 15), layout="constrained")
    lengths = describe_lengths(found)
    title = f"{found.mixtures:,} mixtures of {found.sources:,} sources, {found.seconds / 3600:,.1f} hours: {lengths}"
    figure.suptitle(title, fontsize=15)
    grid = figure.add_gridspec(3, 4, height_ratios=[1.2, 1.2, 1])
    _draw_labels(figure.add_subplot(grid[:2, 0]), found)
    _draw_pairs(figure, figure.add_subplot(grid[:2, 1:]), found)
    _draw_bars(figure.add_subplot(grid[2, 0]), found.corpus_sources, "sources by corpus")
    _draw_groups(figure.add_subplot(grid[2, 1]), found)
    _draw_histogram(figure.add_subplot(grid[2, 2]), found.snr_db, SNR_BIN, "sources by SNR against the first, dB")
    _draw_histogram(figure.add_subplot(grid[2, 3]), found.chunk_seconds, CHUNK_BIN, "sources by length of chunk, s")
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # drawn as boxes
        figure.savefig(file, format="png", dpi=80)
    return file.getvalue()


def find_matplotlib() -> Any:
    """The module of matplotlib that draws without a screen.

    Raises:
        HiveError: it is not installed.
    """
    try:
        import matplotlib.figure
    except ImportError:
        raise HiveError("the picture needs matplotlib: pip install 'hive-datasets[plot]'") from None
    return matplotlib.figure


def describe_lengths(found: Statistics) -> str:
    """How long mixtures are, in a few words.

    Example:
        >>> from hive_datasets import Subset, compute_statistics, demo_folder
        >>> describe_lengths(compute_statistics(demo_folder() / "metadata"))
        '32 of 4 s, 8 of 10 s'
    """
    seconds = found.mixture_seconds
    if len(seconds) > _MOST_LENGTHS:
        return f"from {min(seconds):g} to {max(seconds):g} s"
    return ", ".join(f"{count:,} of {length:g} s" for length, count in seconds.items())


def _draw_labels(axes: Any, found: Statistics) -> None:
    chosen = dict(itertools.islice(found.label_sources.items(), _PICTURE_LABELS))
    _draw_bars(axes, chosen, _headed("sources by label", len(chosen), len(found.label_sources)))


def _draw_bars(axes: Any, counts: dict[str, int], title: str) -> None:
    axes.barh(range(len(counts)), list(counts.values()), color="tab:blue")
    axes.set_yticks(range(len(counts)), list(counts), fontsize=8, parse_math=False)
    axes.invert_yaxis()
    axes.set_title(title)


def _draw_pairs(figure: Any, axes: Any, found: Statistics) -> None:
    labels = [label for label, _ in itertools.islice(found.label_sources.items(), _PICTURE_PAIRS)]
    counts = [[found.pairs.get((min(a, b), max(a, b)), 0) for a in labels] for b in labels]
    image = axes.imshow(counts, cmap="magma")
    axes.set_xticks(range(len(labels)), labels, fontsize=7, rotation=90, parse_math=False)
    axes.set_yticks(range(len(labels)), labels, fontsize=7, parse_math=False)
    axes.set_title(_headed("mixtures with both labels", len(labels), len(found.label_sources)))
    figure.colorbar(image, ax=axes, shrink=0.8, label="mixtures")


def _draw_groups(axes: Any, found: Statistics) -> None:
    numbers = sorted({num_sources for _, num_sources in found.groups})
    bottom = [0] * len(numbers)
    for split in dict.fromkeys(split for split, _ in found.groups):
        counts = [found.groups.get((split, n), 0) for n in numbers]
        axes.bar([str(n) for n in numbers], counts, bottom=bottom, label=split)
        bottom = [below + count for below, count in zip(bottom, counts, strict=True)]
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.06), ncol=3, frameon=False)
    axes.set_title("mixtures by number of sources")


def _draw_histogram(axes: Any, counts: dict[float, int], width: float, title: str) -> None:
    axes.bar(list(counts), list(counts.values()), width=width, align="edge", color="tab:green")
    axes.set_title(title)


def _of_split(found: Statistics, split: str) -> int:
    return sum(count for (of_split, _), count in found.groups.items() if of_split == split)


def _by_whole(counts: dict[float, int]) -> dict[float, int]:
    """Counts of bins that are one wide."""
    whole: dict[float, int] = {}
    for lower, count in counts.items():
        whole[lower // 1] = whole.get(lower // 1, 0) + count
    return whole


def _headed(name: str, shown: int, total: int) -> str:
    return f"{name} ({shown} of {total:,})" if shown < total else name


def _histogram(title: str, counts: dict[float, int]) -> str:
    most = max(counts.values(), default=1)
    rows = [[f"{value:g}", f"{count:,}", "#" * -(-_BAR * count // most)] for value, count in counts.items()]
    return _table([title, "", ""], rows)


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    """Columns: the first and bars to the left, numbers to the right."""
    lines = [["".join(c if c.isprintable() else " " for c in cell) for cell in line] for line in [head, *rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 or cell.startswith("#") else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
