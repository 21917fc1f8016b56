"""How the sandbox's rules say no."""


class RefusalError(Exception):
    """A call that is refused in Kraken's own words; nothing has been done.

    Args:
        *codes: Kraken's error strings, such as ``"EGeneral:Invalid arguments:valid_until"``; all faults of
            the call at once.
    """

    def __init__(self, *codes: str) -> None:
        super().__init__(*codes)
        self.codes = codes


def invalid(detail: str) -> str:
    """Return the error string for one faulty argument: a field's name, and a word more if it needs one."""
    return f"{INVALID_ARGUMENTS}:{detail}"


class TokenRefusalError(Exception):
    """A token request that is refused, as RFC 6749 section 5.2 has it.

    Args:
        error: The error's name, such as ``"invalid_grant"``.
        description: What is wrong, for whoever writes the client: ASCII, without quotation marks.
    """

    def __init__(self, error: str, description: str) -> None:
        super().__init__(error, description)
        self.error = error
        self.description = description


INVALID_ARGUMENTS = "EGeneral:Invalid arguments"
INVALID_KEY = "EAPI:Invalid key"
INVALID_NONCE = "EAPI:Invalid nonce"
INVALID_SIGNATURE = "EAPI:Invalid signature"
PERMISSION_DENIED = "EGeneral:Permission denied"
TEMPORARY_LOCKOUT = "EGeneral:Temporary lockout"
TOO_MANY_KEYS = "EAccount:Too many API keys"
UNKNOWN_METHOD = "EGeneral:Unknown method"
