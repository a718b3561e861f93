"""Traces by OpenTelemetry: a span per request, and one per upstream call under it.

Upstream calls follow the semantic conventions for generative AI. Their names were changed since
1.36; as the conventions ask, the newer ones come with `gen_ai_latest_experimental` in the
variable OTEL_SEMCONV_STABILITY_OPT_IN. What is ours alone begins with `steelyard.`.

References
----------
OpenTelemetry semantic conventions, gen-ai spans (development status); W3C Trace Context.
"""

import time
from collections.abc import Mapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app import __version__
from app.calls import Call, CallRole
from app.outcome import Outcome, Texts
from app.telemetry._span_attributes import outcome_attributes, text_attributes, usage_attributes
from app.telemetry.tracing import (
    AskedFor,
    CallTrace,
    Headers,
    RedactText,
    RequestTrace,
    UpstreamFacts,
)

LATEST = "gen_ai_latest_experimental"
"""What OTEL_SEMCONV_STABILITY_OPT_IN lists for the newer names."""

_EXPORT_TIMEOUT_S = 5
_PROPAGATOR = TraceContextTextMapPropagator()
_CONTEXT_HEADERS = (b"traceparent", b"tracestate")
_CLOUDS = {"bedrock": "aws.bedrock", "gemini": "gcp.gemini", "vertex": "gcp.vertex_ai"}
_PROVIDERS = {"azure": "azure.ai.openai", **_CLOUDS}
_SYSTEMS = {"azure": "az.ai.openai", **_CLOUDS}


class OtelTracer:
    """Make traces and hand them to a processor.

    Parameters
    ----------
    processor
        Takes the spans; by default they are sent in batches, by a thread, over OTLP/HTTP.
    endpoint
        Where to, with path; None leaves it to OTEL_EXPORTER_OTLP_ENDPOINT and the like.
    sample
        Share of the traces that begin here; those of a client follow its own choice.
    opt_in
        The value of OTEL_SEMCONV_STABILITY_OPT_IN.
    propagate
        Whether upstreams are told of the trace.
    redact
        Prompts and answers are told as this returns them; None tells none.
    """

    def __init__(
        self,
        *,
        processor: SpanProcessor | None = None,
        endpoint: str | None = None,
        service_name: str = "steelyard",
        sample: float = 1.0,
        opt_in: str = "",
        propagate: bool = True,
        redact: RedactText | None = None,
    ) -> None:
        self._provider = TracerProvider(
            resource=Resource.create(
                {"service.name": service_name, "service.version": __version__}
            ),
            sampler=ParentBased(TraceIdRatioBased(sample)),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(processor or _batches(endpoint))
        self._tracer = self._provider.get_tracer("steelyard", __version__)
        self.latest = LATEST in {each.strip() for each in opt_in.split(",")}
        self.propagate = propagate
        self.redact = redact

    def start(
        self,
        asked: AskedFor,
        *,
        headers: Headers,
        began_s: float,
        upstreams: Mapping[str, UpstreamFacts],
    ) -> RequestTrace:
        """Begin a request; a trace that the client began goes on."""
        carrier = {
            name.decode(): value.decode("latin-1")
            for name, value in headers
            if name in _CONTEXT_HEADERS
        }
        span = self._tracer.start_span(
            f"POST {asked.route}",
            context=_PROPAGATOR.extract(carrier, context=Context()),
            kind=SpanKind.SERVER,
            start_time=time.time_ns() - round(began_s * 1e9),
            attributes={
                "http.request.method": "POST",
                "http.route": asked.route,
                "gen_ai.operation.name": asked.operation,
                "gen_ai.request.model": asked.requested_model[:200],
                "steelyard.policy": asked.policy,
            },
        )
        return _RequestSpan(self, span, asked, upstreams)

    def start_call(self, parent: Any, name: str, attributes: Mapping[str, Any]) -> Any:
        """Begin a span under another one."""
        return self._tracer.start_span(
            name,
            context=set_span_in_context(parent, Context()),
            kind=SpanKind.CLIENT,
            attributes=attributes,
        )

    def close(self) -> None:
        """Send what waits; blocks for a few seconds at most."""
        self._provider.shutdown()


class _CallSpan:
    """One upstream call."""

    def __init__(self, span: Any, *, propagate: bool) -> None:
        self.span = span
        self.headers: tuple[tuple[bytes, bytes], ...] = ()
        if propagate:
            carrier: dict[str, str] = {}
            _PROPAGATOR.inject(carrier, context=set_span_in_context(span, Context()))
            # The state is for whoever began the trace, and none of a provider's business.
            self.headers = ((b"traceparent", carrier["traceparent"].encode()),)

    def ended(self, call: Call) -> None:
        """End the call, unless it serves the answer: that one ends with the request."""
        if call.status is not None:
            self.span.set_attribute("http.response.status_code", call.status)
        if call.error is not None:
            _fail(self.span, call.error)
        self.span.end()


class _RequestSpan:
    """One request."""

    def __init__(
        self,
        tracer: OtelTracer,
        span: Any,
        asked: AskedFor,
        upstreams: Mapping[str, UpstreamFacts],
    ) -> None:
        self._tracer = tracer
        self._span = span
        self._asked = asked
        self._upstreams = upstreams
        self._serving: _CallSpan | None = None

    def call(
        self,
        model_id: str,
        *,
        upstream: str,
        upstream_model: str,
        stream: bool,
        role: CallRole,
    ) -> CallTrace:
        """Begin an upstream call."""
        facts = self._upstreams.get(upstream)
        kind = "openai" if facts is None else facts.kind
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": self._asked.operation,
            "gen_ai.request.model": upstream_model,
            "steelyard.model": model_id,
            "steelyard.upstream": upstream,
            "steelyard.role": role.value,
        }
        if self._tracer.latest:
            attributes["gen_ai.provider.name"] = _PROVIDERS.get(kind, kind)
            attributes["gen_ai.request.stream"] = stream
        else:
            attributes["gen_ai.system"] = _SYSTEMS.get(kind, kind)
        if self._asked.max_output_tokens:
            attributes["gen_ai.request.max_tokens"] = self._asked.max_output_tokens
        if facts is not None:
            attributes["server.address"] = facts.address
            attributes["server.port"] = facts.port
        span = self._tracer.start_call(
            self._span, f"{self._asked.operation} {upstream_model}", attributes
        )
        return _CallSpan(span, propagate=self._tracer.propagate)

    def serves(self, call: CallTrace) -> None:
        """Note which call serves the answer; it ends with the request."""
        if isinstance(call, _CallSpan):
            self._serving = call

    def end(self, outcome: Outcome, texts: Texts | None) -> None:
        """End the request; everything else about it is in the outcome."""
        if not self._span.is_recording():
            return
        if self._serving is not None:
            self._describe(self._serving.span, outcome, texts)
            if outcome.error is not None:
                _fail(self._serving.span, outcome.error)
            self._serving.span.end()
        span = self._span
        span.set_attributes(outcome_attributes(outcome))
        span.set_attribute("http.response.status_code", outcome.status)
        # As for every server span: a request that the client got wrong is no fault of ours.
        if outcome.error is not None:
            span.set_attribute("error.type", outcome.error)
            if outcome.status >= 500:
                span.set_status(Status(StatusCode.ERROR))
        span.end()

    def _describe(self, span: Any, outcome: Outcome, texts: Texts | None) -> None:
        if outcome.response_model is not None:
            span.set_attribute("gen_ai.response.model", outcome.response_model)
        if outcome.finish_reason is not None:
            span.set_attribute("gen_ai.response.finish_reasons", (outcome.finish_reason,))
        if outcome.usage is not None:
            span.set_attributes(usage_attributes(outcome.usage, latest=self._tracer.latest))
        if self._tracer.latest and outcome.time_to_first_token_s is not None and outcome.stream:
            span.set_attribute("gen_ai.response.time_to_first_chunk", outcome.time_to_first_token_s)
        redact = self._tracer.redact
        if redact is not None and texts is not None:
            span.set_attributes(text_attributes(texts, redact))


def _fail(span: Any, error: str | None) -> None:
    span.set_attribute("error.type", error or "_OTHER")
    span.set_status(Status(StatusCode.ERROR))


def _batches(endpoint: str | None) -> SpanProcessor:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )

    return BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=_EXPORT_TIMEOUT_S))
