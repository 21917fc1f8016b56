"""The configuration file: profiles in TOML. It holds no secret."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal

import attrs
import platformdirs

from kraken_fastkey import Permissions
from kraken_fastkey.cli._exits import CommandError, Exit
from kraken_fastkey.cli._values import parse_permission, parse_span

_APP: Final = "kraken-fastkey"
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}", re.ASCII)  # it is a file's name, too


@attrs.frozen(kw_only=True)
class Profile:
    """What a command needs to know of an app and its user.

    Attributes:
        name: The profile's name.
        client_id: The app's id; without it, nobody can log in.
        client_secret_env: The environment variable with a confidential client's secret.
        client_secret_file: The file with it.
        redirect_uri: Where the browser comes back to.
        base_url: The API's address; `None` for Kraken's.
        authorize_url: Where users log in; `None` for Kraken's.
        token_url: Where codes are turned into tokens; `None` for Kraken's.
        api_url: The trading API's address, for `verify`; `None` for Kraken's.
        grant_store: Where the login is kept: in a file, in an encrypted one, or in the keyring.
        grant_file: The file, if it is one.
        permissions: What a login asks for, and a key may do, unless the command says otherwise.
        ip_allowlist: From where a key may be used, unless the command says otherwise.
        valid_for: How long a key lives, unless the command says otherwise.
    """

    name: str = "default"
    client_id: str | None = None
    client_secret_env: str | None = None
    client_secret_file: Path | None = None
    redirect_uri: str = "http://127.0.0.1/callback"
    base_url: str | None = None
    authorize_url: str | None = None
    token_url: str | None = None
    api_url: str | None = None
    grant_store: Literal["file", "encrypted-file", "keyring"] = "file"
    grant_file: Path
    permissions: Permissions | None = None
    ip_allowlist: tuple[str, ...] = ()
    valid_for: timedelta | None = None


def default_config_path() -> Path:
    """Return where the configuration is, unless the user says otherwise: the platform's place for it."""
    return platformdirs.user_config_path(_APP, appauthor=False) / "config.toml"


def load_profile(path: Path | None, name: str | None) -> Profile:
    """Return a profile.

    Args:
        path: The configuration file; `None` for the platform's place, where there may be none.
        name: The profile; `None` for `default_profile`, the one named "default", or the only one.

    Raises:
        CommandError: The file cannot be read, has a fault, or has no such profile.
    """
    content = _read(path)
    place = path or default_config_path()
    profiles = _table(content.get("profiles", {}), place, "profiles")
    _refuse_unknown(content, ("default_profile", "profiles"), place, "")
    chosen = name or _text(content.get("default_profile"), place, "default_profile") or _only(profiles, place)
    if not _NAME.fullmatch(chosen):
        raise _fault(place, "profile", "has a name of up to 64 letters, digits, '_', '-' and '.', in ASCII")
    if chosen in profiles:
        return _to_profile(chosen, _table(profiles[chosen], place, f"profiles.{chosen}"), place)
    if name is None and chosen == "default" and not profiles:
        return Profile(grant_file=_grant_file(chosen))
    known = ", ".join(sorted(profiles)) or "none"
    raise _fault(place, "profile", f"there is no profile {chosen!r}; there are: {known}")


def profile_names(path: Path | None) -> list[str]:
    """Return the names of the profiles that there are; none if the file cannot be read."""
    try:
        profiles = _read(path).get("profiles", {})
    except CommandError:
        return []
    return sorted(profiles) if isinstance(profiles, dict) else []


def _read(path: Path | None) -> dict[str, Any]:
    place = path or default_config_path()
    try:
        return tomllib.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if path is None:
            return {}
        raise _error(f"{place}: there is no such configuration file: mend --config or KRAKEN_FASTKEY_CONFIG") from None
    except OSError as error:
        raise _error(f"{place} cannot be read: {error.strerror}: see to its permissions") from None
    except UnicodeDecodeError:
        raise _error(f"{place} is not UTF-8, as TOML is") from None
    except tomllib.TOMLDecodeError as error:
        # It tells the place and the kind, and quotes no more than a character.
        raise _error(f"{place} is no TOML: {error}") from None


def _only(profiles: Mapping[str, Any], place: Path) -> str:
    if len(profiles) == 1 and "default" not in profiles:
        return next(iter(profiles))
    if profiles and "default" not in profiles:
        names = ", ".join(sorted(profiles))
        raise _error(f"{place} has several profiles ({names}): choose with --profile, or set default_profile")
    return "default"


def _to_profile(name: str, fields: Mapping[str, Any], place: Path) -> Profile:
    where = f"profiles.{name}"
    for field in fields:
        if "secret" in field and field not in _FIELDS:
            raise _fault(
                place,
                f"{where}.{field}",
                "secrets do not belong here: set client_secret_env to the name of an environment variable, or "
                "client_secret_file to the path of a file",
            )
    _refuse_unknown(fields, tuple(_FIELDS), place, where)
    values: dict[str, Any] = {"grant_file": _grant_file(name)}
    values |= {field: _FIELDS[field](value, place, f"{where}.{field}") for field, value in fields.items()}
    return Profile(name=name, **values)


def _grant_file(name: str) -> Path:
    return platformdirs.user_data_path(_APP, appauthor=False) / "grants" / name


def _error(message: str) -> CommandError:
    return CommandError(message, exit=Exit.USAGE)


def _fault(place: Path, field: str, fault: str) -> CommandError:
    return _error(f"{place}: {field}: {fault}")


def _refuse_unknown(fields: Mapping[str, Any], known: tuple[str, ...], place: Path, where: str) -> None:
    for field in fields:
        if field not in known:
            close = get_close_matches(field, known, 1)
            meant = f"{close[0]} is meant" if close else f"there are {', '.join(known)}"
            raise _fault(place, f"{where}.{field}".strip("."), f"there is no such setting: {meant}")


def _table(value: object, place: Path, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _fault(place, field, f"must be a table: [{field}]")
    return value


def _text(value: object, place: Path, field: str) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        raise _fault(place, field, "must be a string, and not empty")
    return value


def _path(value: object, place: Path, field: str) -> Path | None:
    text = _text(value, place, field)
    # From where the file is, not from where the command happens to be run.
    return None if text is None else place.parent.absolute() / Path(text).expanduser()


def _texts(value: object, place: Path, field: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise _fault(place, field, "must be a list of strings")
    return tuple(value)


def _permissions(value: object, place: Path, field: str) -> Permissions:
    try:
        return Permissions.only(*(parse_permission(name) for name in _texts(value, place, field)))
    except ValueError as error:
        raise _fault(place, field, str(error)) from None


def _span(value: object, place: Path, field: str) -> timedelta:
    try:
        return parse_span(_text(value, place, field) or "")
    except ValueError as error:
        raise _fault(place, field, str(error)) from None


def _grant_store(value: object, place: Path, field: str) -> str:
    kinds = ("file", "encrypted-file", "keyring")
    if value not in kinds:
        raise _fault(place, field, f"must be one of {', '.join(kinds)}")
    return str(value)


_FIELDS: Final[Mapping[str, Callable[[object, Path, str], Any]]] = {
    "client_id": _text,
    "client_secret_env": _text,
    "client_secret_file": _path,
    "redirect_uri": _text,
    "base_url": _text,
    "authorize_url": _text,
    "token_url": _text,
    "api_url": _text,
    "grant_store": _grant_store,
    "grant_file": _path,
    "permissions": _permissions,
    "ip_allowlist": _texts,
    "valid_for": _span,
}
