"""Which model bundles the workers of a group are to serve, and to whom.

Records of the compacted `models` topic, written by `innerloop models`. A bundle is a folder that
all workers of the group can read; a record only says where it is and what its manifest hashes to.
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

from schemas.clickstream import EpochMillis, Identifier

Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
"""A digest in hexadecimal."""

Percent = Annotated[int, msgspec.Meta(ge=1, le=100)]

_Text = Annotated[str, msgspec.Meta(min_length=1)]
_Counted = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


class BundleReference(msgspec.Struct, frozen=True, kw_only=True):
    """A model bundle: where it is, and which one it must be."""

    version: Identifier
    """Of the bundle's manifest."""
    folder: _Text
    """Absolute path, the same on every worker."""
    manifest_sha256: Sha256
    """Of the manifest, which names the sha256 of every other file."""


class CandidateMode(enum.StrEnum):
    """What a candidate does."""

    SHADOW = "shadow"
    """It adapts to users and ranks for them, and its lists are measured but not published."""
    SERVE = "serve"
    """Its users get its lists."""


class CandidateModel(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that is tried beside the primary one."""

    bundle: BundleReference
    mode: CandidateMode
    percent: Percent
    """Share of the users: those whose keyed hash is below it, so that more percent keep those who
    were among fewer."""
    salt: _Text
    """Key of the hash. It stays the same for as long as the same bundle is tried."""
    variant: Identifier
    """Label on the candidate's recommendations."""


class RolloutChange(enum.StrEnum):
    """What a record changed."""

    PUBLISHED = "published"
    """Another primary."""
    TRIED = "tried"
    """A candidate, or another mode or share of it."""
    PROMOTED = "promoted"
    """The candidate is the primary now."""
    ROLLED_BACK = "rolled_back"
    """The candidate was withdrawn or, without one, the primary before is back."""


class ModelRollout(msgspec.Struct, frozen=True, kw_only=True):
    """The plan for one group of workers. Key of the `models` topic: `group_id`. Always JSON."""

    group_id: _Text
    """The workers' consumer group."""
    revision: _Counted
    """Goes up by one with each plan."""
    changed_at: EpochMillis
    change: RolloutChange
    primary: BundleReference | None
    """Null is the bundle that each worker was started with (setting worker.bundle)."""
    candidate: CandidateModel | None = None
    previous: list[BundleReference | None] = []
    """Primaries before, latest first: what a rollback goes back to."""
