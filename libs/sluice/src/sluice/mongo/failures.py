"""What MongoDB's errors mean: whether to try again at once, and one sentence for each."""

from typing import Final

from pymongo.errors import (
    AutoReconnect,
    InvalidOperation,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

LOGIN_REFUSED: Final = 18


def may_pass(error: Exception) -> bool:
    """Whether the same call may succeed at once: over another connection, or with the password of now."""
    if isinstance(error, OperationFailure):
        return error.code == LOGIN_REFUSED
    if isinstance(error, InvalidOperation):  # another thread has just let this client go
        return "after close" in str(error)
    lasting = isinstance(error, ServerSelectionTimeoutError) or getattr(error, "timeout", False)
    return isinstance(error, AutoReconnect) and not lasting


def sentence(error: PyMongoError) -> str:
    """Return what happened, without what the driver says: it may name hosts, documents or a part of the URL."""
    if isinstance(error, ServerSelectionTimeoutError):
        return "MongoDB cannot be reached; check that it runs, and SLUICE_MONGO_URL"
    if error.timeout:
        return "MongoDB did not answer in time; check its load and the network"
    if isinstance(error, AutoReconnect):
        return "MongoDB broke the connection off; check that it runs"
    if isinstance(error, OperationFailure) and error.code == LOGIN_REFUSED:
        return "MongoDB refused the login; check user and password in SLUICE_MONGO_URL"
    if isinstance(error, OperationFailure):
        return f"MongoDB refused an operation with code {_code(error)}; check the user's roles and the server's log"
    return f"MongoDB cannot be used: {type(error).__name__}; check its log"


def _code(error: OperationFailure) -> int | None:
    """Return the server's code; of a bulk that of its first refused write."""
    details = error.details or {}
    refused = [*details.get("writeErrors", ()), *details.get("writeConcernErrors", ())]
    return refused[0].get("code") if refused else error.code
