"""OpenTelemetry spans of requests and of batches. Imported only if spans are wanted, for it needs the extra `otel`."""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app import __version__
from app.prediction.result import Classification
from app.prediction.run import Run

NAME = "mobilenet"
FLUSH_S = 2.0
"""Seconds that a process that stops waits for its last spans to be sent."""
W3C = TraceContextTextMapPropagator()
# Its warnings repeat whatever callers send as `tracestate`.
logging.getLogger("opentelemetry.trace.span").setLevel(logging.ERROR)

Attributes = Mapping[str, Any]


class Spans:
    """Makes spans, with a tracer provider of OpenTelemetry's SDK."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(NAME, __version__)

    @classmethod
    def to_otlp(cls) -> "Spans":
        """Return what sends its spans by OTLP over HTTP to where the environment variables of OpenTelemetry say."""
        own = Resource.create({"service.name": NAME, "service.version": __version__})
        provider = TracerProvider(resource=own.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    def begin(self, headers: Mapping[str, str]) -> "RequestSpan":
        """Begin the span of a request, as a child of the span that its header `traceparent` names, if any."""
        return RequestSpan(self._tracer, W3C.extract(headers))

    def ran(self, run: Run) -> None:
        """Make the span of a batch, with links to the spans of the requests whose images ran in it.

        It is a child of the first of those that are sampled; if none is, there is no span of the batch.
        """
        owners = [cast("RequestSpan", owner) for owner in dict.fromkeys(run.owners) if owner is not None]
        sampled = [owner for owner in owners if owner.context.trace_flags.sampled]
        if sampled:
            variants = sorted(model.variant.name for model in run.images)
            facts = {"mobilenet.batch_size": len(run.owners), "mobilenet.variants": variants}
            sampled[0].below("batch", (run.began, run.ended), facts, [Link(owner.context) for owner in sampled])

    def close(self) -> None:
        """Send the spans that are left, for two seconds at most."""
        # On a thread that nobody waits for longer than that: the SDK is patient with a receiver that hangs.
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(FLUSH_S)


class RequestSpan:
    """The span of a request under way.

    Its children, the spans of stages, are made afterwards from times that were noted. So the processes that decode and
    classify need not know of spans.
    """

    def __init__(self, tracer: Tracer, parent: Context) -> None:
        self._tracer = tracer
        # Once for all times: a process may be interrupted between its looks at the two clocks, and each pair of looks
        # would then shift one time against the others.
        began = time.time_ns()
        self._epoch_ns = began - time.monotonic_ns()
        self._span: Span = tracer.start_span("HTTP", parent, SpanKind.SERVER, start_time=began)

    @property
    def context(self) -> SpanContext:
        """The ids of the span and of its trace, and whether it is sampled."""
        return self._span.get_span_context()

    @property
    def traceparent(self) -> str:
        """The ids of the span and of its trace, as the value of the header `traceparent`."""
        carrier: dict[str, str] = {}
        W3C.inject(carrier, set_span_in_context(self._span))
        return carrier["traceparent"]

    @property
    def trace_id(self) -> str:
        """The id of the trace: 32 hex digits."""
        return f"{self.context.trace_id:032x}"

    def end(self, said: Attributes, images: Sequence[Classification]) -> None:
        """End the span with attributes of the request, and make spans of the stages of its images as its children."""
        if self._span.is_recording():
            self._span.update_name(f"{said['http.request.method']} {said['http.route']}")
            self._span.set_attributes(said)
            if said["http.response.status_code"] >= 500:
                self._span.set_status(StatusCode.ERROR)
            for index, image in enumerate(images):
                for run in image.runs or (image,):
                    self._stages(index, run)
        self._span.end(self._epoch_ns + time.monotonic_ns())

    def _stages(self, index: int, image: Classification) -> None:
        queued, decoded, ran = image.began
        facts = {
            "mobilenet.image": index,
            "mobilenet.format": image.format,
            "mobilenet.batch_size": image.batch_size,
            "mobilenet.variant": image.model.variant.name,
        }
        if image.decode_ms:  # several models on one image share its decoding, which the first of them has
            self.below("queue", (queued, decoded), facts)
            self.below("decode", (decoded, decoded + image.decode_ms / 1000), facts)
        self.below("inference", (ran, ran + image.inference_ms / 1000), facts)

    def below(self, name: str, times: tuple[float, float], facts: Attributes, links: Sequence[Link] = ()) -> None:
        """Make a child of the span, from one time of `time.monotonic` to another."""
        began, ended = (self._epoch_ns + round(1e9 * one) for one in times)
        context = set_span_in_context(self._span)
        self._tracer.start_span(name, context, attributes=facts, links=links, start_time=began).end(ended)
