"""Arguments that several commands have, and types of arguments."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from datasets.utils.py_utils import convert_file_size_to_int
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import disable_progress_bars, validate_repo_id  # type: ignore[attr-defined]

from ..dataset import Subset
from ..demo import demo_folder
from ..errors import describe
from ..export.card import check_licence
from ..export.hub import check_push, push_folder
from ..mixing import Alignment, Stems
from ..sources.downloads import SCRATCH_VARIABLE
from ..sources.servers import DEFAULT_TIMEOUT, TIMEOUT_VARIABLE, parse_timeout
from ..utils.progress import Progress, no_progress, show_progress


def add_subset(parser: argparse.ArgumentParser, has_roots: bool = True) -> None:
    """Add the arguments that say which mixtures of which metadata, and where the corpora are.

    Args:
        parser: of a command.
        has_roots: whether there are corpora; if not, METADATA is named, since other arguments stand in its place.
    """
    group = parser.add_argument_group("which mixtures")
    named: dict[str, Any] = {"nargs": "?"} if has_roots else {}
    group.add_argument(
        "metadata" if has_roots else "--metadata",
        metavar="METADATA",
        help="file, folder or URL; default: what load_dataset reads",
        **named,
    )
    group.add_argument("--demo", action="store_true", help="the demo's mixtures, of generated sounds")
    if has_roots:
        group.add_argument(
            "--dataset-paths",
            metavar="PATHS",
            help="the corpora: JSON text, a JSON file, a folder, an archive or a URL",
        )
    several: dict[str, Any] = {"nargs": "+", "action": "extend"}
    group.add_argument("--split", metavar="SPLIT", type=parse_name, **several, help="only these splits")
    group.add_argument("--num-sources", metavar="N", type=parse_positive, **several, help="only mixtures of N sources")
    group.add_argument(
        "--label", metavar="LABEL", type=parse_label, **several, help="only mixtures with one of these labels"
    )
    group.add_argument(
        "--mix-ids", metavar="FILE", type=Path, help="only the mixtures that a text file lists, a mix_id a line"
    )
    available = group.add_mutually_exclusive_group()
    if has_roots:
        available.add_argument(
            "--available-only", action="store_true", help="only mixtures whose sources are all there"
        )
    available.add_argument(
        "--available-list", metavar="FILE", help="only those that `needs` or `verify` --write-index has listed"
    )
    parser.set_defaults(dataset_paths=None, available_only=False)
    group.add_argument("--limit", metavar="N", type=parse_positive, help="only the first N mixtures")
    add_timeout(group)


def add_out(parser: argparse.ArgumentParser) -> None:
    """Add the argument that says where to write a folder."""
    parser.add_argument("-o", "--out", metavar="DIR", required=True, help="where to")


def add_workers(parser: argparse.ArgumentParser, of_what: str) -> None:
    """Add the argument that says how much is done at once."""
    parser.add_argument(
        "--num-workers", metavar="N", type=parse_positive, help=f"{of_what} at once (default: one a core)"
    )


def add_scratch(parser: argparse.ArgumentParser) -> None:
    """Add the argument that says where archives lie that are downloaded whole; see `use_timeout`."""
    parser.add_argument(
        "--scratch",
        metavar="DIR",
        help=f"where archives lie while they are gone through (default: {SCRATCH_VARIABLE}, else the user's cache)",
    )


def add_format(parser: argparse.ArgumentParser) -> None:
    """Add the argument that says how the report is written."""
    parser.add_argument(
        "--format", choices=["table", "json"], default="table", help="of the report on standard output (default: table)"
    )


def progress_of(options: argparse.Namespace) -> Progress:
    """What is told how far work is."""
    return no_progress if options.quiet else show_progress


def add_timeout(group: Any) -> None:
    """Add the argument that says how long servers are waited for; see `use_timeout`."""
    group.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=parse_seconds,
        help=f"how long a server is waited for (default: {TIMEOUT_VARIABLE}, else {DEFAULT_TIMEOUT:g})",
    )


def use_timeout(options: argparse.Namespace) -> None:
    """Put such arguments in force, if there are any: in this process and those that it starts."""
    if getattr(options, "timeout", None) is not None:
        os.environ[TIMEOUT_VARIABLE] = f"{options.timeout:g}"
    if getattr(options, "scratch", None) is not None:
        os.environ[SCRATCH_VARIABLE] = options.scratch


def subset_of(options: argparse.Namespace, limit: int | None = None) -> Subset:
    """The mixtures that such arguments ask for; `limit` where they say none."""
    if options.demo and (options.metadata or options.dataset_paths):
        raise argparse.ArgumentTypeError("--demo has metadata and sounds of its own: leave METADATA and PATHS out")
    return Subset(
        demo_folder() / "metadata" if options.demo else options.metadata,
        splits=options.split,
        num_sources=options.num_sources,
        labels=options.label,
        mix_ids=None if options.mix_ids is None else _read_lines(options.mix_ids),
        available_only=options.available_list or options.available_only,
        limit=options.limit or limit,
    )


def roots_of(options: argparse.Namespace) -> Any:
    """Where such arguments say that the corpora are."""
    return demo_folder() / "sources" if options.demo else options.dataset_paths


def add_rendering(parser: argparse.ArgumentParser, stems: bool = True) -> None:
    """Add the arguments that say how mixtures are rendered; `stems` if that can be chosen."""
    group = parser.add_argument_group("how they are rendered")
    group.add_argument("--sampling-rate", metavar="HZ", type=parse_rate, help="default: that of the metadata")
    if stems:
        group.add_argument(
            "--stems",
            choices=get_args(Stems),
            default="scaled",
            help="scaled: they sum to the mixture (default); unscaled: as the authors do, often beyond full scale",
        )
    group.add_argument(
        "--alignment",
        choices=get_args(Alignment),
        default="authors",
        help="at another rate: authors: their mixture, resampled (default); own: each source by itself, faster",
    )
    group.add_argument("--prepared", metavar="DIR", help="prepared sources; default: those of HIVE_PREPARED")


def rendering_of(options: argparse.Namespace) -> dict[str, Any]:
    """What such arguments say, and where the corpora are."""
    return {
        "sampling_rate": options.sampling_rate,
        "alignment": options.alignment,
        **({"stems": options.stems} if "stems" in options else {}),
        "dataset_paths": roots_of(options),
        # what the environment names is of other sources
        "prepared": False if options.demo and options.prepared is None else options.prepared,
    }


def add_push(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say whether to upload."""
    parser.add_argument(
        "--name", metavar="REPO", help="what the card calls it in its code, if not the name of --push-to-hub"
    )
    parser.add_argument(
        "--push-to-hub", metavar="REPO", type=parse_repository, help="upload it to this dataset repository: me/name"
    )
    parser.add_argument(
        "--private",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether a new repository is private (default: yes)",
    )


def check_push_if_asked(options: argparse.Namespace) -> None:
    """Ask the Hub first, if such arguments say that something will be uploaded."""
    if options.push_to_hub:
        check_push(options.push_to_hub)


def push_if_asked(options: argparse.Namespace, folder: Path) -> None:
    """Upload a folder, if such arguments say so, and say where it is."""
    if not options.push_to_hub:
        return
    if options.quiet:
        disable_progress_bars()
    print(f"uploaded to {push_folder(folder, options.push_to_hub, options.private)}")


def _read_lines(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()  # with a byte order mark or without
    except UnicodeDecodeError as error:
        raise argparse.ArgumentTypeError(f"{file} is no text: {error}") from None
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{file} cannot be read: {describe(error)}") from None
    found = [line for line in map(str.strip, lines) if line]
    if not found:
        raise argparse.ArgumentTypeError(f"{file} lists no mix_id")
    return found


def parse_positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or not 0 < int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1, below 2**31")
    return int(text)


def parse_name(text: str) -> str:
    """The name of a split or a corpus, and no path: METADATA is swallowed by an option of several names before it."""
    if any(character in text for character in "/\\:") or text.endswith((".json", ".jsonl", ".parquet")):
        raise argparse.ArgumentTypeError(f"{text!r} is a path, no name: METADATA comes before the options")
    return text


def parse_label(text: str) -> str:
    """A label, which may be any text but the path of something that is there; see `parse_name`."""
    if "://" in text or ("/" in text and os.path.exists(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is a path, no label: METADATA comes before the options")
    return text


def parse_seconds(text: str) -> float:
    """How long servers are waited for, in seconds."""
    try:
        return parse_timeout(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parse_rate(text: str) -> int:
    """A sampling rate in Hz."""
    if not text.isdecimal() or not 1000 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no sampling rate in Hz, such as 16000")
    return int(text)


def parse_repository(text: str) -> str:
    """The name of a repository of the Hub."""
    try:
        validate_repo_id(text)
    except HFValidationError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a repository, such as me/name: {error}") from None
    return text


def parse_licence(text: str) -> str:
    """A licence by the Hub's identifier."""
    try:
        return check_licence(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parse_port(text: str) -> int:
    """A port of TCP; 0 for any that is free."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port, which is a whole number up to 65535")
    return int(text)


def parse_size(text: str) -> int:
    """A number of bytes: digits, or such as 500MB or 2GiB."""
    if text.isdecimal() and int(text) > 0:
        return int(text)
    try:
        return int(convert_file_size_to_int(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no size in bytes, such as 500MB or 2GiB") from None


def parse_file(*suffixes: str) -> Callable[[str], Path]:
    """The type of an argument that names a file to write."""

    def check(text: str) -> Path:
        if not text.lower().endswith(suffixes):
            raise argparse.ArgumentTypeError(f"{text!r} must end with {' or '.join(suffixes)}")
        return Path(text)

    return check
