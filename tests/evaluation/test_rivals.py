"""Which rivals the flag --rivals means."""

from __future__ import annotations

import pytest

from schemas.errors import EvaluationError
from worker.evaluation.baselines import RIVALS
from worker.evaluation.rivals import chosen_rivals


def names(wanted: str) -> list[str]:
    return [rival.name for rival in chosen_rivals(wanted)]


def test_groups_and_names_mix_in_the_registrys_order():
    assert names("all") == list(RIVALS)
    assert names("none") == []
    fast = names("fast")
    assert {"popularity", "covisitation_online", "vstan_online"} <= set(fast)
    assert all(RIVALS[name].group == "fast" for name in fast)
    assert names("vsknn, popularity") == ["popularity", "vsknn"]
    assert names("popularity,fast") == fast


@pytest.mark.parametrize("wanted", ["", "popularity,", "none,popularity", "Fast"])
def test_what_is_no_rival_is_named_with_what_there_is(wanted):
    with pytest.raises(EvaluationError, match="there is no such rival; right would be fast, "):
        chosen_rivals(wanted)
