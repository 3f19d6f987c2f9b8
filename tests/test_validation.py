"""What is wrong with a value is said in plain words, after its name."""

from typing import Annotated, Any, Literal

import pytest
from annotated_types import Len
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, HttpUrl, TypeAdapter, ValidationError

from app.validation import fault, nearest


class Form(BaseModel):
    """A member, and no other."""

    model_config = ConfigDict(extra="forbid")

    images: list[str]


def refuse(value: object) -> object:
    raise ValueError(f"{value} is {{odd}}")


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        (int, "x", "must be a whole number"),
        (int, 1.5, "must be a whole number"),
        (int, None, "must be a whole number"),
        (int, "9" * 5_000, "has too many digits"),
        (float, "x", "must be a number"),
        (float, [], "must be a number"),
        (Annotated[float, Field(allow_inf_nan=False)], "nan", "must be a finite number"),
        (bool, "perhaps", "must be true or false"),
        (bool, [], "must be true or false"),
        (str, 1, "must be a string"),
        (list[int], "x", "must be a list"),
        (Form, [], "must be a JSON object"),
        (Form, {}, "is missing"),
        (Form, {"image": []}, "is missing; did you write image instead?"),
        (Form, {"else": []}, "is missing"),
        (Form, {"images": [], "top_k": 1}, "is not a member that is known here"),
        (Annotated[list[int], Len(1)], [], "is empty"),
        (Annotated[list[int], Len(0, 1)], [1, 2], "may have no more items than 1"),
        (Literal["input", "photo"], "x", "must be 'input' or 'photo'"),
        (Annotated[int, Field(gt=0)], 0, "must be more than 0"),
        (Annotated[int, Field(ge=1)], 0, "must be at least 1"),
        (Annotated[int, Field(lt=1)], 1, "must be less than 1"),
        (Annotated[int, Field(le=1)], 2, "must be at most 1"),
        (Annotated[int, Field(multiple_of=32)], 33, "must be a multiple of 32"),
        (HttpUrl, "mirror", "must be a URL such as https://example.com/folder"),
        (HttpUrl, "ftp://host", "must be a URL that begins with http:// or https://"),
        (Annotated[str, BeforeValidator(refuse)], "{x}", "{x} is {odd}"),
        (bytes, 1, "is not valid: Input should be a valid bytes"),  # of no kind that a request or a setting has
    ],
)
def test_what_is_wrong_is_the_rest_of_a_sentence_that_begins_with_the_name(kind: Any, value: object, says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value)
    assert fault(caught.value.errors()[0]) == says


@pytest.mark.parametrize(("name", "near"), [("topk", "top_k"), ("foo", None), ("", None), ("alfa", "alpha")])
def test_the_nearest_name_is_one_that_is_like_it(name: str, near: str | None) -> None:
    assert nearest(name, ["top_k", "alpha", "resolution"]) == near
