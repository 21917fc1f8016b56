"""The pages that users see: HTML without scripts, and nothing from elsewhere."""

import base64
import hashlib
import re
from typing import Final

from kraken_fastkey.sandbox._authorization import Question, Theme
from kraken_fastkey.sandbox._consent_words import Words
from kraken_fastkey.sandbox._html import Html, element, text
from kraken_fastkey.sandbox._scopes import SENSITIVE_SCOPES

_STYLE: Final = """
:root {
  color-scheme: light dark;
  --page: light-dark(#f3f3f8, #101016);
  --card: light-dark(#ffffff, #1b1b25);
  --line: light-dark(#d9d9e6, #363646);
  --ink: light-dark(#17171f, #f1f1f7);
  --soft: light-dark(#56566a, #b0b0c2);
  --accent: light-dark(#5233cc, #b5a4ff);
  --on-accent: light-dark(#ffffff, #17171f);
  --alarm: light-dark(#9c1c1c, #ffb4a8);
  --alarm-page: light-dark(#fdf0ee, #3a1c1a);
}
:root[data-theme="light"] { color-scheme: light; }
:root[data-theme="dark"] { color-scheme: dark; }
* { box-sizing: border-box; }
body {
  margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem;
  background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main {
  width: 100%; max-width: 28rem; padding: 1.5rem; overflow-wrap: anywhere;
  background: var(--card); border: 1px solid var(--line); border-radius: 1rem;
}
header { display: flex; justify-content: space-between; align-items: center; gap: 1rem; font-weight: 600; }
.badge { flex: none; padding: .1rem .6rem; border: 1px solid var(--line); border-radius: 1rem; font-size: .8rem; }
h1 { margin: 1.5rem 0 .5rem; font-size: 1.4rem; line-height: 1.3; }
h2 { margin: 1.5rem 0 .5rem; font-size: 1rem; }
p { margin: .5rem 0; }
.soft { color: var(--soft); font-size: .9rem; }
ul { margin: 0; padding: 0; list-style: none; border-top: 1px solid var(--line); }
li {
  display: flex; justify-content: space-between; align-items: center; gap: 1rem; padding: .6rem;
  border-bottom: 1px solid var(--line);
}
li strong { flex: none; padding: .1rem .6rem; border: 1px solid; border-radius: 1rem; font-size: .8rem; }
.alarm { color: var(--alarm); background: var(--alarm-page); }
p.alarm { margin-top: .75rem; padding: .6rem; border-radius: .5rem; font-size: .9rem; }
form { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.5rem 0 1rem; }
button {
  flex: 1 1 7rem; overflow-wrap: normal; min-height: 3rem; padding: .5rem 1rem;
  border: 1px solid var(--accent); border-radius: .75rem;
  background: transparent; color: var(--accent); font: inherit; font-weight: 600; cursor: pointer;
}
button[value="allow"] { background: var(--accent); color: var(--on-accent); }
button:hover { filter: brightness(1.1); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
"""

_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

PAGE_HEADERS: Final = {
    "Cache-Control": "no-store",
    # Nothing of the URL leaves the sandbox, and the form still tells its origin.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_ORIGIN = re.compile(r"(https?://[A-Za-z0-9.\-]+(?::[0-9]+)?)(?:[/?].*)?")


def security_policy(redirect_uri: str | None = None) -> str:
    """Return a page's Content-Security-Policy: its own style and form, and nothing else.

    Browsers hold a form's redirect to the policy too, so that it names where the app awaits the user.
    """
    if redirect_uri is None:
        form_action = "'none'"
    else:
        match = _ORIGIN.fullmatch(redirect_uri)
        # A policy cannot name every host that a URI can: its scheme stands in.
        form_action = f"'self' {match[1] if match else redirect_uri.partition(':')[0] + ':'}"
    return (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action {form_action}; "
        "base-uri 'none'; frame-ancestors 'none'"
    )


def consent_page(words: Words, question: Question, csrf_token: str, action: str, account: str) -> str:
    """Return the page that asks a user what an app may do.

    Args:
        words: In which language.
        question: What is asked.
        csrf_token: What the form must send back, so that it is known to be this page's.
        action: Where the form goes.
        account: Whose account it is.
    """
    name = element("bdi", text(question.client.name))
    scopes = question.authorization.scopes
    before, after = words.heading
    return _document(
        words,
        question.theme,
        words.title.format(question.client.name),
        element("h1", text(before), name, text(after)),
        element("p", text(f"{words.account} {account}"), class_="soft"),
        element("h2", text(words.will_be_able), id="scopes"),
        element("ul", *(_scope(words, scope) for scope in _in_order(words, scopes)), aria_labelledby="scopes"),
        element("p", text(words.warning), class_="alarm") if scopes & SENSITIVE_SCOPES else None,
        element(
            "form",
            element("input", type="hidden", name="csrf_token", value=csrf_token),
            # The first button is what the Enter key presses.
            element("button", text(words.deny), type="submit", name="decision", value="deny"),
            element("button", text(words.allow), type="submit", name="decision", value="allow"),
            method="post",
            action=action,
        ),
        element("p", text(f"{words.returns_to} {_place(question.callback.redirect_uri)}."), class_="soft"),
        element("p", text(words.take_back), class_="soft"),
    )


def error_page(words: Words, reason: str) -> str:
    """Return the page that tells a user of a request that cannot be answered otherwise; the reason is English."""
    return _document(
        words,
        None,
        words.error_title,
        element("h1", text(words.error_title)),
        element("p", text(reason), lang="en"),
        element("p", text(words.error_advice), class_="soft"),
    )


def _document(words: Words, theme: Theme | None, title: str, *content: Html | None) -> str:
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", text(title)),
        element("style", Html(_STYLE)),
    )
    banner = element(
        "header",
        element("span", text(words.brand)),
        element("span", text(words.sandbox), class_="badge", title=words.sandbox_note),
    )
    body = element("body", element("main", banner, *content, element("p", text(words.sandbox_note), class_="soft")))
    themed = {} if theme is None else {"data_theme": theme}
    return f"<!doctype html>\n{element('html', head, body, lang=words.language, **themed)}\n"


def _in_order(words: Words, scopes: frozenset[str]) -> list[str]:
    """Return scopes as the page lists them: what lets money out, what has words of its own, the rest."""
    known = [scope for scope in words.scopes if scope in scopes]
    return sorted(known, key=lambda scope: scope not in SENSITIVE_SCOPES) + sorted(scopes - set(known))


def _scope(words: Words, scope: str) -> Html:
    sentence = words.scopes.get(scope) or words.other_scope.format(scope)
    if scope in SENSITIVE_SCOPES:
        return element("li", element("span", text(sentence)), element("strong", text(words.sensitive)), class_="alarm")
    return element("li", element("span", text(sentence)))


def _place(redirect_uri: str) -> str:
    """Return where a redirect URI leads, as a user knows it."""
    match = _ORIGIN.fullmatch(redirect_uri)
    return match[1] if match else redirect_uri
