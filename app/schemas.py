"""The JSON of the HTTP interface: what the routes take and answer, and the form of every error."""

from functools import partial
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.measurements import UNFAMILIAR, Latency, Score
from app.mobilenet.variants import Precision

EXAMPLE_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAAAQklEQVR42mPUiLJhIAUwMZAISNbAgsbfZ3MDU5HTEQ3sNmBVjSbORFA1"
    "miztPT28NCDHDp64Y8IVo7jEWfDIUccPAALkERCzdffRAAAAAElFTkSuQmCC"
)

Base64Image = Annotated[str, Field(description="the bytes of an image file, in base64", examples=[EXAMPLE_PNG])]


optional = partial(Field, None, exclude_if=lambda value: value is None)
"""A member of an answer that is left out where it is None."""


class PredictBody(BaseModel):
    """The body of `POST /predict` in JSON."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"images": [EXAMPLE_PNG]}]})

    images: list[Base64Image] = Field(min_length=1, description="one or more images")


class Box(BaseModel):
    """Where the places of a grid lie in the file, in pixels, and how these pixels are turned."""

    left: float = Field(ge=0, examples=[81.25])
    top: float = Field(ge=0, examples=[23.4375])
    width: float = Field(ge=0, examples=[328.125])
    height: float = Field(ge=0, examples=[328.125])
    orientation: int = Field(
        ge=1, le=8, description="that of EXIF; from 2 on, viewers turn the file's pixels, and the grid with them"
    )


class Evidence(BaseModel):
    """What each place of an image says for a class (positive) or against it (negative)."""

    logit: float = Field(
        description="the sum of the values: the logit of the class, which the softmax turns into its probability, "
        "less the mean logit of all classes"
    )
    rows: int = Field(examples=[5])
    columns: int = Field(examples=[5])
    values: list[list[float]] = Field(description="row by row, the share of the logit that comes from each place")
    box: Box = Field(description="the part of the file that the grid covers; the network sees nothing else")


class Prediction(BaseModel):
    """One class and its probability."""

    class_id: int = Field(ge=0, examples=[0])
    wordnet_id: str | None = Field(examples=["n01440764"], description="null for a class that is not in WordNet")
    label: str = Field(examples=["tench"])
    probability: float = Field(ge=0, le=1, examples=[0.93], description="the softmax output of the network")
    evidence: Evidence | None = optional(description="with `explain=true`")


class Problem(BaseModel):
    """An RFC 9457 problem. Every error has this form."""

    type: str = Field(examples=["urn:mobilenet:problem:queue_full"])
    title: str = Field(examples=["Queue full"])
    status: int = Field(examples=[429])
    detail: str = Field(description="what was wrong and what is allowed, for people to read")
    code: str = Field(examples=["queue_full"], description="a stable name of the error, for programs to compare")
    request_id: str = Field(examples=["6f1c2a0e5d3b4f7f9a8b7c6d5e4f3a2b"])
    queue_depth: int | None = optional(description="with 429: how many images were admitted and are not answered yet")
    estimated_wait_ms: int | None = optional(description="with 429: how long these will take at the current rate")
    error: str | None = optional(description="below `/v2`: the detail again, where clients of that protocol expect it")


class VariantRef(BaseModel):
    """A variant, named by its two numbers."""

    alpha: float = Field(examples=[0.5], description="the width multiplier α")
    resolution: int = Field(examples=[160], description="the side of the network's input in pixels")


class ModelRef(VariantRef):
    """The model that answered."""

    weights: str = Field(examples=["imagenette"])
    precision: Precision


class CostRef(BaseModel):
    """The exact cost of one image in the network; where several networks ran on it, the sum of their costs."""

    macs: int = Field(examples=[76_017_920], description="multiply-accumulates of the convolutions and the classifier")
    flops: int = Field(examples=[152_035_840], description="2 × MACs: a multiplication and an addition each")
    parameters: int = Field(
        examples=[834_666], description="numbers in the weights, with batch normalisation's four for each channel"
    )
    explain_macs: int | None = optional(
        description="with `explain=true`: the multiply-accumulates of the evidence, which `macs` does not include",
    )


class Predictions(BaseModel):
    """The result of an image that was classified."""

    predictions: list[Prediction] = Field(description="the `top_k` most probable classes, most probable first")
    familiarity: float | None = optional(
        ge=0,
        le=1,
        examples=[0.62],
        description="how typical the photo is of the classes: the share of real photos of them, 0 to 1, that look less "
        "typical; absent where that was not measured",
    )
    unfamiliar: Literal[True] | None = optional(
        description=f"true if the familiarity is below {UNFAMILIAR}, so that the image probably shows none of the "
        "classes; absent otherwise",
    )


class VariantAnswer(Predictions):
    """The answer of one variant, where an image was classified by several side by side."""

    model: ModelRef
    cost: CostRef
    inference_ms: float = Field(ge=0, description="the time of the batch that the image was in, in this variant")


class Staged(Predictions):
    """The result of an image that was classified by a `cascade`."""

    model: ModelRef = Field(description="the variant whose answer this is")
    cost: CostRef = Field(description="the cost of all variants that were asked about this image")


class Compared(Predictions):
    """The result of an image that was classified by several `variants`; `predictions` are of the most accurate one."""

    variants: list[VariantAnswer] = Field(description="the answer of each variant, in the order of the request")
    agreement: float = Field(
        ge=0, le=1, description="the share of the variants with the same most probable class as `predictions`"
    )


class Failure(BaseModel):
    """The result of an image that could not be classified, in a request of several images."""

    error: Problem


class Timing(BaseModel):
    """Where the time went, in milliseconds. For several images, each time is that of the slowest one."""

    decode_ms: float = Field(ge=0, description="decoding, cropping and resizing the image")
    queue_ms: float = Field(
        ge=0, description="waiting for a worker, and for the other images of the batch to be decoded"
    )
    inference_ms: float = Field(ge=0, description="running the network on the batch that the image was in")
    total_ms: float = Field(ge=0, description="from the headers of the request to the answer")


class Choice(BaseModel):
    """Why this variant was chosen for a request with a budget."""

    reason: str = Field(examples=["2 of 3 loaded variants fit max_macs=100000000; this is the most accurate of them"])
    expected_ms: float = Field(
        ge=0, description="how long the answer was expected to take when the variant was chosen, including the queue"
    )


class PredictResponse(BaseModel):
    """The answer of `POST /predict`: one result for each image of the request, in order."""

    model: ModelRef = Field(
        description="the variant that answered, or if no image could be classified the one that was wanted; with "
        "`variants`, the most accurate of them; with `cascade`, the last variant that was asked about any image of the "
        "request"
    )
    results: list[Predictions | Staged | Compared | Failure]
    cost: CostRef = Field(
        description="of one image; with `variants`, of all variants together; with `cascade`, of the image that cost "
        "most"
    )
    timing: Timing
    batch_size: int = Field(ge=0, description="the size of the largest batch that an image of this request was in")
    choice: Choice | None = optional(description="with a budget: why this variant was chosen")
    degraded_from: VariantRef | None = optional(
        description="with `degrade=allow` or `MOBILENET_DEGRADE`: the variant whose queue was full, so that a smaller "
        "one answered",
    )
    request_id: str


class Embedded(BaseModel):
    """The embedding of one image."""

    embedding: list[float] = Field(description="the features of the network, averaged over all places")


class EmbedResponse(BaseModel):
    """The answer of `POST /embed`: one result for each image of the request, in order."""

    model: ModelRef
    weights_sha256: str = Field(description="of the weights; embeddings of other weights mean something else")
    layer: str = Field(examples=["global_average_pooling"], description="the layer whose output the embeddings are")
    dimensions: int = Field(examples=[512], description="how many numbers each embedding has: 1,024 × α")
    unit: bool = Field(description="whether each embedding was scaled to length 1")
    results: list[Embedded | Failure]
    cost: CostRef = Field(description="of one image")
    timing: Timing
    batch_size: int = Field(ge=0, description="the size of the largest batch that an image of this request was in")
    request_id: str


class LabelItem(BaseModel):
    """One class that the served model knows."""

    class_id: int = Field(ge=0, examples=[0])
    wordnet_id: str | None = Field(examples=["n01440764"])
    label: str = Field(examples=["tench"])


class Parameters(BaseModel):
    """How many numbers the weights of the network have."""

    total: int = Field(examples=[4_253_864])
    trainable: int = Field(
        examples=[4_231_976], description="all except the moving means and variances of batch normalisation"
    )


class PublishedAccuracy(BaseModel):
    """The published ImageNet accuracy of this variant, in per cent."""

    paper_top1: float | None = Field(description="from the paper, which gives it for 7 of the 16 variants")
    checkpoint_top1: float
    checkpoint_top5: float
    sources: list[str]


class Accuracy(BaseModel):
    """How accurate a variant is, and which photos that was measured on."""

    measured: Score | None = Field(description="for the bundled weights: measured in this variant and precision")
    published: PublishedAccuracy | None = Field(description="for the published ImageNet weights of this variant")


class LayerItem(BaseModel):
    """One layer that has weights, together with its batch normalisation."""

    name: str = Field(examples=["conv_dw_1"])
    kind: Literal["convolution", "depthwise", "pointwise", "classifier"]
    kernel: int
    stride: int
    input_shape: tuple[int, int, int] = Field(description="height, width, channels")
    output_shape: tuple[int, int, int] = Field(description="height, width, channels")
    macs: int
    flops: int
    parameters: Parameters
    activation_bytes: int = Field(description="size of the layer's output for one image in float32")
    share: float = Field(description="the layer's share of the network's MACs, 0 to 1")
    standard_macs: int = Field(
        description="MACs of the standard convolution in its place; a depthwise layer and the pointwise layer after it "
        "replace one together"
    )
    ratio: float = Field(description="macs / standard_macs: 1/N for a depthwise layer, 1/K² for a pointwise one")


class SeparableItem(BaseModel):
    """A depthwise separable convolution beside the standard convolution that it replaces."""

    name: str = Field(examples=["conv_dw_1+conv_pw_1"])
    macs: int
    standard_macs: int
    ratio: float = Field(description="macs / standard_macs: 1/N + 1/K² for N output channels and a K × K kernel")
    parameters: int
    standard_parameters: int


class AblationItem(BaseModel):
    """Another network to compare the variant with, of the same α and resolution."""

    name: str = Field(examples=["full convolution"])
    description: str
    macs: int
    parameters: Parameters
    activation_bytes: int
    macs_ratio: float = Field(description="its MACs divided by those of the variant")
    paper_top1: float | None = Field(description="its ImageNet top-1 in the paper, in per cent, for α 1 @ 224 only")


class Preprocessing(BaseModel):
    """What is done to an image before the network sees it."""

    crop: str
    resize: str
    scale: str
    orientation: str
    transparency: str


class Batching(BaseModel):
    """How the images of requests are put into batches, and how many may wait."""

    max_batch_size: int
    max_wait_ms: float
    max_queue: int


class FamiliarityInfo(BaseModel):
    """What the familiarity of an image is compared with."""

    images: int = Field(examples=[473], description="how many photos of the classes, not trained on, were measured")
    unfamiliar_below: float = Field(
        examples=[UNFAMILIAR],
        description="images of a smaller familiarity are `unfamiliar`; so is this share of photos of the classes",
    )


class ModelInfo(BaseModel):
    """What a variant is and what it costs. Members that only a loaded model has are null for the others."""

    served: bool = Field(description="whether it is loaded, so that `/predict` can answer with it")
    default: bool = Field(description="whether `/predict` answers with it unless a request chooses another")
    alpha: float = Field(examples=[0.5], description="the width multiplier α")
    rho: float = Field(examples=[0.714286], description="the resolution multiplier ρ: resolution / 224")
    resolution: int = Field(examples=[160])
    classes: int = Field(examples=[1000])
    labels: list[str] = Field(
        examples=[["tench", "English springer"]], description="the names of the classes, in the order of `class_id`"
    )
    familiarity: FamiliarityInfo | None = Field(
        description="what the `familiarity` of an image is compared with; null where it is unknown"
    )
    parameters: Parameters
    macs: int = Field(description="multiply-accumulates of the convolutions and the classifier for one image")
    flops: int = Field(description="2 × MACs")
    flops_in_words: str
    activation_bytes: int = Field(description="size of the outputs of all layers together for one image in float32")
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


class SettingRef(BaseModel):
    """What a variant can be served with: an engine and a precision."""

    engine: str = Field(examples=["openvino"])
    precision: Precision


class FastestSetting(SettingRef):
    """The setting that `mobilenet bench` recommends by what it has measured of a variant on this machine.

    It is the fastest of those that lose at most half a point of top-1 against the most accurate one. Where nobody has
    measured how accurate any of them is, it is the fastest.
    """

    median_ms: float = Field(gt=0, description="the time of one image in the network alone", examples=[2.1])
    top1: float | None = Field(description="top-1 accuracy, 0 to 1, in this precision; null if nobody has measured it")
    compared: int = Field(ge=1, description="how many settings were measured, this one included", examples=[4])
    rivals: list[SettingRef] = Field(
        description="those of which it is not sure that they are slower: their turns overlap with its own, or they "
        "did not take turns with it"
    )
    command: str = Field(
        examples=["mobilenet serve --engine openvino --precision int8 --alpha 0.5 --resolution 160"],
        description="serves it; all other settings, such as your own weights, are as before if they are in the "
        "environment or in `.env`",
    )


class FasterSetting(FastestSetting):
    """A setting in which the default variant would be faster than it is now."""

    served_ms: float = Field(gt=0, description="the same time in the engine and the precision that serve")
    sure: bool = Field(
        description="false if it is not sure that it is faster: some turns of the two overlap, or they did not take "
        "turns with one another"
    )


class VariantItem(BaseModel):
    """One variant: its cost, its accuracy and its latency. What is not known is null."""

    alpha: float = Field(examples=[0.5], description="the width multiplier α")
    rho: float = Field(examples=[0.714286], description="the resolution multiplier ρ: resolution / 224")
    resolution: int = Field(examples=[160])
    served: bool = Field(description="whether it is loaded, so that `/predict` can answer with it")
    default: bool = Field(description="whether `/predict` answers with it unless a request chooses another")
    macs: int
    flops: int = Field(description="2 × MACs")
    parameters: Parameters
    size_bytes: int = Field(description="size of the parameters in the served precision")
    top1: float | None = Field(
        description="top-1 accuracy, 0 to 1, in the served precision: as measured, or for float32 as published"
    )
    accuracy: Accuracy
    latency: Latency | None = Field(
        description="of one image on this machine, in the engine and the precision that serve, if `mobilenet bench` "
        "measured it"
    )
    fastest: FastestSetting | None = Field(
        None,
        description="the engine and the precision to serve it with on this machine; null if `mobilenet bench` measured "
        "none that is installed",
    )
    macs_frontier: bool | None = Field(
        None, description="true if no other variant is at least as accurate for at most as many MACs"
    )
    latency_frontier: bool | None = Field(
        None, description="true if no other variant is at least as accurate in at most as much time"
    )


class Catalogue(BaseModel):
    """The sixteen standard variants and any other that is loaded, with the weights and settings of the service."""

    weights: str = Field(examples=["imagenette"])
    classes: int = Field(examples=[10])
    precision: Precision
    engine: str = Field(examples=["litert"])
    machine: str = Field(description="the machine that answers, on which the latencies were measured")
    faster: FasterSetting | None = Field(
        None,
        description="the setting that would serve the default variant faster; null if none is known, or if nothing "
        "was measured in the engine and the precision that serve",
    )
    variants: list[VariantItem]


class Health(BaseModel):
    """The state of the process."""

    status: Literal["alive", "ready"]
