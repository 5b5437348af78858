"""A validation error as one sentence: where, what, and the nearest key that would have been right."""

from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from workbench.errors import unknown


def first_error(error: ValidationError, model: type[BaseModel]) -> str:
    """`arms.3.edits.0.tune.rnak: No key named 'rnak'. Did you mean 'rank'? Known: alpha, kind, rank.`"""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        keys = _keys(model, first["loc"][:-1])
        return f"{where}: {unknown('key', str(first['loc'][-1]), keys)}"
    message = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    shown = f" (got {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"{where}: {message}{shown}" if where else message


def _keys(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The keys that the value at `path` may have."""
    current: list[type[BaseModel]] = [model]
    for part in path:
        tagged = [m for m in current if _tag(m) == part]
        fields = [m.model_fields[part].annotation for m in current if isinstance(part, str) and part in m.model_fields]
        current = tagged or [found for f in fields for found in _models(f)] or current
    return sorted({key for m in current for key in m.model_fields})


def _tag(model: type[BaseModel]) -> Any:
    for name in ("kind", "edit"):
        if name in model.model_fields:
            return model.model_fields[name].default
    return None


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType) or get_args(annotation):
        return [found for part in get_args(annotation) for found in _models(part)]
    return []
