"""A browser and servers for the tests of the page.

`SOUFFLEUR_URL` runs what does not depend on the mock's own answers against a real server that has
read `examples/handbook`; `CHROMIUM` names a browser other than the system's.
"""

import os
import pathlib
import shutil
import sys
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import sync_playwright

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from mock import Mock

REAL = os.environ.get("SOUFFLEUR_URL", "").rstrip("/")
# A token of Mattermost's that the server takes.
MATTERMOST_TOKEN = os.environ.get("PAGE_MATTERMOST_TOKEN", "token")
# A page on a busy machine is slow, not broken.
TIMEOUT_MS = int(os.environ.get("PAGE_TIMEOUT_MS", "60000"))

mock_only = pytest.mark.skipif(bool(REAL), reason="asks for the mock's own data")


class Served:
    """A server's address, and what it knows where it is the mock."""

    def __init__(self, url, world=None):
        self.url = url
        self.world = world


@pytest.fixture(scope="session")
def browser():
    path = (
        os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    )
    assert path, "no Chromium: install the package `chromium`, or name one in CHROMIUM"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def server():
    if REAL:
        yield Served(REAL)
        return
    mock = Mock(slow=0.2)
    yield Served(mock.url, mock.world)
    mock.shutdown()


@pytest.fixture
def start():
    """Starts mocks with options of their own."""
    mocks = []

    def make(**options):
        mock = Mock(**{"slow": 0.2, **options})
        mocks.append(mock)
        return Served(mock.url, mock.world)

    yield make
    for mock in mocks:
        mock.shutdown()


class Watch:
    """What a page must not do: complain, or ask another host."""

    def __init__(self):
        self.complaints = []
        self.hosts = set()
        self.allowed = []

    def follow(self, page):
        page.on("console", self.on_console)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def on_console(self, message):
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def check(self, hosts):
        left = [it for it in self.complaints if not any(part in it for part in self.allowed)]
        assert left == []
        assert {it for it in self.hosts if it} <= hosts


@pytest.fixture
def open_page(browser):
    """Opens pages whose console and requests are watched to the end of the test."""
    contexts = []
    watch = Watch()
    hosts = set()

    def make(url, language="fr-FR", width=1280, height=860, dark=False, **more):
        context = browser.new_context(
            locale=language,
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            **more,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        watch.follow(page)
        hosts.add(urlsplit(url).netloc)
        page.watch = watch
        page.hosts = hosts
        page.goto(url)
        page.wait_for_selector("main h1, main .turn, article h1, .operation, dialog[open]")
        return page

    yield make
    for context in contexts:
        context.close()
    watch.check(hosts)
