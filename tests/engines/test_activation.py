from typing import Any

import pytest

from app.engines import activation

FUNCTION = {"module": "builtins", "class_name": "function", "config": "sigmoid", "registered_name": "function"}


@pytest.mark.parametrize(
    ("kind", "config", "expected"),
    [
        ("Activation", {"activation": "softmax"}, "softmax"),
        ("Activation", {"activation": FUNCTION}, "sigmoid"),
        ("Activation", {"activation": {"class_name": "ReLU", "config": {}}}, "relu"),
        ("Dense", {"activation": "tanh"}, "tanh"),
        ("Conv2D", {"activation": "linear"}, "linear"),
        ("Softmax", {"axis": -1}, "softmax"),
        ("Reshape", {}, None),
    ],
)
def test_the_activation_of_a_layer_is_read_from_its_class_and_its_configuration(
    kind: str, config: dict[str, Any], expected: str | None
) -> None:
    assert activation.of(kind, config) == expected


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
