"""Everything that can go wrong, each with the status and the stable code that its caller sees.

StartError                      readable lines and exit code 2, before anything is served
ServiceError                    an RFC 9457 problem, by status:
├── MalformedRequest      400   ── EmptyImage
├── Unauthorized          401   with WWW-Authenticate
├── NotFound              404   ── VariantNotLoaded
├── MethodNotAllowed      405
├── BodyTooLarge          413
├── TooManyPixels         413
├── TooManyImages         413
├── UnsupportedMedia      415   ── UnsupportedImage
├── InvalidParameter      422   ── UndecodableImage, ImpossibleBudget
├── QueueFull             429   with Retry-After
├── InternalError         500   only for our own bugs
├── Unavailable           503   ── Starting, Draining; with Retry-After
└── DeadlineExceeded      504
ClientError                     what keeps a caller from an answer of the service:
├── Unreadable                  a file that cannot be read
├── Unreachable                 no connection, or no answer in time
└── UnexpectedAnswer            one that the service would not give
"""

from collections.abc import Mapping
from typing import ClassVar

BAD_START = 2
"""Exit code for settings or files that are wrong."""


class StartError(Exception):
    """The service cannot start. Each line of the message names one thing that is wrong and what is allowed."""

    @property
    def report(self) -> str:
        """What is printed before the process ends: each line says whose it is, as several services may share a log."""
        return "\n".join(f"mobilenet: {line}" for line in str(self).splitlines())


class ServiceError(Exception):
    """A request, or one image of it, failed. The message is the `detail` that the caller reads.

    `headers` go on the answer and `facts` into the problem. `status` is the HTTP status, `code` is stable and for
    programs, `title` is the kind in words.
    """

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]
    request_id: str | None = None
    """Of the request that failed; for those who read the error in an answer."""

    def __init__(
        self, detail: str, headers: Mapping[str, str] | None = None, facts: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = dict(headers or {})
        self.facts = dict(facts or {})


class MalformedRequest(ServiceError):
    """The request cannot be understood."""

    status, code, title = 400, "malformed_request", "Malformed request"


class EmptyImage(MalformedRequest):
    """There are no bytes where an image belongs."""

    code, title = "empty_image", "Empty image"


class Unauthorized(ServiceError):
    """No key, or a wrong one, where keys are set."""

    status, code, title = 401, "unauthorized", "Unauthorized"


class NotFound(ServiceError):
    """No such route, or no such model."""

    status, code, title = 404, "not_found", "Not found"


class VariantNotLoaded(NotFound):
    """A variant that is asked for by name and is not loaded."""

    code, title = "variant_not_loaded", "Variant not loaded"


class MethodNotAllowed(ServiceError):
    """The route exists, but not for this method."""

    status, code, title = 405, "method_not_allowed", "Method not allowed"


class BodyTooLarge(ServiceError):
    """More bytes than `MOBILENET_MAX_BODY_BYTES`, or more values in JSON than they can be good for."""

    status, code, title = 413, "body_too_large", "Body too large"


class TooManyPixels(ServiceError):
    """More pixels than `MOBILENET_MAX_PIXELS`, read from the image's header before any decoding."""

    status, code, title = 413, "too_many_pixels", "Too many pixels"


class TooManyImages(ServiceError):
    """More images in one request than `MOBILENET_MAX_IMAGES`."""

    status, code, title = 413, "too_many_images", "Too many images"


class UnsupportedMedia(ServiceError):
    """A content type that is none of the forms of `/predict`, or a compressed body."""

    status, code, title = 415, "unsupported_media_type", "Unsupported media type"


class UnsupportedImage(UnsupportedMedia):
    """Bytes that are no image format we read."""

    code, title = "unsupported_image", "Unsupported image format"


class InvalidParameter(ServiceError):
    """A parameter or a field that is out of range or of the wrong type."""

    status, code, title = 422, "invalid_parameter", "Invalid parameter"


class UndecodableImage(InvalidParameter):
    """An image of a format we read that is truncated or damaged."""

    code, title = "undecodable_image", "Undecodable image"


class ImpossibleBudget(InvalidParameter):
    """No loaded variant fits the budget of the request."""

    code, title = "impossible_budget", "Impossible budget"


class QueueFull(ServiceError):
    """No room in the queue; nothing was done with the request."""

    status, code, title = 429, "queue_full", "Queue full"


class InternalError(ServiceError):
    """A bug of ours; the detail says nothing of it, the log does."""

    status, code, title = 500, "internal_error", "Internal error"


class Unavailable(ServiceError):
    """The service takes no requests now."""

    status, code, title = 503, "unavailable", "Unavailable"


class Starting(Unavailable):
    """The model is loading, or its self-test has not passed."""

    code, title = "starting", "Starting"


class Draining(Unavailable):
    """The service is stopping and finishes only what it accepted."""

    code, title = "draining", "Draining"


class DeadlineExceeded(ServiceError):
    """The deadline passed before the image was run, and it was not run."""

    status, code, title = 504, "deadline_exceeded", "Deadline exceeded"


class ClientError(Exception):
    """A caller got no answer of the service. The message says why; `code` is stable and for programs."""

    code: ClassVar[str]

    def __init__(self, detail: str, status: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status


class Unreadable(ClientError):
    """A file that is not there, or cannot be read."""

    code = "unreadable"


class Unreachable(ClientError):
    """No connection could be made, or it broke, or nothing came in time."""

    code = "unreachable"


class UnexpectedAnswer(ClientError):
    """An answer that is none of this service's: of a proxy, of another service or of a newer one."""

    code = "unexpected_answer"
