"""An asyncio SDK for Kraken Connect's Fast API keys.

Everything that is public is here, in `kraken_fastkey.stores`, `kraken_fastkey.sandbox`, `kraken_fastkey.testing` and
`kraken_fastkey.otel`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kraken_fastkey._adapters import attach_ccxt, attach_kraken_sdk
    from kraken_fastkey._client import DEFAULT_BASE_URL, FastKeyClient
    from kraken_fastkey._client_secret import decrypt_client_secret
    from kraken_fastkey._env_file import attach_env_file, environment_of, write_env_file
    from kraken_fastkey._errors import (
        ApiError,
        AuthenticationError,
        ClientClosedError,
        DuplicateKeyNameError,
        FastKeyError,
        InvalidArgumentsError,
        InvalidRequestError,
        KeyNotFoundError,
        LeaseExpiredError,
        NonceAheadError,
        NonceUnit,
        OAuthError,
        Outcome,
        PermissionDeniedError,
        RateLimitedError,
        ReauthorizationCause,
        ReauthorizationRequiredError,
        ResponseFormatError,
        ServiceUnavailableError,
        StaleGrantError,
        StaleRecordError,
        StoreError,
        StoreLockTimeoutError,
        TemporaryLockoutError,
        TokenUnavailableError,
        TooManyKeysError,
        TransportError,
        UnknownOutcomeError,
    )
    from kraken_fastkey._events.client import (
        ClosingCutOff,
        DangerousKeyRequested,
        KrakenWarned,
        LockoutEnded,
        LockoutStarted,
        RequestsLeftOpen,
        RetryScheduled,
        TokenRejected,
    )
    from kraken_fastkey._events.event import Event, EventHook
    from kraken_fastkey._events.grants import (
        GrantAging,
        GrantLost,
        GrantNotSaved,
        RefreshAdopted,
        RefreshEnded,
        RefreshFailed,
        RefreshStarted,
        TokenLifeAssumed,
    )
    from kraken_fastkey._events.leases import (
        LeaseEntered,
        LeaseEvent,
        LeaseExpired,
        LeaseFailing,
        LeaseKeyDeleted,
        LeaseKeyDiffers,
        LeaseKeyGone,
        LeaseKeyHandedOver,
        LeaseKeyLockedOut,
        LeaseKeyMade,
        LeaseKeyNotDeleted,
        LeaseKeyNotPlaced,
        LeaseKeyNotProbed,
        LeaseKeyRefused,
        LeaseKeyTaken,
        LeaseKeyTakenUnseen,
        LeaseKeyUnknown,
        LeaseLeft,
        LeaseListenerFailed,
        LeaseNotCleared,
        LeaseRecovered,
        LeaseRotationEnded,
        LeaseRotationStarted,
        LeaseSwept,
    )
    from kraken_fastkey._events.observed import AttemptEnded, AttemptOutcome, AttemptStarted, CallEnded, CallStarted
    from kraken_fastkey._events.orphans import (
        KeyRenamed,
        OrphanDeleted,
        OrphanNotDeleted,
        OrphanSettled,
        OrphanSuspected,
        ReconcileEnded,
        ReconcileLooked,
        ReconcileStarted,
    )
    from kraken_fastkey._events.verification import VerificationRetried
    from kraken_fastkey._grant import Grant, Rotation
    from kraken_fastkey._lease import KeyLease, LeaseHealth, LeaseState
    from kraken_fastkey._lease_record import LeaseRecord
    from kraken_fastkey._login import login
    from kraken_fastkey._models import (
        AllowlistEntry,
        CreateKeyRequest,
        FastApiKey,
        KeyInfo,
        Permissions,
        UpdateKeyRequest,
        UserInfo,
    )
    from kraken_fastkey._nonces import (
        FileNonceSource,
        MemoryNonceSource,
        NonceSource,
        RedisNonceSource,
        check_nonces,
        nonce_window_for,
    )
    from kraken_fastkey._oauth import AuthorizationRequest, OAuthClient
    from kraken_fastkey._refreshing import RefreshingTokenProvider
    from kraken_fastkey._retry import RetryPolicy
    from kraken_fastkey._secret import SecretStr
    from kraken_fastkey._signing import KeySigner, SignedRequest
    from kraken_fastkey._token_sources import CommandTokenProvider, EnvironmentTokenProvider, FileTokenProvider
    from kraken_fastkey._tokens import (
        AccessToken,
        CallbackTokenProvider,
        StaticTokenProvider,
        TokenProvider,
        TokenUseObserver,
    )
    from kraken_fastkey._transport import Timeouts
    from kraken_fastkey._validation import Time
    from kraken_fastkey._verifying import DEFAULT_API_URL, KeyVerification, verify_key
    from kraken_fastkey._version import __version__

__all__ = [
    "DEFAULT_API_URL",
    "DEFAULT_BASE_URL",
    "AccessToken",
    "AllowlistEntry",
    "ApiError",
    "AttemptEnded",
    "AttemptOutcome",
    "AttemptStarted",
    "AuthenticationError",
    "AuthorizationRequest",
    "CallEnded",
    "CallStarted",
    "CallbackTokenProvider",
    "ClientClosedError",
    "ClosingCutOff",
    "CommandTokenProvider",
    "CreateKeyRequest",
    "DangerousKeyRequested",
    "DuplicateKeyNameError",
    "EnvironmentTokenProvider",
    "Event",
    "EventHook",
    "FastApiKey",
    "FastKeyClient",
    "FastKeyError",
    "FileNonceSource",
    "FileTokenProvider",
    "Grant",
    "GrantAging",
    "GrantLost",
    "GrantNotSaved",
    "InvalidArgumentsError",
    "InvalidRequestError",
    "KeyInfo",
    "KeyLease",
    "KeyNotFoundError",
    "KeyRenamed",
    "KeySigner",
    "KeyVerification",
    "KrakenWarned",
    "LeaseEntered",
    "LeaseEvent",
    "LeaseExpired",
    "LeaseExpiredError",
    "LeaseFailing",
    "LeaseHealth",
    "LeaseKeyDeleted",
    "LeaseKeyDiffers",
    "LeaseKeyGone",
    "LeaseKeyHandedOver",
    "LeaseKeyLockedOut",
    "LeaseKeyMade",
    "LeaseKeyNotDeleted",
    "LeaseKeyNotPlaced",
    "LeaseKeyNotProbed",
    "LeaseKeyRefused",
    "LeaseKeyTaken",
    "LeaseKeyTakenUnseen",
    "LeaseKeyUnknown",
    "LeaseLeft",
    "LeaseListenerFailed",
    "LeaseNotCleared",
    "LeaseRecord",
    "LeaseRecovered",
    "LeaseRotationEnded",
    "LeaseRotationStarted",
    "LeaseState",
    "LeaseSwept",
    "LockoutEnded",
    "LockoutStarted",
    "MemoryNonceSource",
    "NonceAheadError",
    "NonceSource",
    "NonceUnit",
    "OAuthClient",
    "OAuthError",
    "OrphanDeleted",
    "OrphanNotDeleted",
    "OrphanSettled",
    "OrphanSuspected",
    "Outcome",
    "PermissionDeniedError",
    "Permissions",
    "RateLimitedError",
    "ReauthorizationCause",
    "ReauthorizationRequiredError",
    "ReconcileEnded",
    "ReconcileLooked",
    "ReconcileStarted",
    "RedisNonceSource",
    "RefreshAdopted",
    "RefreshEnded",
    "RefreshFailed",
    "RefreshStarted",
    "RefreshingTokenProvider",
    "RequestsLeftOpen",
    "ResponseFormatError",
    "RetryPolicy",
    "RetryScheduled",
    "Rotation",
    "SecretStr",
    "ServiceUnavailableError",
    "SignedRequest",
    "StaleGrantError",
    "StaleRecordError",
    "StaticTokenProvider",
    "StoreError",
    "StoreLockTimeoutError",
    "TemporaryLockoutError",
    "Time",
    "Timeouts",
    "TokenLifeAssumed",
    "TokenProvider",
    "TokenRejected",
    "TokenUnavailableError",
    "TokenUseObserver",
    "TooManyKeysError",
    "TransportError",
    "UnknownOutcomeError",
    "UpdateKeyRequest",
    "UserInfo",
    "VerificationRetried",
    "__version__",
    "attach_ccxt",
    "attach_env_file",
    "attach_kraken_sdk",
    "check_nonces",
    "decrypt_client_secret",
    "environment_of",
    "login",
    "nonce_window_for",
    "verify_key",
    "write_env_file",
]

if not TYPE_CHECKING:  # type checkers have the names from above, and know that there are no others
    # What `import kraken_fastkey` takes is felt by who only wants the command line's help, or a class of errors.
    _NAMES = {
        "_adapters": "attach_ccxt attach_kraken_sdk",
        "_client": "DEFAULT_BASE_URL FastKeyClient",
        "_client_secret": "decrypt_client_secret",
        "_env_file": "attach_env_file environment_of write_env_file",
        "_errors": """
            ApiError AuthenticationError ClientClosedError DuplicateKeyNameError FastKeyError InvalidArgumentsError
            InvalidRequestError KeyNotFoundError LeaseExpiredError NonceAheadError NonceUnit OAuthError Outcome
            PermissionDeniedError RateLimitedError ReauthorizationCause ReauthorizationRequiredError ResponseFormatError
            ServiceUnavailableError StaleGrantError StaleRecordError StoreError StoreLockTimeoutError
            TemporaryLockoutError TokenUnavailableError TooManyKeysError TransportError UnknownOutcomeError
        """,
        "_events.client": """
            ClosingCutOff DangerousKeyRequested KrakenWarned LockoutEnded LockoutStarted RequestsLeftOpen RetryScheduled
            TokenRejected
        """,
        "_events.event": "Event EventHook",
        "_events.grants": """
            GrantAging GrantLost GrantNotSaved RefreshAdopted RefreshEnded RefreshFailed RefreshStarted TokenLifeAssumed
        """,
        "_events.leases": """
            LeaseEntered LeaseEvent LeaseExpired LeaseFailing LeaseKeyDeleted LeaseKeyDiffers LeaseKeyGone
            LeaseKeyHandedOver LeaseKeyLockedOut LeaseKeyMade LeaseKeyNotDeleted LeaseKeyNotPlaced LeaseKeyNotProbed
            LeaseKeyRefused LeaseKeyTaken LeaseKeyTakenUnseen LeaseKeyUnknown LeaseLeft LeaseListenerFailed
            LeaseNotCleared LeaseRecovered LeaseRotationEnded LeaseRotationStarted LeaseSwept
        """,
        "_events.observed": "AttemptEnded AttemptOutcome AttemptStarted CallEnded CallStarted",
        "_events.orphans": """
            KeyRenamed OrphanDeleted OrphanNotDeleted OrphanSettled OrphanSuspected ReconcileEnded ReconcileLooked
            ReconcileStarted
        """,
        "_events.verification": "VerificationRetried",
        "_grant": "Grant Rotation",
        "_lease": "KeyLease LeaseHealth LeaseState",
        "_lease_record": "LeaseRecord",
        "_login": "login",
        "_models": "AllowlistEntry CreateKeyRequest FastApiKey KeyInfo Permissions UpdateKeyRequest UserInfo",
        "_nonces": "FileNonceSource MemoryNonceSource NonceSource RedisNonceSource check_nonces nonce_window_for",
        "_oauth": "AuthorizationRequest OAuthClient",
        "_refreshing": "RefreshingTokenProvider",
        "_retry": "RetryPolicy",
        "_secret": "SecretStr",
        "_signing": "KeySigner SignedRequest",
        "_token_sources": "CommandTokenProvider EnvironmentTokenProvider FileTokenProvider",
        "_tokens": "AccessToken CallbackTokenProvider StaticTokenProvider TokenProvider TokenUseObserver",
        "_transport": "Timeouts",
        "_validation": "Time",
        "_verifying": "DEFAULT_API_URL KeyVerification verify_key",
        "_version": "__version__",
    }
    _HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first asked for (PEP 562)."""
        if name == "stores":  # it came along with the rest when that was imported at once
            return importlib.import_module(f"{__name__}.stores")
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
