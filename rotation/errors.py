"""What the work refuses. Every sentence may be shown to the person who asked."""

from collections.abc import Sequence

_NAMED = 5


class RotationError(Exception):
    """A rule said no."""


class NotReviewerError(RotationError):
    def __init__(self, roles: Sequence[str]) -> None:
        super().__init__(f"Only people of {' and '.join(roles)} judge this, and each signs for a role of their own.")


class ClosedReviewError(RotationError):
    def __init__(self) -> None:
        super().__init__("This review is signed by everybody it needs. Nothing in it changes any more.")


class OwnTransitionError(RotationError):
    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(
            f"You did event {number}, asked for it, approved it, or it was done on your wish: somebody else judges it."
        )


class JudgedMeanwhileError(RotationError):
    def __init__(self, numbers: Sequence[int]) -> None:
        self.numbers = numbers
        super().__init__(
            f"Somebody has judged {_events(numbers)} since you opened the page, and nothing of yours was saved. Look "
            "at what they found, then save your own verdicts once more."
        )


class NoSuchItemError(RotationError):
    def __init__(self) -> None:
        super().__init__("What was judged is not in the sample of this review. Open the page once more.")


class WordsMissingError(RotationError):
    def __init__(self, number: int) -> None:
        super().__init__(f"Say in words what is wrong with event {number}: a finding without them helps nobody.")


class UnjudgedError(RotationError):
    def __init__(self, count: int) -> None:
        events = "1 event has" if count == 1 else f"{count} events have"
        super().__init__(f"{events} no verdict yet. A review is signed once all of the sample is judged.")


class ReviewChangedError(RotationError):
    def __init__(self) -> None:
        super().__init__(
            "The review was changed while you looked at it, and nothing was signed. Look at what stands there now, "
            "then sign that."
        )


class AlreadySignedError(RotationError):
    def __init__(self, role: str) -> None:
        super().__init__(f"Somebody has signed for {role} already.")


class OneRoleEachError(RotationError):
    def __init__(self) -> None:
        super().__init__("You have signed this review already. The other signature is somebody else's.")


class NobodyApartError(RotationError):
    """Whoever would have signed together had all a hand in the same transition."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self.numbers = numbers
        super().__init__(
            f"You and who has signed before you both had a hand in {_events(numbers)}, so nobody would answer for it "
            "who had none. Somebody else of your role must sign."
        )


class LogDiffersError(RotationError):
    def __init__(self, numbers: Sequence[int]) -> None:
        self.numbers = numbers
        super().__init__(
            f"The log does not hold {_events(numbers)} as it did when the sample was drawn. Nothing is signed over "
            "that: run verify_audit on the server, and tell Security."
        )


class NoSuchKeyError(RotationError):
    def __init__(self, most: int) -> None:
        super().__init__(f"Choose from 1 to {most} keys that are in the inventory.")


class WrongParametersError(RotationError):
    """What was asked lacks something, or says something that cannot be read."""

    def __init__(self) -> None:
        super().__init__("What was asked cannot be read: fill in the form once more.")


# What one person did alone


class NotSigningError(RotationError):
    def __init__(self) -> None:
        super().__init__(
            "Only people of Security and DevOps who have an authenticator app or a passkey sign this, each for a role "
            "of their own."
        )


class ClosedDutyError(RotationError):
    def __init__(self) -> None:
        super().__init__("Everybody who was needed has looked at this already.")


class OwnActError(RotationError):
    def __init__(self) -> None:
        super().__init__("You did this yourself: somebody else looks at it.")


class SignedTwiceError(RotationError):
    def __init__(self) -> None:
        super().__init__("You have signed this already. The other signature is somebody else's.")


class DutyRoleTakenError(RotationError):
    def __init__(self, role: str) -> None:
        super().__init__(f"Somebody has signed for {role} already. The other signature is that of another role.")


class DutyWordsMissingError(RotationError):
    def __init__(self) -> None:
        super().__init__("Say what you found, also where it is in order: a signature without words shows nothing.")


class AnonymousReportError(RotationError):
    def __init__(self) -> None:
        super().__init__("Somebody who is signed in reports a compromise, so that others can ask them about it.")


class AlreadyCompromisedError(RotationError):
    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is recorded as compromised already. What is new about it belongs into its notes.")


class GlassNotTheirsError(RotationError):
    def __init__(self) -> None:
        super().__init__(
            "Only people of Security and DevOps who have an authenticator app or a passkey break the glass. Suspend "
            "the key if you may, or report a compromise: both take effect at once."
        )


class GlassNotForThisError(RotationError):
    def __init__(self, title: str) -> None:
        super().__init__(f"{title}: nobody does this alone, in an emergency neither. Suspend the key, then ask for it.")


class GlassStillOpenError(RotationError):
    def __init__(self, title: str) -> None:
        super().__init__(
            f"You have broken the glass already: “{title}”. Before you may again, one person of Security and one of "
            "DevOps have to look at it and sign. Suspending a key needs no broken glass."
        )


class GlassChangedError(RotationError):
    def __init__(self) -> None:
        super().__init__("This is not what you were shown, or the key has changed since. Look at it as it is now.")


class GlassReasonTooShortError(RotationError):
    def __init__(self, least: int) -> None:
        super().__init__(
            f"Say in at least {least} characters what happened and why it cannot wait for two votes: everybody will "
            "read it."
        )


def _events(numbers: Sequence[int]) -> str:
    named = ", ".join(map(str, numbers[:_NAMED]))
    more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    return f"event{'s' if len(numbers) > 1 else ''} {named}{more}"


# Guarded operations


class UnknownOperationError(RotationError):
    def __init__(self, code: str) -> None:
        super().__init__(f"There is no guarded operation {code!r}.")


class NotLoweringError(RotationError):
    def __init__(self) -> None:
        super().__init__("This gives no key more time, so nobody needs to vote on it: it is saved at once.")


class NotAskingError(RotationError):
    def __init__(self, title: str, askers: Sequence[str], *, owner: bool) -> None:
        owners = ["the owner of the key"] if owner else []
        super().__init__(
            f"{title}: only {_or([*(f'people of {role}' for role in askers), *owners])} may ask for this. Ask one of "
            "them to do it."
        )


class AlreadyAskedError(RotationError):
    def __init__(self, label: str, title: str, request: str) -> None:
        self.request = request
        super().__init__(
            f"{title} is asked for {label} already ({request}) and not done yet. Wait for that, or have it withdrawn."
        )


class NothingAskedError(RotationError):
    def __init__(self) -> None:
        super().__init__("What was asked is about nothing: there is no record to act upon.")


class TooMuchAskedError(RotationError):
    def __init__(self, count: int, most: int) -> None:
        super().__init__(f"One request is about at most {most} records; this one would be about {count}. Ask in parts.")


class NoBreakGlassError(RotationError):
    """In an emergency one person does what stops the damage, and nothing else."""


class NotVotingError(RotationError):
    """This person does not vote on this request."""


class OwnRequestError(NotVotingError):
    def __init__(self) -> None:
        super().__init__("You asked for this, or it was asked on your wish: other people decide it.")


class ExcludedError(NotVotingError):
    def __init__(self) -> None:
        super().__init__("You have a part in what this is about: other people decide it.")


class NoStepError(NotVotingError):
    def __init__(self, roles: Sequence[str]) -> None:
        super().__init__(
            f"This waits for {_and(roles)}. You are not of that role, or have no second factor that may vote: an "
            "authenticator app or a passkey."
        )


class AlreadyVotedError(NotVotingError):
    def __init__(self) -> None:
        super().__init__("You have voted on this already; each person has one vote. Another person votes next.")


class ClosedRequestError(RotationError):
    def __init__(self, state: str) -> None:
        super().__init__(f"This request is {state}; it takes no votes.")


class ExpiredRequestError(RotationError):
    def __init__(self) -> None:
        super().__init__("This request has expired. If it is still wanted, it has to be asked anew.")


class StaleVoteError(RotationError):
    def __init__(self) -> None:
        super().__init__("What you voted on is not what is asked here. Open the page once more and read it again.")


class ProofRefusedError(RotationError):
    def __init__(self) -> None:
        super().__init__(
            "Your second factor was not accepted, and no vote was counted. Each code works once: wait for the next "
            "one. Recovery codes and single sign-on do not vote."
        )


class CommentMissingError(RotationError):
    def __init__(self) -> None:
        super().__init__("Say why you reject it: who asked has to know what to do otherwise.")


class TooManyBallotsError(RotationError):
    def __init__(self, most: int) -> None:
        super().__init__(f"One code is good for a list of 1 to {most} requests. Choose fewer.")


class NotRequesterError(RotationError):
    def __init__(self) -> None:
        super().__init__("Only the person who asked can take the request back. Reject it if it should not happen.")


class NotRetryingError(RotationError):
    def __init__(self) -> None:
        super().__init__("Only who asked for it, or somebody of a role that votes on it, may have it tried again.")


class NotHereError(RotationError):
    def __init__(self, *, at_machine: bool) -> None:
        super().__init__(
            "A command on the server carries this out, with --request."
            if at_machine
            else "The worker carries this out by itself, within a minute of the last vote."
        )


class RuleRefusedError(RotationError):
    """This cannot be the rule, the retention or the route."""


# Orders to key stores


class OrderWaitsError(RotationError):
    def __init__(self, name: str, order: str) -> None:
        self.order = order
        super().__init__(
            f"Something is being done with {name} in its key store already ({order}). Wait until it is done; where it "
            "has failed, have it tried again or cancel it."
        )


class OrderOverError(RotationError):
    def __init__(self, state: str) -> None:
        super().__init__(f"This order is {state}: it is neither tried again nor cancelled.")


class NotOrderingError(RotationError):
    def __init__(self) -> None:
        super().__init__("Only people of Security and DevOps have an order tried again, or cancel it.")


class StoreDiffersError(RotationError):
    """The key store shows something else than the order rests on. The sentence says what."""


def _and(words: Sequence[str]) -> str:
    return " and ".join(words) or "nobody any more"


def _or(words: Sequence[str]) -> str:
    return " or ".join(words) or "nobody"
