"""Innerloop as Prometheus sees it, on this machine."""
