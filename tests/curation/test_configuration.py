from dataclasses import dataclass, field

import pytest

from hive_datasets import RecordError
from hive_datasets.backends.openai_judge import OpenAIJudge
from hive_datasets.curation import Chunk, MinScore, SingleEvent, make_pipeline
from hive_datasets.curation.configuration import BACKENDS, STEPS, _find
from tests.curation.models import PeakJudge


def test_names_and_parameters():
    pipeline = make_pipeline(
        [
            "Chunk",
            {"Chunk": None},
            {"Chunk": {"window_seconds": 4, "min_tail_seconds": 1, "step_seconds": 2}},
            {"SingleEvent": {"judge": "tests.curation.models:PeakJudge"}},
            {"SingleEvent": {"judge": {"OpenAIJudge": {"name": "q", "concurrency": 2}}}},
            {"MinScore": {"column": "single_event", "at_least": 0.5}},
        ]
    )
    assert pipeline.steps == (
        Chunk(),
        Chunk(),
        Chunk(4, 2, 1),
        SingleEvent(PeakJudge()),
        SingleEvent(OpenAIJudge("q", concurrency=2)),
        MinScore("single_event", 0.5),
    )


def test_numbers_that_yaml_takes_for_text():
    (step,) = make_pipeline([{"Chunk": {"min_energy": "5e-4", "min_whole_energy": None}}]).steps
    assert step == Chunk(min_energy=5e-4)


def test_names_of_models_may_have_colons():
    (step,) = make_pipeline([{"SingleEvent": {"judge": {"OpenAIJudge": {"name": "llama3:latest"}}}}]).steps
    assert step.judge.name == "llama3:latest"


@pytest.mark.parametrize(("name", "known"), [(name, known) for known in (STEPS, BACKENDS) for name in known])
def test_every_name_is_there(name, known):
    assert _find(name, "", known).__name__ == name


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("Chunk", "must be a list"),
        ([], "at least one step"),
        ([3], "step 1 is 3: it must be a name"),
        (["Chnk"], "step 1: there is no 'Chnk'. Did you mean Chunk?"),
        (["Separate"], "step 1: there is no 'Separate'. There are Chunk, "),
        (["nowhere:Step"], "step 1: nowhere:Step cannot be imported"),
        (["os:getcwd"], "os:getcwd is no class"),
        (["Chunk", {"Chunk": {"window": 3}}], "step 2, Chunk has no parameter 'window', only window_seconds, "),
        ([{"Chunk": {"step_seconds": 11}}], "step 1, Chunk: step_seconds must be"),
        ([{"Chunk": {"window_seconds": "long"}}], "step 1, Chunk, window_seconds must be a number, not 'long'"),
        ([{"Chunk": {"copy": "no"}}], "step 1, Chunk, copy must be true or false, not 'no'"),
        ([{"MinScore": {"column": 3}}], "step 1, MinScore, column must be text, not 3"),
        ([{"SuperResolve": {"restorer": {"Resample": {"sampling_rate": 0}}}}], "must be a positive number of Hz"),
        ([{"Chunk": [3]}], "they must be named"),
        ([{"MinScore": {}}], "step 1, MinScore: .*missing .* 'column'"),
        ([{"SingleEvent": {"judge": {"OpenAIJudgement": {}}}}], "Did you mean OpenAIJudge?"),
        (
            [{"SingleEvent": {"judge": "qwen"}}],
            "step 1, SingleEvent, judge: there is no 'qwen'. There are ApolloRestorer, ",
        ),
        ([{"LeafLabel": {"judge": "OpenAIJudge"}}], "step 1, LeafLabel, judge, OpenAIJudge: .*'name'"),
    ],
)
def test_what_is_wrong_is_told(steps, message):
    with pytest.raises(RecordError, match=message):
        make_pipeline(steps)


@dataclass(frozen=True)
class Prompted(PeakJudge):
    prompts: dict[str, str] = field(default_factory=dict)


def test_parameters_that_look_like_models():
    pipeline = make_pipeline(
        [{"SingleEvent": {"judge": {"tests.curation.test_configuration:Prompted": {"prompts": {"dog": "woof"}}}}}]
    )
    assert pipeline.steps[0].judge.prompts == {"dog": "woof"}
    assert make_pipeline(pipeline.config()) == pipeline
