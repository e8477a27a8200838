"""Spans of OpenTelemetry for events that are traced, from the poll until their answer is visible.

Modules here need the extra `tracing`, all but `opening`: nothing else of the worker imports them
where the setting tracing.enabled is off.
"""
