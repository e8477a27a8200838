"""The exceptions that reach a person. Each message names what is wrong and what would be right.

The command line prints them as one line and exits with status 2; anything else is a bug and keeps
its traceback.
"""

from __future__ import annotations

from schemas.dead_letter import DeadLetterReason


class InnerloopError(Exception):
    """Base of every error that innerloop raises for a person to read."""


class SettingsError(InnerloopError):
    """A setting, in a file, the environment or a flag, is wrong."""


class DataError(InnerloopError):
    """Events or items, of a file or a topic, cannot be used as what they were given as."""


class BundleError(InnerloopError):
    """A model bundle is incomplete, altered, or of a version that this code does not know."""


class RolloutError(InnerloopError):
    """A plan of which models to serve cannot be changed, or followed, as asked for."""


class TrainingError(InnerloopError):
    """A training's checkpoint is damaged, is of another training, or cannot be written."""


class EncoderError(InnerloopError):
    """A text encoder cannot be found, exported, verified or loaded."""


class EvaluationError(InnerloopError):
    """An evaluation cannot be run as asked for, or its reports cannot be used together."""


class BrokerError(InnerloopError):
    """A Kafka broker cannot be started or reached, or refuses what is asked of it."""


class RefusedError(BrokerError):
    """Brokers refuse credentials or certificates: trying again cannot help."""


class QueueFullError(BrokerError):
    """As many messages wait for the brokers as may: slow down, or try again later."""


class DeliveryError(BrokerError):
    """A message was handed over, and given up before a broker acknowledged it."""


class SinkError(InnerloopError):
    """What recommendations are written to refuses them, or cannot be reached as asked for."""


class EventError(InnerloopError):
    """An event is not what a clickstream event has to be.

    Attributes:
        field: the field at fault; "" if it is no single one.
    """

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class StateStoreError(InnerloopError):
    """The folder with users' states cannot be used, read or written."""


class PlanError(InnerloopError):
    """A deployment's size cannot be computed from what was given."""


class BenchError(InnerloopError):
    """A benchmark cannot be run as asked for, or its report cannot be used."""


class DemoError(InnerloopError):
    """A part of the demo ended before its time, or does not get on."""


class CodecError(InnerloopError):
    """A message cannot be encoded or decoded."""


class DecodeError(CodecError):
    """A record's value is not the message it should be: the record's fault, for good.

    Attributes:
        reason: what the dead-letter record, metrics and alerts call it.
    """

    def __init__(self, message: str, reason: DeadLetterReason) -> None:
        super().__init__(message)
        self.reason = reason


class RegistryError(CodecError):
    """The schema registry cannot be reached or refuses a request.

    Nobody's record is at fault, so none may be dead-lettered for it: stop, or try again.
    """
