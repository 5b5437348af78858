"""A validation error as one sentence: where, what, and the nearest key or name that would have been right."""

import re
from collections.abc import Iterator
from datetime import date, time
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from workbench.errors import unknown


def first_error(error: ValidationError, model: type[BaseModel]) -> str:
    """`arms.3.edits.0.tune.rnak: No key named 'rnak'. Did you mean 'rank'? Known: alpha, kind, rank.`"""
    found = error.errors(include_url=False)
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])  # why another one is missing
    path, given = first["loc"], first.get("input")
    context: dict[str, Any] = first.get("ctx", {})
    match first["type"]:
        case "extra_forbidden":
            said = str(unknown("key", str(path[-1]), _keys(model, path[:-1])))
        case "literal_error":
            said = str(unknown(str(path[-1]), str(given), _quoted(context["expected"])))
        case "union_tag_invalid":
            said = str(unknown(context["discriminator"].strip("'"), context["tag"], _quoted(context["expected_tags"])))
        case "union_tag_not_found":
            said = f"The key {context['discriminator']} is missing. Known: {', '.join(sorted(_tags(model, path)))}."
        case _:
            shown = f" (got {given!r})" if isinstance(given, str | int | float | bool | date | time) else ""
            said = first["msg"].removeprefix("Value error, ") + shown * (first["type"] != "value_error")
    field, colon, rest = said.partition(": ")
    if colon and field in _keys(model, path):  # of what one value checks itself
        path, said = (*path, field), rest
    where = ".".join(_follow(model, path)[0])
    return f"{where}: {said}" if where else said


def _quoted(choices: str) -> list[str]:
    return re.findall(r"'([^']*)'", choices)


def _keys(model: type[BaseModel], path: tuple[int | str, ...]) -> set[str]:
    """The keys that the value at `path` may have."""
    return {key for m in _follow(model, path)[1] for key in m.model_fields}


def _tags(model: type[BaseModel], path: tuple[int | str, ...]) -> set[str]:
    return {tag for m in _follow(model, path)[1] if (tag := _tag(m)) is not None}


def _follow(model: type[BaseModel], path: tuple[int | str, ...]) -> tuple[list[str], list[type[BaseModel]]]:
    """The keys along `path`, without the tags that pydantic puts between them, and the models that may end it."""
    keys: list[str] = []
    here: list[Any] = [model]
    for part in path:
        tagged = [m for m in here if _tag(m) == part]
        if tagged and len(here) > 1:
            here = tagged
        else:
            keys.append(str(part))
            here = [choice for annotation in here for inner in _inside(annotation, part) for choice in _choices(inner)]
    return keys, [m for m in here if _is_model(m)]


def _inside(annotation: Any, part: int | str) -> Iterator[Any]:
    """What lies under `part` of a value of this type."""
    if _is_model(annotation):
        if part in annotation.model_fields:
            yield annotation.model_fields[part].annotation
    elif get_origin(annotation) in (tuple, list):
        yield get_args(annotation)[0]
    elif get_origin(annotation) is dict:
        yield get_args(annotation)[1]


def _choices(annotation: Any) -> Iterator[Any]:
    """The members of a union, or the type itself."""
    if get_origin(annotation) is Annotated:
        yield from _choices(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _choices(member)
    else:
        yield annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _tag(annotation: Any) -> str | None:
    """What the discriminator of this model's union says: the one string that its key `kind` or `edit` may be."""
    for name in ("kind", "edit"):
        if _is_model(annotation) and name in annotation.model_fields:
            return annotation.model_fields[name].default
    return None
