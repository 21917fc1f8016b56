"""The built documentation as a reader has it: in a browser, on a desktop and on a phone, by day and by night.

It is built once, or is what `DOCS_HTML` names: `nox -s docs` builds it, and then runs this.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest

import kraken_fastkey
from kraken_fastkey import FastKeyError

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium drives the browser")
wait = pytest.importorskip("selenium.webdriver.support.wait", reason="selenium drives the browser")

DOCS = Path(__file__).parent.parent / "docs"
PICTURES = {"four-outcomes", "lease-keys", "lease-states", "lost-create", "one-refresh", "rotation"}
PHONE, DESKTOP = 390, 1280
SECONDS = 30
SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
ERRORS = [
    name
    for name in kraken_fastkey.__all__
    if isinstance(cls := getattr(kraken_fastkey, name), type) and issubclass(cls, FastKeyError)
]
# Each text of a box, and how far it reaches beyond the box.
BEYOND = """
return [...document.querySelectorAll("figure.diagram .box")].flatMap(box => {
    const edge = box.querySelector("rect").getBoundingClientRect();
    return [...box.querySelectorAll("text")].map(text => {
        const reach = text.getBoundingClientRect();
        return [text.textContent, Math.max(edge.left - reach.left, reach.right - edge.right)];
    });
})
"""
# What of an article reaches beyond the screen, and is in nothing that is scrolled.
CUT_OFF = """
const scrolls = element => ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
const within = element => element.tagName !== "ARTICLE" && (scrolls(element) || within(element.parentElement));
return [...document.querySelectorAll("article *")]
    .filter(element => element.getBoundingClientRect().right > innerWidth + 1 && !within(element))
    .map(element => element.outerHTML.slice(0, 80));
"""
FIGURES = """
return [...document.querySelectorAll("figure.diagram")].map(figure => {
    const svg = figure.querySelector("svg"), place = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")].map(text => text.getBoundingClientRect());
    return {
        name: figure.id, width: place.width, height: place.height, right: place.right,
        reach: Math.max(...texts.map(text => text.right)) - place.right,
        start: place.left - Math.min(...texts.map(text => text.left)),
        told: ["title", "desc"].map(part => svg.querySelector(part).textContent.length),
        colour: getComputedStyle(svg.querySelector("text")).fill,
        size: Math.min(...texts.map(text => text.height)),
    };
})
"""


def _missing(program: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"{program} is not installed")
    pytest.skip(f"{program} is not installed")


@pytest.fixture(name="site", scope="module")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the built pages are."""
    if built := os.environ.get("DOCS_HTML"):
        return Path(built).resolve()
    pytest.importorskip("sphinx", reason="Sphinx builds the pages")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-n", "-b", "html", "-d", f"{folder}/doctrees"]
    done = subprocess.run([*command, str(DOCS), f"{folder}/html"], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    return folder / "html"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(name="address", scope="module")
def _address(site: Path) -> Iterator[str]:
    """Serve the pages on loopback, from below a path as a host may do, and return where."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(name="browser", scope="module")
def _browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Start a browser that nobody has used before."""
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        _missing("chromium, with chromedriver,")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for switch in (*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture(name="look")
def _look(browser: Any) -> Callable[..., None]:
    """Choose the screen's width, and whether its user likes it dark."""

    def look(width: int, *, dark: bool = False) -> None:
        metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width == PHONE}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        media = {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    return look


def _pages(site: Path) -> list[str]:
    return sorted(page.relative_to(site).as_posix() for page in site.rglob("*.html") if "_static" not in page.parts)


class _Links(HTMLParser):
    """Collects what a page leads to, what it loads, and the places in it that can be led to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag's addresses and its `id`."""
        told = {name: value or "" for name, value in attrs}
        if "id" in told:
            self.places.add(told["id"])
        if tag == "a" and "href" in told:
            self.links.append(told["href"])
        elif "src" in told or (tag == "link" and told.get("rel") in {"stylesheet", "icon", "preload"}):
            self.loads.append(told.get("src") or told["href"])


def test_no_link_inside_is_broken_and_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    """Each link to a page, and to a place in it, has its target; scripts, styles and pictures are the site's own."""
    pages = {name: _Links((site / name).read_text(encoding="utf-8")) for name in _pages(site)}
    assert 25 < len(pages)
    broken = []
    for name, page in pages.items():
        for address in (*page.links, *page.loads):
            if urlsplit(address).scheme in {"http", "https", "mailto"}:
                continue
            target, place = urldefrag(urljoin(f"/{name}", address))
            path = unquote(urlsplit(target).path).removeprefix("/") or "index.html"
            found = (site / path).is_file() and (not place or path not in pages or place in pages[path].places)
            if not found:
                broken.append(f"{name}: {address}")
    assert [] == broken
    assert [] == [load for page in pages.values() for load in page.loads if urlsplit(load).netloc]


def test_pages_load_in_silence_and_fit_a_phone(site: Path, address: str, browser: Any, look: Any) -> None:
    """No page has the console complain, and none is wider than a phone: what is wide is scrolled within."""
    look(PHONE)
    browser.get_log("browser")
    cut_off = {}
    for name in _pages(site):
        if name.startswith("errors/"):
            continue  # it leads on at once
        browser.get(address + name)
        assert PHONE >= browser.execute_script("return document.documentElement.scrollWidth"), name
        if parts := browser.execute_script(CUT_OFF):
            cut_off[name] = parts
    assert {} == cut_off
    assert [] == [entry["message"] for entry in browser.get_log("browser")]


def test_pages_fit_a_desktop(address: str, browser: Any, look: Any) -> None:
    """The longest tables fit a desktop's column, or are scrolled within."""
    look(DESKTOP)
    for name in ("reference/errors.html", "reference/sandbox.html", "reference/api/client.html"):
        browser.get(address + name)
        assert [] == browser.execute_script(CUT_OFF)


def _pictures(address: str, site: Path, browser: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in _pages(site):
        if "figure class" in (site / name).read_text(encoding="utf-8"):
            browser.get(address + name)
            found |= {figure["name"].removeprefix("diagram-"): figure for figure in browser.execute_script(FIGURES)}
            beyond = [text for text, reach in browser.execute_script(BEYOND) if reach > -1]
            assert [] == beyond
    return found


def test_pictures_are_legible_on_a_phone_by_day_and_by_night(site: Path, address: str, browser: Any, look: Any) -> None:
    """Each picture is drawn, fits the screen, keeps its texts inside and large enough, and changes its colours."""
    look(PHONE)
    by_day = _pictures(address, site, browser)
    look(PHONE, dark=True)
    by_night = _pictures(address, site, browser)
    assert set(by_day) == set(by_night) == PICTURES
    for name, picture in by_day.items():
        assert 300 < picture["width"] <= PHONE, name
        assert 100 < picture["height"], name
        assert picture["right"] <= PHONE, name
        assert max(picture["reach"], picture["start"]) <= 3, name
        assert picture["size"] > 11, name
        assert min(picture["told"]) > 20, name
        assert picture["colour"] != by_night[name]["colour"], name


def test_search_finds_a_lease(address: str, browser: Any, look: Any) -> None:
    """Who searches for KeyLease is led to where it is told of."""
    look(DESKTOP)
    browser.get(f"{address}search.html?q=KeyLease")
    expected = {"/reference/api/leases.html", "/how-to/leases.html"}

    def has_them(driver: Any) -> bool:
        # The results are shown one after the other.
        links = driver.execute_script("return [...document.querySelectorAll('#search-results li a')].map(a => a.href)")
        return expected <= {urlsplit(link).path for link in links}

    wait.WebDriverWait(browser, SECONDS).until(has_them)


def test_each_error_has_the_place_that_its_address_names(site: Path) -> None:
    """The page of errors has a place for each class."""
    places = _Links((site / "reference/errors.html").read_text(encoding="utf-8")).places
    assert 25 <= len(ERRORS)
    assert {name.lower() for name in ERRORS} <= places


@pytest.mark.parametrize("name", ["FastKeyError", "UnknownOutcomeError", "TemporaryLockoutError"])
def test_address_in_an_errors_text_leads_to_its_section(name: str, address: str, browser: Any) -> None:
    """The short address ends at the section of the class, in sight."""
    cls = getattr(kraken_fastkey, name)
    path, _, place = cls.__new__(cls).help_url.removeprefix("https://").partition("/")[2].partition("#")
    browser.get("about:blank")
    browser.get(f"{address}{path}#{place}")
    expected = f"{address}reference/errors.html#{place}"
    wait.WebDriverWait(browser, SECONDS, poll_frequency=0.02).until(lambda driver: driver.current_url == expected)
    heading = browser.execute_script("return document.querySelector(':target h2').textContent")
    assert name == heading.rstrip("¶#")
