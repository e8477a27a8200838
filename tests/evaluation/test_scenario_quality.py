"""Quality on scenarios: every number counted again by hand, and `innerloop evaluate` end to end."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from small_dataset import write_drawn_bundle, write_files
from test_evaluate_command import run

from schemas.errors import EvaluationError
from worker.data import load_events, load_items
from worker.evaluation.report import read_json
from worker.evaluation.scenarios import ScenarioMeasurement, StreamScenarios, shown_choice
from worker.model.bundle import HeldOut
from worker.scenarios import ScenarioChoice
from worker.split import split_at, training_mask

HELD = HeldOut(column="campaign", values=["summer.*", "winter"], events=0)
CAMPAIGNS = ["summer.sea", "summer.hills", "winter", None]
USER_BUCKETS = {"0": 0, "1": 1, "2": 2, "3-4": 3, "5-9": 5, "10+": 10}
SCENARIO_BUCKETS = {"0-9": 0, "10-99": 10, "100-999": 100, "1000-9999": 1000, "10000+": 10_000}


def scenario_of(campaign: str | None) -> str | None:
    if campaign is None:
        return None
    return "summer.*" if campaign.startswith("summer.") else campaign


def bucket_of(events: int, firsts: dict[str, int]) -> str:
    return [label for label, first in firsts.items() if first <= events][-1]


@pytest.fixture(scope="module")
def shop(tmp_path_factory, text_encoder_folder):
    """Events and items files by campaign, a bundle without them, one with."""
    folder = tmp_path_factory.mktemp("shop")
    events, items, _ = write_files(folder)
    table = pl.read_csv(items)
    campaigns = pl.Series("campaign", [CAMPAIGNS[n // 3 % 4] for n in range(len(table))])
    table.with_columns(campaigns).write_csv(items)
    catalogue = load_items(items)
    train = split_at(load_events(events, catalogue), 0.75).train
    without = write_drawn_bundle(
        folder / "without", text_encoder_folder, 0, taught=train, held_out=HELD
    )
    with_them = write_drawn_bundle(folder / "with_them", text_encoder_folder, 1)
    return events, items, without, with_them


@pytest.fixture(scope="module")
def evaluated(shop, tmp_path_factory) -> Path:
    events, items, without, with_them = shop
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as monkeypatch:
        status = run(
            monkeypatch,
            *("evaluate", "--events", events, "--items", items, "--no-tune"),
            *("--bundle", f"mine={without}", "--bundle", f"above={with_them}"),
            *("--rivals", "popularity,covisitation_online"),
            *("--json", out / "report.json", "--ranks", out / "ranks.npz", "--plots", out),
        )
    assert status == 0
    return out


@pytest.fixture(scope="module")
def section(evaluated):
    return json.loads((evaluated / "report.json").read_text())["scenarios"]


@pytest.fixture(scope="module")
def by_hand(shop, evaluated):
    """One row per scored event: its rank by each model, and where it belongs."""
    events, items, *_ = shop
    frame = pl.read_csv(events).sort("timestamp", maintain_order=True)
    campaign = dict(pl.read_csv(items).select("item_id", "campaign").iter_rows())
    first: dict[str, int] = {}
    for user, time in frame.select("user_id", "timestamp").iter_rows():
        first.setdefault(user, time)
    cut = float(np.quantile(list(first.values()), 0.75))
    of_scenario: Counter = Counter()
    of_user: Counter = Counter()
    in_training: Counter = Counter()
    rows = []
    for user, item, _, time in frame.iter_rows():
        scenario = scenario_of(campaign[item])
        if first[user] <= cut and time < cut:
            in_training[scenario] += 1
            continue
        if first[user] > cut:
            rows.append((user, scenario, of_scenario[scenario], of_user[user, scenario]))
        of_scenario[scenario] += 1
        of_user[user, scenario] += 1
    with np.load(evaluated / "ranks.npz", allow_pickle=False) as archive:
        ranks = dict(zip(archive["models"].tolist(), archive["ranks"].tolist(), strict=True))
    columns = ["user", "scenario", "of_scenario", "of_user"]
    return pl.DataFrame(rows, columns, orient="row"), ranks, in_training, of_scenario


def check(cell: dict, ranks: list[int], mask: pl.Series) -> None:
    chosen = [rank for rank, wanted in zip(ranks, mask.to_list(), strict=True) if wanted]
    assert cell["n"] == len(chosen)
    if chosen:
        assert cell["hr@20"] == pytest.approx(np.mean([rank < 20 for rank in chosen]))
        reciprocal = [1 / (1 + rank) if rank < 20 else 0.0 for rank in chosen]
        assert cell["mrr@20"] == pytest.approx(np.mean(reciprocal))
    else:
        assert cell["hr@20"] is cell["mrr@20"] is None


def test_every_cell_is_that_counted_by_hand(section, by_hand):
    rows, ranks, _, _ = by_hand
    assert list(section["models"]) == list(ranks)
    user_label = [bucket_of(n, USER_BUCKETS) for n in rows["of_user"]]
    scenario_label = [bucket_of(n, SCENARIO_BUCKETS) for n in rows["of_scenario"]]
    in_any = rows["scenario"].is_not_null()
    parts = {None: in_any} | {
        name: (rows["scenario"] == name).fill_null(value=False) for name in HELD.values
    }
    cells = 0
    for name, model in section["models"].items():
        check(model["elsewhere"], ranks[name], ~in_any)
        for scenario, mask in parts.items():
            found = model["together"] if scenario is None else model["each"][scenario]
            check(found["overall"], ranks[name], mask)
            for label in USER_BUCKETS:
                of_label = pl.Series([x == label for x in user_label])
                check(found["by_user_events"][label], ranks[name], mask & of_label)
            for label in SCENARIO_BUCKETS:
                of_label = pl.Series([x == label for x in scenario_label])
                check(found["by_scenario_events"][label], ranks[name], mask & of_label)
                cells += found["by_scenario_events"][label]["n"] > 0
    assert cells > 2 * len(ranks)


def test_counts_of_the_scenarios(section, by_hand, shop):
    rows, _, in_training, of_scenario = by_hand
    campaign = pl.read_csv(shop[1])["campaign"].to_list()
    assert section["column"] == "campaign"
    assert list(section["scenarios"]) == HELD.values
    for name, counts in section["scenarios"].items():
        scored = rows.filter(pl.col("scenario") == name)
        assert counts["held_out_events"] == in_training[name] > 0
        assert counts["training_events"] == 0
        assert counts["stream_events"] == of_scenario[name]
        assert counts["scored_events"] == len(scored)
        assert counts["scored_users"] == scored["user"].n_unique()
        assert counts["items"] == sum(scenario_of(of_item) == name for of_item in campaign)


def test_differences_are_those_of_the_cells(section):
    assert section["reference"] == "mine"
    assert list(section["against"]) == list(section["models"])[1:]
    mine = section["models"]["mine"]
    for name, found in section["against"].items():
        other = section["models"][name]
        pairs = [(found["together"], mine["together"]["overall"], other["together"]["overall"])]
        pairs += [
            (found["each"][label], mine["each"][label]["overall"], other["each"][label]["overall"])
            for label in HELD.values
        ]
        pairs += [
            (
                found["by_user_events"][label],
                mine["together"]["by_user_events"][label],
                other["together"]["by_user_events"][label],
            )
            for label in USER_BUCKETS
            if mine["together"]["by_user_events"][label]["n"]
        ]
        for difference, ours, theirs in pairs:
            expected = ours["hr@20"] - theirs["hr@20"]
            assert difference["hr@20"]["difference"] == pytest.approx(expected)
            assert difference["hr@20"]["low"] <= difference["hr@20"]["high"]


def test_bands_hold_the_cells(section):
    for model in section["models"].values():
        for found in (model["together"], *model["each"].values()):
            for curve in ("by_user_events", "by_scenario_events"):
                for label, cell in found[curve].items():
                    band = found["confidence"][curve][label]["hr@20"]
                    if cell["n"]:
                        assert band[0] - 1e-9 <= cell["hr@20"] <= band[1] + 1e-9
                    else:
                        assert band is None


def test_everybody_but_the_upper_bound_is_trained_without_them(section, evaluated, by_hand):
    report = json.loads((evaluated / "report.json").read_text())
    assert section["trained_on_them"] == ["above"]
    # Not to be explained by ablations: it shows what could be had.
    ablations = ["mine_off", "mine_no_memory", "mine_off_no_memory", "mine_no_text"]
    rivals = ["popularity", "covisitation_online"]
    assert list(report["models"]) == ["mine", *ablations, "above", *rivals]
    assert report["protocol"]["train_events"] == by_hand[2][None]
    assert report["models"]["mine"]["settings"]["held_out"] == "campaign=summer.*,winter"
    assert "held_out" not in report["models"]["above"]["settings"]


def test_it_is_drawn_and_told(evaluated, monkeypatch, capsys):
    assert (evaluated / "scenarios.png").read_bytes().startswith(b"\x89PNG")
    assert run(monkeypatch, "report", "show", evaluated / "report.json") == 0
    text = capsys.readouterr().out
    assert "not trained on: summer.*, winter" in text
    assert "above †" in text
    figure = pytest.importorskip("worker.evaluation.plots")._scenarios(
        read_json(evaluated / "report.json").scenarios
    )
    assert len(figure.axes) == 4


def test_scenarios_that_nothing_held_out_are_trained_on(shop, monkeypatch, tmp_path):
    events, items, _, with_them = shop
    out = tmp_path / "r.json"
    files = ("--events", events, "--items", items, "--no-tune", "--without-off")
    flags = ("--rivals", "popularity", "--scenarios", "campaign", "--json", out)
    assert run(monkeypatch, "evaluate", *files, *flags, "--bundle", with_them) == 0
    section = json.loads(out.read_text())["scenarios"]
    assert list(section["scenarios"]) == ["summer.hills", "summer.sea", "winter"]
    assert section["trained_on_them"] == []
    for counts in section["scenarios"].values():
        assert counts["held_out_events"] == 0 < counts["training_events"]


def test_which_scenarios_are_shown():
    held = ScenarioChoice("campaign", ("summer.*", "winter"))
    assert shown_choice(None, None) is None
    assert shown_choice(None, HELD) == held
    assert shown_choice(ScenarioChoice("campaign"), HELD) == held
    assert shown_choice(ScenarioChoice("campaign", ("winter",)), HELD).values == ("winter",)
    assert shown_choice(ScenarioChoice("brand"), HELD) == ScenarioChoice("brand")
    assert shown_choice(ScenarioChoice("brand"), None) == ScenarioChoice("brand")


def test_scenarios_without_a_scored_event_are_refused(shop):
    events, items, *_ = shop
    log = load_events(events, load_items(items))
    cut, in_train = split_at(log, 0.75), training_mask(log, 0.75)[1]
    nothing = np.full(int((~in_train).sum()), -1, np.int16)
    scenarios = StreamScenarios("campaign", ("spring",), nothing, (0,), (0,), (0,))

    class Run:
        name = "m"
        ranks = np.where(cut.scored, 0, -1).astype(np.int32)

    with pytest.raises(EvaluationError, match="no scored event is of the scenarios campaign="):
        ScenarioMeasurement([Run()], cut, scenarios, 0)
