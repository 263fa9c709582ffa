import numpy as np
import pytest

from hive_datasets import BackendError
from hive_datasets.curation import TagAudioSet
from hive_datasets.ontology import audioset_classes
from tests.curation.models import PeakJudge, RateTagger, tone


def test_the_likeliest_classes():
    clips = [tone(1154 / 16000), tone(1681 / 16000), "gone.wav"]
    batch = TagAudioSet(RateTagger(), top_k=3)({"audio": clips, "labels": [["Dog"], ["Cat"], ["Pig"]]})
    first, second = audioset_classes()[100], audioset_classes()[100]
    assert batch["labels"] == [[first], [second], ["Pig"]]
    # of equally likely ones, the first
    assert batch["tag_labels"] == [[first, "Speech", "Male speech, man speaking"]] * 2 + [[]]
    assert batch["tag_scores"][0] == [0.9, 0.001, 0.001]
    np.testing.assert_array_equal(batch["tag_score"], [0.9, 0.9, np.nan])
    assert batch["tag_reason"] == ["", "", "unreadable: gone.wav: there is no such file"]


def test_labels_may_stay():
    batch = TagAudioSet(RateTagger(), relabel=False)({"audio": [tone(1)], "labels": [["Dog"]]})
    assert "labels" not in batch and len(batch["tag_labels"][0]) == 5


def test_a_tagger_that_tells_no_probabilities():
    with pytest.raises(BackendError, match=r"values from 0.01 to 9, which are no probabilities.*sigmoid"):
        TagAudioSet(RateTagger(10.0))({"audio": [tone(1)], "labels": [[]]})
    batch = TagAudioSet(RateTagger(float("nan")))({"audio": [tone(1)], "labels": [["Dog"]]})
    assert (batch["labels"], batch["tag_reason"]) == ([["Dog"]], ["no tags: the model gives what is no number"])


def test_a_tagger_of_other_classes():
    class Few(RateTagger):
        def tag(self, clips):
            return super().tag(clips)[:, :521]

    with pytest.raises(BackendError, match=r"shape \(1, 521\), not \(1, 527\)"):
        TagAudioSet(Few())({"audio": [tone(1)], "labels": [[]]})


def test_parameters_that_make_no_sense():
    with pytest.raises(ValueError, match="from 1 to 527"):
        TagAudioSet(RateTagger(), top_k=528)
    with pytest.raises(TypeError, match="must be an AudioTagger"):
        TagAudioSet(PeakJudge())
