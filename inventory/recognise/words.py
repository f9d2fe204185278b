"""Kinds, environments, classifications, places and access, as people write them."""

import re
import unicodedata
from collections.abc import Mapping
from typing import TypeVar

from django.db.models import TextChoices

from inventory.recognise import foreign
from inventory.recognise.text import NotUnderstoodError, at_most, folded, is_unknown, shown, squashed
from inventory.terms import Access, Classification, Environment, KeyKind, StorageMedium

_TRUE = frozenset({"yes", "y", "true", "x", "1", "✓", "✔", "☑", "✅", *foreign.listed(foreign.YES)})
_FALSE = frozenset({"no", "n", "false", "0", "✗", "✘", "☐", "❌", *foreign.listed(foreign.NO)})
Word = TypeVar("Word", bound=TextChoices)


def _look_up(text: str, words: Mapping[str, Word]) -> Word | None:
    word = squashed(text)
    return words.get(word) or words.get(word.removesuffix("s"))


def _words(choices: type[Word], others: Mapping[Word, str], abroad: Mapping[str, str]) -> dict[str, Word]:
    """Index the stored values, their labels and further words (in one string, separated by commas), squashed."""
    words = {squashed(text): choices(value) for value, texts in abroad.items() for text in foreign.listed(texts)}
    words |= {squashed(text): choice for choice in choices for text in (choice.value, str(choice.label))}
    return words | {squashed(text): choice for choice, texts in others.items() for text in texts.split(",")}


def name_of(text: str) -> str:
    """Read the name of a key: exact but for the blanks around it, since a key is recognised again by it."""
    if is_unknown(text):
        raise NotUnderstoodError("The row has no name.", "Give the key a name; it is recognised again by it.")
    if invisible := [one for one in text if one in "\n\t" or unicodedata.category(one) == "Cf"]:
        raise NotUnderstoodError(
            f"The name holds a line break or an invisible character (U+{ord(invisible[0]):04X}).",
            "Write the name in one line of visible characters.",
        )
    return at_most(200, "name", text)


_KINDS = _words(
    KeyKind,
    {
        KeyKind.KEK: "key encryption key,wrapping key,key wrapping key",
        KeyKind.DEK: "data encryption key,data key",
        KeyKind.API_TOKEN: "api key,api secret,api credential,access token,service token,bearer token,client secret,"
        "oauth client secret,deploy token",
        KeyKind.PERSONAL_TOKEN: "personal access token,pat,personal token,personal api key,personal api token,"
        "user access token",
        KeyKind.TLS_CERTIFICATE: "tls cert,ssl certificate,ssl cert,ssl/tls certificate,server certificate,"
        "client certificate,mtls certificate,https certificate",
        KeyKind.CA_CERTIFICATE: "ca cert,root ca,root certificate,intermediate ca,intermediate certificate,ca,"
        "certificate authority",
        KeyKind.SSH_KEY: "ssh key pair,ssh host key,ssh private key,deploy key",
        KeyKind.SIGNING_KEY: "jwt signing key,token signing key,code signing key,signature key",
        KeyKind.HMAC_KEY: "hmac secret,hmac,mac key,hmac signing key",
        KeyKind.DATABASE_CREDENTIAL: "db password,database password,db credential,database user,db user,db login",
        KeyKind.WEBHOOK_SECRET: "webhook,webhook key,webhook signing secret,webhook token",
        KeyKind.BOOTSTRAP_SECRET: "bootstrap key,bootstrap token,bootstrap credential",
        KeyKind.BACKUP_KEY: "backup encryption key,backup passphrase,backup secret",
        KeyKind.MASTER_KEY: "master encryption key,root key",
        KeyKind.PROVIDER_MANAGED: "provider managed,cloud managed key,aws managed key,platform managed key,"
        "microsoft managed key,google managed key",
    },
    foreign.KINDS,
)
_ENVIRONMENTS = _words(
    Environment,
    {
        Environment.PRODUCTION: "prod,prd,live",
        Environment.STAGING: "stage,stg,preprod,pre-production",
        Environment.TEST: "tst,testing,qa,quality assurance,uat",
        Environment.DEVELOPMENT: "dev,develop,local",
    },
    foreign.ENVIRONMENTS,
)
_CLASSIFICATIONS = _words(
    Classification,
    {
        Classification.INTERNAL: "internal only,internal use,internal use only",
        Classification.CONFIDENTIAL: "customer confidential",
        Classification.RESTRICTED: "strictly confidential,highly confidential",
    },
    foreign.CLASSIFICATIONS,
)
# "KEK" rather than "Key-encrypting key": the words that a reader will find again in the row.
_KINDS_UNDERSTOOD = "Write one of: " + ", ".join(
    kind.value.upper() if kind in {KeyKind.KEK, KeyKind.DEK} else kind.label for kind in KeyKind
)
_ENVIRONMENTS_UNDERSTOOD = "Write one of: " + ", ".join(Environment.labels) + "; or leave the cell empty."
_CLASSIFICATIONS_UNDERSTOOD = "Write one of: " + ", ".join(Classification.labels) + "; or leave the cell empty."


def kind_of(text: str) -> str:
    """Read what a key is. Never blank: the clauses of a policy go by it."""
    if is_unknown(text):
        raise NotUnderstoodError("The row does not say what kind of key it is.", _KINDS_UNDERSTOOD + ".")
    return _choice(text, _KINDS, "kind of key", _KINDS_UNDERSTOOD + ".")


def environment_of(text: str) -> str:
    return _choice(text, _ENVIRONMENTS, "environment", _ENVIRONMENTS_UNDERSTOOD)


def classification_of(text: str) -> str:
    return _choice(text, _CLASSIFICATIONS, "classification", _CLASSIFICATIONS_UNDERSTOOD)


def _choice(text: str, words: Mapping[str, Word], what: str, mend: str) -> str:
    if is_unknown(text):
        return ""
    if (choice := _look_up(text, words)) is None:
        raise NotUnderstoodError(f'"{shown(text)}" is no {what} that is known here.', mend)
    return str(choice.value)


# The first that fits: what is named more exactly comes first (GitHub Actions before git, 1Password before its vault).
_MEDIA: tuple[tuple[StorageMedium, str], ...] = (
    (StorageMedium.PASSWORD_MANAGER, "1password,bitwarden,lastpass,keepass,keepassxc,dashlane,keeper,password manager"),
    (StorageMedium.CI_SECRETS, "github actions,github secret,github secrets,gitlab ci,ci secret,ci secrets,ci variable,"
                               "ci variables,jenkins,circleci"),
    (StorageMedium.KUBERNETES_SECRET, "kubernetes,k8s"),
    (StorageMedium.ENVIRONMENT_VARIABLE, "env var,env vars,env variable,env variables,environment variable,"
                                         "environment variables"),
    (StorageMedium.SOURCE_CONTROL, "git,github,gitlab,bitbucket,repository,repo,source control,source code"),
    (StorageMedium.HSM, "hsm,cloudhsm,yubihsm,hardware security module"),
    (StorageMedium.SECRETS_MANAGER, "secrets manager,secret manager,secretsmanager,secretmanager"),
    (StorageMedium.KEY_VAULT, "key vault,keyvault,azurekv,vault,openbao,kms,key management service"),
    (StorageMedium.FILE, "env on,env file,file,on server,on disk,keystore"),
    (StorageMedium.OFFLINE, "offline,paper,usb stick,envelope"),
)  # fmt: skip
_MEDIA_PHRASES = tuple(
    (medium, tuple(f" {phrase} " for phrase in (*ours.split(","), *foreign.listed(foreign.MEDIA.get(medium, "-")))))
    for medium, ours in _MEDIA
)


def storage_of(text: str) -> tuple[str, str]:
    """Read where a key is kept: the medium as far as the words name one, and the words themselves, in one line."""
    if is_unknown(text):
        return "", ""
    location = at_most(500, "place", " ".join(text.split()))
    spaced = "".join(one if one.isalnum() else " " for one in folded(text))
    padded = f" {' '.join(spaced.split())} "
    for medium, phrases in _MEDIA_PHRASES:
        if any(phrase in padded for phrase in phrases):
            return medium.value, location
    return (StorageMedium.FILE if folded(text) == ".env" else StorageMedium.OTHER).value, location


def medium_of(text: str) -> str:
    """Read a column that names the medium alone, in our words for it."""
    if is_unknown(text):
        return ""
    if (medium := _look_up(text, _MEDIUM_WORDS)) is None:
        raise NotUnderstoodError(f'"{shown(text)}" is no medium that is known here.', _MEDIA_UNDERSTOOD)
    return medium.value


_MEDIUM_WORDS = _words(StorageMedium, {}, {})
_MEDIA_UNDERSTOOD = f"Write one of: {', '.join(str(medium.label) for medium in StorageMedium)}."


def label_of(what: str, text: str) -> str:
    """Read the name of something else than a key, in one line."""
    return "" if is_unknown(text) else at_most(200, what, " ".join(text.split()))


def link_of(text: str) -> str:
    """Read the address of a page: http or https, and nothing that a browser would run."""
    if is_unknown(text):
        return ""
    if not _LINK.fullmatch(text):
        raise NotUnderstoodError(
            f'"{shown(text)}" is no web address that is understood here.', "Write it as https://host/path."
        )
    return at_most(500, "address", text)


_LINK = re.compile(r"https?://[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?(?:[/?#]\S*)?")


def flag_of(text: str) -> bool | None:
    """Read yes or no."""
    word = folded(text).replace("\N{VARIATION SELECTOR-16}", "")
    if is_unknown(word):
        return None
    if word not in _TRUE | _FALSE:
        raise NotUnderstoodError(f'"{shown(text)}" is neither yes nor no.', "Write yes or no, or leave the cell empty.")
    return word in _TRUE


_ACCESS_SAID: Mapping[str, tuple[bool | None, bool | None]] = {
    **{squashed(word): (False, False) for word in foreign.listed(foreign.ACCESS_NONE)},
    **{squashed(word): (True, True) for word in foreign.listed(foreign.ACCESS_BOTH)},
    "none": (False, False), "neither": (False, False),
    "production": (True, None), "prod": (True, None), "productiondata": (True, None),
    "customer": (None, True), "customerdata": (None, True),
    "both": (True, True), "productionandcustomerdata": (True, True),
}  # fmt: skip
_ACCESS: Mapping[tuple[bool | None, bool | None], Access] = {
    (True, True): Access.BOTH, (True, False): Access.PRODUCTION, (False, True): Access.CUSTOMER,
    (False, False): Access.NONE, (True, None): Access.PRODUCTION, (None, True): Access.CUSTOMER,
}  # fmt: skip


def access_of(said: str, *, production: bool | None = None, customer: bool | None = None) -> str:
    """Combine the three columns that can speak of access, as a value of Access. What contradicts itself is refused.

    `said` is the cell of a column that asks for production or customer data at once: yes or no, or a word of Access.
    "No" for one of the two says nothing about the other.
    """
    named = _ACCESS_SAID.get(squashed(said))
    either = None if named else squashed(said) == Access.EITHER or flag_of(said)
    opens = _agreed({named[0] if named else None, production}), _agreed({named[1] if named else None, customer})
    if (either is False and True in opens) or (either and opens == (False, False)):
        raise _contradiction()
    if opens in _ACCESS:
        return _ACCESS[opens].value
    return {True: Access.EITHER.value, False: Access.NONE.value, None: ""}[either]


def _agreed(answers: set[bool | None]) -> bool | None:
    given = answers - {None}
    if len(given) > 1:
        raise _contradiction()
    return given.pop() if given else None


def _contradiction() -> NotUnderstoodError:
    return NotUnderstoodError("The columns about access contradict each other.", "Keep the answer that is true.")
