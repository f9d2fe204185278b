"""What can be wrong with a key: severity, words, mend and clause of each code, as data. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from django.db.models import IntegerChoices


class Severity(IntegerChoices):
    """How much it matters, the worst first. Values are stored; never change one."""

    CRITICAL = 1, "critical"
    HIGH = 2, "high"
    MEDIUM = 3, "medium"
    LOW = 4, "low"


@dataclass(frozen=True, kw_only=True)
class Definition:
    """What one code says. A name in braces stands for the fact of that name, which is stored with the finding."""

    severity: Severity
    title: str  # what a filter and the log call it
    sentence: str
    mend: str
    clause: str  # number of the requirement, source, section


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong with one key."""

    code: str
    facts: Mapping[str, str | int] = field(default_factory=dict)
    accepted_until: datetime | None = None  # by exceptions to every clause that it rests on

    @property
    def severity(self) -> Severity:
        return definition(self.code).severity

    @property
    def sentence(self) -> str:
        return said(definition(self.code).sentence, self.facts)

    @property
    def mend(self) -> str:
        return said(definition(self.code).mend, self.facts)

    @property
    def clause(self) -> str:
        return said(definition(self.code).clause, self.facts)


def said(template: str, facts: Mapping[str, str | int]) -> str:
    """Return a template with its facts put in, numbers grouped. A fact that an older version did not store is "…"."""
    shown = {name: f"{fact:,}" if isinstance(fact, int) else fact for name, fact in facts.items()}
    return template.format_map(_Shown(shown))


class _Shown(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "…"


def definition(code: str) -> Definition:
    """Return what a code says. Codes of other versions of this software, met after a downgrade, say so."""
    return CATALOGUE.get(code) or Definition(
        severity=Severity.MEDIUM,
        title=code.replace("-", " "),
        sentence=f"This version does not know what “{code}” means.",
        mend="Look it up in docs/findings.md of the version that wrote it.",
        clause="none that is known here",
    )


def title_of(code: str) -> str:
    return definition(code).title


_INVENTORY = "R209, S4 Key Management"
_FIPS = "FIPS 186-5 §5.1 and A.1"
_ANOTHER_KEY = "Rotate to a key that a maintained library made, and revoke this one: treat it as known to others."
_PCI = "PCI DSS 3.6.1; SP 800-57 Part 1 §5.6.1. R72, S1 §5 asks for RSA-2048 only"

# A clause "{clauses}" stands for those of PolicyClause that the key does not meet, in the order of their codes.
# Codes are stored and stand in the log: never rename one, never use one for something else.
CATALOGUE: Mapping[str, Definition] = MappingProxyType({
    "missing-creator": Definition(
        severity=Severity.MEDIUM, title="creator missing", clause=_INVENTORY,
        sentence="The creator is not recorded.",
        mend="Name who made the key.",
    ),
    "missing-service": Definition(
        severity=Severity.MEDIUM, title="service missing", clause=_INVENTORY,
        sentence="The service is not recorded.",
        mend="Name the service that needs the key.",
    ),
    "missing-created": Definition(
        severity=Severity.MEDIUM, title="creation date missing", clause=_INVENTORY,
        sentence="The creation date is not recorded.",
        mend="Find out when the key was made; without it its age is unknown.",
    ),
    "missing-rotated": Definition(
        severity=Severity.MEDIUM, title="last rotation missing", clause=_INVENTORY,
        sentence="The last rotation is not recorded.",
        mend="Enter its date, or say that the key was never rotated.",
    ),
    "missing-owner": Definition(
        severity=Severity.HIGH, title="owner missing", clause=_INVENTORY,
        sentence="The owner is not recorded.",
        mend="Name who answers for the key; until then Security is told.",
    ),
    "missing-environment": Definition(
        severity=Severity.MEDIUM, title="environment missing", clause="R28, S0 §5",
        sentence="The environment is not recorded.",
        mend="Say whether this is production, staging, test or development: the clauses depend on it.",
    ),
    "dek-without-scope": Definition(
        severity=Severity.MEDIUM, title="DEK without scope", clause="R64, S1 §3",
        sentence="This DEK names neither a tenant and an integration nor a secret.",
        mend="Say which tenant and integration, or which internal secret, it protects.",
    ),
    "age-unknown": Definition(
        severity=Severity.HIGH, title="age unknown", clause="R210, S4 Key Management",
        sentence="Nobody knows how old this key is: neither its creation nor a rotation has a date.",
        mend="Find out one of the two dates, or rotate the key; until then no clause can say when it is late.",
    ),
    "access-unknown": Definition(
        severity=Severity.LOW, title="access unknown", clause="R210, S4 Key Management",
        sentence="For more than {days} days nobody has said what this key opens.",
        mend="Say whether it opens production or customer-confidential data, wherever it stands.",
    ),
    "algorithm-prohibited": Definition(
        severity=Severity.CRITICAL, title="algorithm prohibited", clause="{source}",
        sentence="{judgement}",
        mend="Replace the key by one of an approved algorithm, and what it protects with it.",
    ),
    "algorithm-not-yet": Definition(
        severity=Severity.HIGH, title="algorithm not approved yet", clause="{source}",
        sentence="{judgement}",
        mend="Use an approved algorithm until this one is.",
    ),
    "algorithm-legacy": Definition(
        severity=Severity.MEDIUM, title="algorithm legacy", clause="{source}",
        sentence="{judgement}",
        mend="Plan its replacement: use it to open what exists, and for nothing new.",
    ),
    "algorithm-exception": Definition(
        severity=Severity.MEDIUM, title="algorithm needs an exception", clause="{source}",
        sentence="{judgement}",
        mend="Ask for an exception with an end date, or use an approved algorithm.",
    ),
    "algorithm-unknown": Definition(
        severity=Severity.MEDIUM, title="algorithm unknown", clause="R68, S1 §4",
        sentence="{judgement}",
        mend="Say what it is; what the table does not name is never approved.",
    ),
    "algorithm-not-for-new-keys": Definition(
        severity=Severity.MEDIUM, title="made with an algorithm that was not for new keys", clause="{source}",
        sentence="This key was made on {made_on}, when {algorithm} was prohibited for new keys.",
        mend="Rotate to an approved algorithm; existing keys may be older, this one should not exist.",
    ),
    "kek-weaker-than-deks": Definition(
        severity=Severity.HIGH, title="KEK weaker than its DEKs", clause=_PCI,
        sentence="At {kek_bits} bits of security it wraps {deks} stronger DEK(s), of up to {dek_bits} bits.",
        mend="Wrap them under a KEK of at least {dek_bits} bits, AES-256 for example, or have the risk accepted.",
    ),
    "weaker-than-demanded": Definition(
        severity=Severity.MEDIUM, title="weaker than a clause demands", clause="{clauses}",
        sentence="It has {bits} bits of security, and {least} are the least.",
        mend="Replace it by a key of at least {least} bits of security.",
    ),
    "exportable": Definition(
        severity=Severity.HIGH, title="exportable", clause="{clauses}",
        sentence="It can be exported, and it must never leave its vault.",
        mend="Make a key that cannot be exported, and wrap again under that one what this one wraps.",
    ),
    "kept-in-source-control": Definition(
        severity=Severity.CRITICAL, title="kept in source control", clause="{clauses}",
        sentence="It is kept in source control, where everybody who can read the repository has it, for ever.",
        mend="Treat it as leaked: rotate it, keep the new one in a vault, and take it out of the code.",
    ),
    "kept-in-environment-variable": Definition(
        severity=Severity.MEDIUM, title="kept in an environment variable", clause="{clauses}",
        sentence="It is kept in an environment variable.{permitted}",
        mend="Move it into a vault, and let the service fetch it from there.",
    ),
    "kept-in-kubernetes-secret": Definition(
        severity=Severity.HIGH, title="kept in a Kubernetes secret", clause="{clauses}",
        sentence="It is kept in a Kubernetes secret.{permitted}",
        mend="Move it into a vault, and let the service fetch it from there.",
    ),
    "kept-in-forbidden-place": Definition(
        severity=Severity.MEDIUM, title="kept in a place that a clause forbids", clause="{clauses}",
        sentence="Kept in: {place}.{permitted}",
        mend="Move it to a place that the clauses permit, a key vault for example.",
    ),
    "owner-gone": Definition(
        severity=Severity.HIGH, title="owner gone", clause=f"{_INVENTORY}; R24, S0 §5",
        sentence="{owner}, who answers for it, is no longer active.",
        mend="Name who answers for it now, and rotate it if {owner} could know it.",
    ),
    "without-runbook": Definition(
        severity=Severity.LOW, title="no runbook", clause="{clauses}",
        sentence="No runbook says how it is renewed and revoked.",
        mend="Link the page that says it.",
    ),
    "suspended-too-long": Definition(
        severity=Severity.HIGH, title="suspended too long", clause="SP 800-57 Part 1 §7.3 (docs/states.md, T7)",
        sentence="It has been suspended since {since}, more than {hours} hours, and nobody has decided what becomes of "
        "it.",
        mend="Take it back into use with two people, or revoke it.",
    ),
    "past-period-of-use": Definition(
        severity=Severity.HIGH, title="past its period of use", clause="SP 800-57 Part 1 §5.3.6",
        sentence="Its period of use ended on {ended}, and it is still in use.",
        mend="Rotate it, and deactivate this version.",
    ),
    "deactivated-but-referenced": Definition(
        severity=Severity.HIGH, title="deactivated but referenced", clause="SP 800-57 Part 1 §5.3.6",
        sentence="Its period of use is over, and {children} key(s) still hang on it.",
        mend="Wrap them again under another key, then destroy this one.",
    ),
    "reused-across-environments": Definition(
        severity=Severity.CRITICAL, title="reused across environments", clause="{clauses}",
        sentence="The same material is in {environments}: {peer}.",
        mend="Make a key of its own for each environment, and rotate this one.",
    ),
    "backup-equals-production": Definition(
        severity=Severity.CRITICAL, title="backup key equal to a production key", clause="{clauses}",
        sentence="The same material protects backups and production: {peer}.",
        mend="Make a key for backups alone: who takes the one must not have the other.",
    ),
    # What stands in the public key itself, or in the certificate: codes of algorithms.weaknesses.
    "modulus-small": Definition(
        severity=Severity.HIGH, title="RSA modulus short", clause="SP 800-131A Rev. 2 §3; FIPS 186-5 §5.1",
        sentence="Its RSA modulus has fewer than 2048 bits.",
        mend="Rotate to RSA with 3072 bits, or to an elliptic curve.",
    ),
    "exponent-one": Definition(
        severity=Severity.CRITICAL, title="RSA exponent 1", clause=_FIPS,
        sentence="Its public exponent is 1: this key encrypts nothing and signs everything.",
        mend=_ANOTHER_KEY,
    ),
    "exponent-even": Definition(
        severity=Severity.CRITICAL, title="RSA exponent even", clause=_FIPS,
        sentence="Its public exponent is even, so this is no RSA key.",
        mend=_ANOTHER_KEY,
    ),
    "exponent-small": Definition(
        severity=Severity.MEDIUM, title="RSA exponent small", clause=_FIPS,
        sentence="Its public exponent is smaller than 65537.",
        mend="Rotate to a key with the exponent 65537.",
    ),
    "exponent-large": Definition(
        severity=Severity.LOW, title="RSA exponent large", clause=_FIPS,
        sentence="Its public exponent has more than 256 bits, as only a small private one needs.",
        mend="Rotate to a key with the exponent 65537.",
    ),
    "factor-small": Definition(
        severity=Severity.CRITICAL, title="RSA modulus factored", clause=_FIPS,
        sentence="A prime below 8192 divides its modulus, so anybody can compute the private key.",
        mend=_ANOTHER_KEY,
    ),
    "factors-close": Definition(
        severity=Severity.CRITICAL, title="RSA primes close together", clause=_FIPS,
        sentence="Its two primes lie so close together that Fermat's method finds them.",
        mend=_ANOTHER_KEY,
    ),
    "roca": Definition(
        severity=Severity.CRITICAL, title="RSA primes predictable (ROCA)", clause="CVE-2017-15361",
        sentence="Its primes come from the flawed Infineon library (ROCA), so the private key can be computed.",
        mend="Rotate to a key that was made elsewhere than in that chip, and revoke this one.",
    ),
    "shared-factor": Definition(
        severity=Severity.CRITICAL, title="RSA prime shared with another key", clause=_FIPS,
        sentence="It shares a prime with another key of the file that it came in, so both can be computed.",
        mend="Rotate both where there is enough randomness at the first start, and revoke these.",
    ),
    "dsa": Definition(
        severity=Severity.HIGH, title="DSA key", clause="FIPS 186-5 §4",
        sentence="It is a DSA key, with which nothing may be signed any more.",
        mend="Rotate to ECDSA, Ed25519 or RSA.",
    ),
    "curve-small": Definition(
        severity=Severity.HIGH, title="curve small", clause="SP 800-186 §3; SP 800-57 Part 1 §5.6.1",
        sentence="Its curve is smaller than P-256.",
        mend="Rotate to P-256 or a larger curve, or to Ed25519.",
    ),
    "signature-md5": Definition(
        severity=Severity.CRITICAL, title="certificate signed with MD5", clause="SP 800-131A Rev. 2 §9",
        sentence="The certificate is signed with MD5, so it can be forged.",
        mend="Have it issued again, signed with SHA-256.",
    ),
    "signature-sha1": Definition(
        severity=Severity.HIGH, title="certificate signed with SHA-1", clause="SP 800-131A Rev. 2 §9",
        sentence="The certificate is signed with SHA-1, so it can be forged.",
        mend="Have it issued again, signed with SHA-256.",
    ),
    "certificate-expired": Definition(
        severity=Severity.HIGH, title="certificate expired", clause="RFC 5280 §4.1.2.5",
        sentence="Its certificate was valid until {ended}.",
        mend="Replace it, or deactivate the record if nobody uses it any more.",
    ),
})  # fmt: skip
