"""Hypothesis strategies for the messages, read off their types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st
from msgspec import inspect

from schemas.clickstream import EventType
from schemas.user_state import RecentEvents, recent_events

# Reproducible everywhere, and no slower on a shared machine than it must be.
hypothesis.settings.register_profile(
    "innerloop",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("innerloop")

MessagesOf = Callable[[type[msgspec.Struct]], st.SearchStrategy[Any]]


@pytest.fixture(scope="session")
def messages_of() -> MessagesOf:
    """Return the function from a message type to a strategy for its messages."""
    return lambda message: _values(inspect.type_info(message))


def _values(kind: inspect.Type) -> st.SearchStrategy[Any]:
    match kind:
        case inspect.StructType(cls=cls) if cls is RecentEvents:
            strategy = _recent_events()
        case inspect.StructType(cls=cls, fields=fields):
            values = {field.name: _values(field.type) for field in fields}
            strategy = st.fixed_dictionaries(values).map(lambda given: _build(cls, given))
        case inspect.Metadata(type=inner):
            strategy = _values(inner)
        case inspect.UnionType(types=types):
            strategy = st.one_of([_values(member) for member in types])
        case inspect.ListType(item_type=item):
            strategy = st.lists(_values(item), max_size=4)
        case inspect.VarTupleType(item_type=item):
            strategy = st.lists(_values(item), max_size=4).map(tuple)
        case inspect.DictType(key_type=key, value_type=value):
            strategy = st.dictionaries(_values(key), _values(value), max_size=4)
        case _:
            strategy = _SCALARS[type(kind)](kind)
    return strategy


@st.composite
def _recent_events(draw: st.DrawFn) -> RecentEvents:
    """Columns of one length: drawn each on its own, they hardly ever are."""
    n = draw(st.integers(0, 4))
    identifiers = st.text(min_size=1, max_size=30)
    places = st.integers(0, len(EventType) - 1)
    active = draw(st.integers(0, 2**63 - 1))
    return recent_events(
        keys=draw(st.lists(st.integers(0, 2**64 - 1), min_size=n, max_size=n)),
        types=draw(st.lists(places, min_size=n, max_size=n)),
        times=draw(st.lists(st.integers(0, active), min_size=n, max_size=n)),
        items=draw(st.lists(st.none() | identifiers, min_size=n, max_size=n)),
        queries=draw(st.dictionaries(st.integers(0, n - 1), st.text(max_size=30))) if n else {},
        active=active,
    )


def _texts(kind: inspect.StrType) -> st.SearchStrategy[str]:
    if kind.pattern is not None:
        return st.from_regex(kind.pattern.removesuffix("$") + r"\Z", fullmatch=True)
    return st.text(min_size=kind.min_length or 0, max_size=min(kind.max_length or 30, 30))


def _integers(kind: inspect.IntType) -> st.SearchStrategy[int]:
    least, most = kind.ge, kind.le
    return st.integers(-(2**63) if least is None else least, 2**63 - 1 if most is None else most)


_SCALARS: dict[type, Callable[[Any], st.SearchStrategy[Any]]] = {
    inspect.StrType: _texts,
    inspect.IntType: _integers,
    inspect.FloatType: lambda kind: st.floats(
        kind.ge, kind.le, allow_nan=False, allow_infinity=False
    ),
    inspect.EnumType: lambda kind: st.sampled_from(list(kind.cls)),
    inspect.BoolType: lambda _: st.booleans(),
    inspect.BytesType: lambda _: st.binary(max_size=40),
    inspect.NoneType: lambda _: st.none(),
}


def _build(cls: type[msgspec.Struct], given: dict[str, Any]) -> msgspec.Struct:
    try:
        return cls(**given)
    except ValueError:  # a rule between fields, such as "a search needs a query"
        hypothesis.reject()
