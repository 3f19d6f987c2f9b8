"""The wire contract: what `/predict`, `/model-info` and `/labels` take and give, and the shape of every error."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.mobilenet.variants import Precision
from app.model.latency import Latency
from app.model.scores import Score

EXAMPLE_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAAAQklEQVR42mPUiLJhIAUwMZAISNbAgsbfZ3MDU5HTEQ3sNmBVjSbORFA1"
    "miztPT28NCDHDp64Y8IVo7jEWfDIUccPAALkERCzdffRAAAAAElFTkSuQmCC"
)

Base64Image = Annotated[str, Field(description="bytes of an image file in base64", examples=[EXAMPLE_PNG])]


def _is_none(value: object) -> bool:
    return value is None


class PredictBody(BaseModel):
    """The JSON form of `POST /predict`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"images": [EXAMPLE_PNG]}]})

    images: list[Base64Image] = Field(min_length=1, description="one or more images")


class Prediction(BaseModel):
    """One class and its probability."""

    class_id: int = Field(ge=0, examples=[0])
    wordnet_id: str | None = Field(examples=["n01440764"], description="null for classes outside WordNet")
    label: str = Field(examples=["tench"])
    probability: float = Field(ge=0, le=1, examples=[0.93], description="softmax output of the network")


class Problem(BaseModel):
    """An RFC 9457 problem, the one shape of every error."""

    type: str = Field(examples=["urn:mobilenet:problem:queue_full"])
    title: str = Field(examples=["Queue full"])
    status: int = Field(examples=[429])
    detail: str = Field(description="what was wrong and what is allowed, for people")
    code: str = Field(examples=["queue_full"], description="stable, for programs")
    request_id: str = Field(examples=["6f1c2a0e5d3b4f7f9a8b7c6d5e4f3a2b"])
    queue_depth: int | None = Field(
        None, exclude_if=_is_none, description="of 429: images that were admitted and are not answered yet"
    )
    estimated_wait_ms: int | None = Field(
        None, exclude_if=_is_none, description="of 429: until these are answered, at the rate measured now"
    )
    error: str | None = Field(
        None, exclude_if=_is_none, description="of the routes below `/v2`: the detail, where their clients look for it"
    )


class VariantRef(BaseModel):
    """A variant by its two numbers."""

    alpha: float = Field(examples=[0.5], description="width multiplier α")
    resolution: int = Field(examples=[160], description="side of the network's input in pixels")


class ModelRef(VariantRef):
    """Which model answered."""

    weights: str = Field(examples=["imagenette"])
    precision: Precision


class CostRef(BaseModel):
    """What one image costs in this network, exactly; where several networks ran on it, all of them together."""

    macs: int = Field(examples=[76_524_800], description="multiply-accumulates of the convolutions and the classifier")
    flops: int = Field(examples=[153_049_600], description="2 × MACs: a multiplication and an addition each")
    parameters: int = Field(examples=[1_342_536], description="weights, batch normalisation's four a channel included")


class VariantAnswer(BaseModel):
    """The answer of one of several variants that an image was compared in."""

    model: ModelRef
    predictions: list[Prediction] = Field(description="the `top_k` most probable classes, best first")
    cost: CostRef
    inference_ms: float = Field(ge=0, description="running the batch that the image was in, in this variant")


class Predictions(BaseModel):
    """The result of an image that was classified."""

    predictions: list[Prediction] = Field(description="the `top_k` most probable classes, best first")


class Staged(Predictions):
    """The result of an image in a `cascade`."""

    model: ModelRef = Field(description="which stage answered this image")
    cost: CostRef = Field(description="what this image cost in all stages that were asked")


class Compared(Predictions):
    """The result of an image in several `variants`; `predictions` are those of the most accurate."""

    variants: list[VariantAnswer] = Field(description="the answers side by side, in the order asked for")
    agreement: float = Field(
        ge=0, le=1, description="share of the variants whose most probable class is that of `predictions`"
    )


class Failure(BaseModel):
    """The result of an image that was not, in a request of several."""

    error: Problem


class Timing(BaseModel):
    """Where the time went, in milliseconds; for several images, that of the slowest image at each stage."""

    decode_ms: float = Field(ge=0, description="decoding, cropping and resizing")
    queue_ms: float = Field(ge=0, description="waiting for a worker, and for what else is decoded in the batch")
    inference_ms: float = Field(ge=0, description="running the batch that the image was in")
    total_ms: float = Field(ge=0, description="from the request's headers to its answer")


class Choice(BaseModel):
    """Why a budget led to this variant."""

    reason: str = Field(examples=["the most accurate of the 2 of 3 loaded variants that fit max_macs=100000000"])
    expected_ms: float = Field(
        ge=0, description="how long the answer was expected to take when the variant was chosen, waiting included"
    )


class PredictResponse(BaseModel):
    """One result for each image of the request, in order."""

    model: ModelRef = Field(
        description="which variant answered; of several compared the most accurate, of a cascade the largest that was "
        "asked about an image of the request"
    )
    results: list[Predictions | Staged | Compared | Failure]
    cost: CostRef = Field(
        description="of one image; with `cascade`, of the image that cost most; with `variants`, of all of them"
    )
    timing: Timing
    batch_size: int = Field(ge=0, description="images in the largest batch that an image of this request ran in")
    choice: Choice | None = Field(None, exclude_if=_is_none, description="with a budget: why this variant")
    degraded_from: VariantRef | None = Field(
        None,
        exclude_if=_is_none,
        description="the variant whose queue was full, so that a smaller one answered; with `degrade=allow` or "
        "`MOBILENET_DEGRADE`",
    )
    request_id: str


class LabelItem(BaseModel):
    """One class the served model knows."""

    class_id: int = Field(ge=0, examples=[0])
    wordnet_id: str | None = Field(examples=["n01440764"])
    label: str = Field(examples=["tench"])


class Parameters(BaseModel):
    """How many numbers the network has."""

    total: int = Field(examples=[4_253_864])
    trainable: int = Field(examples=[4_231_976], description="without the moving means and variances")


class PublishedAccuracy(BaseModel):
    """ImageNet accuracy in per cent that others published for this variant."""

    paper_top1: float | None = Field(description="of the paper; its text has 7 of the 16 variants")
    checkpoint_top1: float
    checkpoint_top5: float
    sources: list[str]


class Accuracy(BaseModel):
    """How good a variant is, and on what that was measured."""

    measured: Score | None = Field(description="of the bundled weights in this variant and the served precision")
    published: PublishedAccuracy | None = Field(description="of the published ImageNet weights of this variant")


class LayerItem(BaseModel):
    """One layer with weights, its batch normalisation included; sizes are sides in pixels."""

    name: str = Field(examples=["conv_dw_1"])
    kind: Literal["convolution", "depthwise", "pointwise", "classifier"]
    kernel: int
    stride: int
    input_shape: tuple[int, int, int] = Field(description="height, width, channels")
    output_shape: tuple[int, int, int] = Field(description="height, width, channels")
    macs: int
    flops: int
    parameters: Parameters
    activation_bytes: int = Field(description="the layer's output in float32")
    share: float = Field(description="of the network's MACs, 0 to 1")
    standard_macs: int = Field(
        description="of the standard convolution in its place; a depthwise and its pointwise layer replace one together"
    )
    ratio: float = Field(description="macs / standard_macs: 1/N of a depthwise and 1/K² of a pointwise layer")


class SeparableItem(BaseModel):
    """A depthwise separable convolution against the standard convolution it replaces."""

    name: str = Field(examples=["conv_dw_1+conv_pw_1"])
    macs: int
    standard_macs: int
    ratio: float = Field(description="of the MACs: 1/N + 1/K² for N output channels and a K × K kernel")
    parameters: int
    standard_parameters: int


class AblationItem(BaseModel):
    """Another network of the same α and resolution to compare the variant with."""

    name: str = Field(examples=["full convolution"])
    description: str
    macs: int
    parameters: Parameters
    activation_bytes: int
    macs_ratio: float = Field(description="its MACs over those of the variant")
    paper_top1: float | None = Field(description="ImageNet top-1 in per cent of the paper, for α 1 @ 224 only")


class Preprocessing(BaseModel):
    """What happens to an image before the network."""

    crop: str
    resize: str
    scale: str
    orientation: str
    transparency: str


class Batching(BaseModel):
    """How requests are batched, and the limits."""

    max_batch_size: int
    max_wait_ms: float
    max_queue: int


class ModelInfo(BaseModel):
    """What a variant is and costs; what only served models have is null for the others."""

    served: bool = Field(description="whether it is loaded: `/predict` answers with it, by default or when asked to")
    default: bool = Field(description="whether `/predict` answers with it unless a request says otherwise")
    alpha: float = Field(examples=[0.5], description="width multiplier α")
    rho: float = Field(examples=[0.714286], description="resolution multiplier ρ: resolution / 224")
    resolution: int = Field(examples=[160])
    classes: int = Field(examples=[1000])
    parameters: Parameters
    macs: int = Field(description="multiply-accumulates of the convolutions and the classifier for one image")
    flops: int = Field(description="2 × MACs")
    flops_in_words: str
    activation_bytes: int = Field(description="sum of all layers' outputs in float32 for one image")
    accuracy: Accuracy
    weights: str | None
    weights_sha256: str | None
    precision: Precision | None
    engine: str | None
    preprocessing: Preprocessing
    batching: Batching
    versions: dict[str, str]
    layers: list[LayerItem] | None = Field(None, description="with `layers=true`")
    separable: list[SeparableItem] | None = Field(None, description="with `layers=true`")
    ablations: list[AblationItem] | None = Field(None, description="with `layers=true`")


class VariantItem(BaseModel):
    """One variant: what it costs, scores and takes; unknown is null."""

    alpha: float = Field(examples=[0.5], description="width multiplier α")
    rho: float = Field(examples=[0.714286], description="resolution multiplier ρ: resolution / 224")
    resolution: int = Field(examples=[160])
    served: bool = Field(description="whether it is loaded: `/predict` answers with it, by default or when asked to")
    default: bool = Field(description="whether `/predict` answers with it unless a request says otherwise")
    macs: int
    flops: int = Field(description="2 × MACs")
    parameters: Parameters
    size_bytes: int = Field(description="of the parameters in the served precision")
    top1: float | None = Field(
        description="share, 0 to 1: as measured with the served weights, else as published for them"
    )
    accuracy: Accuracy
    latency: Latency | None = Field(description="of one image on this machine, if `mobilenet bench` measured it")
    macs_frontier: bool | None = Field(None, description="whether no other variant is as right for no more MACs")
    latency_frontier: bool | None = Field(None, description="whether no other variant is as right in no more time")


class Catalogue(BaseModel):
    """The sixteen variants, for the classes, precision and engine of the served model."""

    weights: str = Field(examples=["imagenette"])
    classes: int = Field(examples=[10])
    precision: Precision
    engine: str = Field(examples=["litert"])
    machine: str = Field(description="that answers, and that the latencies were measured on")
    variants: list[VariantItem]


class Health(BaseModel):
    """The state of the process."""

    status: Literal["alive", "ready"]
