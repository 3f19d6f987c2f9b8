"""OpenTelemetry spans of requests and of batches. Needs the extra `otel`: only who has spans to make imports it."""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app import __version__
from app.prediction.classifier import Run
from app.prediction.result import Classification

NAME = "mobilenet"
FLUSH_S = 2.0
"""How long a process that stops waits for its last spans to be sent."""
W3C = TraceContextTextMapPropagator()

Attributes = Mapping[str, Any]


class Spans:
    """Makes spans with a provider of OpenTelemetry's SDK."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(NAME, __version__)

    @classmethod
    def to_otlp(cls) -> "Spans":
        """Send the spans where OpenTelemetry's variables say, by OTLP over HTTP."""
        own = Resource.create({"service.name": NAME, "service.version": __version__})
        provider = TracerProvider(resource=own.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    def begin(self, headers: Mapping[str, str]) -> "RequestSpan":
        """Begin the span of a request, below the one that its header `traceparent` names."""
        return RequestSpan(self._tracer, self._tracer.start_span("HTTP", W3C.extract(headers), SpanKind.SERVER))

    def ran(self, run: Run) -> None:
        """Make the span of a batch, with links to the requests whose images ran in it.

        It lies below the first of them, so that it is sampled where they are.
        """
        owners = [cast("RequestSpan", owner) for owner in dict.fromkeys(run.owners) if owner is not None]
        sampled = [owner for owner in owners if owner.context.trace_flags.sampled]
        if sampled:
            variants = sorted(variant.name for variant in run.images)
            facts = {"mobilenet.batch_size": len(run.owners), "mobilenet.variants": variants}
            sampled[0].below("batch", (run.began, run.ended), facts, [Link(owner.context) for owner in sampled])

    def close(self) -> None:
        """Send what is left; takes two seconds at most."""
        # In a thread that nobody waits for any longer: the SDK has patience with a receiver that hangs.
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(FLUSH_S)


class RequestSpan:
    """The span of a request under way.

    Those below it are made afterwards, of times that were noted: the processes that decode and classify know nothing of
    this.
    """

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span

    @property
    def context(self) -> SpanContext:
        """What names it, and whether it is sampled."""
        return self._span.get_span_context()

    @property
    def traceparent(self) -> str:
        """The same as W3C's header."""
        carrier: dict[str, str] = {}
        W3C.inject(carrier, set_span_in_context(self._span))
        return carrier["traceparent"]

    @property
    def trace_id(self) -> str:
        """The name of the whole trace."""
        return f"{self.context.trace_id:032x}"

    def end(self, said: Attributes, images: Sequence[Classification]) -> None:
        """End it with what is said of the request, and with the stages of its images below it."""
        if self._span.is_recording():
            self._span.update_name(f"{said['http.request.method']} {said['http.route']}")
            self._span.set_attributes(said)
            if said["http.response.status_code"] >= 500:
                self._span.set_status(StatusCode.ERROR)
            for index, image in enumerate(images):
                for run in image.runs or (image,):
                    self._stages(index, run)
        self._span.end()

    def _stages(self, index: int, image: Classification) -> None:
        queued, decoded, ran = image.began
        facts = {
            "mobilenet.image": index,
            "mobilenet.format": image.format,
            "mobilenet.batch_size": image.batch_size,
            "mobilenet.variant": image.model.variant.name,
        }
        if image.decode_ms:  # of several models side by side the first has what they share
            self.below("queue", (queued, decoded), facts)
            self.below("decode", (decoded, decoded + image.decode_ms / 1000), facts)
        self.below("inference", (ran, ran + image.inference_ms / 1000), facts)

    def below(self, name: str, times: tuple[float, float], facts: Attributes, links: Sequence[Link] = ()) -> None:
        """Make a span below it, from one time of `time.monotonic` to another."""
        began, ended = map(_epoch_ns, times)
        context = set_span_in_context(self._span)
        self._tracer.start_span(name, context, attributes=facts, links=links, start_time=began).end(ended)


def _epoch_ns(monotonic_s: float) -> int:
    return time.time_ns() - round((time.monotonic() - monotonic_s) * 1e9)
