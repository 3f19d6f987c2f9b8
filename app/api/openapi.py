"""What the OpenAPI document says beyond the types: the forms of a request, and every error with an example."""

from itertools import groupby
from operator import attrgetter
from typing import Any

from app.api import problems
from app.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    Draining,
    EmptyImage,
    ImpossibleBudget,
    InternalError,
    InvalidParameter,
    MalformedRequest,
    NotFound,
    QueueFull,
    ServiceError,
    Starting,
    TooManyImages,
    TooManyPixels,
    Unauthorized,
    Unavailable,
    UndecodableImage,
    UnsupportedImage,
    UnsupportedMedia,
    VariantNotLoaded,
)
from app.schemas import EXAMPLE_PNG, PredictBody

DESCRIPTION = """
Image classification with MobileNetV1 at a chosen width multiplier α and resolution. Post an image to `/predict`;
`/model-info` tells what any variant costs. Every error is an RFC 9457 problem with a stable `code`.
"""

TAGS = [
    {"name": "classification", "description": "Post images: what they show, what the network saw, and why."},
    {"name": "model", "description": "Which model is served, which classes it knows, and what each variant costs."},
    {"name": "probes", "description": "For whoever runs the service: is it alive, is it ready, and counters."},
    {
        "name": "Open Inference Protocol",
        "description": "The same model for clients of KServe, Triton and MLServer. "
        "A version is a loaded variant, such as `0.5@160`.",
    },
]
"""What the groups of routes are for."""

Responses = dict[int | str, dict[str, Any]]
"""The answers of a route by their status."""
RAW = {"schema": {"type": "string", "format": "binary"}}
"""Bytes that are no JSON."""
_BYTES = "the bytes of one image file"
_FILE = {"type": "string", "format": "binary", "examples": [_BYTES]}
_BINARY = {"schema": {"type": "string", "format": "binary", "description": _BYTES}, "example": _BYTES}
RAW_TYPES = (
    "image/jpeg",
    "image/png",
    "image/webp",
    "image/gif",
    "image/bmp",
    "image/tiff",
    "image/heic",
    "image/heif",
    "image/avif",
    "application/octet-stream",
)

PREDICT_BODY = {
    "requestBody": {
        "required": True,
        "description": "One image as the raw body, or several as multipart files or in JSON.",
        "content": {
            **dict.fromkeys(RAW_TYPES, _BINARY),
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": {"type": "array", "items": _FILE}},
                }
            },
            "application/json": {
                "schema": PredictBody.model_json_schema(),
                "examples": {
                    "one": {"summary": "one image", "value": {"images": [EXAMPLE_PNG]}},
                    "two": {"summary": "two images", "value": {"images": [EXAMPLE_PNG, EXAMPLE_PNG]}},
                },
            },
        },
    }
}


_RETRY = {"Retry-After": "after how many seconds to ask again"}
_HEADERS_BY_STATUS = {
    Unauthorized.status: {"WWW-Authenticate": "how to send a key"},
    UnsupportedMedia.status: {"Accept-Encoding": "`identity`, where the body was compressed: send it as it is"},
    QueueFull.status: _RETRY,
    Unavailable.status: _RETRY,
}
"""Headers of errors, beside those of every answer."""


PREVIEW_BODY = {
    "requestBody": {
        "required": True,
        "description": "One image as the raw body.",
        "content": dict.fromkeys(RAW_TYPES, _BINARY),
    }
}
PREVIEW_ANSWER: Responses = {200: {"description": "the network's input as a PNG", "content": {"image/png": RAW}}}

_CLASS_HEADERS = {
    "X-Class-Id": "the class that the evidence is for",
    "X-Class-Label": "its label, percent-encoded in UTF-8",
    "X-Class-Probability": "its probability, 0 to 1",
    "X-Model": "the weights, percent-encoded in UTF-8, the variant and the precision that answered",
}
_EMBEDDING_HEADERS = {
    "X-Embedding-Shape": "how many embeddings there are, and how many numbers each has, such as `2,512`",
    "X-Embedding-Layer": "the layer whose output they are",
    "X-Model": "the weights, percent-encoded in UTF-8, the variant and the precision that answered",
    "X-Weights-SHA256": "of the weights; embeddings of other weights mean something else",
}


def _headers(described: dict[str, str]) -> dict[str, Any]:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in described.items()}


EXPLAIN_ANSWER: Responses = {
    200: {
        "description": "the image in grey with the evidence in colours, as a PNG",
        "content": {"image/png": RAW},
        "headers": _headers(_CLASS_HEADERS),
    }
}
EMBED_ANSWER: Responses = {200: {"content": {"application/octet-stream": RAW}, "headers": _headers(_EMBEDDING_HEADERS)}}

_EXAMPLES: dict[type[ServiceError], str] = {
    MalformedRequest: "the body is not valid JSON: expected value at line 1 column 1",
    Unauthorized: "a key is needed, as Authorization: Bearer or X-API-Key",
    NotFound: "there is no model 'resnet'; mobilenet is served",
    VariantNotLoaded: "the variant 1/224 is not loaded; loaded are 0.5/160, 0.25/128",
    EmptyImage: "the body is empty; send the bytes of an image",
    BodyTooLarge: "the body has more than 20,971,520 bytes, the most that is accepted",
    TooManyPixels: "the image has 20,000 × 20,000 pixels, and 50,331,648 in all is the most",
    TooManyImages: "the request has 33 images or more, and 32 is the most",
    UnsupportedMedia: "Content-Encoding gzip is not read; send the body without compression",
    UnsupportedImage: "this file is not a JPEG, PNG, WEBP, GIF, BMP, TIFF, HEIC or AVIF image; it looks like PDF",
    InvalidParameter: "X-Request-Timeout-Ms 20000 is not between 1 and 10000",
    ImpossibleBudget: "no loaded variant fits max_macs=1000 now; the nearest that is feasible is max_macs=13570048, "
    "with 0.25/128",
    UndecodableImage: "the JPEG image is truncated, damaged or of an unusual kind",
    QueueFull: "256 of 256 places in the queue are taken, and the request needs 1; the queue clears in about 0.6 s",
    InternalError: "the request failed for a reason that is ours",
    Starting: "the model is loading",
    Draining: "the service is stopping",
    Unavailable: "the process that forks the workers ended",
    DeadlineExceeded: "the deadline passed before the image was run",
}

PREDICT_ERRORS = tuple(error for error in _EXAMPLES if error is not NotFound)
IMAGES_ERRORS = tuple(error for error in PREDICT_ERRORS if error is not ImpossibleBudget)
"""Errors of requests with images that name a variant and have no budget."""
PREVIEW_ERRORS = tuple(error for error in IMAGES_ERRORS if error not in (VariantNotLoaded, TooManyImages))
"""Errors of requests with one image and without a choice of variants."""
LABELS_ERRORS = (Unauthorized, InternalError, Starting, Draining)
METRICS_ERRORS = (Unauthorized, InternalError)
STATE_ERRORS = (InternalError, Starting, Draining, Unavailable)
ALIVE_ERRORS = (InternalError, Unavailable)


def responses(*errors: type[ServiceError] | ServiceError, path: str = "") -> Responses:
    """Describe these errors of a path for OpenAPI, by status, with an example of each: its own detail if it has one."""
    status = attrgetter("status")
    return {number: _response(list(group), path) for number, group in groupby(sorted(errors, key=status), key=status)}


def _response(errors: list[type[ServiceError] | ServiceError], path: str) -> dict[str, Any]:
    examples = {error.code: {"summary": error.title, "value": _example(error, path)} for error in errors}
    described = {
        "description": " or ".join(error.title.lower() for error in errors),
        "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}},
    }
    named = _HEADERS_BY_STATUS.get(errors[0].status)
    return described | {"headers": _headers(named)} if named else described


def _example(error: type[ServiceError] | ServiceError, path: str) -> dict[str, Any]:
    found = error if isinstance(error, ServiceError) else error(_EXAMPLES[error])
    return problems.problem(found, "6f1c2a0e5d3b4f7f9a8b7c6d5e4f3a2b", path)
