"""Recommendations written from arrays are the messages that the codec writes of their objects."""

import hashlib
from dataclasses import replace
from types import SimpleNamespace

import hypothesis.strategies as st
import msgspec
import numpy as np
import pytest
import torch
from confluent_kafka.schema_registry import SchemaRegistryClient
from hypothesis import given, settings

from schemas.avro_codec import AvroCodec
from schemas.clickstream import EventType
from schemas.codec import JsonCodec
from schemas.recommendations import ReasonEvent, Recommendation
from worker.byte_table import packed
from worker.outputs import RecommendationWriter
from worker.pipeline import Answers
from worker.recommendation_ids import recommendation_ids
from worker.rows import NO_ITEM
from worker.stages.adapt import Adapted
from worker.stages.decode import EventColumns
from worker.stages.rank import Ranked

decode = msgspec.json.Decoder(Recommendation, strict=True).decode
NOW_MS = 1_700_000_000_000

ODD = [
    "a",
    '"',
    "\\",
    "\\\"'/",
    "\x00\x01\x1f\x7f",
    "\b\t\n\f\r",
    "é ü",
    "日本",
    "🛒\u2028",
    "x" * 128,
]
ids = st.one_of(
    st.sampled_from(ODD),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128),
)
floats = st.one_of(
    st.sampled_from([0.0, -0.0, 1e-7, -1e-7, 5e-7, 1e-6, -1e-6, 2.5e-6, 1e-5, 0.1, 16777216.0]),
    st.floats(-50, 50, width=32),
    st.floats(-8e9, 8e9, width=32),
)


def answers_of(
    user_ids,
    event_ids,
    rows,
    scores,
    reasons,
    *,
    losses=None,
    stepped=None,
    seen=None,
    times=None,
    propensities=None,
    reason_types=None,
    also=(),
) -> Answers:
    n = len(user_ids)
    losses = np.zeros((2, n), np.float32) if losses is None else losses
    events = EventColumns(
        event_ids=event_ids,
        user_ids=user_ids,
        types=[EventType.VIEW] * n,
        times=[0] * n if times is None else times,
        partitions=[i % 3 for i in range(n)],
    )
    batch = SimpleNamespace(
        source=np.arange(n), events_seen=np.ones(n, np.int64) if seen is None else seen
    )
    adapted = Adapted(
        torch.zeros(n, 1), np.zeros(n, np.bool_) if stepped is None else stepped, *losses
    )
    k = len(rows[0]) if n else 3
    ranked = Ranked(
        np.array(rows, np.int64).reshape(n, k),
        np.array(scores, np.float32).reshape(n, k),
        np.array(reasons, np.int64).reshape(n, k),
        propensities,
        reason_types,
    )
    each = Answers(events, batch, adapted, ranked)
    addressed = replace(each.addressed(), also=also)
    return replace(each, asked=SimpleNamespace(addressed=addressed)) if also else each


def writer_for(item_ids, codec=None, model_version="m1", variant="a") -> RecommendationWriter:
    return RecommendationWriter(
        codec=codec or JsonCodec(),
        topic="recommendations",
        catalogue=SimpleNamespace(item_ids=item_ids),
        model_version=model_version,
        variant=variant,
        now_ms=lambda: NOW_MS,
    )


def through_objects(writer: RecommendationWriter, answers: Answers) -> list[bytes]:
    return [JsonCodec().encode("", message) for message in writer.messages(answers)]


def through_arrays(writer: RecommendationWriter, answers: Answers) -> list[bytes] | None:
    return writer._written(answers.ranked, answers.addressed(), writer.records(answers).keys)


chances = st.sampled_from([1.0, 0.5, 1e-9, 1e-10, 1e-30, 5e-4, 1 / 3]) | st.floats(1e-12, 1.0)


def tables(entries, n, k, kind):
    lists = st.lists(entries, min_size=n * k, max_size=n * k)
    return lists.map(lambda values: np.array(values, kind).reshape(n, k))


@st.composite
def cases(draw):
    item_ids = draw(st.lists(ids, min_size=1, max_size=6))
    n, k = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    row = st.integers(NO_ITEM, len(item_ids) - 1)
    table = st.lists(st.lists(row, min_size=k, max_size=k), min_size=n, max_size=n)
    rows = draw(table)
    numbers = draw(st.lists(floats, min_size=n * k + 2 * n, max_size=n * k + 2 * n))
    scores = np.array(numbers[: n * k], np.float32).reshape(n, k)
    scores[np.array(rows) == NO_ITEM] = -np.inf
    stepped = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    losses = np.array(numbers[n * k :], np.float32).reshape(2, n)
    losses[:, ~stepped] = np.nan
    several = st.lists(ids, min_size=n, max_size=n)
    whole = st.lists(st.integers(0, 253402300799999), min_size=n, max_size=n)
    answers = answers_of(
        draw(several),
        draw(several),
        rows,
        scores,
        draw(table),
        losses=losses,
        stepped=stepped,
        seen=np.array(draw(whole)),
        times=draw(whole),
        propensities=draw(st.none() | tables(chances, n, k, np.float64)),
        reason_types=draw(st.none() | tables(st.integers(0, len(EventType) - 1), n, k, np.uint8)),
        also=draw(st.just([]) | st.lists(st.lists(ids, max_size=3), min_size=n, max_size=n)),
    )
    return writer_for(item_ids, None, draw(ids), draw(ids)), answers


@settings(max_examples=300, deadline=None, derandomize=True)
@given(cases())
def test_what_is_written_reads_as_what_the_codec_writes(case):
    writer, answers = case
    written = writer.records(answers).values
    expected = through_objects(writer, answers)
    assert through_arrays(writer, answers) is not None
    for ours, theirs, message in zip(written, expected, writer.messages(answers), strict=True):
        assert decode(ours) == decode(theirs) == message
        # Minus zero equals zero, and is to stay what it is.
        assert ours.count(b"-0.0,") == theirs.count(b"-0.0,")


def test_the_bytes_are_the_codecs_where_no_number_is_tiny():
    rng = np.random.default_rng(3)
    item_ids = [f"i{n}-{ODD[n % 9]}" for n in range(50)] + ["y" * 300]
    n, k = 200, 20
    rows = rng.integers(NO_ITEM, len(item_ids), (n, k))
    scores = (rng.integers(-(10**6), 10**6, (n, k)) / 64).astype(np.float32)
    stepped = rng.random(n) < 0.8
    losses = (rng.integers(0, 10**4, (2, n)) / 512).astype(np.float32)
    writer = writer_for(item_ids)
    answers = answers_of(
        [f"u{i}" for i in range(n)],
        [f"e{i}" for i in range(n)],
        rows,
        scores,
        rng.integers(NO_ITEM, len(item_ids), (n, k)),
        losses=losses,
        stepped=stepped,
        seen=rng.integers(1, 10**6, n),
        times=rng.integers(0, 2 * 10**12, n).tolist(),
    )
    records = writer.records(answers)
    assert records.values == through_objects(writer, answers)
    assert records.keys == [f"u{i}".encode() for i in range(n)]
    assert records.partitions == [i % 3 for i in range(n)]


def test_all_float32_of_a_range_round_as_they_did():
    rng = np.random.default_rng(11)
    scores = np.concatenate(
        [
            rng.normal(scale=scale, size=4000).astype(np.float32)
            for scale in (1e-7, 1e-6, 1e-3, 1.0, 100.0, 1e6, 1e9)
        ]
    )
    # Halves of a millionth: ties of the decimals, and what lies beside them.
    ties = ((np.arange(2000) + 0.5) * 1e-6).astype(np.float32)
    scores = np.concatenate([scores, ties, np.nextafter(ties, np.float32(0)), -ties])[None]
    rows = np.zeros(scores.shape, np.int64)
    writer = writer_for(["i"])
    answers = answers_of(["u"], ["e"], rows, scores, rows)
    (value,) = writer.records(answers).values
    found = np.array([item.score for item in decode(value).items])
    expected = np.round(scores[0].astype(np.float64), 6)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))
    assert b"e" not in b"".join(item.split(b",")[0] for item in value.split(b'"score":')[1:])


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf, 1e10, -3e38])
def test_a_score_that_does_not_fit_goes_through_the_codec(score):
    writer = writer_for(["i", "j"])
    answers = answers_of(
        ["u", "v"], ["e", "f"], [[0, 1], [1, 0]], [[1, 2], [score, 1]], [[0, 0], [1, 1]]
    )
    records = writer.records(answers)
    assert records.values == through_objects(writer, answers)
    assert through_arrays(writer, answers) is None


def test_what_a_policy_adds_is_written_as_the_codec_writes_it_and_else_left_out():
    rng = np.random.default_rng(5)
    n, k = 50, 8
    rows, reasons = rng.integers(NO_ITEM, 9, (n, k)), rng.integers(NO_ITEM, 9, (n, k))
    scores = (rng.integers(-(10**6), 10**6, (n, k)) / 64).astype(np.float32)
    writer = writer_for([f"i{n}" for n in range(9)])
    users, events = [f"u{i}" for i in range(n)], [f"e{i}" for i in range(n)]
    plain = writer.records(answers_of(users, events, rows, scores, reasons)).values
    assert not any(b"propensity" in value or b"event_type" in value for value in plain)
    answers = answers_of(
        users, events, rows, scores, reasons,
        propensities=rng.integers(1, 2**20, (n, k)) / 2**20,
        reason_types=rng.integers(0, len(EventType), (n, k)).astype(np.uint8),
    )  # fmt: skip
    written = writer.records(answers).values
    messages = [decode(value) for value in written]
    assert messages == [decode(value) for value in through_objects(writer, answers)]
    listed = rows != NO_ITEM
    found = [item.propensity for message in messages for item in message.items]
    np.testing.assert_array_equal(found, np.round(answers.ranked.propensities[listed], 9))
    kinds = [item.reason.event_type for message in messages for item in message.items]
    names = [kind.value for kind in EventType]
    for name, kind, reason in zip(
        kinds, answers.ranked.reason_types[listed], reasons[listed], strict=True
    ):
        expected = ReasonEvent(names[kind]) if reason != NO_ITEM else None
        assert name == expected


def test_what_a_policy_adds_goes_through_avro():
    codec = AvroCodec(SchemaRegistryClient.new_client({"url": "mock://policy"}))
    answers = answers_of(
        ["u"], ["e"], [[0, 1]], [[2.0, 1.0]], [[1, NO_ITEM]],
        propensities=np.array([[0.75, 1e-12]]), reason_types=np.array([[5, 0]], np.uint8),
    )  # fmt: skip
    writer = writer_for(["i", "j"], codec)
    (value,) = writer.records(answers).values
    items = codec.decoder(Recommendation)(value).items
    assert [item.propensity for item in items] == [0.75, 1e-9]
    assert items[0].reason.event_type is ReasonEvent.PURCHASE
    assert items[1].reason.event_type is None


def test_events_answered_by_the_way_are_named_after_the_cause_and_else_left_out():
    writer = writer_for(["i"])
    several = ["u", "v"], ["e2", "f"], [[0], [0]], [[1], [2]], [[0], [0]]
    written = writer.records(answers_of(*several, also=[["e0", 'e"1'], []])).values
    assert b',"caused_by":"e2","also_caused_by":["e0","e\\"1"],"adaptation":' in written[0]
    plain = writer.records(answers_of(*several)).values
    assert written[1] == plain[1]
    assert not any(b"also_caused_by" in value for value in plain)
    assert [decode(value).also_caused_by for value in written] == [("e0", 'e"1'), ()]


def test_items_that_come_later_are_known():
    item_ids = ["i"]
    writer = writer_for(item_ids)
    writer.warm_up()
    for n in range(1, 2000, 333):
        item_ids += [f"later-{n}-{'🛒' * (n % 40)}-{m}" for m in range(333)]
        rows = [[0, n, len(item_ids) - 1]]
        answers = answers_of(["u"], ["e"], rows, [[3, 2, 1]], rows)
        (value,) = writer.records(answers).values
        assert [item.item_id for item in decode(value).items] == [item_ids[r] for r in rows[0]]


def test_nothing_applied_is_nothing_written():
    writer = writer_for(["i"])
    assert len(writer.records(answers_of([], [], [], [], []))) == 0


def test_another_codec_writes_its_own():
    class Names:
        def encode(self, topic, message):
            return f"{topic} {message.user_id}".encode()

        def decoder(self, message):
            raise NotImplementedError

    writer = writer_for(["i"], Names())
    writer.warm_up()
    answers = answers_of(["u", "v"], ["e", "f"], [[0], [0]], [[1], [2]], [[0], [0]])
    assert writer.records(answers).values == [b"recommendations u", b"recommendations v"]


def ids_of(events: list[bytes], users: list[bytes], model: str) -> list[str]:
    ids = recommendation_ids(packed(events), packed(users), model)
    return [row.tobytes().hex() for row in ids]


def test_the_ids_are_those_of_earlier_versions():
    assert ids_of([b"event-1"], [b"user-1"], "m1") == ["7cb13eb4d6d6ff60e74a0a9152b2a7f7"]
    cases = [("e", "u", "m"), ("🛒" * 128, "x" * 128, ""), ("ab", "c", "m"), ("y" * 256, "z", "m")]
    for event, user, model in cases:
        digest = hashlib.blake2b(digest_size=16)
        for part in (event.encode(), user.encode(), model.encode()):
            digest.update(len(part).to_bytes(4, "big") + part)
        assert ids_of([event.encode()], [user.encode()], model) == [digest.hexdigest()]


def test_the_ids_of_a_micro_batch_are_those_of_its_events():
    events, users = [b"ab", b"a", b"x" * 200, b"e"], [b"c", b"bc", b"u", b"v" * 90]
    ids = ids_of(events, users, "m")
    assert len(set(ids)) == 4  # where one part ends and the next begins is told
    alone = [ids_of([event], [user], "m") for event, user in zip(events, users, strict=True)]
    assert [[each] for each in ids] == alone
    assert ids_of([], [], "m") == []
