"""What people and sign-in refuse; each sentence may be shown."""


class AccessError(Exception):
    """A rule about people said no."""


class NameRefusedError(AccessError, ValueError):
    """The text is no user name or mail address of ours."""


class PersonExistsError(AccessError):
    """Somebody already has this name or this address."""


class ErasedError(AccessError):
    """The personal data of this person was erased; the record stands for nobody who can be named."""

    def __init__(self) -> None:
        super().__init__("This person was erased: nothing can be recorded in their name any more. Register them anew.")


class NotErasedError(AccessError):
    """The person cannot be erased as things are; nothing was changed."""


class NeverDeletedError(AccessError):
    """People are deactivated, never deleted: the log names them."""

    def __init__(self) -> None:
        super().__init__("People are never deleted, because the log names them. Deactivate the person instead.")


class LinkRefusedError(AccessError):
    """The enrolment link is unknown, used, voided or too old; the sentence never says which."""

    def __init__(self) -> None:
        super().__init__("This link is not valid: it works once and for a limited time. Ask for a new one.")


class PasskeyRefusedError(AccessError):
    """What a browser brought is no passkey, or none that was asked for; the sentence never says which."""

    def __init__(self) -> None:
        super().__init__("The passkey could not be used. Try again, or use another second factor.")


class SingleSignOnError(AccessError):
    """Single sign-on lets nobody in; the sentence never says why. `why` and `ref` (of the person) are for the log."""

    def __init__(self, why: str, *, ref: str = "") -> None:
        super().__init__(
            "Single sign-on did not let you in. It works once your account there is linked to the one here: sign in "
            "with your password and link it under “Second factors”. If it is linked already, ask Security."
        )
        self.why = why
        self.ref = ref


class LinkTakenError(AccessError):
    """One account there belongs to one person here, and the other way round."""


class FactorGoneError(AccessError):
    """The second factor is not there, or belongs to somebody else; the sentence never says which."""

    def __init__(self) -> None:
        super().__init__("This second factor is not there any more. Look at the list again.")


class LastFactorError(AccessError):
    """Recovery codes alone are no way to sign in every day."""

    def __init__(self) -> None:
        super().__init__(
            "This is your last second factor, so it stays. Add another one first, then remove this one. "
            "Have you lost it? Ask Security to reset your second factors."
        )


class AlreadyEnrolledError(AccessError):
    """A person with a second factor gets no further link by this way."""


class NotEnrolledError(AccessError):
    """There is no second factor to reset."""

    def __init__(self) -> None:
        super().__init__("This person has no second factor. Issue a link with which they set up their first one.")


class InactiveError(AccessError):
    """The person is deactivated."""


class LastOfRoleError(AccessError):
    """Without this person nobody could fill a step of an approval."""

    def __init__(self, role: str) -> None:
        super().__init__(
            f"Without this person nobody of {role} would be left who can vote: people who are not enrolled do not "
            "count, nor does an account with an end date. Have the role given to somebody else first."
        )
        self.role = role


class OwnAccountError(AccessError):
    """Somebody tried on their own account what only others may do with it."""


class ReasonMissingError(AccessError):
    """A decision without its why."""

    def __init__(self) -> None:
        super().__init__("Say why: every decision is recorded with its reason.")


class EndDateError(AccessError):
    """The day is no last day of an account."""


class RoleError(AccessError):
    """The person has this role already, or has it not, or may not have it so."""


class ActiveError(AccessError):
    """Somebody who is not deactivated cannot be re-activated."""

    def __init__(self) -> None:
        super().__init__("This person is active already.")


class QuorumError(AccessError):
    """Nothing is lost, or this would not bring it back."""


class ReviewError(AccessError):
    """This person cannot acknowledge the review, or somebody has done it already."""


class BootstrapClosedError(AccessError):
    """Two Security and two DevOps people are enrolled, or once were."""
