"""What the consent page says, in the languages that it speaks."""

from collections.abc import Mapping
from typing import Final

import attrs

from kraken_fastkey.sandbox._scopes import PERMISSIONS, READ, USER_INFO, WRITE, scope_of


@attrs.frozen(kw_only=True)
class Words:
    """One language's words; ``{}`` stands for a name.

    Attributes:
        language: The language's own code, as HTML wants it.
        title: What the page is called. ``{}``: the app.
        brand: Who asks the user.
        sandbox: That nothing here is real, in a word.
        sandbox_note: The same in a sentence.
        heading: What the app wants, as words before and after its name.
        account: What stands before the name of the account.
        will_be_able: What stands before the list of scopes.
        scopes: A sentence for each scope.
        other_scope: A sentence for any other scope. ``{}``: the scope.
        sensitive: The mark of a scope that lets money out.
        warning: What to think of where there is one.
        take_back: That the decision is not for ever.
        returns_to: What stands before where the user goes next.
        allow: The button that allows.
        deny: The button that denies.
        error_title: What the page is called that shows an error.
        error_advice: What to do about it.
    """

    language: str
    title: str
    brand: str
    sandbox: str
    sandbox_note: str
    heading: tuple[str, str]
    account: str
    will_be_able: str
    scopes: Mapping[str, str]
    other_scope: str
    sensitive: str
    warning: str
    take_back: str
    returns_to: str
    allow: str
    deny: str
    error_title: str
    error_advice: str


def words_for(language: str | None) -> Words:
    """Return the words of a language that a path begins with; English where there are none."""
    return _GERMAN if language == "de" else _ENGLISH


def _scopes(write: str, read: str, multiple: str, user_info: str, *permissions: str) -> Mapping[str, str]:
    """Return sentences by scope, those of permissions in the order of `PERMISSIONS`."""
    by_permission = zip(map(scope_of, PERMISSIONS), permissions, strict=True)
    return {WRITE: write, READ: read, scope_of("multiple"): multiple, USER_INFO: user_info, **dict(by_permission)}


_ENGLISH: Final = Words(
    language="en",
    title="Allow access: {}",
    brand="Kraken Connect",
    sandbox="Sandbox",
    sandbox_note="This is a test. No real account is behind it.",
    heading=("", " wants access to your Kraken account"),
    account="Signed in as",
    will_be_able="The app will be able to do this:",
    scopes=_scopes(
        "Create, change and remove API keys of your account.",
        "See which API keys your account has.",
        "Have more than one API key of your account.",
        "See your email address and your account number.",
        "Download the records of your account.",
        "Deposit funds into your account.",
        "Put funds into staking and take them out again.",
        "See your balances.",
        "Withdraw funds from your account.",
        "See every movement of funds in your account.",
        "Cancel your orders and close your positions.",
        "Place and change orders with your funds.",
        "See your past orders and trades.",
        "See your open orders and positions.",
        "Add withdrawal addresses without asking you by email.",
        "Change and remove withdrawal addresses without asking you by email.",
    ),
    other_scope="Use the permission {}.",
    sensitive="Sensitive",
    warning="With the marked permissions, money can leave your account. Allow them only if you trust the app with it.",
    take_back="You can take this back at any time in the settings of your account.",
    returns_to="You will then return to",
    allow="Allow",
    deny="Deny",
    error_title="This request cannot be shown",
    error_advice="Nothing has been allowed. Go back to the app and start again from there.",
)

_GERMAN: Final = Words(
    language="de",
    title="Zugriff erlauben: {}",
    brand="Kraken Connect",
    sandbox="Sandbox",
    sandbox_note="Dies ist ein Test. Es steht kein echtes Konto dahinter.",
    heading=("", " möchte auf Ihr Kraken-Konto zugreifen"),
    account="Angemeldet als",
    will_be_able="Das wird die App tun können:",
    scopes=_scopes(
        "API-Schlüssel Ihres Kontos anlegen, ändern und löschen.",
        "Sehen, welche API-Schlüssel Ihr Konto hat.",
        "Mehr als einen API-Schlüssel Ihres Kontos haben.",
        "Ihre E-Mail-Adresse und Ihre Kontonummer sehen.",
        "Die Aufzeichnungen Ihres Kontos herunterladen.",
        "Guthaben auf Ihr Konto einzahlen.",
        "Guthaben in Staking anlegen und wieder herausnehmen.",
        "Ihre Guthaben sehen.",
        "Guthaben von Ihrem Konto auszahlen.",
        "Jede Bewegung von Guthaben auf Ihrem Konto sehen.",
        "Ihre Orders stornieren und Ihre Positionen schließen.",
        "Mit Ihrem Guthaben Orders aufgeben und ändern.",
        "Ihre früheren Orders und Trades sehen.",
        "Ihre offenen Orders und Positionen sehen.",
        "Auszahlungsadressen hinzufügen, ohne Sie per E-Mail zu fragen.",
        "Auszahlungsadressen ändern und löschen, ohne Sie per E-Mail zu fragen.",
    ),
    other_scope="Die Berechtigung {} nutzen.",
    sensitive="Riskant",
    warning="Mit den markierten Berechtigungen kann Geld Ihr Konto verlassen. "
    "Erlauben Sie sie nur, wenn Sie es der App anvertrauen.",
    take_back="Sie können dies jederzeit in den Einstellungen Ihres Kontos zurücknehmen.",
    returns_to="Danach kehren Sie zurück zu",
    allow="Erlauben",
    deny="Ablehnen",
    error_title="Diese Anfrage kann nicht angezeigt werden",
    error_advice="Es wurde nichts erlaubt. Gehen Sie zurück zur App, und beginnen Sie dort von vorn.",
)
