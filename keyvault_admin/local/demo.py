"""The demo: people of five roles and an inventory of a few hundred keys, the same at every run. Pure."""

import csv
import io
import random
from datetime import date, timedelta
from typing import NamedTuple

from keyvault_admin.access.roles import Role


class DemoPerson(NamedTuple):
    username: str
    full_name: str
    role: Role

    @property
    def mail(self) -> str:
        return f"{self.username}@example.com"


PEOPLE = (
    DemoPerson("alice", "Alice Okafor", Role.SECURITY),
    DemoPerson("ada", "Ada Lindqvist", Role.SECURITY),
    DemoPerson("bob", "Bob Marek", Role.DEVOPS),
    DemoPerson("dana", "Dana Petrova", Role.DEVOPS),
    DemoPerson("carol", "Carol Webb", Role.ENGINEERING),
    DemoPerson("chen", "Chen Wei", Role.ENGINEERING),
    DemoPerson("erin", "Erin Haas", Role.MANAGEMENT),
    DemoPerson("mina", "Mina Ruiz", Role.MANAGEMENT),
    DemoPerson("dave", "Dave Osei", Role.AUDITOR),
    DemoPerson("olga", "Olga Nowak", Role.AUDITOR),
)
REPORTER = "carol"  # says that she has rotated a key of hers; somebody of DevOps is to confirm it
KEEPER, TEAM = "dana", "platform-team"  # who answers for the keys of the demo itself
KEK_ASKER, KEKS = "bob", (("payments", "checkout"), ("identity", "identity"))  # name in the store, service
KEK, KEK_VOTER = "payments/kek", "ada"  # the first of them; the other one waits for whoever looks around
DEK_ASKER, DEK_USER = "carol", "checkout"
TENANTS = (
    "acme", "alder-bank", "birch-insurance", "cedar-health", "delta-air", "elm-retail", "fjord-energy", "globex",
    "harbour-city", "initech", "juniper-law", "kite-games",
)  # fmt: skip
INTEGRATIONS = ("crm", "billing", "webhooks", "exports", "mobile")  # the last one began after the rotation
KEY_COUNT = 260

_OWNERS = ("carol", "chen", "bob", "dana", "platform-team", "sre-oncall", "payments-team")
_SERVICES = (
    "checkout", "ledger", "identity", "notifications", "reporting", "search", "media", "edge-proxy", "partner-gateway",
    "data-lake", "build-farm", "mobile-api",
)  # fmt: skip
_PURPOSES = ("signs sessions", "reads customer records", "nightly dump", "outbound calls to partner", "deploys from CI")
_KINDS = (  # words of a spreadsheet, how many of hundred, algorithms
    ("API token", 24, ("opaque",)),
    ("Personal access token", 12, ("opaque",)),
    ("DB password", 14, ("opaque",)),
    ("TLS certificate", 14, ("ECDSA P-256", "RSA-2048", "RSA-3072")),
    ("SSH key", 10, ("Ed25519", "RSA-4096", "DSA")),
    ("JWT signing key", 8, ("ES256", "RS256", "HS256")),
    ("HMAC secret", 6, ("HMAC-SHA-256", "HMAC-MD5")),
    ("Webhook secret", 5, ("opaque",)),
    ("DEK", 3, ("AES-256-GCM",)),
    ("KEK", 2, ("AES-256", "RSA-3072")),
    ("Backup encryption key", 2, ("AES-256",)),
)
_ENVIRONMENTS = (("production", 55), ("staging", 20), ("test", 10), ("development", 15))
_MEDIA = ("HashiCorp Vault", "AWS Secrets Manager", "1Password", "GitHub Actions secrets", "env var", "HSM slot 2")
_CLASSES = ("Restricted", "Confidential", "Internal", "")
_HEADER = (
    "Name", "Key Creator", "Service description", "Creation Date", "Last rotated date", "Current Key Owner",
    "Environment", "Type", "Algorithm", "Where stored", "Access to production or customer data", "Data class",
)  # fmt: skip


def inventory_csv(today: date, count: int = KEY_COUNT) -> bytes:
    """Return the inventory as a company exports it: most keys in good order, some late, some with gaps."""
    draw = random.Random(20)  # noqa: S311 - a demo that looks the same every time; no key comes from it
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(_HEADER)
    for number in range(count):
        table.writerow(_row(draw, number, today))
    return text.getvalue().encode()


def _row(draw: random.Random, number: int, today: date) -> tuple[str, ...]:
    words, _, algorithms = draw.choices(_KINDS, weights=[share for _, share, _ in _KINDS])[0]
    service = draw.choice(_SERVICES)
    environment = draw.choices([name for name, _ in _ENVIRONMENTS], weights=[share for _, share in _ENVIRONMENTS])[0]
    opens = environment == "production" or draw.random() < 0.1  # noqa: PLR2004 - one in ten elsewhere
    longest = 90 if opens else 365
    rotated = today - timedelta(days=_age(draw, longest))
    created = rotated - timedelta(days=draw.randint(0, 900))
    return (
        f"{service}/{words.lower().replace(' ', '-')}-{number:03}",
        draw.choice(_OWNERS),
        f"{service}: {draw.choice(_PURPOSES)}",
        created.isoformat(),
        draw.choices((rotated.isoformat(), "never" if rotated == created else rotated.isoformat(), ""), (80, 16, 4))[0],
        draw.choice(_OWNERS) if draw.random() < 0.94 else "",  # noqa: PLR2004 - some keys have lost their owner
        environment,
        words,
        draw.choice(algorithms),
        draw.choice(_MEDIA),
        "yes" if opens else draw.choice(("no", "")),
        draw.choice(_CLASSES),
    )


def _age(draw: random.Random, longest: int) -> int:
    """Return days since the last rotation: of 100 keys about 82 in time, 10 due within a month, 8 late."""
    return draw.choices(
        (
            draw.randint(0, max(longest - 31, 1)),
            draw.randint(longest - 30, longest - 1),
            draw.randint(longest, longest + 200),
        ),
        (82, 10, 8),
    )[0]
