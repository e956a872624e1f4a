"""Routing on Redis: ``sluice:routing:<namespace>.<model>`` holds it as JSON, fenced by its epoch."""

from typing import Final

import msgspec
import redis

from sluice.errors import StaleEpoch, StorageUnavailable
from sluice.redis.connection import RedisConnection
from sluice.routing import Routing

_PUBLISH: Final = """
local stored = redis.call('GET', KEYS[1])
if stored then
  local readable, routing = pcall(cjson.decode, stored)
  local epoch = readable and type(routing) == 'table' and tonumber(routing.epoch)
  if epoch and epoch > tonumber(ARGV[1]) then
    return string.format('%.0f', epoch)
  end
end
redis.call('SET', KEYS[1], ARGV[2])
return false
"""
"""Stores a routing unless one of a higher epoch is there, whose epoch it returns. Numbers are exact below 2^53."""


class RedisRouting:
    """:class:`~sluice.routing.RoutingStore` on Redis. A flushed Redis has no routing until the next renewal."""

    def __init__(self, connection: RedisConnection, model: str) -> None:
        self._connection, self._key = connection, f"sluice:routing:{model}"

    def publish(self, routing: Routing) -> None:
        """See :class:`~sluice.routing.RoutingStore`."""
        document = msgspec.json.encode(routing)

        def stored(client: "redis.Redis") -> object:
            return client.register_script(_PUBLISH)(keys=[self._key], args=[routing.epoch, document])

        newer = self._connection.run(stored)
        if newer is not None:
            number = newer.decode() if isinstance(newer, bytes) else newer
            raise StaleEpoch(f"routing epoch {routing.epoch} was replaced by {number}; decide anew")

    def read(self) -> Routing | None:
        """See :class:`~sluice.routing.RoutingStore`."""
        document = self._connection.run(lambda client: client.get(self._key))
        if document is None:
            return None
        try:
            return msgspec.json.decode(document, type=Routing)
        except msgspec.MsgspecError as error:
            raise StorageUnavailable(f"{self._key} in Redis holds no routing: {error}; delete it") from error
