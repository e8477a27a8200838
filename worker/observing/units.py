"""Values as Grafana shows them, by its names of units."""

from __future__ import annotations

import math

import numpy as np

from worker.observing.dashboard import Unit

_SCALES: dict[Unit, tuple[tuple[float, str], ...]] = {
    "short": ((1, ""), (1e3, " K"), (1e6, " Mil"), (1e9, " Bil")),
    "s": ((1e-6, " µs"), (1e-3, " ms"), (1, " s"), (60, " min"), (3600, " hours")),
    "bytes": ((1, " B"), (2**10, " KiB"), (2**20, " MiB"), (2**30, " GiB")),
    "percentunit": ((0.01, "%"),),
}
_DIGITS = 3


def shown(value: float, unit: Unit) -> str:
    """Return a value for people, in the largest multiple of its unit that is not larger than it.

    Example:
        >>> shown(0.0123, "s"), shown(1536, "bytes"), shown(0.125, "percentunit")
        ('12.3 ms', '1.5 KiB', '12.5%')
    """
    if not math.isfinite(value):
        return str(value).replace("inf", "∞")
    scales = _SCALES[unit]
    fitting = [scale for scale in scales if scale[0] <= abs(value)] or scales[:1]
    size, name = fitting[-1] if value else (1.0, "%" if unit == "percentunit" else "")
    digits = np.format_float_positional(
        value / size, precision=_DIGITS, fractional=False, unique=False, trim="-"
    )
    return f"{digits}{name}"
