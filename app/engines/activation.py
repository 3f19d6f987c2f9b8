"""What a classifier ends in: whether its probabilities add up to 1, as the rest of the service promises."""

from typing import Any

ALLOWED = ("softmax", "linear")
"""Probabilities that add up to 1, or logits, which get a softmax."""
LAYERS = ("Softmax", "ReLU", "LeakyReLU", "PReLU", "ELU")
"""Classes of layers that are an activation by themselves."""


def check(name: str) -> None:
    """Raise `ValueError`, whose message says why and what to do, unless a classifier may end in this activation."""
    if name == "sigmoid":
        raise ValueError(
            "ends in a sigmoid, which gives each class a probability of its own; here all probabilities of an image "
            "add up to 1: train it to end in a softmax, or in nothing (logits)"
        )
    if name not in ALLOWED:
        raise ValueError(f"ends in {name}; expected a softmax, or nothing (logits)")


def of(kind: str, config: dict[str, Any]) -> str | None:
    """Return the activation of a layer of Keras, in lower case, by its class and its configuration.

    It is `linear` if it changes nothing, and None if the layer has none. Raises `KeyError` or `TypeError`
    if this is not the configuration of a layer.
    """
    if kind in LAYERS:
        return kind.lower()
    name = config.get("activation")
    while isinstance(name, dict):  # a function or an object in the form in which Keras saves it
        name = name["config"] if isinstance(name["config"], str) else name["class_name"]
    return None if name is None else str(name).lower()
