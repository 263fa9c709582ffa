"""Models that steps of curation ask, behind protocols of one method each; each needs an extra of its own."""

from .protocols import Answer, AudioJudge, AudioTagger, Clip, Question, Restorer
from .resample import Resample

__all__ = ["Answer", "AudioJudge", "AudioTagger", "Clip", "Question", "Resample", "Restorer"]
