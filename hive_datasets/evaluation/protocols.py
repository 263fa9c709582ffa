"""How papers evaluate, as settings: what is known of each, and what is not."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..dataset import Subset
from ..errors import EvaluationError

#: Which number of an `Aggregate` a paper reports.
Aggregation = Literal["mean", "median", "class_median"]


@dataclass(frozen=True)
class Protocol:
    """What a paper asks of a separator, and which numbers it reports.

    Attributes:
        name: what it is called here.
        metrics: of `METRICS`.
        headlines: the numbers that the paper reports, by column: which aggregation of it.
        known: what is the paper's.
        unknown: what is not known of it, and what is done instead.
        splits, num_sources: which mixtures of metadata, if that is said.
        sampling_rate: rate in Hz; None for that of the metadata.
        segment_seconds: if mixtures are asked about in pieces.
        templates: of queries.
        published: what was reached, as the papers have it.
    """

    name: str
    metrics: tuple[str, ...]
    headlines: Mapping[str, Aggregation]
    known: str
    unknown: str
    splits: tuple[str, ...] | None = None
    num_sources: tuple[int, ...] | None = None
    sampling_rate: int | None = None
    segment_seconds: float | None = None
    templates: tuple[str, ...] = ("{label}",)
    published: str = ""

    def choose(self, dataset: Any) -> Any:
        """Of metadata, the mixtures that it is about; any other dataset as it is, and so is what a subset says itself.

        Example:
            >>> PROTOCOLS["hive-test"].choose(Subset("metadata", num_sources=[2])).splits
            ('test',)
        """
        if dataset is None or isinstance(dataset, (str, os.PathLike)):
            dataset = Subset(dataset)
        if not isinstance(dataset, Subset):
            return dataset
        splits = self.splits if dataset.splits is None else dataset.splits
        num_sources = self.num_sources if dataset.num_sources is None else dataset.num_sources
        return replace(dataset, splits=splits, num_sources=num_sources)

    def describe(self) -> dict[str, Any]:
        """For the record of an evaluation."""
        return {
            "name": self.name,
            "headlines": dict(self.headlines),
            "known": self.known,
            "unknown": self.unknown,
            "published": self.published,
        }


#: By name.
PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "hive-test",
            metrics=("sdr", "si_sdr", "sd_sdr", "leakage"),
            headlines={"sdr": "mean", "si_sdr": "mean"},
            known="Hive's test split: 100,000 mixtures of 10 s, each of their 350,000 sources asked for by its label; "
            "plain SDR and SI-SDR; AudioSep works at 32 kHz.",
            unknown="The words of the queries (here: the label alone), at which rate scores are taken (here: 32 kHz), "
            "how silence and failures count. FAD, CLAP-T, LPAPS and listening tests are not part of this.",
            splits=("test",),
            sampling_rate=32000,
            published="AudioSep trained on Hive: SDR 5.67, SI-SDR 5.02; with its first weights: 2.37, 1.58.",
        ),
        Protocol(
            "uss",
            metrics=("sdr",),
            headlines={"sdr_improvement": "class_median"},
            known="32 kHz mono, segments of 2 s, plain SDR and its improvement over the mixture; the median over the "
            "items of a class, then the mean over classes.",
            unknown="Which pairs of segments the paper mixed (here: the mixtures that are given, cut into segments), "
            "which classes (here: the labels that occur), and the query, an embedding of a class (here: the label). "
            "Segments in which the target is silent have no score here.",
            sampling_rate=32000,
            segment_seconds=2.0,
            published="SDR improvement: AudioSet 5.57, FSDKaggle2018 10.57, MUSDB18 8.12, Slakh2100 7.28.",
        ),
        Protocol(
            "2mix",
            metrics=("sdr", "si_sdr"),
            headlines={"sdr_improvement": "mean", "si_sdr": "mean"},
            known="Mixtures of two sources, both asked for; SDR improvement and SI-SDR, means over targets, as "
            "AudioSep and DCASE 2024 task 9 report them.",
            unknown="The papers' own lists of pairs: give one of yours by mix_ids. Their captions (here: the label).",
            num_sources=(2,),
        ),
        Protocol(
            "musdb18-hq",
            metrics=("sdr", "si_sdr"),
            headlines={"sdr": "mean", "sdr_improvement": "mean"},
            known="The test songs of MUSDB18-HQ, a folder each with mixture.wav and 4 stems, at 44.1 kHz; plain SDR.",
            unknown="Whether stereo is averaged before (here: yes), in which pieces songs are separated (here: 10 s), "
            "the words of the queries (here: drums, bass, other, vocals). Music papers take the median of BSS-eval "
            "over pieces of 1 s instead: metrics bss_sdr, segment_seconds 1.",
            segment_seconds=10.0,
            published="Hive's AudioSep: SDR 1.36; with its first weights: -1.01. USS: SDR improvement 8.12.",
        ),
    )
}


def find_protocol(protocol: Protocol | str | None) -> Protocol | None:
    """The protocol of a name.

    Raises:
        EvaluationError: there is none of that name.
    """
    if protocol is None or isinstance(protocol, Protocol):
        return protocol
    if protocol not in PROTOCOLS:
        raise EvaluationError(f"there is no protocol {protocol!r}, but {', '.join(PROTOCOLS)}")
    return PROTOCOLS[protocol]


def tell_headlines(summary: Mapping[str, Any], names: Mapping[str, str]) -> Sequence[str]:
    """The numbers that a protocol reports, a line each.

    Args:
        summary: of an evaluation by a protocol.
        names: of aggregations, in words.
    """
    lines = []
    for column, aggregation in summary["protocol"]["headlines"].items():
        found = summary["metrics"].get(column)
        if found is None:
            lines.append(f"{column}, {names[aggregation]}: not measured")
            continue
        value = found[aggregation]["value"]
        told = "no score" if value is None else f"{value:.2f} dB"
        lines.append(f"{column}, {names[aggregation]}: {told} ({found['scored']:,} of {found['asked']:,} targets)")
    return lines
