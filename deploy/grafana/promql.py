"""Expressions of PromQL that several dashboards ask."""

from __future__ import annotations

WORKER = 'job=~"$job", instance=~"$instance"'
EVERYTHING = 'job=~"innerloop-.*"'


def rate(metric: str, labels: str = WORKER) -> str:
    """Return the rate of a counter's series, per second."""
    return f"rate({metric}{{{labels}}}[$__rate_interval])"


def quantile(q: float, metric: str, by: str = "le", labels: str = WORKER) -> str:
    """Return a quantile of a histogram, over all processes."""
    return f"histogram_quantile({q:g}, sum by ({by}) ({rate(metric + '_bucket', labels)}))"


def mean(metric: str) -> str:
    """Return the mean of what a histogram observed."""
    return f"sum({rate(metric + '_sum')}) / sum({rate(metric + '_count')})"


def ratio(of: str, among: str, by: str = "") -> str:
    """Return the share of one counter in another; nothing where the other does not grow."""
    group = f" by ({by})" if by else ""
    return f"sum{group} ({rate(of)}) / (sum{group} ({rate(among)}) > 0)"
