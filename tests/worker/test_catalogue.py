"""Items come, change, go and come back; only texts that changed are encoded again."""

import msgspec
import numpy as np
import torch
from confluent_kafka import Message
from fake_model import FakeModel
from worker_parts import Worker, event, item

from worker.catalogue import Catalogue, ItemChange
from worker.metrics import CatalogueChange
from worker.rows import NO_ITEM
from worker.stages.rank import rank


def change(number: int, **fields) -> ItemChange:
    return ItemChange(f"i{number}", item(number, **fields))


def listed(catalogue: Catalogue, k: int = 100) -> set[str]:
    queries, nothing = torch.ones(1, FakeModel.dim), torch.full((1, 1), -1).numpy()
    ranked = rank(queries, nothing, catalogue, FakeModel(), k)
    return {catalogue.item_ids[row] for row in ranked.rows[0] if row >= 0}


def test_new_items_are_added_and_get_the_models_vector():
    model = FakeModel()
    catalogue = Catalogue(model, capacity=1)
    done = catalogue.apply([change(n) for n in range(5)])
    assert done == {CatalogueChange.ADDED: 5}
    assert len(catalogue) == catalogue.available_count == 5
    torch.testing.assert_close(
        catalogue.vectors[catalogue.row("i3")], model.item_vectors(["i3"], ["thing number 3"])[0]
    )


def test_only_texts_that_changed_are_encoded_again():
    model = FakeModel()
    catalogue = Catalogue(model)
    catalogue.apply([change(n) for n in range(3)])
    model.texts_encoded.clear()
    row = catalogue.row("i1")
    done = catalogue.apply([change(0, price=9.5), change(1, title="renamed"), change(2)])
    assert done == {CatalogueChange.UNCHANGED: 2, CatalogueChange.CHANGED: 1}
    assert model.texts_encoded == ["renamed"]
    assert catalogue.row("i1") == row
    torch.testing.assert_close(catalogue.vectors[row], model.item_vectors(["i1"], ["renamed"])[0])


def test_unavailable_and_removed_items_are_not_listed_and_come_back():
    model = FakeModel()
    catalogue = Catalogue(model)
    catalogue.apply([change(n) for n in range(6)])
    rows = {f"i{n}": catalogue.row(f"i{n}") for n in range(6)}
    done = catalogue.apply([change(1, available=False), ItemChange("i2", None)])
    assert done == {CatalogueChange.CHANGED: 1, CatalogueChange.REMOVED: 1}
    assert listed(catalogue) == {"i0", "i3", "i4", "i5"}
    assert (len(catalogue), catalogue.available_count) == (5, 4)
    assert catalogue.row("i1") == rows["i1"]  # still known: acting on it says something
    assert catalogue.row("i2") == -1
    model.texts_encoded.clear()
    done = catalogue.apply([change(1), change(2)])
    assert done == {CatalogueChange.CHANGED: 1, CatalogueChange.ADDED: 1}
    assert listed(catalogue) == set(rows)
    assert {i: catalogue.row(i) for i in rows} == rows
    assert model.texts_encoded == []


def test_an_item_that_comes_back_under_another_title_is_encoded_again():
    model = FakeModel()
    catalogue = Catalogue(model)
    catalogue.apply([change(0)])
    catalogue.apply([ItemChange("i0", None)])
    catalogue.apply([change(0, title="another thing")])
    torch.testing.assert_close(
        catalogue.vectors[0], model.item_vectors(["i0"], ["another thing"])[0]
    )


def test_the_last_change_of_an_item_counts():
    catalogue = Catalogue(FakeModel())
    done = catalogue.apply([change(0), ItemChange("i0", None), change(0, title="last")])
    assert done == {CatalogueChange.ADDED: 1, CatalogueChange.UNCHANGED: 2}
    catalogue.apply([change(0), ItemChange("i0", None)])
    assert listed(catalogue) == set()
    assert catalogue.apply([ItemChange("never-there", None)]) == {CatalogueChange.UNCHANGED: 1}


def test_the_revision_goes_up_only_with_what_can_change_a_ranking():
    catalogue = Catalogue(FakeModel())
    revisions = [catalogue.revision]
    for changes in ([change(0)], [change(0)], [change(0, available=False)], []):
        catalogue.apply(changes)
        revisions.append(catalogue.revision)
    assert revisions == [0, 1, 1, 2, 2]


def test_a_reserved_row_waits_for_its_item():
    catalogue, model = Catalogue(FakeModel(), capacity=1), FakeModel()
    catalogue.apply([change(0)])
    row = catalogue.reserve("i7")
    assert row == 1 == catalogue.reserve("i7")
    assert catalogue.reserve("i0") == 0
    assert catalogue.item_ids == ["i0", "i7"]
    assert len(catalogue) == catalogue.available_count == 1
    assert catalogue.row("i7") == NO_ITEM
    assert list(catalogue.removed_rows) == [row]
    assert catalogue.unavailable.tolist() == [False, True]
    ranked = rank(torch.ones(1, model.dim), np.full((1, 1), NO_ITEM), catalogue, model, 3)
    assert ranked.rows.tolist() == [[0, NO_ITEM, NO_ITEM]]
    assert catalogue.apply([ItemChange("i7", None)]) == {CatalogueChange.UNCHANGED: 1}
    assert catalogue.apply([change(7), change(8)]) == {CatalogueChange.ADDED: 2}
    assert (catalogue.row("i7"), catalogue.row("i8")) == (row, 2)
    assert catalogue.unavailable is None
    assert list(catalogue.removed_rows) == []
    torch.testing.assert_close(
        catalogue.vectors[row], model.item_vectors(["i7"], ["thing number 7"])[0]
    )


def test_a_reserved_item_may_come_unavailable_or_without_a_text():
    catalogue, model = Catalogue(FakeModel()), FakeModel()
    row = catalogue.reserve("i3")
    catalogue.apply([change(3, title="", available=False)])
    assert catalogue.row("i3") == row
    assert catalogue.unavailable.tolist() == [True]
    torch.testing.assert_close(catalogue.vectors[row], model.item_vectors(["i3"], [""])[0])


def test_a_removed_item_keeps_the_row_that_is_reserved_for_it():
    catalogue = Catalogue(FakeModel())
    catalogue.apply([change(0), change(1)])
    catalogue.apply([ItemChange("i0", None)])
    revision = catalogue.revision
    assert catalogue.reserve("i0") == 0
    assert catalogue.revision == revision
    assert catalogue.reserve("i9") == 2
    assert catalogue.revision == revision + 1


def test_an_item_that_is_gone_does_not_spoil_lists_and_reasons_of_those_who_liked_it():
    worker = Worker()
    worker.process([event("u", 0, "i4")])
    worker.catalogue.apply([ItemChange("i4", None)])
    worker.process([event("u", 1, "i9"), event("u", 2, "i4")], first_offset=1)
    first, second, third = worker.journal.recommendations()
    assert "i4" in {i.reason.item_id for i in first.items}
    for answer in (second, third):
        assert len(answer.items) == 5
        assert "i4" not in {i.item_id for i in answer.items}
    assert third.adaptation.steps == 0


def catalog_message(key: bytes | None, value: bytes | None) -> Message:
    return Message(topic="catalog", partition=0, offset=0, key=key, value=value)


def test_records_that_cannot_be_used_are_told_apart_from_changes():
    from schemas.codec import JsonCodec
    from worker.catalogue_follower import MOST_BYTES, item_change

    decode = JsonCodec().decoder(type(item(0)))
    good = msgspec.json.encode(item(0))
    assert item_change(catalog_message(b"i0", good), decode) == ItemChange("i0", item(0))
    assert item_change(catalog_message(b"i0", None), decode) == ItemChange("i0", None)
    for key, value in (
        (b"i0", b""),
        (b"i0", good[:-5]),
        (b"i0", b'{"item_id": "i0", "price": -3}'),
        (b"i0", b"\xff"),
        (b"i0", msgspec.json.encode(item(0, attributes={"a": "x" * MOST_BYTES}))),
        (b"i1", good),
        (b"", good),
        (None, good),
        (b"\xff", good),
    ):
        problem = item_change(catalog_message(key, value), decode)
        assert isinstance(problem, str) and problem, (key, value)
