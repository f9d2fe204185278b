"""A real server and a real browser: gunicorn as `up` starts it, over a database of the test's own, and Chromium.

Chromium comes from the system. Without it these tests fail, unless KEYVAULT_TEST_WITHOUT=chromium leaves them out.
"""

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response, sync_playwright

from keyvault_admin.local.children import application
from keyvault_admin.local.engine import choose_port
from tests.conftest import CommittedDatabase
from tests.engines import ROOT

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_SECONDS = 60


@pytest.fixture(autouse=True)
def database_beside_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Playwright keeps an event loop in this thread, which Django takes for code that must not wait for a database."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")


@pytest.fixture
def browser() -> Iterator[Browser]:
    """The system's Chromium; not kept between tests, for the loop above would stand in the way of all others."""
    if "chromium" in os.environ.get("KEYVAULT_TEST_WITHOUT", "").split():
        pytest.skip("NOT TESTED: KEYVAULT_TEST_WITHOUT leaves Chromium out.")
    program = next((path for name in NAMES if (path := shutil.which(name))), None)
    if program is None:
        pytest.fail("Chromium is missing: install the package chromium, or set KEYVAULT_TEST_WITHOUT=chromium.")
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=[*ARGUMENTS, *as_root])
        yield started
        started.close()


@pytest.fixture(scope="session")
def static_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Static files as a server has them: collected, compressed, under hashed names."""
    folder = tmp_path_factory.mktemp("static")
    collect = [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity=0"]
    subprocess.run(collect, cwd=ROOT, env={**os.environ, "STATIC_ROOT": str(folder)}, check=True)
    return folder


@pytest.fixture
def clone_name() -> str:
    """One name for the databases of all tests here, one after the other: so one web process serves them all.

    Between two tests its connections are cut, and it makes new ones, as it does after a restart of PostgreSQL.
    """
    return f"clone_served_{os.getpid()}"


@pytest.fixture(scope="session")
def web_processes() -> Iterator[ExitStack]:
    """Ends, after the last test, what was started for the first one."""
    with ExitStack() as started:
        yield started


_ADDRESS: dict[int, str] = {}  # by test process


@pytest.fixture
def site(
    committed_db: CommittedDatabase,
    static_root: Path,
    web_processes: ExitStack,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """The address of a web process that serves the test's database."""
    if os.getpid() not in _ADDRESS:
        folder = tmp_path_factory.mktemp("web")
        _ADDRESS[os.getpid()] = web_processes.enter_context(
            serving(committed_db, static_root, folder, KEYVAULT_SOURCE_HOSTS="127.0.0.1")
        )
    return _ADDRESS[os.getpid()]


@contextmanager
def serving(database: CommittedDatabase, static_root: Path, tmp_path: Path, **more: str) -> Iterator[str]:
    """Run a web process, with more in its environment, and give its address."""
    port = choose_port(None)
    web = application(port, tmp_path, tmp_path)[0]
    address = f"http://localhost:{port}"  # a name, and the very origin that passkeys are bound to
    environ = database.environ(**web.env, STATIC_ROOT=str(static_root), SITE_URL=address, **more)
    with (tmp_path / "web.log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(web.argv, cwd=ROOT, env=environ, stdout=log, stderr=log)
        try:
            _wait_until_ready(process, port, log.name)
            yield address
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE_SECONDS)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: str) -> None:
    ends = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://localhost:{port}/-/live", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"The web process did not start:\n{Path(log).read_text(encoding='utf-8')[-2000:]}")


@dataclass
class Visitor:
    """A window of the browser that remembers everything a browser complains of."""

    page: Page
    site: str
    elsewhere: str = "data:"  # another site that this window may be led to
    complaints: list[str] = field(default_factory=list)
    visited: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(f"{self.page.url}: {error}"))
        self.page.on("response", self._answered)
        self.page.on("requestfailed", self._failed)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{self.page.url}: {message.text}")

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # what a page was asking for when somebody left it
            self.complaints.append(f"not loaded: {request.url}: {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400 or not response.url.startswith((self.site, "data:", self.elsewhere)):
            self.complaints.append(f"{response.status} {response.url}")

    def go(self, path: str) -> None:
        """Open a page, which is to fit a phone's screen as well as a desk's."""
        self.page.goto(self.site + path)
        self.visited.append(path)
        self.look()

    def look(self) -> None:
        """Check the present page in four ways: narrow and wide, light and dark."""
        for width, scheme in ((390, "dark"), (1440, "light")):
            self.page.set_viewport_size({"width": width, "height": 844})
            self.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            overflow = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            if overflow > 0:
                self.complaints.append(f"{self.page.url}: {overflow} px wider than a screen of {width}")
        self.complaints.extend(f"{self.page.url}: {fault}" for fault in self.page.evaluate(FAULTS))


# What a person without sight or mouse would stumble over, and what the policy of the page forbids.
FAULTS = """() => {
  const faults = [];
  for (const input of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
    if (!input.labels?.length && !input.getAttribute("aria-label")) faults.push("no label: " + input.outerHTML);
  for (const act of document.querySelectorAll("a, button"))
    if (!act.textContent.trim() && !act.getAttribute("aria-label") && !act.querySelector("img[alt]"))
      faults.push("no words: " + act.outerHTML);
  for (const element of document.querySelectorAll("[aria-describedby], [aria-labelledby]"))
    for (const name of ["aria-describedby", "aria-labelledby"])
      for (const id of (element.getAttribute(name) ?? "").split(" ").filter(Boolean))
        if (!document.getElementById(id)) faults.push(name + " points nowhere: " + id);
  if (document.querySelectorAll("h1").length !== 1) faults.push("not one heading");
  if (document.querySelector("[style], style, script:not([src])")) faults.push("something inline");
  const ids = [...document.querySelectorAll("[id]")].map(element => element.id);
  faults.push(...ids.filter((id, place) => ids.indexOf(id) !== place).map(id => "twice: #" + id));
  return faults;
}"""


@pytest.fixture
def window(browser: Browser) -> Iterator[BrowserContext]:
    """A window without any cookie."""
    context = browser.new_context(locale="en-GB", timezone_id="UTC")
    context.set_default_timeout(10_000)
    yield context
    context.close()


@pytest.fixture
def visitor(window: BrowserContext, site: str) -> Visitor:
    """Somebody at their desk, not signed in."""
    return Visitor(window.new_page(), site)
