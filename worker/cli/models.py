"""`innerloop models`: have the workers of a group serve another bundle, to all or to some."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import signing
from worker.cli.options import (
    BootstrapServersOption,
    ConfigOption,
    PropertyOption,
    settings_from,
)

if TYPE_CHECKING:
    from schemas.model_rollout import BundleReference, CandidateModel, ModelRollout
    from schemas.settings import Settings
    from worker.rollout.plan_log import PlanLog

models_app = typer.Typer(
    help="Have the workers of a group serve another bundle, to all users or to some.",
    no_args_is_help=True,
)

models_app.command()(signing.keygen)
models_app.command()(signing.sign)
models_app.command()(signing.verify)

GroupOption = Annotated[
    str | None,
    typer.Option(help="Consumer group of the workers (setting worker.group_id).", metavar="NAME"),
]

_ALL = 100


@models_app.command()
def publish(
    folder: Annotated[Path, typer.Argument(help="A bundle, where all workers can read it.")],
    *,
    percent: Annotated[
        int | None,
        typer.Option(help="Try it on so many percent of the users.", show_default=False),
    ] = None,
    shadow: Annotated[
        bool,
        typer.Option("--shadow", help="Let it adapt and rank, and measure it, unpublished."),
    ] = False,
    variant: Annotated[
        str, typer.Option(help="Label on the recommendations of a bundle that is tried.")
    ] = "candidate",
    group: GroupOption = None,
    config: ConfigOption = None,
    bootstrap_servers: BootstrapServersOption = None,
    properties: PropertyOption = None,
) -> None:
    """Serve a bundle to everybody; or, with --percent or --shadow, try it beside the one served.

    With --shadow, --percent says on how many of the users it is measured.
    """
    from schemas.model_rollout import CandidateMode
    from worker.rollout import changes
    from worker.rollout.reference import reference_of
    from worker.rollout.trust import check_trust

    settings = _settings(config, bootstrap_servers, properties, group)
    check_trust(folder, settings.worker)
    bundle = reference_of(folder)
    group_id = settings.worker.group_id

    def change(latest: ModelRollout | None, now_ms: int) -> ModelRollout:
        if percent is None and not shadow:
            own = _own(settings)
            return changes.published(latest, bundle, group_id=group_id, own=own, now_ms=now_ms)
        return changes.tried(
            latest,
            bundle,
            group_id=group_id,
            mode=CandidateMode.SHADOW if shadow else CandidateMode.SERVE,
            percent=_ALL if percent is None else percent,
            variant=variant,
            now_ms=now_ms,
        )

    _change(settings, change)


@models_app.command()
def promote(
    *,
    group: GroupOption = None,
    config: ConfigOption = None,
    bootstrap_servers: BootstrapServersOption = None,
    properties: PropertyOption = None,
) -> None:
    """Serve the bundle that is tried to everybody."""
    from worker.rollout.changes import promoted

    _change(_settings(config, bootstrap_servers, properties, group), promoted)


@models_app.command()
def rollback(
    *,
    group: GroupOption = None,
    config: ConfigOption = None,
    bootstrap_servers: BootstrapServersOption = None,
    properties: PropertyOption = None,
) -> None:
    """Withdraw the bundle that is tried; if there is none, serve the primary before this one."""
    from worker.rollout.changes import rolled_back

    _change(_settings(config, bootstrap_servers, properties, group), rolled_back)


@models_app.command()
def status(
    *,
    group: GroupOption = None,
    config: ConfigOption = None,
    bootstrap_servers: BootstrapServersOption = None,
    properties: PropertyOption = None,
) -> None:
    """Show what the workers are to serve, to whom, and what a rollback goes back to.

    What each worker does serve is in its metrics: innerloop_model_info, innerloop_rollout_revision.
    """
    settings = _settings(config, bootstrap_servers, properties, group)
    with _plan_log(settings) as log:
        if log.latest is None:
            typer.echo(
                f"no plan for {settings.worker.group_id}: each worker serves the bundle that it "
                "was started with"
            )
        else:
            _show(log.latest)


def _settings(
    config: Path | None,
    bootstrap_servers: str | None,
    properties: list[str] | None,
    group: str | None,
) -> Settings:
    return settings_from(config, bootstrap_servers, properties, worker={"group_id": group})


def _change(settings: Settings, change: Callable[[ModelRollout | None, int], ModelRollout]) -> None:
    """Publish what a change makes of the latest plan, and show it."""
    from worker.micro_batch import wall_clock_ms

    with _plan_log(settings) as log:
        plan = change(log.latest, wall_clock_ms())
        log.add(plan)
    _show(plan)


@contextmanager
def _plan_log(settings: Settings) -> Iterator[PlanLog]:
    from worker.rollout.plan_log import PlanLog

    log = PlanLog(settings)
    try:
        log.read_to_end()
        yield log
    finally:
        log.close()


def _own(settings: Settings) -> BundleReference | None:
    """Return the bundle that the settings start workers with, if it can be read here."""
    from schemas.errors import BundleError
    from worker.rollout.reference import reference_of

    if settings.worker.bundle is None:
        return None
    try:
        return reference_of(settings.worker.bundle)
    except BundleError:
        return None  # the workers have it


def _show(plan: ModelRollout) -> None:
    time = datetime.fromtimestamp(plan.changed_at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    typer.echo(f"plan {plan.revision} of {plan.group_id}, {plan.change.value} at {time}")
    typer.echo(f"  primary    {_bundle(plan.primary)}")
    if plan.candidate is not None:
        typer.echo(f"  candidate  {_candidate(plan.candidate)}")
    for reference in plan.previous:
        typer.echo(f"  before     {_bundle(reference)}")


def _candidate(candidate: CandidateModel) -> str:
    return (
        f"{_bundle(candidate.bundle)}: {candidate.mode.value}, {candidate.percent} % of the users, "
        f"variant {candidate.variant}"
    )


def _bundle(reference: BundleReference | None) -> str:
    if reference is None:
        return "what each worker was started with (worker.bundle)"
    return f"{reference.version}  {reference.folder}"
