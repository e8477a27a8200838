"""Messages to bytes and back, in the wire format that the settings name.

JSON is the default: `decoder` then returns a bare `msgspec` decoder, half a microsecond an event.
Avro in Schema-Registry framing is the option (`schemas.avro_codec`). Either way a value is checked
against the same message type, and a bad one becomes a `DecodeError` with the same reasons:

    decode = codec.decoder(ClickstreamEvent)
    try:
        event = decode(value)
    except DECODE_ERRORS as error:
        failure = decode_error(error, value)  # failure.reason, str(failure)

What workers are told and tell each other is their own business: a user's state is always
MessagePack, a block of item transitions and a plan of models always JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec

from schemas.dead_letter import DeadLetterReason
from schemas.errors import CodecError, DecodeError, SettingsError
from schemas.item_transitions import ItemTransitions
from schemas.model_rollout import ModelRollout
from schemas.settings import WireSettings
from schemas.user_state import FirstUserState, UserState

MessageT = TypeVar("MessageT", bound=msgspec.Struct)

_LONGEST_MESSAGE = 300

DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, DecodeError)
"""What a decoder raises for a bad value: kept raw so that good ones pass no Python frame.

Skipping an unknown field that nests a few thousand deep exhausts the recursion limit, so
`RecursionError` is among them.
"""


class Codec(Protocol):
    """A wire format."""

    def encode(self, topic: str, message: msgspec.Struct) -> bytes:
        """Return the value of a record for `topic` (its full name, prefix included).

        Raises:
            CodecError: a field holds what its type or the format does not allow.
            RegistryError: the schema registry cannot be reached or refuses the schema.
        """
        ...

    def decoder(self, message: type[MessageT]) -> Callable[[bytes], MessageT]:
        """Return a function from a record's value to the message; make it once, call it often.

        The function raises one of `DECODE_ERRORS` for a bad value and `RegistryError` where the
        schema registry cannot be asked.
        """
        ...


class JsonCodec:
    """UTF-8 JSON. Unknown fields are skipped unread, missing optional ones take their default."""

    def __init__(self) -> None:
        self._encoder = msgspec.json.Encoder()

    def encode(self, topic: str, message: msgspec.Struct) -> bytes:
        """Return the message as JSON; see `Codec.encode`."""
        try:
            return self._encoder.encode(message)
        except (msgspec.MsgspecError, TypeError, ValueError) as error:
            raise encode_error(topic, message, error) from error

    def decoder(self, message: type[MessageT]) -> Callable[[bytes], MessageT]:
        """Return the decoder of JSON; see `Codec.decoder`."""
        return msgspec.json.Decoder(message).decode


def build_codec(wire: WireSettings) -> Codec:
    """Return the codec of the wire format in the settings.

    Raises:
        SettingsError: the format is avro and the registry's address or properties are wrong.
    """
    if wire.format == "json":
        return JsonCodec()
    if not wire.registry_url:
        raise SettingsError(
            "wire.registry_url is not set; wire.format avro needs the Schema Registry's address, "
            "such as http://127.0.0.1:8081"
        )
    # Imported only when asked for: the registry client takes a third of a second to import.
    from schemas.avro_codec import AvroCodec  # noqa: PLC0415
    from schemas.schema_registry import registry_client  # noqa: PLC0415

    client = registry_client(wire.registry_url, wire.registry_properties)
    return AvroCodec(client, auto_register=wire.auto_register)


def decode_error(error: Exception, value: bytes) -> DecodeError:
    """Return, for one of `DECODE_ERRORS` and the value that caused it, what to tell of it.

    The message names the field where there is one and holds no id: it reaches logs.
    """
    if isinstance(error, DecodeError):
        return error
    if not value:
        return DecodeError("the value is empty", DeadLetterReason.EMPTY_VALUE)
    if isinstance(error, msgspec.ValidationError):
        return invalid_field(error)
    if isinstance(error, RecursionError):
        return DecodeError("the value is nested too deeply", DeadLetterReason.MALFORMED)
    try:
        value.decode("utf-8")
    except UnicodeDecodeError as bad:
        return DecodeError(
            f"invalid UTF-8 at byte {bad.start}: {bad.reason}", DeadLetterReason.INVALID_UTF8
        )
    return DecodeError(str(error), DeadLetterReason.MALFORMED)


def invalid_field(error: msgspec.ValidationError) -> DecodeError:
    """Return the error for a value whose fields are not what the message type wants."""
    # An unknown enum member is quoted in full, however long it is.
    text = str(error)
    shown = text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}…"
    return DecodeError(shown, DeadLetterReason.INVALID_FIELD)


def encode_error(topic: str, message: msgspec.Struct, cause: Exception) -> CodecError:
    """Return the error for a message that cannot be encoded."""
    return CodecError(f"{type(message).__name__} for topic {topic} cannot be encoded: {cause}")


_encode_state = msgspec.msgpack.Encoder().encode
_decode_state = msgspec.msgpack.Decoder(UserState).decode
_decode_first_state = msgspec.msgpack.Decoder(FirstUserState).decode
_MSGPACK_MAPS = frozenset((*range(0x80, 0x90), 0xDE, 0xDF))


def encode_state(state: UserState) -> bytes:
    """Return a `user-state` record's value, MessagePack."""
    return _encode_state(state)


def decode_state(value: bytes) -> UserState:
    """Return the state in a `user-state` record's value; the first layout is a map.

    Raises:
        DecodeError: the value is no such state.
    """
    try:
        if value and value[0] in _MSGPACK_MAPS:
            return _decode_first_state(value).upgraded()
        return _decode_state(value)
    except msgspec.ValidationError as error:
        raise invalid_field(error) from error
    except DECODE_ERRORS as error:
        raise DecodeError(
            f"the user state is not MessagePack: {error}", DeadLetterReason.MALFORMED
        ) from error


_encode_transitions = msgspec.json.Encoder().encode
_decode_transitions = msgspec.json.Decoder(ItemTransitions).decode


def encode_transitions(transitions: ItemTransitions) -> bytes:
    """Return an `item-transitions` record's value, JSON."""
    return _encode_transitions(transitions)


def decode_transitions(value: bytes) -> ItemTransitions:
    """Return the block in an `item-transitions` record's value.

    Raises:
        DecodeError: the value is no such block.
    """
    try:
        return _decode_transitions(value)
    except DECODE_ERRORS as error:
        raise decode_error(error, value) from error


_encode_rollout = msgspec.json.Encoder().encode
_decode_rollout = msgspec.json.Decoder(ModelRollout).decode


def encode_rollout(plan: ModelRollout) -> bytes:
    """Return a `models` record's value, JSON."""
    return _encode_rollout(plan)


def decode_rollout(value: bytes) -> ModelRollout:
    """Return the plan in a `models` record's value.

    Raises:
        DecodeError: the value is no such plan.
    """
    try:
        return _decode_rollout(value)
    except DECODE_ERRORS as error:
        raise decode_error(error, value) from error
