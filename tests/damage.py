"""Ways in which a copy of the corpora can be wrong."""

import shutil

import numpy as np
import soundfile

from tests.copies import own


def damage_of_every_kind(copy, mini):
    """Damage files of a copy of the corpora; returns the status that `--check decode` gives each, by path."""
    esc, freesound = needed(mini, "ESC-50-master"), needed(mini, "FreeSound")
    fsd, clotho, soundbible = needed(mini, "FSD50K"), needed(mini, "clotho_v2"), needed(mini, "SoundBible")
    damages = {
        esc[0]: ("missing", lambda file: file.unlink()),
        esc[1]: ("empty", lambda file: file.write_bytes(b"")),
        esc[2]: ("empty", lambda file: soundfile.write(own(file), np.zeros((0, 1)), 44100)),
        esc[3]: ("unreadable", lambda file: file.write_text("this is no audio")),
        esc[4]: ("too_short", lambda file: rewrite(file, lambda frames, rate: frames[: len(frames) // 2])),
        esc[5]: ("variant", lambda file: file.rename(file.with_suffix(".WAV"))),
        esc[6]: ("silent", lambda file: rewrite(file, lambda frames, rate: 0 * frames)),
        fsd[0]: ("non_finite", lambda file: rewrite(file, poison, "FLOAT")),
        fsd[1]: ("other_rate", lambda file: rewrite(file, lambda frames, rate: frames, rate=16000)),
        clotho[0]: ("ambiguous", double),
        freesound[0]: ("truncated", lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 3])),
        soundbible[0]: ("unreadable", lambda file: file.rename(file.with_name("x")) and file.symlink_to("/dev/zero")),
    }
    for path, (status, damage) in list(damages.items()):
        damage(copy / path)
        damages[path] = status
    damages[soundbible[0]] = "missing"  # no plain file
    return damages | dict.fromkeys(at_other_rates(mini), "other_rate")


def at_other_rates(mini):
    """The files that are at another rate than their corpus: VoiceBank's, at 16 kHz instead of 48."""
    return needed(mini, "Voicebank_DEMAND")


def rewrite(file, change, subtype="PCM_16", rate=None):
    frames, own_rate = soundfile.read(file, always_2d=True)
    if rate:
        frames = np.repeat(frames, 2, axis=0)  # long enough at any rate
    soundfile.write(own(file), change(frames, own_rate), rate or own_rate, subtype=subtype)


def poison(frames, rate):
    frames[len(frames) // 2 : len(frames) // 2 + rate] = np.nan
    return frames


def double(file):
    for folder in ("one", "two"):
        (file.parents[1] / folder).mkdir()
        shutil.copy(file, file.parents[1] / folder / file.name)
    file.unlink()


def needed(mini, prefix):
    """The files below `prefix` that `mini` needs, and is the first thing to need."""
    return sorted({source.path for recipe in mini for source in recipe.sources if source.path.startswith(prefix)})
