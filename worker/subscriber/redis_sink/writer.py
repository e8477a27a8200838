"""Writing each user's latest recommendation into Redis, never an older one over a later one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from schemas.errors import SettingsError, SinkError
from schemas.recommendations import Recommendation
from schemas.settings import SinkSettings

# A record that was written, or one that came after it, stays: whoever reads records again, after a
# crash or because its partitions moved, must not bring back what was.
_WRITE = """
local held = redis.call('HMGET', KEYS[1], 'partition', 'offset')
if held[1] == ARGV[1] and tonumber(held[2]) >= tonumber(ARGV[2]) then
  return 0
end
redis.call('HSET', KEYS[1], 'partition', ARGV[1], 'offset', ARGV[2], 'message', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
"""

_AWAY = (
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.TryAgainError,
    redis.exceptions.OutOfMemoryError,
)
_REFUSED = (
    redis.exceptions.AuthenticationError,
    redis.exceptions.AuthorizationError,
    redis.exceptions.NoPermissionError,
)


class RedisAwayError(SinkError):
    """Redis cannot be written to now; it may be possible later."""


@dataclass(frozen=True, slots=True)
class Write:
    """A user's latest record.

    Attributes:
        user_id: whose.
        partition: where the record lies.
        offset: likewise.
        recommendation: None removes the user.
    """

    user_id: str
    partition: int
    offset: int
    recommendation: Recommendation | None


class RedisWriter:
    """Writes the latest recommendation of users, under `key_prefix` and the user's id.

    The key holds a hash: `message`, the recommendation as JSON; `partition` and `offset`, where in
    the topic it lies. It expires `ttl_seconds` after it was written.

    Args:
        settings: where Redis is, the keys' prefix and how long they live.

    Raises:
        SettingsError: the address is none.
    """

    def __init__(self, settings: SinkSettings) -> None:
        self._prefix = settings.key_prefix
        self._ttl = settings.ttl_seconds
        self._encode = msgspec.json.Encoder().encode
        try:
            self._redis = redis.Redis.from_url(
                settings.redis_url.get_secret_value(),
                socket_timeout=settings.redis_timeout_seconds,
                socket_connect_timeout=settings.redis_timeout_seconds,
                retry=Retry(
                    NoBackoff(), 0
                ),  # what failed is tried again with all that belongs to it
            )
        except ValueError as error:
            raise SettingsError(
                "sink.redis_url: is no address of Redis; right would be "
                "redis://host:6379/0, rediss://… or unix:///path"
            ) from error
        self._write = self._redis.register_script(_WRITE)

    def write(self, writes: Iterable[Write]) -> list[bool]:
        """Write records, one a user; return for each whether it was newer than what was there.

        Raises:
            RedisAwayError: Redis is away or takes nothing now; some may have been written.
            SinkError: Redis refuses, and will again.
        """
        pipeline = self._redis.pipeline(transaction=False)
        for each in writes:
            key = f"{self._prefix}{each.user_id}"
            if each.recommendation is None:
                pipeline.delete(key)
                continue
            message = self._encode(each.recommendation)
            self._write(
                keys=[key], args=[each.partition, each.offset, message, self._ttl], client=pipeline
            )
        try:
            return [bool(done) for done in pipeline.execute()]
        except _REFUSED as error:
            raise SinkError(
                f"Redis refuses: {error} (setting sink.redis_url, with user and password)"
            ) from error
        except _AWAY as error:
            raise RedisAwayError(f"Redis is away: {type(error).__name__}") from error
        except redis.exceptions.ResponseError as error:
            raise SinkError(f"Redis refuses to write: {error}") from error

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
