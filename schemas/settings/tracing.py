"""Section `tracing`: OpenTelemetry spans of the worker."""

from __future__ import annotations

from pydantic import Field, field_validator

from schemas.settings.section import Section


class TracingSettings(Section):
    """Spans of the worker, for events that are traced (extra `tracing`)."""

    enabled: bool = Field(
        False,
        description="trace the events whose traceparent says that they are sampled, and have their "
        "recommendations carry the trace on",
    )
    endpoint: str = Field(
        "http://127.0.0.1:4318/v1/traces",
        description="where spans are sent, by OTLP over HTTP; credentials, certificates and "
        "compression are OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_HEADERS, …)",
    )
    service_name: str = Field(
        "innerloop-worker", min_length=1, description="what traces call the worker"
    )
    sample_ratio: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the events without a traceparent that begin a trace here",
    )
    events_per_second: int = Field(
        100,
        ge=1,
        description="most events traced in a second: whoever may publish events decides which are "
        "sampled",
    )

    @field_validator("endpoint")
    @classmethod
    def _is_http(cls, endpoint: str) -> str:
        if not endpoint.startswith(("http://", "https://")):
            raise ValueError("should start with http:// or https://")
        return endpoint
