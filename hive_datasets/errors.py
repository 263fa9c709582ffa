"""Every exception and warning that this library raises on purpose.

::

    HiveError
    ├── RecipeError (ValueError)              a row of metadata is not a valid recipe
    ├── UnknownLabelError (ValueError)        no mixture has such a label
    ├── MetadataUnavailableError (OSError)    neither the Hub nor a local copy could be reached
    ├── OntologyError (ValueError)            a file is no ontology, or has no such node
    ├── RecordError (ValueError)              records to curate are not in a shape that is known
    ├── BackendError                          a model cannot be loaded, or a server not be reached
    ├── EvaluationError                       a separator gives no estimates, or evaluations cannot be compared
    ├── OutputError (OSError)                 files cannot be written, or others are in the way
    ├── PreparedSourcesError (OSError)        prepared sources are not there, or damaged, or for something else
    ├── SourceRootError (LookupError)         no folder is configured for a metadata path
    ├── SourceUnreachableError (OSError)      a server fails, refuses or does not answer; nothing is said of the file
    └── SourceError (OSError)                 a source file cannot give the audio that a recipe asks for
        ├── SourceNotFoundError (FileNotFoundError)   no file there, nor a known variant of it
        ├── AmbiguousSourceError                      several files fit equally well
        ├── SourceFormatError                         not a format that libsndfile reads
        ├── EmptySourceError                          no bytes, or no frames
        ├── TruncatedSourceError                      cut short or damaged: frames cannot be decoded
        ├── WrongChecksumError                        not what its checksum says
        ├── NonFiniteSourceError                      NaN, infinity, or beyond any level that can be mixed
        └── ChunkOutOfRangeError                      the chunk ends more than 10 frames past the end

    MixtureFeatureWarning (UserWarning)       a column is written that plain `datasets` cannot read
    PreparedSourcesWarning (UserWarning)      prepared sources are passed over, and the originals read
    SequentialSourceWarning (UserWarning)     a root is slow to read at random: prepare it once
    UnreadableSourceWarning (UserWarning)     a mixture was skipped (``on_error="skip"``)
    WrongChecksumWarning (UserWarning)        a file that a server packs on demand has another checksum
    VariantSourceWarning (UserWarning)        files of a corpus bear other names than in the metadata

What passes over sources that cannot be read (``on_error="skip"``, ``available_only``) passes over a `SourceError`, and
never over a `SourceUnreachableError`: which mixtures there are must not depend on how a server fares.

Each keeps what it knows as attributes (``mix_id``, ``source_id``, ``path``, ``location``, ...), names it in
its message, and can be pickled, so that it arrives whole from a worker process.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "AmbiguousSourceError",
    "BackendError",
    "ChunkOutOfRangeError",
    "EmptySourceError",
    "EvaluationError",
    "HiveError",
    "MetadataUnavailableError",
    "MixtureFeatureWarning",
    "NonFiniteSourceError",
    "OntologyError",
    "OutputError",
    "PreparedSourcesError",
    "PreparedSourcesWarning",
    "RecipeError",
    "RecordError",
    "SequentialSourceWarning",
    "SourceError",
    "SourceFormatError",
    "SourceNotFoundError",
    "SourceRootError",
    "SourceUnreachableError",
    "TruncatedSourceError",
    "UnknownLabelError",
    "UnreadableSourceWarning",
    "VariantSourceWarning",
    "WrongChecksumError",
    "WrongChecksumWarning",
]


class HiveError(Exception):
    """Base of all errors raised by this library.

    Example:
        >>> issubclass(RecipeError, HiveError)
        True
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class RecipeError(HiveError, ValueError):
    """A row of metadata is not a valid recipe.

    Attributes:
        where: the file (or other origin) of the row.
        mix_id: the row's mix_id, if it could be read.
        source_id: the source at fault, if the fault is in one.
        field: the field at fault.
    """

    def __init__(
        self,
        message: str,
        *,
        where: str | None = None,
        mix_id: str | None = None,
        source_id: str | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(message)
        self.where = where
        self.mix_id = mix_id
        self.source_id = source_id
        self.field = field


class UnknownLabelError(HiveError, ValueError):
    """No mixture has such a label.

    Attributes:
        label: the label.
        nearest: labels that the metadata has, the most alike first.
    """

    def __init__(self, message: str, *, label: str | None = None, nearest: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.label = label
        self.nearest = nearest


class MetadataUnavailableError(HiveError, OSError):
    """The metadata could be had neither from the Hub nor from a local copy."""


class OntologyError(HiveError, ValueError):
    """A file is no ontology, or an ontology has no such node."""


class RecordError(HiveError, ValueError):
    """Records to curate, or the configuration of steps, are not in a shape that is known."""


class BackendError(HiveError):
    """A model cannot be loaded, or a server cannot be reached: no record can be processed until that is mended."""


class EvaluationError(HiveError):
    """A separator gives something else than estimates, or what is to be evaluated or compared is not what it must be.

    Attributes:
        mix_id, label: the mixture, and what was asked for in it, if one target is at fault.
    """

    def __init__(self, message: str, *, mix_id: str | None = None, label: str | None = None) -> None:
        super().__init__(message)
        self.mix_id = mix_id
        self.label = label


class OutputError(HiveError, OSError):
    """Files cannot be written: no space, no permission, or other files are in the way."""


class PreparedSourcesError(HiveError, OSError):
    """Prepared sources are not there, are damaged, or were made for something else."""


class SourceRootError(HiveError, LookupError):
    """No configured root, or more than one, fits the first component of a metadata path.

    Attributes:
        path: the metadata path.
        mix_id: the mixture that needs it, if known.
        source_id: the source of that mixture, if known.
        configured: False if no root at all is configured.
        several: True if several roots fit.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | None = None,
        mix_id: str | None = None,
        source_id: str | None = None,
        configured: bool = True,
        several: bool = False,
    ) -> None:
        super().__init__(message)
        self.path = path
        self.mix_id = mix_id
        self.source_id = source_id
        self.configured = configured
        self.several = several


class _OfSourceError(HiveError, OSError):
    """An error of one source of a mixture.

    Attributes:
        mix_id, source_id: the mixture and its source.
        path: the path as in the metadata.
        location: where that path was looked for.
    """

    def __init__(
        self,
        message: str,
        *,
        mix_id: str | None = None,
        source_id: str | None = None,
        path: str | None = None,
        location: str | None = None,
    ) -> None:
        super().__init__(message)
        self.mix_id = mix_id
        self.source_id = source_id
        self.path = path
        self.location = location


class SourceError(_OfSourceError):
    """A source file cannot give the audio that a recipe asks for.

    Attributes:
        mix_id, source_id: the mixture and its source.
        path: the path as in the metadata.
        location: where that path was looked for.
    """


class SourceUnreachableError(_OfSourceError):
    """The server that should have a source fails, refuses or does not answer, after what retries could help.

    It says nothing about the file: another time it may be there. So nothing of it is remembered, and a stream or a run
    ends with it, whatever is to be done about files that cannot be read.

    Attributes:
        mix_id, source_id: the mixture and its source, if one was asked for.
        path: the path as in the metadata.
        location: where that path was looked for.
        status: of HTTP, that the server answered with; 0 if it did not.
    """

    status: int = 0


class SourceNotFoundError(SourceError, FileNotFoundError):
    """There is no file at the resolved location, nor one that a known variant of the path leads to."""


class AmbiguousSourceError(SourceError):
    """Several files stand for the path equally well, and none is exactly there."""


class SourceFormatError(SourceError):
    """The file is not in a format that libsndfile reads."""


class EmptySourceError(SourceError):
    """The file has no bytes or no frames."""


class TruncatedSourceError(SourceError):
    """The file is cut short or damaged: frames that its header promises cannot be decoded."""


class WrongChecksumError(SourceError):
    """A file is not what its publisher's checksum says."""


class NonFiniteSourceError(SourceError):
    """Samples are NaN or infinite, or beyond any level that can be mixed."""


class ChunkOutOfRangeError(SourceError):
    """The chunk ends more than 10 frames past the end of the file, or has no frames at all."""


class MixtureFeatureWarning(UserWarning):
    """A dataset with a `Mixture` column is pushed, which can be read only where this library is imported."""


class PreparedSourcesWarning(UserWarning):
    """Prepared sources could not be used, and the originals are read instead."""


class SequentialSourceWarning(UserWarning):
    """A root can only be read in order, and is slow to read at random; ``hive-datasets prepare`` reads it once."""


class UnreadableSourceWarning(UserWarning):
    """Mixtures are skipped because a source cannot be read (``on_error="skip"``)."""


class WrongChecksumWarning(UserWarning):
    """A file that a server packs when it is asked for is not, byte for byte, what others got."""


class VariantSourceWarning(UserWarning):
    """Files of a corpus are found under other names than the metadata's, by a known rule."""


def describe(error: BaseException) -> str:
    """An exception in a few words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
