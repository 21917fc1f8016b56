"""An asyncio SDK for Kraken Connect's Fast API keys.

Everything that is public is here, in `kraken_fastkey.stores`, `kraken_fastkey.sandbox` and `kraken_fastkey.testing`.
"""

from kraken_fastkey._client import DEFAULT_BASE_URL, FastKeyClient
from kraken_fastkey._client_secret import decrypt_client_secret
from kraken_fastkey._errors import (
    ApiError,
    AuthenticationError,
    ClientClosedError,
    DuplicateKeyNameError,
    FastKeyError,
    InvalidArgumentsError,
    InvalidRequestError,
    KeyNotFoundError,
    OAuthError,
    Outcome,
    PermissionDeniedError,
    RateLimitedError,
    ReauthorizationCause,
    ReauthorizationRequiredError,
    ResponseFormatError,
    ServiceUnavailableError,
    StaleGrantError,
    StoreError,
    StoreLockTimeoutError,
    TemporaryLockoutError,
    TokenUnavailableError,
    TooManyKeysError,
    TransportError,
    UnknownOutcomeError,
)
from kraken_fastkey._grant import Grant, Rotation
from kraken_fastkey._login import login
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
from kraken_fastkey._oauth import AuthorizationRequest, OAuthClient
from kraken_fastkey._refreshing import RefreshingTokenProvider
from kraken_fastkey._retry import RetryPolicy
from kraken_fastkey._secret import SecretStr
from kraken_fastkey._token_sources import CommandTokenProvider, EnvironmentTokenProvider, FileTokenProvider
from kraken_fastkey._tokens import (
    AccessToken,
    CallbackTokenProvider,
    StaticTokenProvider,
    TokenProvider,
    TokenUseObserver,
)
from kraken_fastkey._transport import Timeouts
from kraken_fastkey._version import __version__

__all__ = [
    "DEFAULT_BASE_URL",
    "AccessToken",
    "AllowlistEntry",
    "ApiError",
    "AuthenticationError",
    "AuthorizationRequest",
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
    "Grant",
    "InvalidArgumentsError",
    "InvalidRequestError",
    "KeyInfo",
    "KeyNotFoundError",
    "OAuthClient",
    "OAuthError",
    "Outcome",
    "PermissionDeniedError",
    "Permissions",
    "RateLimitedError",
    "ReauthorizationCause",
    "ReauthorizationRequiredError",
    "RefreshingTokenProvider",
    "ResponseFormatError",
    "RetryPolicy",
    "Rotation",
    "SecretStr",
    "ServiceUnavailableError",
    "StaleGrantError",
    "StaticTokenProvider",
    "StoreError",
    "StoreLockTimeoutError",
    "TemporaryLockoutError",
    "Time",
    "Timeouts",
    "TokenProvider",
    "TokenUnavailableError",
    "TokenUseObserver",
    "TooManyKeysError",
    "TransportError",
    "UnknownOutcomeError",
    "UpdateKeyRequest",
    "UserInfo",
    "__version__",
    "decrypt_client_secret",
    "login",
]
