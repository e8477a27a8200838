"""`innerloop evaluate` and `innerloop report` end to end, on a small shop."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from small_dataset import write_drawn_bundle, write_files

from worker.cli.app import main

RIVALS = ("--rivals", "popularity,covisitation_online")


def run(monkeypatch, *arguments) -> int:
    """Run the command line as a person does; return its exit status."""
    monkeypatch.setattr(sys, "argv", ["innerloop", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def shop(tmp_path_factory, text_encoder_folder):
    """Files and two bundles: (arguments, first bundle, second bundle, users file)."""
    folder = tmp_path_factory.mktemp("shop")
    events, items, users = write_files(folder)
    first, second = (
        write_drawn_bundle(folder / name, text_encoder_folder, seed)
        for seed, name in enumerate(("first", "second"))
    )
    return ("--events", events, "--items", items), first, second, users


@pytest.fixture(scope="module")
def evaluated(shop, tmp_path_factory):
    """One evaluation with all that it can write."""
    files, first, second, users = shop
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as monkeypatch:
        status = run(
            monkeypatch,
            *("evaluate", *files, *RIVALS, "--bundle", f"mine={first}", "--bundle", second),
            *("--json", out / "report.json", "--ranks", out / "ranks.npz", "--plots", out),
            *("--segments", "country", "--users-file", users),
        )
    assert status == 0
    return out


@pytest.fixture(scope="module")
def report(evaluated):
    return json.loads((evaluated / "report.json").read_text())


def without_times(value):
    """A report without what a clock said."""
    if isinstance(value, list):
        return [without_times(part) for part in value]
    if not isinstance(value, dict):
        return value
    timed = ("seconds", "timing")
    return {name: without_times(part) for name, part in value.items() if name not in timed}


def test_every_model_is_reported_in_order(report):
    of_bundles = [name + off for name in ("mine", "second") for off in ("", "_off", "_no_text")]
    assert list(report["models"]) == [*of_bundles, "popularity", "covisitation_online"]
    for model in report["models"].values():
        assert model["overall"]["n"] == report["protocol"]["scored_events"]
        assert list(model["by_events_seen"]) == ["0", "1", "2", "3-4", "5-9", "10+"]
        assert model["timing"]["scoring"] > 0
        assert model["settings"]
    assert report["models"]["mine"]["settings"]["training_seed"] == 0
    assert report["models"]["second"]["settings"]["training_seed"] == 1


def test_the_first_bundle_is_compared_with_every_other_model(report):
    assert report["comparisons"]["reference"] == "mine"
    assert list(report["comparisons"]["against"]) == list(report["models"])[1:]
    for name, found in report["comparisons"]["against"].items():
        difference = found["overall"]["hr@20"]["difference"]
        rates = [report["models"][model]["overall"]["hr@20"] for model in ("mine", name)]
        assert difference == pytest.approx(rates[0] - rates[1])


def test_segments_are_those_of_the_column(report):
    assert report["segments"]["by"] == "country"
    assert sum(report["segments"]["users"].values()) == report["protocol"]["scored_users"]
    for model in report["models"].values():
        cells = model["segments"]
        assert set(cells) == {"BE", "NL"}
        assert sum(cell["n"] for cell in cells.values()) == model["overall"]["n"]


def test_the_ranks_give_the_figures_of_the_report(evaluated, report):
    with np.load(evaluated / "ranks.npz", allow_pickle=False) as archive:
        ranks = dict(zip(archive["models"].tolist(), archive["ranks"], strict=True))
        seen, users = archive["events_seen"], archive["users"]
        assert len(archive["items"]) == len(archive["times"]) == len(seen)
    assert len(np.unique(users)) == report["protocol"]["scored_users"]
    assert list(ranks) == list(report["models"])
    for name, model in report["models"].items():
        assert model["overall"]["hr@20"] == pytest.approx((ranks[name] < 20).mean())
        of_bucket = ranks[name][(seen >= 3) & (seen <= 4)]
        assert model["by_events_seen"]["3-4"]["hr@20"] == pytest.approx((of_bucket < 20).mean())


def test_rivals_are_tuned_unless_told_not_to_be(shop, report, monkeypatch, tmp_path):
    tuned = report["models"]["covisitation_online"]
    best = max(tuned["trials"], key=lambda t: t["quality"]["hr@20"] + t["quality"]["mrr@20"])
    assert len(tuned["trials"]) > 1
    assert tuned["settings"] == best["settings"]
    assert tuned["timing"]["tuning"] > 0
    out = tmp_path / "r.json"
    assert run(monkeypatch, "evaluate", *shop[0], *RIVALS, "--no-tune", "--json", out) == 0
    first = json.loads(out.read_text())["models"]["covisitation_online"]
    assert first["trials"] == []
    assert first["timing"]["tuning"] is None
    assert first["settings"] == tuned["trials"][0]["settings"]


def test_plots_are_drawn(evaluated):
    assert {path.name for path in evaluated.glob("*.png")} == {
        *("cold_start.png", "overall.png", "popularity_bias.png")
    }


def test_the_same_job_gives_the_same_report(shop, report, evaluated, monkeypatch, tmp_path):
    files, first, second, users = shop
    arguments = ("--bundle", f"mine={first}", "--bundle", second, "--json", tmp_path / "r.json")
    segments = ("--segments", "country", "--users-file", users)
    assert run(monkeypatch, "evaluate", *files, *RIVALS, *arguments, *segments) == 0
    again = json.loads((tmp_path / "r.json").read_text())
    assert without_times(again) == without_times(report)


def test_seen_items_excluded_and_rivals_alone(shop, monkeypatch, tmp_path, capsys):
    files = shop[0]
    out = tmp_path / "r.json"
    assert run(monkeypatch, "evaluate", *files, *RIVALS, "--exclude-seen", "--json", out) == 0
    found = json.loads(out.read_text())
    assert list(found["models"]) == ["popularity", "covisitation_online"]
    assert found["protocol"]["exclude_seen"]
    assert found["protocol"]["bundle_version"] is None
    # An event on an item already seen has no right answer and is not counted.
    assert found["models"]["popularity"]["overall"]["n"] < found["protocol"]["scored_events"]
    assert found["comparisons"]["reference"] == "popularity"
    assert "items already seen are left out" in " ".join(capsys.readouterr().out.split())


def test_some_users_without_the_inner_loop_switched_off(shop, monkeypatch, tmp_path):
    files, first, _, _ = shop
    out = tmp_path / "r.json"
    arguments = ("--rivals", "none", "--without-off", "--users", "5", "--bundle", first)
    assert run(monkeypatch, "evaluate", *files, *arguments, "--json", out) == 0
    found = json.loads(out.read_text())
    assert list(found["models"]) == ["innerloop"]
    assert found["protocol"]["scored_users"] == 5
    assert found["comparisons"] is None


def test_reports_of_two_seeds_are_combined(shop, monkeypatch, tmp_path, capsys):
    files, first, second, _ = shop
    paths = [tmp_path / "0.json", tmp_path / "1.json"]
    for bundle, path in zip((first, second), paths, strict=True):
        arguments = ("--bundle", bundle, "--rivals", "popularity", "--without-off", "--json", path)
        assert run(monkeypatch, "evaluate", *files, *arguments) == 0
    capsys.readouterr()
    assert run(monkeypatch, "report", "summary", *paths, "--json", tmp_path / "s.json") == 0
    text = capsys.readouterr().out
    assert "over 2 reports (seeds 0, 1)" in text
    assert "| innerloop |" in text
    combined = json.loads((tmp_path / "s.json").read_text())
    values = [json.loads(path.read_text())["models"]["innerloop"] for path in paths]
    rates = [value["overall"]["hr@20"] for value in values]
    assert combined["models"]["innerloop"]["overall"]["hr@20"]["values"] == rates
    assert combined["models"]["popularity"]["overall"]["hr@20"]["deviation"] == 0.0


def test_a_report_is_shown_and_drawn_again(evaluated, monkeypatch, tmp_path, capsys):
    report = evaluated / "report.json"
    assert run(monkeypatch, "report", "show", report) == 0
    assert "mine less each other model" in capsys.readouterr().out
    assert run(monkeypatch, "report", "plots", report, "--out", tmp_path / "plots") == 0
    assert len(list((tmp_path / "plots").glob("*.png"))) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rivals", "none"), "nothing to score: give a --bundle"),
        (("--rivals", "popularity,nosuch"), "--rivals 'nosuch': there is no such rival"),
        (("--bundle", "no/such/bundle"), "no/such/bundle is not a bundle"),
        ((*RIVALS, "--ranks", "ranks.csv"), "ranks.csv: the file's name must end in .npz"),
        ((*RIVALS, "--segments", "country"), "--users-file FILE go together"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(shop, monkeypatch, capsys, arguments, message):
    assert run(monkeypatch, "evaluate", *shop[0], *arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert message in lines[0]


def test_a_bundle_with_the_name_of_a_rival_is_refused(shop, monkeypatch, capsys):
    bundle = ("--bundle", f"popularity={shop[1]}")
    assert run(monkeypatch, "evaluate", *shop[0], *RIVALS, *bundle) == 2
    assert "two models are called 'popularity'" in capsys.readouterr().err
