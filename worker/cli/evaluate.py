"""`innerloop evaluate`: bundles and their rivals on users that no model ever saw."""

from __future__ import annotations

from worker.cli.evaluation_options import (
    BundlesOption,
    CutOption,
    DeviceOption,
    DiversityOption,
    EventsOption,
    ExcludeSeenOption,
    ItemsOption,
    JsonOption,
    OffOption,
    PlotsOption,
    RanksOption,
    RivalsOption,
    ScenariosOption,
    SeedOption,
    SegmentsOption,
    TuneOption,
    UsersFileOption,
    UsersOption,
)


def evaluate(
    events: EventsOption,
    items: ItemsOption,
    bundle: BundlesOption = None,
    rivals: RivalsOption = "fast",
    tune: TuneOption = True,
    off: OffOption = True,
    cut: CutOption = 0.75,
    users: UsersOption = None,
    exclude_seen: ExcludeSeenOption = False,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    json_out: JsonOption = None,
    plots: PlotsOption = None,
    ranks: RanksOption = None,
    segments: SegmentsOption = None,
    users_file: UsersFileOption = None,
    scenarios: ScenariosOption = None,
    diversity: DiversityOption = None,
) -> None:
    """Rank the whole catalogue before each event of each new user, then learn from the event.

    Every model sees the same stream: the bundles, the same with their inner loop switched off, and
    rivals, which learn from the stream too where their method can. docs/evaluation.md explains the
    protocol and every number.
    """
    from rich.console import Console

    from worker.cli.progress import PhaseProgress
    from worker.evaluation.evaluate import evaluate as run
    from worker.evaluation.job import EvaluationJob, parse_bundles
    from worker.evaluation.plots import draw, require_matplotlib
    from worker.evaluation.ranks_file import check_ranks_path, write_ranks
    from worker.evaluation.report import write_json
    from worker.evaluation.tables import tables
    from worker.scenarios import ScenarioChoice

    job = EvaluationJob(
        bundles=parse_bundles(bundle or []),
        events=events,
        items=items,
        cut=cut,
        users=users,
        exclude_seen=exclude_seen,
        device=device,
        rivals=rivals,
        tune=tune,
        inner_loop_off=off,
        diversity=tuple(diversity or ()),
        segments=segments,
        users_file=users_file,
        scenarios=ScenarioChoice.parse(scenarios, "--scenarios") if scenarios else None,
        seed=seed,
    )
    # What would be refused at the end is refused now.
    if plots is not None:
        require_matplotlib()
    if ranks is not None:
        check_ranks_path(ranks)
    console = Console()
    with PhaseProgress(console) as bar:
        done = run(job, bar)
    console.print(tables(done.report))
    if json_out is not None:
        write_json(done.report, json_out)
        console.print(f"wrote {json_out}")
    if ranks is not None:
        write_ranks(ranks, done.data, done.runs)
        console.print(f"wrote {ranks}")
    if plots is not None:
        for path in draw(done.report, plots):
            console.print(f"wrote {path}")
