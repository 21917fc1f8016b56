"""An asyncio SDK for Kraken Connect's Fast API keys.

Everything that is public is here, in `kraken_fastkey.sandbox`, and nowhere else.
"""

from kraken_fastkey._client import DEFAULT_BASE_URL, FastKeyClient
from kraken_fastkey._errors import (
    ApiError,
    AuthenticationError,
    ClientClosedError,
    DuplicateKeyNameError,
    FastKeyError,
    InvalidArgumentsError,
    InvalidRequestError,
    KeyNotFoundError,
    Outcome,
    PermissionDeniedError,
    RateLimitedError,
    ResponseFormatError,
    ServiceUnavailableError,
    TemporaryLockoutError,
    TokenUnavailableError,
    TooManyKeysError,
    TransportError,
    UnknownOutcomeError,
)
from kraken_fastkey._models import (
    AllowlistEntry,
    CreateKeyRequest,
    FastApiKey,
    KeyInfo,
    Permissions,
    Time,
    UpdateKeyRequest,
    UserInfo,
)
from kraken_fastkey._retry import RetryPolicy
from kraken_fastkey._secret import SecretStr
from kraken_fastkey._token_sources import CommandTokenProvider, EnvironmentTokenProvider, FileTokenProvider
from kraken_fastkey._tokens import AccessToken, CallbackTokenProvider, StaticTokenProvider, TokenProvider
from kraken_fastkey._transport import Timeouts
from kraken_fastkey._version import __version__

__all__ = [
    "DEFAULT_BASE_URL",
    "AccessToken",
    "AllowlistEntry",
    "ApiError",
    "AuthenticationError",
    "CallbackTokenProvider",
    "ClientClosedError",
    "CommandTokenProvider",
    "CreateKeyRequest",
    "DuplicateKeyNameError",
    "EnvironmentTokenProvider",
    "FastApiKey",
    "FastKeyClient",
    "FastKeyError",
    "FileTokenProvider",
    "InvalidArgumentsError",
    "InvalidRequestError",
    "KeyInfo",
    "KeyNotFoundError",
    "Outcome",
    "PermissionDeniedError",
    "Permissions",
    "RateLimitedError",
    "ResponseFormatError",
    "RetryPolicy",
    "SecretStr",
    "ServiceUnavailableError",
    "StaticTokenProvider",
    "TemporaryLockoutError",
    "Time",
    "Timeouts",
    "TokenProvider",
    "TokenUnavailableError",
    "TooManyKeysError",
    "TransportError",
    "UnknownOutcomeError",
    "UpdateKeyRequest",
    "UserInfo",
    "__version__",
]
