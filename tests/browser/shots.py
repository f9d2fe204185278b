"""`make shots`: pictures of every page of a demo of its own, light and dark, wide and narrow.

It keeps its data apart, uses a free port, and leaves nothing running. Usage: python -m tests.browser.shots FOLDER
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from keyvault_admin.local.engine import choose_port
from tests.browser import tour

ROOT = Path(__file__).resolve().parent.parent.parent
WIDTHS = {"wide": 1440, "phone": 390}
SCHEMES = ("light", "dark")
PERSON = "alice"
WORKER_MILLISECONDS = 60_000


@contextmanager
def demo(folder: Path) -> Iterator[tuple[str, str]]:
    """Run a demo of our own; give its address and the password of PERSON, which it prints once."""
    local_env, port = folder / "local.env", choose_port(None)
    environ = {**os.environ, "KEYVAULT_LOCAL_ENV": str(local_env)}
    process = subprocess.Popen(
        [sys.executable, "manage.py", "up", "--demo", "--port", str(port)],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield f"http://localhost:{port}", _password(process)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def _password(process: subprocess.Popen[str]) -> str:
    password, lines = "", []
    for line in process.stdout or ():
        lines.append(line)
        words = line.replace("|", " ").split()
        if PERSON in words[:2] and not password:
            password = words[words.index(PERSON) + 2]
        if "is ready" in line and password:
            return password
    raise SystemExit("The demo did not start:\n" + "".join(lines[-20:]))


def chromium() -> str:
    """Return the system's Chromium."""
    found = [path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))]
    if not found:
        raise SystemExit("Chromium is missing: install the package chromium.")
    return found[0]


def one_time_code(folder: Path) -> str:
    """Return the next code of PERSON, as somebody in a second terminal would ask for it."""
    environ = {**os.environ, "KEYVAULT_LOCAL_ENV": str(folder / "local.env")}
    asked = [sys.executable, "manage.py", "demo_code", PERSON]
    return subprocess.run(asked, cwd=ROOT, env=environ, capture_output=True, text=True, check=True).stdout.strip()


def sign_in(page: Page, site: str, password: str, code: str) -> None:
    page.goto(f"{site}/login/")
    page.fill("input[name=username]", PERSON)
    page.fill("input[name=password]", password)
    page.fill("input[name=code]", code)
    page.click("main button[type=submit], form button[type=submit], input[type=submit]")
    page.wait_for_url(f"{site}/")


def shoot(page: Page, name: str, target: Path) -> None:
    """Take the whole page in each scheme and width, in a window as high as it, so that nothing sticks half-way."""
    for width_name, width in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": 900})
        page.set_viewport_size({"width": width, "height": page.evaluate("document.documentElement.scrollHeight")})
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=target / f"{name}-{width_name}-{scheme}.png", full_page=True)


def walk(browser: Browser, site: str, password: str, folder: Path, target: Path) -> None:
    """Go through the pages as PERSON: signed out, everything with an address, and what forms lead to."""
    page = browser.new_page(reduced_motion="reduce")  # no picture of a colour half-way between two themes
    page.goto(f"{site}/login/")
    shoot(page, "sign-in", target)
    sign_in(page, site, password, one_time_code(folder))
    for name, address in [*tour.addresses(page, site), *tour.NOT_THERE.items()]:
        page.goto(site + address)
        shoot(page, name, target)
    for name, act in tour.ACTS.items():
        act(page, site)
        shoot(page, name, target)
        wait_for_worker(page, name, target)
    page.locator("main form button[type=submit]").last.click()
    shoot(page, "import-applying", target)
    wait_for_worker(page, "import-applying", target)


def wait_for_worker(page: Page, name: str, target: Path) -> None:
    """Where a page waits for a worker, take it once more when the worker has done its part."""
    if page.locator("[data-step]").count():
        page.wait_for_selector("[data-step]", state="detached", timeout=WORKER_MILLISECONDS)
        page.wait_for_load_state()
        shoot(page, f"{name}-done", target)


def main(target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="keyvault-shots-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root, the engines run as another user
        with demo(folder) as (site, password), sync_playwright() as playwright:
            arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
            browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
            walk(browser, site, password, folder, target)
            browser.close()
    sys.stdout.write(f"{len(list(target.glob('*.png')))} pictures in {target}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "shots"))
