"""Registered apps: what they may be, and which redirect URIs are theirs."""

import pytest
from hypothesis import given as hypothesis_given, strategies as st

from kraken_fastkey.sandbox import KrakenSandbox
from kraken_fastkey.sandbox._clients import LOOPBACK_URIS, Client


def client(*redirect_uris: str) -> Client:
    """Return an app with these redirect URIs."""
    return Client(client_id="app", client_secret="canary", name="App", redirect_uris=redirect_uris, scopes=frozenset())


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1",
        "http://127.0.0.1/",
        "http://127.0.0.1:1/callback",
        "http://127.0.0.1:65535/a/b?c=d",
        "http://127.0.0.1?x",
        "http://[::1]:8080/callback",
    ],
)
def test_loopback_of_the_default_client(uri: str) -> None:
    """Where no path is registered, any port and any path of the loopback address will do."""
    assert client(*LOOPBACK_URIS).may_redirect_to(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "http://localhost/callback",
        "https://127.0.0.1/callback",
        "HTTP://127.0.0.1/callback",
        "http://127.0.0.2/callback",
        "http://127.0.0.1.evil.example/",
        "http://127.0.0.1@evil.example/",
        "http://127.0.0.1:80@evil.example/",
        "http://evil@127.0.0.1/",
        "http://127.0.0.1:/",
        "http://127.0.0.1:65536/",
        "http://127.0.0.1:123456/",
        "http://127.0.0.1:-1/",
        "http://127.0.0.1:٣/",
        "http://127.0.0.1/#fragment",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/a\n",
        "http://127.0.0.1/a\r\nSet-Cookie: a=b",
        'http://127.0.0.1/"><script>',
        "http://127.0.0.1\\@evil.example/",
        "http://[::1]evil.example/",
        "http://[::2]/",
        "javascript://127.0.0.1/%0aalert(1)",
    ],
)
def test_what_is_no_loopback(uri: str) -> None:
    """Nothing that only looks like the loopback address is taken for it."""
    assert not client(*LOOPBACK_URIS).may_redirect_to(uri)


def test_loopback_with_a_path() -> None:
    """With a path, the port alone may differ (RFC 8252 section 7.3)."""
    app = client("http://127.0.0.1:1000/callback?a=b")
    for uri in (
        "http://127.0.0.1:1000/callback?a=b",
        "http://127.0.0.1:2/callback?a=b",
        "http://127.0.0.1/callback?a=b",
    ):
        assert app.may_redirect_to(uri)
    for uri in ("http://127.0.0.1:1000/callback", "http://127.0.0.1:1000/callback?a=c", "http://[::1]/callback?a=b"):
        assert not app.may_redirect_to(uri)


@pytest.mark.parametrize("registered", ["https://app.example/cb", "http://app.example:80/cb", "com.example.app:/cb"])
def test_everything_else_is_the_same_string(registered: str) -> None:
    """Elsewhere nothing may differ at all."""
    assert client(registered).may_redirect_to(registered)
    for uri in (registered + "/", registered + "?a=b", registered.upper(), registered.replace(":", ":8", 1), ""):
        assert not client(registered).may_redirect_to(uri)


@hypothesis_given(st.text())
def test_any_text_is_no_redirect_uri_of_others(suffix: str) -> None:
    """Nothing can be put behind a registered URI."""
    app = client("https://app.example/cb")
    assert app.may_redirect_to("https://app.example/cb" + suffix) == (not suffix)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "/callback",
        "app.example/callback",
        "https://",
        "https:///callback",
        "https://app.example/#fragment",
        "https://app.example/ü",
        "https://app.example/a b",
        'https://app.example/"',
        "https://app.example/;\n",
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "app:/callback",
    ],
)
def test_what_cannot_be_a_redirect_uri(uri: str) -> None:
    """Only absolute URLs of the web, or of an app's own scheme, can be registered."""
    with pytest.raises(ValueError, match="cannot be a redirect URI"):
        KrakenSandbox().register_client("app", redirect_uris=[uri])


def test_what_cannot_be_a_client() -> None:
    """Identifiers, secrets, names and scopes that cannot be, and identifiers that are in use, are errors."""
    sandbox = KrakenSandbox()
    for client_id in ("", "a:b", "ü", "a\n"):
        with pytest.raises(ValueError, match="client_id"):
            sandbox.register_client(client_id)
    for secret in ("", "ü", "a\n"):
        with pytest.raises(ValueError, match="client_secret"):
            sandbox.register_client("app", secret)
    for name in ("", " ", "a\nb", "\u202eevil", "\ud800"):
        with pytest.raises(ValueError, match="name"):
            sandbox.register_client("app", name=name)
    with pytest.raises(ValueError, match="RFC 6749"):
        sandbox.register_client("app", scopes=["a b"])
    sandbox.register_client("app")
    with pytest.raises(ValueError, match="'app' is registered already"):
        sandbox.register_client("app", "secret")
    with pytest.raises(ValueError, match="registered already"):
        sandbox.register_client(sandbox.client_id)


def test_no_repr_shows_a_secret() -> None:
    """A client's repr has no secret."""
    assert "canary" not in repr(client("https://app.example/cb"))
