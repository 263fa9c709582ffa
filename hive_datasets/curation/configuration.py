"""Pipelines from configurations: what `CurationPipeline.config` gives, or a user writes as YAML.

A step is its class's name, or ``{name: {parameter: value}}``; a model, as a parameter, likewise. Classes of others are
named ``module:Class``.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_type_hints

from ..backends.protocols import AudioJudge, AudioTagger, Restorer
from ..errors import RecordError
from .pipeline import CurationPipeline
from .steps import Step

#: Where the classes are that a configuration may name: imported when they are.
STEPS = {
    "Chunk": "curation.chunk",
    "LeafLabel": "curation.judging",
    "MinScore": "curation.steps",
    "MutuallyExclusiveLabels": "curation.labels",
    "SingleEvent": "curation.judging",
    "SingleLabel": "curation.labels",
    "SuperResolve": "curation.restoring",
    "TagAudioSet": "curation.tagging",
}
BACKENDS = {
    "ApolloRestorer": "backends.apollo",
    "ClapJudge": "backends.clap",
    "OpenAIJudge": "backends.openai_judge",
    "Resample": "backends.resample",
    "SherpaTagger": "backends.sherpa",
    "TransformersJudge": "backends.transformers_judge",
    "TransformersTagger": "backends.transformers_tagger",
}


def make_pipeline(steps: Sequence[Any], on_error: Any = "reject") -> CurationPipeline:
    """The pipeline of a configuration.

    Raises:
        RecordError: it names what is not there, or a parameter that is wrong.

    Example:
        >>> pipeline = make_pipeline(["SingleLabel", {"SuperResolve": {"restorer": "Resample", "below_hz": None}}])
        >>> pipeline.config()[1]["SuperResolve"]["restorer"], make_pipeline(pipeline.config()) == pipeline
        ({'Resample': {'sampling_rate': 44100}}, True)
    """
    if isinstance(steps, str) or not isinstance(steps, Sequence):
        raise RecordError(f"steps are {steps!r:.60}: they must be a list of names, or of {{name: parameters}}")
    made = [_make(step, f"step {number}", STEPS) for number, step in enumerate(steps, start=1)]
    for number, step in enumerate(made, start=1):
        if not isinstance(step, Step):
            raise RecordError(f"step {number}: {type(step).__name__} is no step of curation")
    try:
        return CurationPipeline(made, on_error)
    except ValueError as error:
        raise RecordError(str(error)) from None


def _make(config: Any, where: str, known: Mapping[str, str]) -> Any:
    """What a configuration names, made with its parameters."""
    name: Any
    given: Any
    if isinstance(config, str):
        name, given = config, None
    elif isinstance(config, Mapping) and len(config) == 1:
        ((name, given),) = config.items()
    else:
        raise RecordError(f"{where} is {config!r:.60}: it must be a name, or {{name: parameters}}")
    kind = _find(name, where, known)
    where = f"{where}, {name}"
    if given is None:
        given = {}
    if not isinstance(given, Mapping):
        raise RecordError(f"{where}: its parameters are {given!r:.60}: they must be named")
    parameters = list(inspect.signature(kind).parameters)
    for parameter in given:
        if parameter not in parameters:
            raise RecordError(f"{where} has no parameter {parameter!r}, only {', '.join(parameters) or 'none'}")
    hints = _hints_of(kind)
    values = {
        parameter: _value(value, hints.get(parameter), f"{where}, {parameter}") for parameter, value in given.items()
    }
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise RecordError(f"{where}: {error}") from None


def _find(name: Any, where: str, known: Mapping[str, str]) -> Any:
    if isinstance(name, str) and ":" in name:
        module, _, attribute = name.partition(":")
        try:
            kind = getattr(importlib.import_module(module), attribute)
            if not inspect.isclass(kind):
                raise AttributeError(f"{name} is no class")
            return kind
        except Exception as error:  # whatever the module does
            raise RecordError(f"{where}: {name} cannot be imported: {error!r}") from None
    if name not in known:
        close = difflib.get_close_matches(str(name), known, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"There are {', '.join(known)}, or module:Class."
        raise RecordError(f"{where}: there is no {name!r}. {hint}")
    return getattr(importlib.import_module(f"hive_datasets.{known[name]}"), name)


def _hints_of(kind: Any) -> dict[str, Any]:
    try:
        return get_type_hints(kind)
    except (NameError, TypeError, AttributeError):  # of classes of others, whose hints may name what is not there
        return {}


def _value(value: Any, hint: Any, where: str) -> Any:
    """A parameter: a model where one is meant, a number where YAML takes one for a text, else what it is."""
    is_model = isinstance(value, Mapping) and len(value) == 1 and (":" in str(*value) or str(*value) in BACKENDS)
    if hint in (AudioJudge, AudioTagger, Restorer) or is_model:
        return _make(value, where, BACKENDS)
    allowed = set(get_args(hint) or [hint])
    if float in allowed and isinstance(value, str):  # as YAML reads 5e-4
        with contextlib.suppress(ValueError):
            return float(value)
    if (hint is bool and not isinstance(value, bool)) or (hint is str and not isinstance(value, str)):
        raise RecordError(f"{where} must be {'true or false' if hint is bool else 'text'}, not {value!r:.40}")
    numbers = (int, float) if float in allowed else (int,) if int in allowed else ()
    fits = (isinstance(value, numbers) and not isinstance(value, bool)) or (value is None and type(None) in allowed)
    if numbers and not fits:
        raise RecordError(f"{where} must be a {'number' if float in allowed else 'whole number'}, not {value!r:.40}")
    return value
