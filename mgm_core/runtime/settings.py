"""Dataclasses from JSON and TOML, checked by Pydantic; each error names the key and what to do.

Recipes and training configurations are read here. Values have to be of the type that the
dataclass says: no text is taken for a number, and no number for true or false. Pydantic is imported
when the first settings are read, so that `--help` does not wait for it.
"""

import dataclasses
import difflib
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    TypeVar,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

if TYPE_CHECKING:
    from pydantic import BaseModel, TypeAdapter
    from pydantic_core import CoreSchema, ErrorDetails

__all__ = ["AtMost", "Checked", "Like", "Within", "read_settings", "shown"]

T = TypeVar("T")
Schema = Any
"""Pydantic's handler, which makes the schema of the type that a rule is for."""

_TYPES = {
    "bool_type": "true or false",
    "dataclass_type": "a table of named values",
    "float_type": "a number",
    "int_type": "a whole number",
    "string_type": "text",
    "tuple_type": "a list",
}


@dataclass(frozen=True)
class Within:
    """The rule that a number lies in a range: `Annotated[float, Within(0, 1)]`."""

    low: float
    high: float

    def __get_pydantic_core_schema__(self, kind: object, handler: Schema) -> "CoreSchema":
        """Return Pydantic's form of the rule, which checks a number by compiled code."""
        from pydantic_core import core_schema

        number = handler(kind)
        return core_schema.chain_schema(
            [
                number,
                core_schema.custom_error_schema(
                    {**number, "ge": self.low, "le": self.high},
                    "within",
                    custom_error_message=f"must lie between {self.low:g} and {self.high:g}",
                ),
            ]
        )


@dataclass(frozen=True)
class Like:
    """The rule that a text has a form: `Annotated[str, Like("#[0-9a-f]{6}", "#1a2b3c")]`."""

    pattern: str
    example: str

    def __get_pydantic_core_schema__(self, kind: object, handler: Schema) -> "CoreSchema":
        """Return Pydantic's form of the rule."""
        from pydantic_core import core_schema

        return core_schema.custom_error_schema(
            {**handler(kind), "pattern": f"^(?:{self.pattern})$"},
            "like",
            custom_error_message=f"must look like {self.example}",
        )


@dataclass(frozen=True)
class AtMost:
    """The rule that a list is not longer: `Annotated[tuple[Edit, ...], AtMost(400)]`."""

    count: int

    def __get_pydantic_core_schema__(self, kind: object, handler: Schema) -> "CoreSchema":
        """Return Pydantic's form of the rule, which counts before it reads the items."""
        return cast("CoreSchema", {**handler(kind), "max_length": self.count})


class Checked:
    """A frozen dataclass whose values are checked whoever makes one.

    Its class variable `where` is its name in messages: "background" for "background.scale".
    """

    where: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Check what is given beside the defaults, and replace it by what its type makes of it."""
        kind: Any = type(self)
        given = {}
        for part in dataclasses.fields(kind):
            value, factory = getattr(self, part.name), cast("object", part.default_factory)
            if value is not part.default and type(value) is not factory:
                given[part.name] = value
        if not given:
            return  # without Pydantic
        from pydantic import ValidationError

        try:
            checked = _model(kind).model_validate_json(_as_json(given), strict=True)
        except ValidationError as error:
            raise ValueError(_message(kind, error.errors()[0], self.where)) from None
        for name in given:
            object.__setattr__(self, name, getattr(checked, name))


@functools.cache
def _model(kind: Any) -> "type[BaseModel]":  # noqa: ANN401 - a dataclass
    from pydantic import create_model

    hints = get_type_hints(kind, include_extras=True)
    parts = {part.name: (hints[part.name], None) for part in dataclasses.fields(kind)}
    return cast("type[BaseModel]", create_model(kind.__name__, **cast("Any", parts)))


@functools.cache
def _adapter(kind: Any) -> "TypeAdapter[Any]":  # noqa: ANN401 - any type
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def read_settings(kind: type[T], values: object, where: str = "") -> T:
    """Make a dataclass of what JSON or TOML holds; what is left out keeps its default.

    Args:
        kind: The dataclass, or a type of several such as `tuple[Edit, ...]`.
        values: Named values, lists, numbers and texts.
        where: What the values are called in messages; empty where each key speaks for itself.

    Raises:
        ValueError: A key is unknown or missing, or a value is not what the dataclass says.
    """
    from pydantic import ValidationError

    try:
        made: T = _adapter(cast("Any", kind)).validate_json(
            _as_json(values), strict=True, extra="forbid"
        )
    except ValidationError as error:
        errors = error.errors()
        unknown = [each for each in errors if each["type"] == "unexpected_keyword_argument"]
        raise ValueError(_message(kind, (unknown or errors)[0], where)) from None
    return made


def shown(value: object) -> str:
    """Return a value as a message shows it, which is not longer than a line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _as_json(values: object) -> str:
    try:
        return json.dumps(_plain(values), default=str)
    except RecursionError:
        raise ValueError("settings must not be nested so deeply: correct them") from None


def _plain(value: object) -> object:
    if isinstance(value, float):  # JSON does not tell 2 from 2.0
        return int(value) if value.is_integer() else value
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if dataclasses.is_dataclass(value):
        value = vars(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    return value


def _message(kind: Any, error: "ErrorDetails", where: str) -> str:  # noqa: ANN401 - any type
    """Say which key is wrong, what it must be, and what to do."""
    place, wrong, problem = error["loc"], error["input"], error["type"]
    key = _key(where, place)
    context = error.get("ctx", {})
    if problem in ("within", "like"):
        advice = "move it into this range" if problem == "within" else "correct it"
        return f"{key} {error['msg']}, got {shown(wrong)}: {advice}"
    if problem == "value_error":  # raised by a dataclass, about several of its values
        return str(context["error"])
    if problem == "missing" and isinstance(place[-1], str):
        return f"{key} must be given, got nothing: add it"
    if problem == "unexpected_keyword_argument":
        known = [part.name for part in dataclasses.fields(_kind_at(kind, place[:-1]))]
        near = difflib.get_close_matches(str(place[-1]), known, 1, 0.0)[0]
        return (
            f"{key} must be one of the keys {', '.join(known)}, got {shown(place[-1])}: did you "
            f"mean {_key(where, (*place[:-1], near))}? Correct or remove it"
        )
    if problem == "literal_error":
        choices = context["expected"].replace("'", "").replace(" or ", ", ")
        return f"{key} must be one of {choices}, got {shown(wrong)}: choose one"
    if problem == "too_long" and isinstance(wrong, list):
        rule = f"must be at most {context['max_length']}, got {len(wrong)}"
        return f"{key} {rule}: leave some out"
    if problem == "missing":
        return f"{_key(where, place[:-1])} must hold more values, got {shown(wrong)}: add them"
    if problem == "json_invalid":  # text of half characters, or nested too deeply
        return f"{key or 'settings'} must be text and numbers that JSON can hold: correct it"
    rule = _TYPES.get(problem, error["msg"])
    return f"{key or 'settings'} must be {rule}, got {shown(wrong)}: correct it"


def _key(where: str, place: tuple[int | str, ...]) -> str:
    """Return a key as people write it: "data.sources[2].kind"."""
    key = where
    for part in place:
        key += f"[{part}]" if isinstance(part, int) else f".{part}"
    return key.removeprefix(".")


def _kind_at(kind: Any, place: tuple[int | str, ...]) -> Any:  # noqa: ANN401 - any type
    """Return the dataclass that stands at a place within another."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    for part in place:
        kind = get_args(kind)[0] if isinstance(part, int) else get_type_hints(kind)[part]
    return kind
