"""The login on a desktop as a user lives it: a real browser, the sandbox's consent page, the server on loopback."""

from __future__ import annotations

import asyncio
import base64
import pathlib
import queue
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import attrs
import pytest
from support import assert_clean, missing

from kraken_fastkey import (
    CreateKeyRequest,
    FastKeyClient,
    Grant,
    OAuthClient,
    OAuthError,
    Permissions,
    RefreshingTokenProvider,
    login,
)
from kraken_fastkey.sandbox import KrakenSandbox
from kraken_fastkey.stores import MemoryGrantStore

NO_DRIVER = "selenium, which drives the browser, is not installed"
webdriver = pytest.importorskip("selenium.webdriver", reason=NO_DRIVER)
wait = pytest.importorskip("selenium.webdriver.support.wait", reason=NO_DRIVER)

SECONDS = 10
ENOUGH = timedelta(seconds=2 * SECONDS)
BALANCES = Permissions(funds_query=True)
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


class Chromium:
    """A browser and the person before it. Its methods block, so that they are for the thread that a login opens.

    Args:
        driver: Selenium's.
    """

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.opened: queue.SimpleQueue[str] = queue.SimpleQueue()

    def visit(self, url: str) -> bool:
        """Go to an address in the present tab."""
        self.driver.get(url)
        return True

    def open_tab(self, url: str) -> bool:
        """Go to an address in a new tab, and tell of it, as the desktop does that a login asks."""
        self.driver.switch_to.new_window("tab")
        self.visit(url)
        self.opened.put(url)
        return True

    def press(self, name: str) -> None:
        """Press the one button of this name, and wait for the page that comes of it."""
        before = self.driver.current_url
        (button,) = (each for each in self.driver.find_elements("css selector", "button") if each.text == name)
        button.click()
        wait.WebDriverWait(self.driver, SECONDS).until(lambda driver: driver.current_url != before)

    def texts(self, selector: str) -> list[str]:
        """Return what a person can read in all elements of a kind."""
        return [each.text for each in self.driver.find_elements("css selector", selector)]

    def run(self, script: str) -> Any:
        """Return what a script finds out of the page."""
        return self.driver.execute_script(f"return {script}")

    def brightness(self, selector: str, what: str) -> float:
        """Return how bright an element's colour is, from 0 to 1."""
        colour: str = self.run(f"getComputedStyle(document.querySelector({selector!r}))[{what!r}]")
        red, green, blue = (int(part) / 255 for part in re.findall(r"\d+", colour)[:3])
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    def screen(self, width: int, height: int, theme: str) -> None:
        """Be a phone or a desktop whose user likes it light or dark."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    def shoot(self, path: pathlib.Path) -> None:
        """Save a picture of the whole page."""
        width, height = self.run("[innerWidth, document.documentElement.scrollHeight]")
        area = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": area})
        path.write_bytes(base64.b64decode(shot["data"]))

    def complaints(self) -> list[str]:
        """Return what the console has said since it was last asked: a policy that was broken, above all."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@attrs.frozen
class Look:
    """How a user sees the pages."""

    language: str | None
    theme: Literal["dark", "light"]
    width: int
    height: int
    allow: str

    @property
    def name(self) -> str:
        """What its pictures are called."""
        return f"{self.language or 'en'}-{self.theme}-{self.width}"


LOOKS = (
    Look(None, "light", 1280, 800, "Allow"),
    Look(None, "dark", 1280, 800, "Allow"),
    Look(None, "light", 390, 844, "Allow"),
    # German words are longer.
    Look("de", "dark", 390, 844, "Erlauben"),
)


@pytest.fixture(name="driver", scope="module")
def _driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Start a browser that nobody has used before."""
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None:
        missing("chromium")
    if chromedriver is None:
        missing("chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for switch in (*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    driver.set_page_load_timeout(SECONDS)
    yield driver
    driver.quit()


@pytest.fixture(name="browser")
def _browser(driver: Any) -> Iterator[Chromium]:
    """Open a tab, and in the end close all tabs of the test."""
    (first,) = driver.window_handles
    driver.switch_to.new_window("tab")
    browser = Chromium(driver)
    browser.complaints()
    yield browser
    for handle in driver.window_handles:
        if handle != first:
            driver.switch_to.window(handle)
            driver.close()
    driver.switch_to.window(first)


@pytest.fixture(name="oauth")
async def _oauth(sandbox: KrakenSandbox) -> AsyncIterator[OAuthClient]:
    async with OAuthClient(
        sandbox.client_id,
        redirect_uri="http://127.0.0.1/callback",
        authorize_url=sandbox.authorize_url,
        token_url=sandbox.token_url,
    ) as client:
        yield client


def operations(sandbox: KrakenSandbox) -> list[str]:
    """Return what the sandbox was asked to do, in order, but for a browser's wish for an icon."""
    return [entry.operation for entry in sandbox.requests if entry.operation is not None]


def state_of(url: str) -> str:
    """Return the state that an address holds."""
    (state,) = parse_qs(urlsplit(url).query)["state"]
    return state


async def test_allow(oauth: OAuthClient, sandbox: KrakenSandbox, browser: Chromium) -> None:
    """Who reads what the app may do, and allows it, sees that it worked; the grant is stored, and makes a key."""
    store = MemoryGrantStore()

    def user(url: str) -> bool:
        browser.visit(url)
        assert ["Grid Bot Inc. wants access to your Kraken account"] == browser.texts("h1")
        assert [
            "Create, change and remove API keys of your account.",
            "See which API keys your account has.",
            "See your balances.",
        ] == browser.texts("li")
        assert ["Deny", "Allow"] == browser.texts("button")
        browser.press("Allow")
        return True

    grant = await login(oauth, BALANCES, store=store, timeout=ENOUGH, open_browser=user)
    assert ["You are logged in"] == browser.texts("h1")
    assert ["You can close this window and go back to the program."] == browser.texts("p")
    assert ("127.0.0.1", "/callback") == (
        urlsplit(browser.driver.current_url).hostname,
        browser.run("location.pathname"),
    )
    assert ["authorize", "authorize", "token"] == operations(sandbox)
    assert grant == await store.load()
    assert (1, BALANCES.scopes() < (grant.scopes or frozenset())) == (grant.generation, True)
    async with (
        RefreshingTokenProvider(oauth, store) as provider,
        FastKeyClient(provider, base_url=sandbox.base_url) as client,
    ):
        key = await client.create_key(CreateKeyRequest("grid-bot", permissions=BALANCES))
    (made,) = sandbox.keys()
    assert ("grid-bot", made.api_key, made.secret) == (
        made.api_key_name,
        key.api_key,
        key.secret.get_secret_value(),
    )


async def test_deny(oauth: OAuthClient, sandbox: KrakenSandbox, browser: Chromium) -> None:
    """Who denies sees that there is no login; the program is told so by type; nothing is asked for, nor stored."""
    store = MemoryGrantStore()

    def user(url: str) -> bool:
        browser.visit(url)
        browser.press("Deny")
        return True

    with pytest.raises(OAuthError, match="access_denied") as caught:
        await login(oauth, BALANCES, store=store, timeout=ENOUGH, open_browser=user)
    assert ("access_denied",) == caught.value.codes
    assert ["The login did not work"] == browser.texts("h1")
    assert await store.load() is None
    assert ["authorize", "authorize"] == operations(sandbox)
    assert () == sandbox.grants()


async def test_a_callback_of_another_tab(oauth: OAuthClient, sandbox: KrakenSandbox, browser: Chromium) -> None:
    """A login takes no other's state, though that is good in the tab beside it: nothing is asked for, nor stored."""
    store = MemoryGrantStore()

    async def first() -> None:
        with pytest.raises(OAuthError, match="state is not this login's") as caught:
            await login(oauth, BALANCES, store=store, timeout=ENOUGH, open_browser=browser.open_tab)
        assert_clean(caught.value)

    async def second() -> Grant:
        return await login(oauth, BALANCES, store=store, timeout=ENOUGH, open_browser=browser.open_tab)

    async with asyncio.TaskGroup() as logins:
        refused = logins.create_task(first())
        one = await asyncio.to_thread(browser.opened.get, timeout=SECONDS)
        unharmed = logins.create_task(second())
        other = await asyncio.to_thread(browser.opened.get, timeout=SECONDS)
        beside = browser.driver.current_window_handle
        await asyncio.to_thread(browser.driver.switch_to.new_window, "tab")
        await asyncio.to_thread(browser.visit, sandbox.approve(one).replace(state_of(one), state_of(other)))
        await refused
        assert ["The login did not work"] == await asyncio.to_thread(browser.texts, "h1")
        assert await store.load() is None
        assert ["authorize", "authorize"] == operations(sandbox)
        browser.driver.switch_to.window(beside)
        await asyncio.to_thread(browser.press, "Allow")
    assert ["You are logged in"] == browser.texts("h1")
    assert unharmed.result() == await store.load()


async def test_german_and_dark(oauth: OAuthClient, browser: Chromium) -> None:
    """The page speaks the language and has the colours that the program asked for, whatever the system likes."""

    def user(url: str) -> bool:
        browser.screen(1280, 800, "light")
        browser.visit(url)
        assert "de" == browser.run("document.documentElement.lang")
        assert ["Grid Bot Inc. möchte auf Ihr Kraken-Konto zugreifen"] == browser.texts("h1")
        assert "Ihre Guthaben sehen." in browser.texts("li")
        assert ["Ablehnen", "Erlauben"] == browser.texts("button")
        assert "dark" == browser.run("getComputedStyle(document.documentElement).colorScheme")
        assert browser.brightness("body", "backgroundColor") < 0.1
        assert browser.brightness("main", "backgroundColor") < 0.15
        assert browser.brightness("body", "color") > 0.8
        browser.press("Erlauben")
        return True

    grant = await login(oauth, BALANCES, timeout=ENOUGH, language="de", prefer_theme="dark", open_browser=user)
    assert grant.refresh_token is not None
    assert ["You are logged in"] == browser.texts("h1")


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look.name)
async def test_how_the_pages_look(
    oauth: OAuthClient, sandbox: KrakenSandbox, browser: Chromium, tmp_path: pathlib.Path, look: Look
) -> None:
    """Both pages fit the screen, down to a phone's, and break no policy of their own; pictures of them are kept."""
    fits: tuple[int, int, list[str]] = (look.width, look.width, [])

    def fit() -> tuple[int, int, list[str]]:
        inner, content = browser.run("[innerWidth, document.documentElement.scrollWidth]")
        # Beside a scroll bar, what fits is narrower than the window.
        return inner, max(content, look.width), browser.complaints()

    def user(url: str) -> bool:
        browser.screen(look.width, look.height, look.theme)
        browser.visit(url)
        browser.shoot(tmp_path / f"consent-{look.name}.png")
        assert fits == fit()
        browser.press(look.allow)
        return True

    # Every scope, so that the page is as long as it gets.
    await login(oauth, timeout=ENOUGH, language=look.language, prefer_theme=look.theme, open_browser=user)
    browser.shoot(tmp_path / f"done-{look.name}.png")
    assert fits == fit()
    assert ["You are logged in"] == browser.texts("h1")
    assert 1 == len(sandbox.grants())
