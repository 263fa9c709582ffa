"""Judging by the Thinkers of Qwen2.5-Omni and Qwen3-Omni, in `transformers`.

Only the choices may be answered: at each token, those are allowed that some choice goes on with. What the model gives
them, normalised over what is allowed, is a probability: of True and False that is
sigmoid(logsumexp(tokens that begin True) - logsumexp(tokens that begin False)) at the last position.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..errors import BackendError
from .extras import import_extra
from .memory import in_halves
from .pretrained import Pretrained, load_pretrained
from .protocols import Answer, Clip, Question

#: The class of a model, and the module that tells how many tokens a clip takes, by the type in its config.
_CLASSES = {
    "qwen2_5_omni": ("Qwen2_5OmniThinkerForConditionalGeneration", "qwen2_5_omni"),
    "qwen2_5_omni_thinker": ("Qwen2_5OmniThinkerForConditionalGeneration", "qwen2_5_omni"),
    "qwen3_omni_moe": ("Qwen3OmniMoeThinkerForConditionalGeneration", "qwen3_omni_moe"),
    "qwen3_omni_moe_thinker": ("Qwen3OmniMoeThinkerForConditionalGeneration", "qwen3_omni_moe"),
}
#: ChatML, as both were trained with.
_PROMPT = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n{audio}{text}<|im_end|>\n<|im_start|>assistant\n"
)


@dataclass(frozen=True)
class TransformersJudge(Pretrained):
    """Asks a multimodal model on this machine, which hears the first 30 s of a clip.

    Args:
        name: of the model on the Hub, or the folder that it was saved to.
        device: of PyTorch: "cpu", "cuda", ... (Qwen3-Omni has 30 billion parameters: 60 GB of memory.)
        dtype: of its weights: "auto", "bfloat16", "float32", ...
        batch_size: clips at once; half of them, and half of that, when memory runs out.
        revision: of the model on the Hub.

    Raises:
        BackendError: it cannot be loaded, or is of another kind, when called; PyTorch or transformers is missing.

    Example:
        >>> TransformersJudge(device="cuda").model
        'Qwen/Qwen3-Omni-30B-A3B-Instruct'
    """

    name: str = "Qwen/Qwen3-Omni-30B-A3B-Instruct"
    dtype: str = "auto"
    batch_size: int = 4

    def ask(self, clips: Sequence[Clip], questions: Sequence[Question]) -> list[Answer]:
        """The likeliest choices; probabilities of all where the first token decides, else of the choice."""
        pairs = list(zip(clips, questions, strict=True))
        answers: list[Answer] = []
        for start in range(0, len(pairs), self.batch_size):
            answers += in_halves(functools.partial(_ask, self), pairs[start : start + self.batch_size])
        return answers


class _Opened(NamedTuple):
    model: Any
    tokenizer: Any
    extractor: Any
    count_tokens: Any


class _Node(dict[int, "_Node"]):
    """What may follow: tokens, and after the last one of a choice, the end."""


def _ask(config: TransformersJudge, pairs: Sequence[tuple[Clip, Question]]) -> list[Answer]:
    torch = import_extra("torch", "transformers")
    opened = _open(config)
    rate = opened.extractor.sampling_rate
    heard = opened.extractor(
        [clip.resampled(rate) for clip, _ in pairs],
        sampling_rate=rate,
        padding="max_length",
        return_attention_mask=True,
        return_tensors="pt",
    )
    num_tokens = opened.count_tokens(heard["attention_mask"].sum(-1)).tolist()
    prompts = [
        _prompt(opened.tokenizer, question.text, int(number))
        for (_, question), number in zip(pairs, num_tokens, strict=True)
    ]
    given = opened.tokenizer(prompts, padding=True, padding_side="left", return_tensors="pt")
    tries = [_build(question.choices, opened.tokenizer) for _, question in pairs]
    length = given["input_ids"].shape[1]
    with torch.inference_mode():
        generated = opened.model.generate(
            **given.to(config.device),
            input_features=heard["input_features"].to(config.device, opened.model.dtype),
            feature_attention_mask=heard["attention_mask"].to(config.device),
            max_new_tokens=max(map(_depth, tries)),
            do_sample=False,
            prefix_allowed_tokens_fn=lambda row, ids: _allowed(tries[row], ids[length:].tolist(), opened.tokenizer),
            return_dict_in_generate=True,
            output_scores=True,
        )
    scores = [step.float().cpu() for step in generated.scores]
    tokens = generated.sequences[:, length:].tolist()
    return [
        _answer(question, tries[row], tokens[row], [step[row] for step in scores], opened.tokenizer)
        for row, (_, question) in enumerate(pairs)
    ]


def _prompt(tokenizer: Any, text: str, num_tokens: int) -> str:
    audio = tokenizer.audio_bos_token + tokenizer.audio_token * num_tokens + tokenizer.audio_eos_token
    return _PROMPT.format(audio=audio, text=text)


def _build(choices: Sequence[str], tokenizer: Any) -> _Node:
    """The tokens of all choices, as a tree."""
    root = _Node()
    for choice in choices:
        for tokens in _spellings(choice, tokenizer):
            node = root
            for token in [*tokens, tokenizer.eos_token_id]:
                node = node.setdefault(token, _Node())
    return root


def _spellings(choice: str, tokenizer: Any) -> list[list[int]]:
    """The tokens of a choice, and of it after a space, unless the space is a token of its own, as before all others."""
    plain, spaced, space = (tokenizer.encode(text, add_special_tokens=False) for text in (choice, f" {choice}", " "))
    return [plain] if spaced[0] == space[0] else [plain, spaced]


def _depth(node: _Node) -> int:
    return 1 + max(map(_depth, node.values())) if node else 0


def _follow(node: _Node, tokens: Sequence[int]) -> _Node:
    for token in tokens:
        if token not in node:
            return _Node()
        node = node[token]
    return node


def _allowed(root: _Node, tokens: Sequence[int], tokenizer: Any) -> list[int]:
    return list(_follow(root, tokens)) or [tokenizer.eos_token_id]


def _answer(question: Question, root: _Node, tokens: Sequence[int], scores: Sequence[Any], tokenizer: Any) -> Answer:
    """What was generated, as one of the choices; `scores` are the logits of what was allowed, step by step."""
    spoken = list(tokens[: tokens.index(tokenizer.eos_token_id)] if tokenizer.eos_token_id in tokens else tokens)
    choice = tokenizer.decode(spoken, skip_special_tokens=True).strip()
    if choice not in question.choices:
        return Answer(problem=f"no answer: {choice!r:.60} is none of the choices")
    first = _probabilities(scores[0], root)
    by_choice = _by_first_token(question.choices, first, root, tokenizer)
    if by_choice is None:  # several choices begin alike: how likely the one is that was taken
        likelihood = 1.0
        for place, token in enumerate([*spoken, tokenizer.eos_token_id][: len(scores)]):
            likelihood *= _probabilities(scores[place], _follow(root, spoken[:place])).get(token, 0.0)
        by_choice = {choice: likelihood}
    if not all(map(math.isfinite, by_choice.values())):
        return Answer(problem="no answer: the model gives what is no number")
    return Answer(choice, by_choice)


def _probabilities(logits: Any, node: _Node) -> dict[int, float]:
    tokens = list(node)
    return dict(zip(tokens, logits[tokens].softmax(0).tolist(), strict=True))


def _by_first_token(
    choices: Sequence[str], first: dict[int, float], root: _Node, tokenizer: Any
) -> dict[str, float] | None:
    """The probabilities of choices that begin with different tokens; None if some begin alike."""
    owners: dict[int, str] = {}
    for choice in choices:
        for tokens in _spellings(choice, tokenizer):
            if owners.setdefault(tokens[0], choice) != choice:
                return None
    return {choice: min(1.0, sum(first[token] for token in owners if owners[token] == choice)) for choice in choices}


@functools.lru_cache(maxsize=1)
def _open(config: TransformersJudge) -> _Opened:
    """The model and what prepares its inputs; once a process."""
    kind = load_pretrained("AutoConfig", config.name, config.revision).model_type
    if kind not in _CLASSES:
        raise BackendError(f"{config.name} is a {kind}, none of {', '.join(_CLASSES)}")
    name, module = _CLASSES[kind]
    model = load_pretrained(name, config.name, config.revision, dtype=config.dtype).to(config.device).eval()
    # of the logits, only those of the last position are needed: all would take gigabytes
    model.lm_head.register_forward_pre_hook(lambda _, inputs: (inputs[0][:, -1:],))
    extractor = load_pretrained("WhisperFeatureExtractor", config.name, config.revision)
    tokenizer = load_pretrained("AutoTokenizer", config.name, config.revision)
    processing = importlib.import_module(f"transformers.models.{module}.processing_{module}")
    return _Opened(model, tokenizer, extractor, processing._get_feat_extract_output_lengths)
