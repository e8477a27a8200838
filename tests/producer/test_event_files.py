"""What holds for events and items files of every format."""

from __future__ import annotations

import gzip
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import polars as pl
import pytest

from producer.datasets import EventFile, ReadOptions, Selection, open_items
from producer.datasets.columns import parse_columns
from producer.datasets.events import EVENT_COLUMNS
from producer.datasets.registry import FORMATS
from schemas.clickstream import ClickstreamEvent, EventType
from schemas.errors import DataError

HEADER = "user_id,item_id,event_type,timestamp\n"


def csv(folder: Path, content: str, name: str = "events.csv") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def random_rows(seed: int, count: int, *, in_order: bool) -> str:
    rng = random.Random(seed)
    times = [rng.randrange(1_500_000_000, 1_500_000_400) for _ in range(count)]
    times = sorted(times) if in_order else times
    return HEADER + "".join(
        f"u{rng.randrange(60)},i{rng.randrange(90)},view,{time}\n" for time in times
    )


def test_events_come_in_time_order_and_ties_in_the_order_of_the_file(tmp_path: Path) -> None:
    content = random_rows(1, 5000, in_order=False)
    rows = [line.split(",") for line in content.splitlines()[1:]]
    file = EventFile(csv(tmp_path, content))
    assert not file.survey.in_order
    # Python's sort is stable.
    expected = [(row[0], row[1], int(row[3]) * 1000) for row in sorted(rows, key=lambda r: r[3])]
    assert [(e.user_id, e.item_id, e.time) for e in file.events()] == expected


def test_a_file_in_order_is_left_in_order(tmp_path: Path) -> None:
    content = random_rows(2, 5000, in_order=True)
    file = EventFile(csv(tmp_path, content))
    assert file.survey.in_order
    found = [f"{e.user_id},{e.item_id},view,{e.time // 1000}" for e in file.events()]
    assert found == content.splitlines()[1:]


def test_disorder_between_batches_is_noticed(tmp_path: Path) -> None:
    # Each batch is in order by itself; only their joint is not.
    rows = [f"u,i,view,{1_500_000_000 + n}\n" for n in range(50_000)]
    file = EventFile(csv(tmp_path, HEADER + "".join(rows) + "u,last,view,1400000000\n"))
    assert not file.survey.in_order
    assert next(file.events()).item_id == "last"


def test_event_ids_repeat_on_rereading_and_never_within_a_file(tmp_path: Path) -> None:
    content = random_rows(3, 2000, in_order=False)
    first = [event.event_id for event in EventFile(csv(tmp_path, content)).events()]
    zipped = tmp_path / "copy" / "events.csv.gz"
    zipped.parent.mkdir()
    zipped.write_bytes(gzip.compress(content.encode()))
    again = [event.event_id for event in EventFile(zipped).events()]
    assert first == again
    assert len(set(first)) == len(first)


def test_two_equal_rows_are_two_events(tmp_path: Path) -> None:
    file = EventFile(csv(tmp_path, HEADER + "u,i,view,1500000000\n" * 2))
    assert len({event.event_id for event in file.events()}) == 2


def test_other_content_under_the_same_name_has_other_ids(tmp_path: Path) -> None:
    one = next(EventFile(csv(tmp_path, HEADER + "u,i,view,1500000000\n")).events())
    other = next(EventFile(csv(tmp_path, HEADER + "u,j,view,1500000000\n")).events())
    assert one.event_id != other.event_id


def test_an_event_id_in_the_file_is_kept(tmp_path: Path) -> None:
    content = "event_id," + HEADER + "e-1,u,i,view,1500000000\n,u,i,view,1500000001\n"
    events = list(EventFile(csv(tmp_path, content)).events())
    assert events[0].event_id == "e-1"
    assert len(events[1].event_id) == 24


def test_rows_that_are_no_events_are_counted_by_reason(tmp_path: Path) -> None:
    content = "user_id,item_id,event_type,timestamp,query\n" + "".join(
        [
            "u,i,view,1500000000,\n",
            ",i,view,1500000000,\n",
            '"  ",i,view,1500000000,\n',
            f"{'u' * 129},i,view,1500000000,\n",
            "u,i,,1500000000,\n",
            "u,i,teleport,1500000000,\n",
            "u,i,view,,\n",
            "u,i,view,soon,\n",
            "u,i,view,9999-99-99,\n",
            "u,,search,1500000000,\n",
            "u,,search,1500000001,shoes\n",
            "u,,view,1500000000,\n",
            f"u,{'i' * 129},view,1500000000,\n",
            f"{'u' * 128},{'i' * 128},view,1500000002,\n",
        ]
    )
    file = EventFile(csv(tmp_path, content))
    assert file.survey.skipped == {
        "no user_id": 2,
        "user_id longer than 128 characters": 1,
        "no event_type": 1,
        "unknown event_type": 1,
        "no timestamp": 1,
        "timestamp that is no time from 1970 to 9999": 2,
        "search without query": 1,
        "no item_id": 1,
        "item_id longer than 128 characters": 1,
    }
    assert (file.survey.rows, file.survey.usable) == (14, 3)
    assert [event.type for event in file.events()] == [
        EventType.VIEW,
        EventType.SEARCH,
        EventType.VIEW,
    ]


def test_values_that_the_schema_forbids_are_dropped_and_counted(tmp_path: Path) -> None:
    names = "rating,price,quantity,currency,session_id,text,surface"
    rows = [
        f"4.5,9.99,2,eur,s-1,{'x' * 20_000},home",
        f"7,-1,1.5,euro,{'s' * 129},fine,ads",
        "abc,inf,-3,,,,",
    ]
    content = f"user_id,item_id,event_type,timestamp,{names}\n" + "".join(
        f"u,i,review,{1_500_000_000 + number},{row}\n" for number, row in enumerate(rows)
    )
    file = EventFile(csv(tmp_path, content))
    assert file.survey.unused == {
        "rating": 2,
        "price": 2,
        "quantity": 2,
        "currency": 1,
        "session_id": 1,
        "text": 1,
    }
    first, second, third = file.events()
    assert (first.rating, first.price, first.quantity, first.currency) == (4.5, 9.99, 2, "EUR")
    assert len(first.text or "") == 16_384
    assert (second.rating, second.price, second.session_id, second.surface) == (
        None,
        None,
        None,
        "ads",
    )
    assert third.quantity is None


def test_every_event_is_valid_on_the_wire(tmp_path: Path) -> None:
    content = (
        "user_id,item_id,event_type,timestamp,query,text,rating,price,currency,quantity,consent\n"
        f"u,i,buy,1500000000,{'q' * 3000},{'t' * 20000},5,0,usd,0,no\n"
        "ü,商品,VIEW,1500000001.5,,,,,,,maybe\n"
    )
    for event in EventFile(csv(tmp_path, content)).events():
        assert msgspec.json.decode(msgspec.json.encode(event), type=ClickstreamEvent) == event
        assert event.consent is False


def test_a_file_without_any_event_says_why(tmp_path: Path) -> None:
    path = csv(tmp_path, HEADER + "u,i,teleport,1500000000\nu,i,beam,1500000000\n")
    with pytest.raises(DataError, match=r"2 rows, read as canonical \(unknown event_type: 2\)"):
        next(EventFile(path).events())


def test_a_wrong_column_is_named_with_those_that_exist(tmp_path: Path) -> None:
    path = csv(tmp_path, "user_id,item_id,kind,timestamp\nu,i,view,1500000000\n")
    with pytest.raises(DataError) as caught:
        EventFile(path)
    message = str(caught.value)
    assert str(path) in message
    assert "user_id, item_id, kind, timestamp" in message
    assert "nearest is canonical, for which it lacks event_type" in message


def test_a_named_format_wants_its_columns(tmp_path: Path) -> None:
    path = csv(tmp_path, HEADER + "u,i,view,1500000000\n")
    with pytest.raises(DataError, match=r"lacks the columns event, itemid, visitorid that the for"):
        EventFile(path, ReadOptions(format="retailrocket"))


def test_an_unknown_format_lists_the_known_ones(tmp_path: Path) -> None:
    path = csv(tmp_path, HEADER)
    with pytest.raises(DataError, match="'movielenz' is unknown; use one of: canonical, rees46"):
        EventFile(path, ReadOptions(format="movielenz"))


def test_columns_can_be_mapped(tmp_path: Path) -> None:
    path = csv(tmp_path, "visitor,sku,when,what\nv1,s1,2020-01-01T00:00:00Z,cart\n")
    mapping = parse_columns(
        "user_id=visitor, item_id=sku,timestamp=when,event_type=what", EVENT_COLUMNS
    )
    file = EventFile(path, ReadOptions(columns=mapping))
    assert file.format.name == "canonical"
    assert [(e.user_id, e.item_id, e.type) for e in file.events()] == [
        ("v1", "s1", EventType.ADD_TO_CART)
    ]


def test_mapping_a_column_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    path = csv(tmp_path, "visitor,sku\nv1,s1\n")
    with pytest.raises(DataError, match="lacks the column guest that the column mapping needs"):
        EventFile(path, ReadOptions(columns={"user_id": "guest"}))


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ("user_id", "is not OURS=THEIRS"),
        ("user=visitor", "'user' is no column of innerloop's; use one of"),
        ("user_id=a,user_id=b", "names user_id twice"),
    ],
)
def test_a_wrong_mapping_is_explained(mapping: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_columns(mapping, EVENT_COLUMNS)


def test_one_event_type_for_a_file_that_has_none(tmp_path: Path) -> None:
    path = csv(tmp_path, "user_id,item_id,timestamp\nu,i,1500000000\n")
    file = EventFile(path, ReadOptions(event_type=EventType.PURCHASE))
    assert [event.type for event in file.events()] == [EventType.PURCHASE]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.csv", None, "does not exist"),
        ("empty.csv", b"", "is empty"),
        ("empty.csv.gz", gzip.compress(b"", mtime=0), "is empty"),
        ("damaged.parquet", b"PAR1 and no more", "cannot be read"),
        (
            "cut.csv.gz",
            gzip.compress(HEADER.encode() + b"u,i,view,1\n" * 9999, mtime=0)[:200],
            "cannot be",
        ),
        ("latin.csv", HEADER.encode() + b"\xe9,i,view,1500000000\n", "encoding, such as latin-1"),
        ("ragged.csv", HEADER.encode() + b"u,i,view,1500000000,x,y\n", "cannot be read"),
        ("broken.jsonl", b'{"user_id": "u"\n', "line 1 is no JSON object"),
        ("short.dat", b"1::2::3::4\n1::2\n", "line 2 has 2 cells, the first line 4"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        list(EventFile(path).events())
    assert name in str(caught.value)


def test_new_users_are_those_first_seen_after_the_cut(tmp_path: Path) -> None:
    # First-event times 0, 10, 20, 30, 40 s: the 0.75 quantile is 30.
    rows = [("a", 0), ("b", 10), ("c", 20), ("d", 30), ("a", 30), ("d", 35), ("e", 40), ("e", 50)]
    content = HEADER + "".join(f"{user},i,view,{1_500_000_000 + s}\n" for user, s in rows)
    file = EventFile(csv(tmp_path, content))

    assert file.cut_time(0.75) == 1_500_000_030_000
    new = Selection(users="new")
    assert [event.user_id for event in file.events(new)] == ["e", "e"]
    assert file.count(new) == 2
    rest = Selection(after_cut=True)
    assert [event.user_id for event in file.events(rest)] == ["d", "a", "d", "e", "e"]
    assert [event.user_id for event in file.events(Selection(users="new", cut=0.5))] == [
        "d",
        "d",
        "e",
        "e",
    ]


def test_a_window_of_time_and_a_limit(tmp_path: Path) -> None:
    content = HEADER + "".join(f"u,i{n},view,{1_500_000_000 + n}\n" for n in range(10))
    file = EventFile(csv(tmp_path, content))
    window = Selection(from_time=1_500_000_003_000, until_time=1_500_000_007_000, limit=3)
    assert [event.item_id for event in file.events(window)] == ["i3", "i4", "i5"]
    assert file.count(window) == 3


def test_a_selection_keeps_the_ids(tmp_path: Path) -> None:
    file = EventFile(csv(tmp_path, random_rows(4, 3000, in_order=False)))
    everything = {event.event_id: event for event in file.events()}
    chosen = list(file.events(Selection(users="new", cut=0.5)))
    assert 0 < len(chosen) < len(everything)
    assert all(everything[event.event_id] == event for event in chosen)


def test_a_pseudonym_replaces_the_user_everywhere(tmp_path: Path) -> None:
    file = EventFile(csv(tmp_path, random_rows(5, 200, in_order=True)))
    plain = list(file.events())
    hidden = list(file.events(pseudonym=lambda user: f"p-{user}"))
    assert [event.user_id for event in hidden] == [f"p-{event.user_id}" for event in plain]
    # An id made from the plain user id would let it be guessed.
    assert not {event.event_id for event in hidden} & {event.event_id for event in plain}


def test_items_are_counted_and_named_once(tmp_path: Path) -> None:
    content = f"item_id,title\na,First\n,Nameless\na,Second\n{'x' * 129},Long\nb,\n"
    file = open_items([csv(tmp_path, content, "items.csv")])
    assert [(item.item_id, item.title) for item in file.items()] == [("a", "First"), ("b", "")]
    assert file.skipped == {
        "no item_id": 1,
        "item_id that an earlier row had": 1,
        "item_id longer than 128 characters": 1,
    }


def test_items_columns_can_be_mapped(tmp_path: Path) -> None:
    path = csv(tmp_path, "sku,name\n007,Mug\n", "products.csv")
    options = ReadOptions(columns={"item_id": "sku", "title": "name"})
    assert [(item.item_id, item.title) for item in open_items([path], options).items()] == [
        ("007", "Mug")
    ]


def test_canonical_items_beside_events_of_a_format_without_items(tmp_path: Path) -> None:
    path = csv(tmp_path, "item_id,title\na,First\n", "items.csv")
    file = open_items([path], ReadOptions(format="rees46"))
    assert file.format_name == "canonical"


def test_an_items_file_of_no_known_format(tmp_path: Path) -> None:
    path = csv(tmp_path, "sku,name\n1,Mug\n", "products.csv")
    with pytest.raises(DataError, match=r"no items file of a known format: it has .* sku, name"):
        open_items([path])


def test_formats_are_told_apart_by_their_own_columns(tmp_path: Path) -> None:
    for each in FORMATS.values():
        suffix = "dat" if each.name.endswith("dat") else "csv"
        columns = sorted(each.event_columns)
        content = "::".join("1234") if suffix == "dat" else ",".join(columns) + "\n"
        path = csv(tmp_path, content, f"{each.name}.{suffix}")
        assert EventFile(path).format.name == each.name


def test_parquet_in_any_order(tmp_path: Path) -> None:
    rng = random.Random(6)
    path = tmp_path / "events.parquet"
    times = [rng.randrange(10**6) + 1_500_000_000_000 for _ in range(1000)]
    pl.DataFrame(
        {"user_id": "u", "item_id": "i", "event_type": "view", "timestamp": times}
    ).write_parquet(path)
    found = [event.time for event in EventFile(path).events()]
    assert found == sorted(times)
    assert Counter(found) == Counter(times)


PEAK_MEMORY = """
import resource, sys
from pathlib import Path
from producer.datasets import EventFile
file = EventFile(Path(sys.argv[1]))
assert file.survey.in_order
count = sum(1 for _ in file.events())
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_a_file_in_time_order(tmp_path: Path) -> None:
    peak_kib = {}
    for rows in (200_000, 1_200_000):
        path = tmp_path / f"{rows}.csv.gz"
        with gzip.open(path, "wt", compresslevel=1) as file:
            file.write(HEADER)
            file.writelines(f"user-{n % 9973},item-{n},view,{10**9 + n}\n" for n in range(rows))
        command = [sys.executable, "-c", PEAK_MEMORY, str(path)]
        result = subprocess.run(command, check=True, capture_output=True, text=True)
        count, peak_kib[rows] = map(int, result.stdout.split())
        assert count == rows
    # A million rows held at once take more than 150 MiB.
    assert peak_kib[1_200_000] - peak_kib[200_000] < 75 * 1024, peak_kib
