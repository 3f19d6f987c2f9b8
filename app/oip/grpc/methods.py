"""The methods of the Open Inference Protocol over gRPC; what they answer is made where HTTP has it made, too."""

from collections.abc import Callable

from app.api.security import Guard
from app.config import Settings
from app.errors import Unavailable
from app.model.model import Model
from app.observability.trace import Trace
from app.oip import inference, models
from app.oip.grpc import inference_pb2 as pb
from app.oip.grpc import messages, wire
from app.oip.grpc.calls import Call, Method
from app.oip.grpc.room import Rooms
from app.oip.tensors import Inference
from app.prediction.classifier import Classifier
from app.prediction.selection import Single

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name


class Methods:
    """Answers the calls of the protocol."""

    def __init__(
        self,
        settings: Settings,
        guard: Guard,
        rooms: Rooms,
        classifier: Callable[[], Classifier],
        alive: Callable[[], None],
    ) -> None:
        """`classifier` returns the classifier once it is ready, and `alive` raises `Unavailable` for a fault."""
        self._settings = settings
        self._rooms = rooms
        self._guard = guard
        self._classifier = classifier
        self._alive = alive

    @property
    def by_name(self) -> dict[str, Method]:
        """The methods by their names in the protocol."""
        return {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._model_infer,
        }

    def live(self) -> bool:
        """Whether the process is alive: nothing is wrong with it that only a restart helps."""
        return _holds(self._alive)

    def ready(self) -> bool:
        """Whether the service classifies."""
        return self.live() and _holds(self._classifier)

    async def _server_live(self, _: Call) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=self.live())

    async def _server_ready(self, _: Call) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self.ready())

    async def _model_ready(self, call: Call) -> pb.ModelReadyResponse:
        asked = messages.parse(pb.ModelReadyRequest, await call.body(self._rooms.short))
        if ready := self.ready():
            models.find(asked.name, asked.version or None, self._classifier())
        return pb.ModelReadyResponse(ready=ready)

    async def _server_metadata(self, call: Call) -> pb.ServerMetadataResponse:
        self._guard.check(call.metadata)
        return pb.ServerMetadataResponse(**models.server("classification").model_dump())

    async def _model_metadata(self, call: Call) -> pb.ModelMetadataResponse:
        self._guard.check(call.metadata)
        asked = messages.parse(pb.ModelMetadataRequest, await call.body(self._rooms.short))
        current = self._classifier()
        described = models.describe(models.find(asked.name, asked.version or None, current), current)
        return pb.ModelMetadataResponse(**described.model_dump())

    async def _model_infer(self, call: Call) -> pb.ModelInferResponse:
        self._guard.check(call.metadata)
        with self._classifier() as current:
            current.check_room(Single([*current.models]))  # of any, as the message says which, and may take long
            body = await call.body(self._rooms.images)
            with self._rooms.images.holding(len(body)):
                model, wanted = self._wanted(body, current, call.trace)
                del body  # the images were copied from it
                outcomes = await inference.classify(wanted, model, current, call.deadline, call.trace)
                return messages.answer(*inference.answer(wanted, model, outcomes, call.trace))

    def _wanted(self, body: bytes, current: Classifier, about: Trace) -> tuple[Model, Inference]:
        """Return the model that a message names, which has room, and the images and outputs."""
        largest = max(variant.resolution for variant in current.models)
        wire.check(body, self._settings.max_images, self._settings.max_images * largest**2 * 3)
        request = messages.parse(pb.ModelInferRequest, body)
        model = models.find(request.model_name, request.model_version or None, current)
        inference.admit(model, current, about)
        return model, messages.read(request, model, self._settings.max_images)


def _holds(check: Callable[[], object]) -> bool:
    try:
        check()
    except Unavailable:
        return False
    return True
