"""``hive-datasets evaluate``: score a separator."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..backends.clap import ClapJudge
from ..backends.transformers_tagger import TransformersTagger
from ..evaluation import (
    DEFAULT_METRICS,
    METRICS,
    PROTOCOLS,
    ClapSimilarity,
    EstimateScorer,
    TagProbability,
    evaluate_separator,
)
from ..evaluation.page import PAGE_NAME
from ..evaluation.report import format_evaluation
from ..evaluation.targets import check_segment
from .arguments import (
    add_format,
    add_out,
    add_rendering,
    add_subset,
    parse_positive,
    progress_of,
    rendering_of,
    subset_of,
)
from .parser import add_parser

_DESCRIPTION = """\
Asks a separator for every source of every mixture, scores what it gives, and says how good it is.

NAME is one of
  mixture, silence, mixture-divided, ideal-ratio-mask, ideal-binary-mask    what needs no model
  module:name    a callable (mixtures, sampling_rate, queries) -> estimates, or a class that makes one: float32 arrays
                 of shape (B, T), B queries, floats of shape (B, T); tensors of PyTorch with --device
  FOLDER         WAV or FLAC files that were rendered elsewhere: FOLDER/{mix_id}.{label}.wav, {mix_id}/{label}.wav, or
                 {mix_id}.{source_id}.wav

METADATA may be a folder of stems, too: SONG/mixture.wav with vocals.wav, drums.wav, ... beside it.
DIR gets targets.parquet, a row a target; summary.json; and index.html, to look and listen. What is scored is kept."""

_EXAMPLES = [
    "--demo --separator mixture --out scores/mixture",
    "METADATA --dataset-paths PATHS --protocol hive-test --separator my_model:separate --device cuda --out scores/mine",
    "/data/musdb18hq/test --protocol musdb18-hq --separator my_model:separate --out scores/musdb",
]
_LEFT = "what is scored is kept: run it again to go on"
#: Examples to listen to.
_EXAMPLES_HEARD = 24


def add_command(commands: Any) -> None:
    """Add the subcommand to `main`'s parser."""
    parser = add_parser(commands, "evaluate", "score a separator, and listen to it", _DESCRIPTION, _EXAMPLES, _LEFT)
    parser.add_argument("--separator", metavar="NAME", required=True, help="what separates")
    add_out(parser)
    add_subset(parser)
    add_rendering(parser, stems=False)
    group = parser.add_argument_group("what is asked and measured")
    group.add_argument(
        "--protocol", metavar="NAME", choices=list(PROTOCOLS), help=f"as a paper has it: {', '.join(PROTOCOLS)}"
    )
    group.add_argument(
        "--metrics",
        metavar="METRIC",
        nargs="+",
        action="extend",
        choices=list(METRICS),
        help=f"some of {', '.join(METRICS)} (default: {' '.join(DEFAULT_METRICS)})",
    )
    group.add_argument(
        "--template",
        metavar="TEXT",
        type=_parse_template,
        nargs="+",
        action="extend",
        help='of queries, such as "the sound of {label}" (default: {label})',
    )
    group.add_argument(
        "--absent", metavar="SHARE", type=_parse_share, default=0.0, help="of the targets: labels that are not there"
    )
    group.add_argument(
        "--segment-seconds", metavar="S", type=_parse_segment, help="ask about mixtures in pieces of that length"
    )
    group.add_argument("--clap", metavar="MODEL", help="score by CLAP, too: a name on the Hub or a folder")
    group.add_argument("--tagger", metavar="MODEL", help="score by an AST tagger, too: a name on the Hub or a folder")
    group = parser.add_argument_group("how it is done")
    group.add_argument("--device", help="of PyTorch, for the separator's tensors (default: arrays of numpy)")
    group.add_argument("--batch-size", metavar="N", type=parse_positive, default=8, help="targets at once (default: 8)")
    group.add_argument(
        "--num-threads", metavar="N", type=parse_positive, default=2, help="threads that render (default: 2)"
    )
    group.add_argument(
        "--num-workers", metavar="N", type=parse_positive, default=2, help="threads that score (default: 2)"
    )
    group.add_argument(
        "--on-error",
        choices=["record", "raise"],
        default="record",
        help="of a target without an estimate: count it (default), or end there",
    )
    group.add_argument("--overwrite", action="store_true", help="replace another evaluation in DIR")
    group.add_argument("--save-estimates", metavar="DIR", type=Path, help="write every estimate, as WAV")
    group.add_argument(
        "--examples",
        metavar="N",
        type=_parse_number,
        default=_EXAMPLES_HEARD,
        help=f"examples to listen to (default: {_EXAMPLES_HEARD}; 0: none)",
    )
    add_format(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Evaluate, and say how good it is."""
    if options.save_estimates is not None and options.segment_seconds is not None:
        raise argparse.ArgumentTypeError("--save-estimates is of whole mixtures: leave --segment-seconds out")
    found = evaluate_separator(
        options.separator,
        subset_of(options),
        options.out,
        metrics=options.metrics and list(dict.fromkeys(options.metrics)),
        scorers=_scorers_of(options),
        select=_select_of(options),
        segment_seconds=options.segment_seconds,
        protocol=options.protocol,
        batch_size=options.batch_size,
        num_threads=options.num_threads,
        num_workers=options.num_workers,
        device=options.device,
        on_error=options.on_error,
        save_estimates=options.save_estimates,
        overwrite=options.overwrite,
        examples=options.examples,
        progress=progress_of(options),
        **rendering_of(options),
    )
    print(json.dumps(found.summary, indent=2) if options.format == "json" else format_evaluation(found.summary))
    print(f"to look and listen: {found.folder / PAGE_NAME}", file=sys.stderr)
    if not found.summary["failed"]:
        return 0
    print("hive-datasets: some targets failed; run it again to ask for those once more", file=sys.stderr)
    return 1


def _select_of(options: argparse.Namespace) -> Any:
    if not (options.template or options.absent):
        return None
    from ..training import SelectTarget  # whose sampler is PyTorch's, which takes its time

    return SelectTarget("all", options.template or ("{label}",), absent=options.absent)


def _scorers_of(options: argparse.Namespace) -> list[EstimateScorer]:
    device = options.device or "cpu"
    clap = [ClapSimilarity(ClapJudge(options.clap, device))] if options.clap else []
    return [*clap, *([TagProbability(TransformersTagger(options.tagger, device))] if options.tagger else [])]


def _parse_share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 0.5:
        raise argparse.ArgumentTypeError(f"{text!r} is no share from 0 to 0.5")
    return share


def _parse_template(text: str) -> str:
    if "{label}" not in text:
        raise argparse.ArgumentTypeError(f'{text!r} has no "{{label}}" in it')
    return text


def _parse_segment(text: str) -> float:
    try:
        return check_segment(float(text)) or 0.0
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no length in seconds, of at least 0.01") from None


def _parse_number(text: str) -> int:
    return 0 if text == "0" else parse_positive(text)
