"""The package keyring: whether it is there, and whether what it has chosen keeps secrets, and keeps them secret."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from kraken_fastkey._errors import StoreError

NO_BACKEND: Final = (
    "no keyring is there: on a desktop, install and unlock one (GNOME Keyring, KWallet, or what the keyring package "
    "lists)"
)
# Modules of the keyring package that keep nothing.
_KEEP_NOTHING: Final = frozenset({"keyring.backends.fail", "keyring.backends.null"})
_PLAINTEXT: Final = "keyrings.alt"


def import_keyring() -> ModuleType:
    """Return the package.

    Raises:
        ModuleNotFoundError: The extra is not installed.
    """
    try:
        import keyring  # noqa: PLC0415  # an extra
        import keyring.errors  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("it needs an extra: pip install 'kraken-fastkey[keyring]'", name=error.name) from None
    return keyring


def backend_fault(backend: Any, *, allow_plaintext: bool = False) -> str | None:
    """Return why a backend is not to be used, or `None`.

    Args:
        backend: What the package has chosen.
        allow_plaintext: Whether those that keep secrets in clear will do.
    """
    # A chain has others in it, and any of them may get the secret.
    for one in [backend, *getattr(backend, "backends", ())]:
        modules = {base.__module__ for base in type(one).__mro__}
        if modules & _KEEP_NOTHING:
            return NO_BACKEND
        if not allow_plaintext and any(f"{module}.".startswith(f"{_PLAINTEXT}.") for module in modules):
            name = f"{type(one).__module__}.{type(one).__qualname__}"
            return (
                f"the keyring is {name}, of {_PLAINTEXT}, whose backends keep secrets in clear: name another in "
                "PYTHON_KEYRING_BACKEND"
            )
    return None


def state_folder() -> Path:
    """Return the folder for locks.

    Raises:
        StoreError: The user has no home.
    """
    # The specification of XDG says that relative paths are not to be used.
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():
        try:
            state = Path.home() / ".local" / "state"
        except RuntimeError:
            raise StoreError("the user has no home for the locks of the keyring: set XDG_STATE_HOME") from None
    return state / "kraken-fastkey"
