"""Why a source elsewhere cannot be used. Sentences may be shown: they hold nothing of what its database answered."""

from typing import ClassVar

from rotation.errors import RotationError


class SourceError(RotationError):
    """A rule said no, or the other database did. `transient`: the same may succeed later, nothing about it is wrong.

    `field`: of RewrapSource, where it is one that has to be mended.
    """

    transient: ClassVar[bool] = False

    def __init__(self, sentence: str, *, field: str = "") -> None:
        self.field = field
        super().__init__(sentence)


class NotAllowedPlaceError(SourceError):
    """The settings do not name that host, or it is no place to connect to."""


class SecretFileError(SourceError):
    """The file of the password, or of the CA, is not what it has to be."""


class BadNameError(SourceError):
    """A name that is none of a table or column."""


class UnreachableError(SourceError):
    """It did not answer, refused us, or was too slow: whoever has to know what is in it does not."""

    transient = True


class UnlikeError(SourceError):
    """What is there is not what was registered: another column, another type, rights that are too wide."""
