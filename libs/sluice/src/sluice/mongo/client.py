"""How a MongoDB server is connected to: the driver's options, and which settings are unusable."""

from typing import Any, Final

from bson import Int64
from bson.codec_options import CodecOptions, TypeDecoder, TypeRegistry
from pymongo import MongoClient
from pymongo.errors import InvalidName, PyMongoError

from sluice.errors import InvalidSetting

Document = dict[str, Any]
HEARTBEAT_S: Final = 1.0
"""How often a server is looked at, so that one that is back is noticed."""
AWAY_S: Final = 5.0
"""A server that does not answer that for so long counts as away: calls under way are broken off."""
UNUSABLE_URL: Final = (
    "SLUICE_MONGO_URL is no connection string of MongoDB, or names a file that cannot be read; correct it"
)
_OPTIONS: Final[dict[str, Any]] = {
    "appname": "sluice",
    "connectTimeoutMS": int(AWAY_S * 1e3),
    "heartbeatFrequencyMS": int(HEARTBEAT_S * 1e3),
}


class _PlainInt(TypeDecoder):
    """Reads numbers of 2**31 and more as ``int``: msgspec encodes nothing derived from it."""

    bson_type = Int64

    def transform_bson(self, value: Any) -> int:
        """Return the number."""
        return int(value)


CODEC: Final = CodecOptions(document_class=dict, type_registry=TypeRegistry([_PlainInt()]))


def connect(url: str, **options: Any) -> MongoClient[Document]:
    """Return a client; it connects when it is used. Raises :class:`InvalidSetting`, never with the URL in it."""
    try:
        return MongoClient(url, **(_OPTIONS | options))
    except (PyMongoError, OSError, TypeError, ValueError):
        raise InvalidSetting(UNUSABLE_URL) from None


def require_usable(url: str, name: str) -> None:
    """Raise :class:`InvalidSetting` if nothing can be connected to by this URL and name; nobody is asked."""
    with connect(url, connect=False) as client:
        try:
            client.get_database(name)
        except InvalidName:
            raise InvalidSetting(
                f"SLUICE_MONGO_DATABASE is {name!r}; take blanks, dots, slashes, quotes and $ out"
            ) from None
