"""Whether the bundle of an earlier run can be served again."""

from __future__ import annotations

from schemas.errors import BundleError
from worker.demo.plan import CUT, DemoPlan
from worker.files import sha256_of
from worker.model.bundle import Bundle


def reusable(plan: DemoPlan) -> bool:
    """Whether the plan's bundle is whole, and is what training would make of the plan's data."""
    if plan.fresh:
        return False
    try:
        made = Bundle(plan.bundle).manifest.provenance
    except BundleError:
        return False
    return (
        made.events_sha256 == sha256_of(plan.events_file)
        and made.items_sha256 == sha256_of(plan.items_file)
        and made.settings == plan.training.model_dump()
        and (made.seed, made.cut) == (plan.seed, CUT)
    )
