"""What the authorize endpoint answers: a question to the user, and what becomes of the answer. No I/O."""

import base64
import random
from collections.abc import Callable
from typing import Final

import attrs

from kraken_fastkey.sandbox._authorization import PageError, Question, RedirectError, read_question
from kraken_fastkey.sandbox._clients import ClientBook
from kraken_fastkey.sandbox._consent_page import PAGE_HEADERS, consent_page, error_page, security_policy
from kraken_fastkey.sandbox._consent_words import Words, words_for
from kraken_fastkey.sandbox._forms import FORM, read_form
from kraken_fastkey.sandbox._grants import GrantBook
from kraken_fastkey.sandbox._messages import Call, Reply
from kraken_fastkey.sandbox._routes import language_of

PAGE_LIFE: Final = 600


@attrs.frozen
class _Asked:
    """A question on a page that a user looks at."""

    question: Question
    expires_at: float


@attrs.frozen(eq=False, repr=False)
class Consent:
    """Asks users what an app may do, and sends them back to it.

    Args:
        clients: The apps.
        grants: Where codes come from.
        clock: Gives the time in Unix seconds.
        rng: Where the pages' one-time tokens come from.
        issuer: Gives the sandbox's own URL, as callbacks name it (RFC 9207).
        account: Whose account it is, as the page tells it.
    """

    _clients: ClientBook
    _grants: GrantBook
    _clock: Callable[[], float]
    _rng: random.Random
    _issuer: Callable[[], str]
    _account: str
    _asked: dict[str, _Asked] = attrs.field(factory=dict[str, _Asked], init=False)

    def answer(self, call: Call) -> Reply:
        """Show the page, or take the user's decision."""
        words = words_for(language_of(call.path))
        try:
            return self._ask(call, words) if call.method == "GET" else self._decide(call)
        except PageError as error:
            return _page(400, error_page(words, error.reason), security_policy())
        except RedirectError as error:
            return _redirect(self._tell_of(error))

    def decide(self, query: str, *, allow: bool) -> str:
        """Return the URL that a user would be sent to who decides so; the page is not shown.

        Raises:
            PageError: if the user would be shown an error and sent nowhere.
        """
        try:
            return self._outcome(read_question(query, self._clients), allow=allow)
        except RedirectError as error:
            return self._tell_of(error)

    def _ask(self, call: Call, words: Words) -> Reply:
        question = read_question(call.query, self._clients)
        csrf_token = base64.urlsafe_b64encode(self._rng.randbytes(33)).decode()
        self._asked[csrf_token] = _Asked(question, self._clock() + PAGE_LIFE)
        page = consent_page(words, question, csrf_token, call.path, self._account)
        return _page(200, page, security_policy(question.callback.redirect_uri))

    def _decide(self, call: Call) -> Reply:
        """Take the decision that a page's form sends, once."""
        form = read_form(call.body)
        decision, csrf_token = form.values.get("decision"), form.values.get("csrf_token", "")
        if call.media_type != FORM or form.repeated or decision not in {"allow", "deny"}:
            raise PageError("The form is not the one that the page sends.")
        if call.origin not in {None, f"http://{call.host}"}:
            raise PageError("The form was sent by another site.")
        asked = self._asked.pop(csrf_token, None)
        if asked is None or self._clock() >= asked.expires_at:
            raise PageError("This page has been used, or is older than ten minutes.")
        return _redirect(self._outcome(asked.question, allow=decision == "allow"))

    def _outcome(self, question: Question, *, allow: bool) -> str:
        """Return where the user goes who has decided so."""
        if allow:
            return question.callback.url(self._issuer(), code=self._grants.new_code(question.authorization))
        return question.callback.url(self._issuer(), error="access_denied")

    def _tell_of(self, error: RedirectError) -> str:
        """Return the URL that tells the app of its mistake."""
        return error.callback.url(self._issuer(), error=error.error, error_description=error.description)


def _page(status: int, page: str, policy: str) -> Reply:
    headers = {**PAGE_HEADERS, "Content-Security-Policy": policy}
    return Reply(status, page.encode(), "text/html; charset=utf-8", headers)


def _redirect(url: str) -> Reply:
    return Reply(302, b"", None, {"Location": url, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})
