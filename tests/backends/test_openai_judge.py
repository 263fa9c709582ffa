import base64
import io
import json
import os
import re
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest
import soundfile

from hive_datasets import BackendError
from hive_datasets.backends import AudioJudge, Clip, Question
from hive_datasets.backends.openai_judge import OpenAIJudge
from hive_datasets.curation import LeafLabel, SingleEvent
from tests.curation.models import tone
from tests.local_server import LocalServer

pytest.importorskip("openai")

QUESTION = Question("One sound?", ("True", "False"), ("one", "several"))
CLIPS = [Clip(np.full(44100, level, np.float32), 44100) for level in (0.1, 0.3, 0.5)]


def completion(text, likely=None):
    """A reply as vLLM gives it; `likely` are the first token's candidates, one of which the text begins with."""
    logprobs = None
    if likely is not None:
        top = [{"token": token, "logprob": float(np.log(p)), "bytes": None} for token, p in likely.items()]
        said = next(each for each in top if text.startswith(each["token"] or "?"))
        logprobs = {"content": [{**said, "top_logprobs": top}], "refusal": None}
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": logprobs}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}


class Server(LocalServer):
    """Checks what it is sent, and answers as `reply` says: of a request, a status and a body.

    Asked for its models, it tells them, or that it is broken.
    """

    def __init__(self, reply, models=503):
        self.requests, self.at_once, self.most_at_once, self.lock = [], 0, 0, threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server.lock:
                    server.requests.append(request)
                    server.at_once += 1
                    server.most_at_once = max(server.most_at_once, server.at_once)
                try:
                    assert self.path == "/v1/chat/completions"
                    status, body = reply(request, len(server.requests))
                    data = body if isinstance(body, bytes) else json.dumps(body).encode()
                finally:
                    with server.lock:
                        server.at_once -= 1
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                if status in (429, 500, 503):
                    self.send_header("retry-after-ms", "1")
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self):
                assert self.path == "/v1/models"
                data = json.dumps({"object": "list", "data": []}).encode()
                self.send_response(models)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments):
                pass

        super().__init__(Handler)

    def judge(self, **options):
        return OpenAIJudge("m", f"{self.url}/v1", **{"cache": "", **options})


def samples_of(request):
    """The audio of a request, and what else it says."""
    (message,) = request["messages"]
    audio, text = message["content"]
    assert (message["role"], audio["type"], text["type"]) == ("user", "input_audio", "text")
    assert audio["input_audio"]["format"] == "wav"
    return *soundfile.read(io.BytesIO(base64.b64decode(audio["input_audio"]["data"]))), text["text"]


def error(status, message):
    return status, {"error": {"message": message, "type": "error", "code": status}}


def by_level(request, number):
    samples, _, _ = samples_of(request)
    level = float(np.median(samples))
    return 200, completion(
        "True" if level > 0.2 else "False", {"True": level, " True": 0.1, "False": 0.2, "Maybe": 0.1}
    )


def test_what_is_sent_and_what_comes_back():
    with Server(by_level) as server:
        judge = server.judge()
        answers = judge.ask(CLIPS, [QUESTION] * 3)
    assert isinstance(judge, AudioJudge)
    assert [answer.choice for answer in answers] == ["False", "True", "True"]
    for answer, level in zip(answers, (0.1, 0.3, 0.5), strict=True):
        expected = (level + 0.1) / (level + 0.3)
        assert answer.probabilities == pytest.approx({"True": expected, "False": 1 - expected}, abs=1e-3)
    for request in server.requests:
        samples, rate, text = samples_of(request)
        assert (rate, len(samples), text) == (16000, 16000, "One sound?")
        assert request["structured_outputs"] == {"choice": ["True", "False"]}
        assert (request["logprobs"], request["temperature"], request["model"]) == (True, 0, "m")
        assert request["top_logprobs"] > 1


def test_servers_that_do_not_know_everything():
    """Each is asked without what it refuses."""

    def refuse(request, number):
        if "structured_outputs" in request:
            return error(400, "Unrecognized request argument: structured_outputs")
        if "logprobs" in request:
            return error(400, "This model does not support logprobs")
        return 200, completion(" true.\n")

    with Server(refuse) as server:
        (answer,) = server.judge().ask(CLIPS[:1], [QUESTION])
        assert (answer.choice, answer.probabilities) == ("True", {})
        assert len(server.requests) == 3
        server.judge(structured=False).ask(CLIPS[:1], [QUESTION])
    assert "structured_outputs" not in server.requests[3]


def test_numbers_that_begin_alike_have_no_probabilities():
    question = Question("Which?", ("1", "10", "-1"), ("a", "b", "c"))
    with Server(lambda request, number: (200, completion("10", {"1": 0.9, "-": 0.1}))) as server:
        (answer,) = server.judge().ask(CLIPS[:1], [question])
    assert (answer.choice, answer.probabilities) == ("10", {})


@pytest.mark.parametrize(
    ("text", "likely", "probabilities"),
    [
        ("true", {"true": 0.95, "False": 0.03}, {"True": 0.95 / 0.98, "False": 0.03 / 0.98}),
        ("TRUE", {"TR": 0.6, "F": 0.2}, {"True": 0.75, "False": 0.25}),
        ('"True"', {'"': 0.9, "False": 0.0003, "True": 0.0001}, {}),
        ("True", {"True": 0.5, None: 0.1}, {"True": 1.0, "False": 0.0}),
    ],
)
def test_probabilities_are_those_of_what_was_said(text, likely, probabilities):
    with Server(lambda request, number: (200, completion(text, likely))) as server:
        (answer,) = server.judge().ask(CLIPS[:1], [QUESTION])
    assert answer.choice == "True" and answer.probabilities == pytest.approx(probabilities, abs=1e-6)


@pytest.mark.parametrize("status", [500, None])
def test_one_clip_that_the_server_fails_for(status):
    """Every time, by an error or by being too slow: it is that clip's problem, and the others are answered."""
    released = threading.Event()

    def reply(request, number):
        if float(np.median(samples_of(request)[0])) < 0.2:
            if status is None:
                released.wait(60)
            return error(500, "out of memory")
        return by_level(request, number)

    with Server(reply, models=200) as server:
        judge = server.judge(max_retries=1, timeout=0.5 if status is None else 30)
        answers = [judge.ask([clip], [QUESTION])[0] for clip in CLIPS]
        released.set()
    assert [answer.choice for answer in answers] == [None, "True", "True"]
    message = "fails, 2 times tried: .*out of memory" if status else r"does not answer \(.*\), 2 times tried"
    assert re.search(f"^no answer: the server {message}", answers[0].problem)


def test_a_server_that_fails_for_all():
    """That it tells its models is not enough."""
    with Server(lambda request, number: error(500, "broken"), models=200) as server:
        judge = server.judge(max_retries=0, concurrency=1)
        assert all(answer.choice is None for answer in judge.ask(CLIPS[:1] * 7, [QUESTION] * 7))
        with pytest.raises(BackendError, match=r"fails, 1 times tried: .*broken"):
            judge.ask(CLIPS[:1], [QUESTION])


def test_failures_here_and_there():
    """However many, as long as others are answered between them."""
    with Server(
        lambda request, number: by_level(request, number) if number % 2 else error(500, "?"), models=200
    ) as server:
        answers = server.judge(max_retries=0, concurrency=1).ask(CLIPS[1:2] * 20, [QUESTION] * 20)
    assert [answer.choice for answer in answers] == ["True", None] * 10


@pytest.mark.parametrize("status", [429, 500, 503])
def test_each_clip_is_tried_again_by_itself(status):
    failed = set()

    def fail_once(request, number):
        key = json.dumps(request["messages"])
        if key not in failed:
            failed.add(key)
            return error(status, "busy")
        return by_level(request, number)

    with Server(fail_once) as server:
        answers = server.judge(max_retries=2).ask(CLIPS, [QUESTION] * 3)
        assert [answer.choice for answer in answers] == ["False", "True", "True"]
        assert len(server.requests) == 6


def test_so_many_at_once_and_no_more():
    together = threading.Barrier(3, timeout=30)

    def wait(request, number):
        together.wait()  # passes only if three are there at once
        return by_level(request, number)

    with Server(wait) as server:
        assert len(server.judge(concurrency=3).ask(CLIPS * 4, [QUESTION] * 12)) == 12
    assert server.most_at_once == 3


def test_one_answer_that_is_nonsense_costs_no_other():
    replies = {
        0.1: (200, completion("I hear a dog")),
        0.3: (200, completion("True")),
        0.5: (200, {**completion("True"), "choices": []}),
        0.7: (200, completion(None)),
        0.9: error(413, "too long"),
        -0.5: error(400, "audio cannot be decoded"),
    }

    def reply(request, number):
        return replies[round(float(np.median(samples_of(request)[0])), 1)]

    clips = [Clip(np.full(16000, level, np.float32), 16000) for level in replies]
    with Server(reply) as server:
        answers = server.judge(max_retries=0).ask(clips, [QUESTION] * len(clips))
    assert [answer.choice for answer in answers] == [None, "True", None, None, None, None]
    problems = [
        "'I hear a dog' is none",
        "",
        "has no choices",
        "'' is none",
        "refuses it: .*too long",
        "cannot be decoded",
    ]
    for answer, problem in zip(answers, problems, strict=True):
        assert not problem or re.search(f"^no answer: .*{problem}", answer.problem)


def test_a_reply_that_is_no_json():
    with Server(lambda request, number: (200, b"<html>gateway</html>")) as server:
        (answer,) = server.judge(max_retries=0).ask(CLIPS[:1], [QUESTION])
    assert answer.choice is None and answer.problem.startswith("no answer: ")


@pytest.mark.parametrize(
    ("status", "message"), [(401, "no such key"), (403, "not allowed"), (404, "no such model"), (500, "broken")]
)
def test_what_concerns_all_clips_ends_the_run(status, message):
    with Server(lambda request, number: error(status, message)) as server, pytest.raises(BackendError, match=message):
        server.judge(max_retries=1).ask(CLIPS, [QUESTION] * 3)
    assert len(server.requests) >= 1


def test_a_server_that_is_down():
    with Server(by_level) as server:
        judge = server.judge(max_retries=0)
    with pytest.raises(BackendError, match=r"http://127.0.0.1:\d+/v1 does not answer .*, 1 times tried: is the server"):
        judge.ask(CLIPS, [QUESTION] * 3)


def test_a_server_that_hangs():
    released = threading.Event()

    def hang(request, number):
        released.wait(30)
        return by_level(request, number)

    with Server(hang) as server:
        begun = time.monotonic()
        with pytest.raises(BackendError, match=r"does not answer .*[Tt]ime"):
            server.judge(max_retries=0, timeout=0.2, concurrency=1).ask(CLIPS[:1], [QUESTION])
        assert time.monotonic() - begun < 20
        released.set()


def test_answers_are_kept(tmp_path):
    """By samples, question and model: what was answered is not asked again, what failed is."""
    cache = str(tmp_path / "deep" / "answers.sqlite")
    with Server(by_level) as server:
        judge = server.judge(cache=cache)
        first = judge.ask(CLIPS, [QUESTION] * 3)
        assert judge.ask(CLIPS, [QUESTION] * 3) == first and len(server.requests) == 3
        other = Question("Another?", QUESTION.choices, QUESTION.captions)
        judge.ask(CLIPS[:1], [other])
        judge.ask([Clip(CLIPS[0].samples, 48000)], [QUESTION])
        OpenAIJudge("n", judge.base_url, cache=cache).ask(CLIPS[:1], [QUESTION])
        assert len(server.requests) == 6
    with Server(lambda request, number: (200, completion("perhaps"))) as server:
        judge = server.judge(cache=str(tmp_path / "other.sqlite"))
        judge.ask(CLIPS[:1], [QUESTION])
        judge.ask(CLIPS[:1], [QUESTION])
        assert len(server.requests) == 2


def test_servers_have_answers_of_their_own(tmp_path):
    for said in ("True", "False"):
        with Server(lambda request, number, said=said: (200, completion(said))) as server:
            judge = server.judge(cache=str(tmp_path / "answers.sqlite"))
            assert judge.ask(CLIPS[:1], [QUESTION])[0].choice == said


def test_ctrl_c_does_not_wait_for_a_server(monkeypatch):
    monkeypatch.setattr("hive_datasets.utils.threads._PATIENCE_SECONDS", 0.2)
    released, asked = threading.Event(), threading.Event()

    def hang(request, number):
        asked.set()
        released.wait(60)
        return by_level(request, number)

    def interrupt():
        asked.wait(30)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with Server(hang) as server:
        threading.Thread(target=interrupt, daemon=True).start()
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            server.judge().ask(CLIPS, [QUESTION] * 3)
        assert time.monotonic() - begun < 30
        released.set()
    signal.signal(signal.SIGINT, before)


def test_a_cache_that_is_damaged(tmp_path):
    (tmp_path / "answers.sqlite").write_text("no database")
    with Server(by_level) as server, pytest.raises(BackendError, match=r"answers.sqlite: .* Remove it"):
        server.judge(cache=str(tmp_path / "answers.sqlite")).ask(CLIPS[:1], [QUESTION])


def test_the_steps():
    def reply(request, number):
        text = samples_of(request)[2]
        if "True or False" in text:
            return 200, completion("True", {"True": 0.75, "False": 0.25})
        numbers = {line.partition(": ")[2]: line.partition(": ")[0] for line in text.splitlines() if ": " in line}
        return 200, completion(numbers["Male speech, man speaking"])

    batch = {"audio": [tone(1, channels=2), "gone.wav"], "labels": [["Speech"], ["Speech"]]}
    with Server(reply) as server:
        events = SingleEvent(server.judge())(batch)
        leaves = LeafLabel(server.judge())(batch)
    assert events["single_event_score"][0] == pytest.approx(0.75)
    assert leaves["labels"] == [["Male speech, man speaking"], ["Speech"]]
    assert leaves["leaf_label_reason"] == ["", "unreadable: gone.wav: there is no such file"]
    assert leaves["leaf_label_version"][0] == f"{server.url}/v1"


def test_numbers_out_of_range():
    for options in ({"concurrency": 0}, {"max_retries": -1}, {"timeout": 0}):
        with pytest.raises(ValueError, match="must be at least 1"):
            OpenAIJudge("m", **options)


@pytest.mark.parametrize("base_url", [8000, "localhost:8000/v1"])
def test_addresses_that_are_none(base_url):
    with pytest.raises(ValueError, match="must begin with http:// or https://"):
        OpenAIJudge("m", base_url)
