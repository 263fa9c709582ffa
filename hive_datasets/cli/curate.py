"""``hive-datasets curate``: run the steps that built Hive over recordings of one's own."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from datasets import load_dataset

from ..curation.configuration import make_pipeline
from ..curation.page import table_of, write_examples
from ..curation.records import Records
from ..curation.run import Curation, run_pipeline
from ..errors import RecordError, describe
from .arguments import add_format, parse_positive, progress_of
from .parser import add_parser
from .wording import count

_DESCRIPTION = """\
Runs steps of curation over recordings, and writes what is kept, what is dropped and why, into a folder.

CONFIG.yaml says what, and how:

  records: recordings.json     # [{"audio_path": ..., "text_label": ...}], or a folder of audio, or what
                               # load_dataset takes: {path: me/sounds, split: train, streaming: true}
  output: curated
  steps:
    - Chunk
    - SingleLabel
    - SingleEvent: {judge: {OpenAIJudge: {name: Qwen/Qwen3-Omni-30B-A3B-Instruct}}}
    - MinScore: {column: single_event, at_least: 0.5}

records and output begin at its folder, other paths where the command is run. on_error, records_per_shard (200) and
num_workers may be said, too. The report goes to standard output, progress to standard error."""

_KEYS = ("records", "output", "steps", "on_error", "records_per_shard", "num_workers")

_EXAMPLES = ["curation.yaml --limit 100", "curation.yaml --resume --out curated"]
_LEFT = "finished shards are kept: go on with --resume"


def add_command(commands: Any) -> None:
    """Add the subcommand to `main`'s parser."""
    parser = add_parser(
        commands, "curate", "make a clean corpus of weakly labelled recordings", _DESCRIPTION, _EXAMPLES, _LEFT
    )
    parser.add_argument("config", metavar="CONFIG.yaml", type=Path, help="what to do")
    parser.add_argument("-o", "--out", metavar="DIR", type=Path, help="where to (default: the config's output)")
    parser.add_argument("--resume", action="store_true", help="go on where an earlier run into this folder has ended")
    parser.add_argument("--limit", metavar="N", type=parse_positive, help="only the first N records")
    parser.add_argument(
        "--num-workers", metavar="N", type=parse_positive, help="processes (default: the config's, or 1)"
    )
    add_format(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Curate, and say what became of the records."""
    config = _read_config(options.config)
    sys.path.insert(0, str(options.config.parent.resolve()))  # where modules of one's own may be
    pipeline = make_pipeline(config["steps"], config.get("on_error", "reject"))
    result = run_pipeline(
        pipeline,
        _records_of(config["records"], options.config.parent),
        options.out or options.config.parent / Path(config["output"]).expanduser(),
        resume=options.resume,
        limit=options.limit,
        records_per_shard=_positive(config, "records_per_shard", 200),
        num_workers=options.num_workers or _positive(config, "num_workers", 1),
        progress=progress_of(options),
    )
    page = write_examples(result)
    print(json.dumps(_summary(result), indent=2) if options.format == "json" else _report(result))
    print(f"examples of what was kept and dropped: {page}", file=sys.stderr)
    return 0


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{file} cannot be read: {describe(error)}") from None
    except yaml.YAMLError as error:
        raise RecordError(f"{file} is no YAML: {error}") from None
    if not isinstance(config, dict):
        raise RecordError(f"{file} must say {', '.join(_KEYS[:3])}")
    for key in config:
        if key not in _KEYS:
            raise RecordError(f"{file}: there is no {key!r}, only {', '.join(_KEYS)}")
    for key in _KEYS[:3]:
        if not config.get(key):
            raise RecordError(f"{file} does not say {key}")
    if not isinstance(config["output"], str):
        raise RecordError(f"{file}: output is {config['output']!r:.60}: it must be the path of a folder")
    return config


def _records_of(value: Any, folder: Path) -> Records:
    """A path, or what `load_dataset` makes of a mapping."""
    if isinstance(value, str):
        return folder / Path(value).expanduser()
    if not isinstance(value, dict):
        raise RecordError(f"records are {value!r:.60}: they must be a path, or what load_dataset takes")
    if not isinstance(value.get("split"), str):
        raise RecordError("records: say which split of the dataset: {path: ..., split: train}")
    try:
        return load_dataset(**value)
    except Exception as error:  # whatever its builders raise
        cause = error.__cause__ or error  # of what they wrap, what was wrong
        raise RecordError(f"records: load_dataset cannot read {value}: {cause}") from None


def _positive(config: dict[str, Any], name: str, default: int) -> int:
    value = config.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise RecordError(f"{name} must be a whole number of at least 1, not {value!r}")
    return value


def _summary(result: Curation) -> dict[str, Any]:
    steps = {name: asdict(each) for name, each in result.counts.items()}
    return {"folder": str(result.folder), "records": result.records, "kept": result.kept, "steps": steps}


def _report(result: Curation) -> str:
    rows = [("step", "", "records"), *table_of(result)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [f"{step:<{widths[0]}}  {what:<{widths[1]}}  {number:>{widths[2]}}" for step, what, number in rows]
    before = f", {result.shards_before:,} of which were there" if result.shards_before else ""
    read, shards = count(result.records, "record"), count(result.shards, "shard")
    return "\n".join([*lines, "", f"{read} read, {result.kept:,} kept, in {shards}{before}: {result.folder}"])
