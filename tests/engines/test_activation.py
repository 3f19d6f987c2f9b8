import json
from typing import Any

import pytest

from app.engines import activation


def layer(kind: str, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": config}


def model(*layers: dict[str, Any], kind: str = "Functional") -> dict[str, Any]:
    return layer(kind, layers=list(layers))


TRUNK = (layer("InputLayer"), layer("ReLU", max_value=6.0), layer("GlobalAveragePooling2D"), layer("Dropout", rate=0.1))
LOGITS = (layer("Conv2D", activation="linear"), layer("Reshape"))
FUNCTION = {"module": "builtins", "class_name": "function", "config": "sigmoid", "registered_name": "function"}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (model(*TRUNK, *LOGITS, layer("Activation", activation="softmax")), "softmax"),
        (model(*TRUNK, *LOGITS, layer("Activation", activation="sigmoid")), "sigmoid"),
        (model(*TRUNK, *LOGITS, layer("Activation", activation=FUNCTION)), "sigmoid"),
        (model(*TRUNK, *LOGITS, layer("Activation", activation={"class_name": "ReLU", "config": {}})), "relu"),
        (model(*TRUNK, *LOGITS, layer("Activation", activation="linear")), "linear"),
        (model(*TRUNK, *LOGITS), "linear"),
        (model(*TRUNK, *LOGITS, layer("Softmax", axis=-1)), "softmax"),
        (model(*TRUNK, layer("Conv2D", activation="sigmoid"), layer("Reshape")), "sigmoid"),
        (model(*TRUNK, layer("Dense", activation="sigmoid")), "sigmoid"),
        (model(layer("InputLayer"), model(*TRUNK, *LOGITS, layer("Activation", activation="sigmoid"))), "sigmoid"),
        (model(layer("Rescaling"), model(*TRUNK, *LOGITS), layer("Softmax"), kind="Sequential"), "softmax"),
        ({"class_name": "Sequential", "config": [*TRUNK, layer("Dense", activation="tanh")]}, "tanh"),
    ],
)
def test_the_activation_is_that_of_the_last_layer_that_has_one(config: dict[str, Any], expected: str) -> None:
    assert activation.last(json.dumps(config)) == expected


@pytest.mark.parametrize("name", ["softmax", "linear"])
def test_probabilities_that_add_up_to_1_and_logits_are_served(name: str) -> None:
    activation.check(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "sigmoid",
            "ends in a sigmoid, which gives each class a probability of its own; .* train it to end in a softmax",
        ),
        ("tanh", "ends in tanh; expected a softmax, or nothing"),
    ],
)
def test_independent_classes_are_refused_with_the_reason_and_what_to_do(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        activation.check(name)
