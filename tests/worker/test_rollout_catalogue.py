"""The same items with the vectors of another model: level when asked for, and kept so."""

import numpy as np
import torch
from fake_model import FakeModel
from worker_parts import item

from worker.catalogue import Catalogue, ItemChange
from worker.rows import NO_ITEM
from worker.stages.rank import rank


class WiderModel(FakeModel):
    dim = 12


def change(number: int, **fields) -> ItemChange:
    return ItemChange(f"i{number}", item(number, **fields))


def listed(catalogue: Catalogue, model: FakeModel) -> set[str]:
    ranked = rank(torch.ones(1, model.dim), np.full((1, 1), NO_ITEM), catalogue, model, 50)
    return {catalogue.item_ids[row] for row in ranked.rows[0] if row != NO_ITEM}


def assert_level(catalogue: Catalogue, alone: Catalogue, model: FakeModel) -> None:
    """Compare with a catalogue that had the model from the beginning."""
    for item_id in alone.item_ids:
        row = catalogue.row(item_id)
        assert row == alone.row(item_id)
        if row != NO_ITEM:
            torch.testing.assert_close(catalogue.vectors[row], alone.vectors[row])
    assert listed(catalogue, model) == listed(alone, model)
    assert catalogue.available_count == alone.available_count


CHANGES = [
    [change(n, available=n != 4) for n in range(8)],
    [change(1, title="renamed"), ItemChange("i2", None), change(3, available=False)],
    [change(n) for n in range(6, 12)],
    [ItemChange("i0", None), change(2), change(4, available=True), change(20)],
]


def test_it_takes_part_in_every_change_from_before_and_after_it_is_level():
    for joined in range(len(CHANGES)):
        first, model = FakeModel(), WiderModel()
        catalogue, alone = Catalogue(first, capacity=2), Catalogue(model, capacity=2)
        for changes in CHANGES[:joined]:
            catalogue.apply(changes)
        other = catalogue.beside(model)
        other.encode(other.unencoded())  # what another thread does
        for place, changes in enumerate(CHANGES):
            if place >= joined:
                catalogue.apply(changes)
            if place == joined:
                other.keep_level()
            alone.apply(changes)
        assert_level(other, alone, model)
        assert other.revision == catalogue.revision


def test_only_what_changed_since_is_encoded_when_it_comes_back():
    catalogue, model = Catalogue(FakeModel()), WiderModel()
    catalogue.apply(CHANGES[0])
    other = catalogue.beside(model)
    assert len(other.unencoded()) == 8
    assert [len(part) for part in other.unencoded().parts(3)] == [3, 3, 2]
    other.keep_level()
    other.leave_be()
    model.texts_encoded.clear()
    catalogue.apply([change(1, title="renamed"), change(2, price=3.5), change(9)])
    assert not model.texts_encoded
    assert other.unencoded().texts == ["renamed", "thing number 9"]
    other.keep_level()
    assert model.texts_encoded == ["renamed", "thing number 9"]
    assert len(other.unencoded()) == 0


def test_an_item_that_only_has_a_row_is_encoded_when_it_comes():
    catalogue, model = Catalogue(FakeModel()), WiderModel()
    row = catalogue.reserve("i5")
    other = catalogue.beside(model)
    other.keep_level()
    assert not model.texts_encoded and listed(other, model) == set()
    assert catalogue.reserve("i6") == row + 1
    catalogue.apply([change(5), change(6)])
    assert listed(other, model) == {"i5", "i6"}
