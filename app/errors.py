"""Every error of the project, each with the HTTP status and the stable code that a caller sees.

StartError                      readable lines and exit code 2, before anything is served ── CannotWrite
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
├── InternalError         500   for reasons of the service itself
├── Unavailable           503   ── Starting, Draining; with Retry-After
└── DeadlineExceeded      504
ClientError                     is raised on the caller's side, where the service gave no answer:
├── Unreadable                  a file cannot be read
├── Unreachable                 no connection, or no answer in time ── NoConnection
└── UnexpectedAnswer            an answer that this service would not give
"""

import re
from collections.abc import Mapping
from typing import ClassVar, Final

BAD_START = 2
"""Exit code for wrong settings or files."""
_CREDENTIALS: Final = re.compile(r"//(?:[^/]*|[^/]*:(?!\d+/).*)@")
"""What a URL has before its host, also where the password has a slash, which should have been written `%2F`."""


class StartError(Exception):
    """The service cannot start. Each line of the message says one thing that is wrong, and what is allowed."""

    @property
    def report(self) -> str:
        """The lines to print before the process ends, each with the name of the program: services may share a log."""
        return "\n".join(f"mobilenet: {line}" for line in str(self).splitlines())


class CannotWrite(StartError):
    """A file cannot be written, for example because the disk is full."""


def install(extra: str) -> str:
    """Return what to do where an extra of this project is missing, with the command that the documents have, too."""
    return f"install the extra `{extra}`: .venv/bin/pip install --constraint constraints.txt --editable '.[{extra}]'"


def first_line(error: BaseException) -> str:
    """Return the first line of what an error of a library says, or its class if it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def why(error: Exception) -> str:
    """Return why a file cannot be read, for a line that names the file already."""
    return (isinstance(error, OSError) and error.strerror) or first_line(error)


def without_password(url: object) -> str:
    """Return a URL, or a text with one, as it may be shown: with `***` for the user and the password, if it has any."""
    return _CREDENTIALS.sub("//***@", str(url))


class ServiceError(Exception):
    """A request, or one image of it, failed. The message is the `detail` that the caller reads.

    `status` is the HTTP status, `code` is a stable name for programs, and `title` says the same to people.
    `headers` are added to the HTTP answer, and `facts` are additional members of the problem.
    """

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]
    request_id: str | None = None
    """The id of the failed request. The client sets it, so that the caller can look the request up in the log."""

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
    """There are no bytes where an image was expected."""

    code, title = "empty_image", "Empty image"


class Unauthorized(ServiceError):
    """`MOBILENET_API_KEYS` is set, and the request has no key or a wrong one."""

    status, code, title = 401, "unauthorized", "Unauthorized"


class NotFound(ServiceError):
    """There is no such route, or no such model."""

    status, code, title = 404, "not_found", "Not found"


class VariantNotLoaded(NotFound):
    """The request names a variant that is not loaded."""

    code, title = "variant_not_loaded", "Variant not loaded"


class MethodNotAllowed(ServiceError):
    """The route exists, but does not allow this method."""

    status, code, title = 405, "method_not_allowed", "Method not allowed"


class BodyTooLarge(ServiceError):
    """The body has more bytes than `MOBILENET_MAX_BODY_BYTES`, or its JSON far more values or lists than needed."""

    status, code, title = 413, "body_too_large", "Body too large"


class TooManyPixels(ServiceError):
    """An image is not decoded, because by its header it has too many pixels or takes more memory than there is.

    A JPEG may have up to four times `MOBILENET_MAX_PIXELS`.
    """

    status, code, title = 413, "too_many_pixels", "Too many pixels"


class TooManyImages(ServiceError):
    """The request has more images than `MOBILENET_MAX_IMAGES`."""

    status, code, title = 413, "too_many_images", "Too many images"


class UnsupportedMedia(ServiceError):
    """The content type is none of those that `/predict` takes, or the body is compressed."""

    status, code, title = 415, "unsupported_media_type", "Unsupported media type"


class UnsupportedImage(UnsupportedMedia):
    """The bytes are not in any of the supported image formats."""

    code, title = "unsupported_image", "Unsupported image format"


class InvalidParameter(ServiceError):
    """A parameter or a field is out of range or has the wrong type."""

    status, code, title = 422, "invalid_parameter", "Invalid parameter"


class UndecodableImage(InvalidParameter):
    """The image is in a supported format, but truncated or damaged."""

    code, title = "undecodable_image", "Undecodable image"


class ImpossibleBudget(InvalidParameter):
    """No loaded variant fits the budget of the request."""

    code, title = "impossible_budget", "Impossible budget"


class QueueFull(ServiceError):
    """The queue has no room for the images of the request; nothing was done with them."""

    status, code, title = 429, "queue_full", "Queue full"


class InternalError(ServiceError):
    """The service failed for a reason of its own, such as a bug or no room for another process. The log says why."""

    status, code, title = 500, "internal_error", "Internal error"


class Unavailable(ServiceError):
    """The service cannot take requests at the moment."""

    status, code, title = 503, "unavailable", "Unavailable"


class Starting(Unavailable):
    """The model is still loading, or it failed its self-test."""

    code, title = "starting", "Starting"


class Draining(Unavailable):
    """The service is stopping, and finishes only the requests that it has accepted."""

    code, title = "draining", "Draining"


class DeadlineExceeded(ServiceError):
    """The deadline of the request passed before its image was classified; the image will not be."""

    status, code, title = 504, "deadline_exceeded", "Deadline exceeded"


class ClientError(Exception):
    """The caller got no answer from the service. The message says why; `code` is a stable name for programs.

    `status` is the HTTP status of the answer that came instead, if any.
    """

    code: ClassVar[str]

    def __init__(self, detail: str, status: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status


class Unreadable(ClientError):
    """A file does not exist or cannot be read."""

    code = "unreadable"


class Unreachable(ClientError):
    """No connection could be made, or it was lost, or no answer came in time."""

    code = "unreachable"


class NoConnection(Unreachable):
    """No connection could be made, or each was lost, until the patience was over: other requests would fail, too."""


class UnexpectedAnswer(ClientError):
    """The answer is not one of this service's: it came from a proxy, from another service, or from a newer version."""

    code = "unexpected_answer"
