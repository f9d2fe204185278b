"""Rules of this house that no linter knows, read from the code itself. Each rule names what breaks it."""

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("audit", "inventory", "rotation", "keyvault_admin")
DOORS = {
    "admin", "admin_base", "admin_site", "api", "approval_forms", "approval_views", "asking_forms", "asking_views",
    "at_once_views", "backends", "checks", "clause_views", "custody_pages", "dashboard", "duty_admin", "duty_forms",
    "duty_views", "exception_views", "export_views", "filters", "forms", "held_views", "import_forms", "import_views",
    "middleware", "records_views", "replay_views", "request_admin", "review_forms", "review_views", "rule_views",
    "signals", "tasks", "throttle", "views",
}  # fmt: skip
SERVICES = {
    "services", "alone", "at_once", "duties", "guarded", "keeping", "orders", "overdue", "notifications", "recording",
    "reviews", "rewrap", "sources",
}  # fmt: skip


class Source(NamedTuple):
    """One file of ours: its path from the root, as "inventory/policy.py", and what it says."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return _parsed(self.text)

    @property
    def nodes(self) -> list[ast.AST]:
        return _walked(self.text)

    @property
    def parts(self) -> set[str]:
        return set(Path(self.path).with_suffix("").parts)

    @property
    def is_door(self) -> bool:
        return bool(self.parts & (DOORS | {"container", "management"}))

    def at(self, node: ast.AST) -> str:
        return f"{self.path}:{getattr(node, 'lineno', 1)}"


@cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


@cache
def _walked(text: str) -> list[ast.AST]:
    return list(ast.walk(_parsed(text)))


def _sources(*folders: str, suffix: str = ".py") -> list[Source]:
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob(f"*{suffix}"))
    return [Source(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")) for path in paths]


CODE = [source for source in _sources(*PACKAGES) if "migrations" not in source.parts]
CODE.append(Source("manage.py", (ROOT / "manage.py").read_text(encoding="utf-8")))
TEMPLATES = _sources("templates", suffix=".html")
PAGES = [source for source in TEMPLATES if not source.path.startswith("templates/emails/")]


def _name(node: ast.expr) -> str:
    """Return a dotted name as it is written: "timezone.now"."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value) or ast.unparse(node.value)}.{node.attr}"
    return ""


@cache
def _calls(source: Source) -> list[tuple[ast.Call, str]]:
    return [(node, _name(node.func)) for node in source.nodes if isinstance(node, ast.Call)]


@cache
def _names(source: Source) -> list[tuple[ast.AST, str]]:
    """Every dotted name that is used and every name that is imported."""
    found: list[tuple[ast.AST, str]] = []
    for node in source.nodes:
        if isinstance(node, ast.Name | ast.Attribute):
            found.append((node, _name(node)))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found += [(node, alias.name) for alias in node.names]
    return found


# Errors and rights

WIDE = {"Exception", "BaseException"}


def swallows_everything(source: Source) -> Iterator[str]:
    """`except Exception` hides programming errors, unless it raises. Health says "no", a deadline hands it on."""
    for node in source.nodes:
        if not isinstance(node, ast.ExceptHandler) or (node.type is not None and _name(node.type) not in WIDE):
            continue
        raises_on = isinstance(node.body[-1], ast.Raise)
        if not raises_on and source.path not in {"keyvault_admin/health.py", "audit/deadlines.py"}:
            yield source.at(node)


def opens_a_hole(source: Source) -> Iterator[str]:
    """Markup is built by format_html, and every form carries its token."""
    for node, name in _names(source):
        if name.rpartition(".")[2] in {"mark_safe", "csrf_exempt"}:
            yield f"{source.at(node)} {name}"
    yield from (source.at(node) for node, name in _calls(source) if name.endswith("SafeString"))


def draws_from_a_predictable_generator(source: Source) -> Iterator[str]:
    """Secrets come from the operating system. The demo alone has to look the same every time."""
    for node, name in _names(source):
        if (name == "random" or name.startswith("random.")) and source.path != "keyvault_admin/local/demo.py":
            yield source.at(node)


# Where things may be done


# django-otp gives its devices no time, nor Django its sessions. The local key store is a server, with its own clock.
WITHOUT_TIME = {
    "inventory/kms/local.py",
    "keyvault_admin/access/models/devices.py",
    "keyvault_admin/access/session_store.py",
}


def reads_a_clock(source: Source) -> Iterator[str]:
    """Time is passed in as `now`; doors alone ask for it, so that tests and late runs can say what time it is."""
    if source.is_door or source.path in WITHOUT_TIME:
        return
    for node, name in _calls(source):
        if name in {"timezone.now", "timezone.localdate", "datetime.now", "date.today", "datetime.today", "time.time"}:
            yield f"{source.at(node)} {name}"


def reads_the_environment(source: Source) -> Iterator[str]:
    """Settings are the only reader; launchers hand it on to their processes, and entry points name the settings."""
    if source.path in {"manage.py", "keyvault_admin/settings.py"} or {"local", "container"} & source.parts:
        return
    for node, name in _calls(source):
        if name.startswith(("os.environ", "os.getenv")) and not (
            name == "os.environ.setdefault" and ast.unparse(node.args[0]) == "'DJANGO_SETTINGS_MODULE'"
        ):
            yield f"{source.at(node)} {name}"


def writes_a_state(source: Source) -> Iterator[str]:
    """A key's state is written by lifecycle; registering mirrors on the object what the database has written."""
    # (the jobs write the state of an uploaded file, the others that of an exception)
    if source.path in {
        "inventory/guarded/exceptions.py",
        "inventory/services/exceptions.py",
        "inventory/lifecycle.py",
        "inventory/services/jobs.py",
        "inventory/services/keys.py",
    } or not source.path.startswith("inventory/"):
        return
    for node in source.nodes:
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {part for target in targets for part in ast.walk(target) if isinstance(part, ast.Attribute)}
            if any(name.attr == "state" for name in names):
                yield source.at(node)
    for node, name in _calls(source):
        if name.endswith(".update") and any(keyword.arg == "state" for keyword in node.keywords):
            yield source.at(node)


# What needs votes: the packages that do it, and who may reach into them.
GUARDED = ("inventory.guarded", "keyvault_admin.access.guarded")
OPERATIONS = (
    "rotation/operations/", "rotation/orders/", "rotation/at_once", "keyvault_admin/access/operations",
    "keyvault_admin/access/alone/",
)  # fmt: skip
EXECUTOR = "rotation/approvals/executing.py"
WRITERS_OF_STATES = {"inventory/lifecycle.py", "inventory/guarded/transitions.py"}


def reaches_what_needs_votes(source: Source) -> Iterator[str]:
    """Guarded services are called by operations, their orders, and what one person may do at once; by nobody else."""
    if "guarded" in source.parts or source.path.startswith(OPERATIONS):
        return
    for node in source.nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [getattr(node, "module", "") or "", *(alias.name for alias in node.names)]
            if any("guarded" in module.split(".") for module in modules):
                yield source.at(node)
        elif isinstance(node, ast.Constant):
            if str(node.value).startswith(GUARDED):
                yield source.at(node)
        elif {getattr(node, "id", None), getattr(node, "attr", None)} & _guarded_services():
            yield source.at(node)


@cache
def _guarded_services() -> frozenset[str]:
    """Return the names of the functions that take a permit, and are no others' besides."""
    services = {
        function.name
        for source in _sources(*(package.replace(".", "/") for package in GUARDED))
        for function in source.tree.body
        if isinstance(function, ast.FunctionDef) and any(one.arg == "permit" for one in function.args.kwonlyargs)
    }
    elsewhere = {
        function.name
        for source in _sources(*PACKAGES)
        if "guarded" not in source.parts
        for function in source.tree.body
        if isinstance(function, ast.FunctionDef)
    }
    return frozenset(services - elsewhere)


def makes_a_permit(source: Source) -> Iterator[str]:
    """The executor alone says that a request permits something, and it alone runs what an operation does."""
    if source.path in {EXECUTOR, "inventory/permits.py"}:
        return
    imports = (node for node in source.nodes if isinstance(node, ast.ImportFrom))
    knows = any(node.module == "inventory.permits" for node in imports)
    for node, name in _calls(source):
        if (knows and name.rpartition(".")[2] == "Permit") or (
            name.endswith(".execute") and node.args and ast.unparse(node.args[0]) == "payload"
        ):
            yield f"{source.at(node)} {name}"


def writes_past_the_lifecycle(source: Source) -> Iterator[str]:
    """Two modules call the functions of the database that write states and dates."""
    if source.path in WRITERS_OF_STATES:
        return
    for node in source.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "inventory_set_" in node.value:
            yield source.at(node)


def sends_from_a_service(source: Source) -> Iterator[str]:
    """Work for later is a row; a service that calls a task would lose it with the broker."""
    if not source.is_door and source.path != "keyvault_admin/celery.py":
        for node, name in _calls(source):
            if name.rpartition(".")[2] in {"delay", "apply_async", "send_task"}:
                yield source.at(node)


FORWARDED = re.compile(r"(HTTP_)?X[-_]FORWARDED[-_]FOR|REMOTE_ADDR", re.IGNORECASE)


def reads_who_forwarded(source: Source) -> Iterator[str]:
    """One reader of X-Forwarded-For: whoever believes it elsewhere can be told any address."""
    if source.path == "keyvault_admin/middleware.py":
        return
    for node in source.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and FORWARDED.fullmatch(node.value):
            yield source.at(node)


# What votes guard, and the only files that carry it out: for a request, or for one person where there are too few.
CARRIED_OUT_BY = {
    "grant_role": {"keyvault_admin/access/operations.py"},
    "erase_person": {"keyvault_admin/access/operations.py"},
    "reset_factors": {"keyvault_admin/access/operations.py", "keyvault_admin/access/alone/resetting.py"},
    "reactivate_person": {"keyvault_admin/access/operations.py", "keyvault_admin/access/alone/resetting.py"},
    "give_role": {
        "keyvault_admin/access/alone/bootstrap.py",
        "keyvault_admin/access/alone/restoring.py",
        "keyvault_admin/access/guarded/roles.py",
    },
    "set_rule": {"rotation/operations/rules.py"},
    "set_route": {"rotation/operations/rules.py"},
    "set_retention": {"rotation/operations/log.py"},
    "drop_period": {"rotation/operations/log.py"},
}


def goes_round_the_votes(source: Source) -> Iterator[str]:
    """A guarded service is called by its operation alone, however it was imported."""
    for node, name in _calls(source):
        allowed = CARRIED_OUT_BY.get(name.rpartition(".")[2])
        if allowed is not None and source.path not in allowed:
            yield f"{source.at(node)} {name}"


# The shape of a service

# Writes no event of its own: it sets notices apart for one mail, grants nothing yet, or leaves its event to the sign-in
# that called it.
WITHOUT_ACTOR = {"gather", "begin_app", "begin_enrolment", "verify_code"}
WITHOUT_NOW = {"begin_app", "verify_code"}  # nothing is dated; django-otp asks its device, which has no other clock


def breaks_the_shape_of_a_service(source: Source) -> Iterator[str]:
    """A write takes named arguments, an `actor` without default, and `now`."""
    if not source.parts & SERVICES or source.path == "audit/services.py":
        return
    for function in source.tree.body:
        if not isinstance(function, ast.FunctionDef) or function.name.startswith("_") or not _is_atomic(function):
            continue
        arguments = function.args
        defaults = dict(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
        named = {argument.arg: default for argument, default in defaults.items()}
        if arguments.args or arguments.posonlyargs or arguments.vararg:
            yield f"{source.at(function)} {function.name} takes positional arguments"
        for name, excepted in (("actor", WITHOUT_ACTOR), ("now", WITHOUT_NOW)):
            if function.name not in excepted and named.get(name, ...) is not None:
                yield f"{source.at(function)} {function.name} has no `{name}`, or a default for it"


def _is_atomic(function: ast.FunctionDef) -> bool:
    return any("transaction.atomic" in ast.unparse(decorator) for decorator in function.decorator_list)


# Size and leftovers

LONGEST = 400
ONE_FILE = {"audit/standalone/verify_log.py": 600}  # auditors get one file, and read it whole
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b")


def is_too_long(source: Source) -> Iterator[str]:
    """Past about 400 lines a module is two: split it by noun."""
    lines = source.text.count("\n")
    if lines > ONE_FILE.get(source.path, LONGEST):
        yield f"{source.path} has {lines} lines"


def is_unfinished(source: Source) -> Iterator[str]:
    """A part that is missing is said in an issue, never left as a note in the code."""
    for number, line in enumerate(source.text.splitlines(), start=1):
        if UNFINISHED.search(line):
            yield f"{source.path}:{number}"


RULES: tuple[Callable[[Source], Iterator[str]], ...] = (
    swallows_everything,
    opens_a_hole,
    draws_from_a_predictable_generator,
    reads_a_clock,
    reads_the_environment,
    writes_a_state,
    reaches_what_needs_votes,
    makes_a_permit,
    writes_past_the_lifecycle,
    sends_from_a_service,
    reads_who_forwarded,
    goes_round_the_votes,
    breaks_the_shape_of_a_service,
    is_too_long,
    is_unfinished,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_file_breaks_the_rule(rule: Callable[[Source], Iterator[str]]) -> None:
    broken = [where for source in CODE for where in rule(source)]
    assert not broken, f"{rule.__doc__} Broken by: {'; '.join(broken)}"


BREAKS: dict[str, tuple[str, str]] = {
    "swallows_everything": ("inventory/views.py", "try:\n    pass\nexcept:\n    pass\n"),
    "opens_a_hole": ("inventory/chips.py", "from django.utils.safestring import mark_safe\n"),
    "draws_from_a_predictable_generator": ("keyvault_admin/access/totp.py", "import random\n"),
    "reads_a_clock": ("inventory/services/keys.py", "made = timezone.now()\n"),
    "reads_the_environment": ("keyvault_admin/health.py", "home = os.environ.get('HOME')\n"),
    "writes_a_state": ("inventory/views.py", "key.name, key.state = 'a', State.ACTIVE\n"),
    "reaches_what_needs_votes": ("inventory/views.py", "from rotation.operations.keys import x\nx.revoke_key(pk=1)\n"),
    "makes_a_permit": ("rotation/at_once.py", "from inventory.permits import Permit\nPermit(request='request:1')\n"),
    "writes_past_the_lifecycle": ("inventory/services/keys.py", "run('SELECT inventory_set_dates(%s)')\n"),
    "sends_from_a_service": ("rotation/overdue.py", "deliver_mail.delay()\n"),
    "reads_who_forwarded": ("keyvault_admin/access/throttle.py", "hops = request.META['HTTP_X_FORWARDED_FOR']\n"),
    "goes_round_the_votes": ("keyvault_admin/access/views/people.py", "guarded.grant_role(person=1)\n"),
    "breaks_the_shape_of_a_service": (
        "inventory/services/keys.py",
        "@transaction.atomic\ndef lose_key(*, pk, actor=None, now):\n    pass\n",
    ),
    "is_too_long": ("inventory/long.py", "\n" * (LONGEST + 1)),
    "is_unfinished": ("inventory/policy.py", "# TO" + "DO: think\n"),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_can_be_broken(rule: Callable[[Source], Iterator[str]]) -> None:
    assert list(rule(Source(*BREAKS[rule.__name__])))


@pytest.mark.parametrize(
    "text",
    [
        "from inventory import guarded\n",
        "from inventory.guarded.transitions import revoke_key as x\n",
        "import inventory.guarded.transitions\n",
        "import_module('inventory.guarded.transitions')\n",
        "from rotation.operations import keys\nkeys.transitions.destroy_key(pk=1)\n",
    ],
)
def test_no_name_leads_round_the_operations(text: str) -> None:
    assert list(reaches_what_needs_votes(Source("inventory/views.py", text)))
    assert not list(reaches_what_needs_votes(Source("rotation/operations/keys.py", text)))


def test_there_are_services_that_need_votes() -> None:
    assert {"revoke_key", "destroy_key", "reactivate_key", "set_dates"} <= _guarded_services()


# Pages

INLINE = re.compile(r"<style\b|\sstyle\s*=|\son[a-z]+\s*=\s*[\"']|javascript:", re.IGNORECASE)
SCRIPT = re.compile(r"<script\b([^>]*)>(.*?)</script>", re.IGNORECASE | re.DOTALL)
UNESCAPED = re.compile(r"\{\{[^}]*\|\s*safe\b[^}]*\}\}|\{%\s*autoescape off")
# Django's own templates print these so: they are words of our code, never of a person.
OUR_WORDS = ("help_text|safe", "fieldset.description|safe")


def test_pages_have_nothing_inline() -> None:
    """The content security policy would refuse it, and only where somebody looks."""
    inline = [source.path for source in PAGES if INLINE.search(source.text)]
    inline += [
        source.path
        for source in PAGES
        for attributes, content in SCRIPT.findall(source.text)
        if "src=" not in attributes or content.strip()
    ]
    assert inline == []


def test_templates_escape_everything_a_person_wrote() -> None:
    found = {source.path: UNESCAPED.findall(source.text) for source in TEMPLATES}
    assert [
        (path, tag) for path, tags in found.items() for tag in tags if not any(words in tag for words in OUR_WORDS)
    ] == []


def test_links_to_elsewhere_hand_nothing_over() -> None:
    """A page behind a link that a person entered learns neither our address nor our window."""
    link = re.compile(r"<a\b[^>]*href=\"{{ [\w.]*(?:runbook_url|line\.url) }}\"[^>]*>")
    found = [tag for source in PAGES for tag in link.findall(source.text)]
    assert len(found) >= 2
    assert [tag for tag in found if 'rel="noopener noreferrer"' not in tag] == []


def test_scripts_build_no_markup_from_text() -> None:
    risky = re.compile(r"\.(inner|outer)HTML\b|insertAdjacentHTML|document\.write|\beval\(|new Function")
    assert [source.path for source in _sources("static", suffix=".js") if risky.search(source.text)] == []
