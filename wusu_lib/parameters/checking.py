"""Values checked against a schema; what is wrong is told in one ValueError, in words."""

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError


def parse[S: BaseModel](schema: type[S], values: Mapping[str, Any]) -> S:
    """Check ``values`` against ``schema``. Raises one ValueError that lists every fault and what is
    allowed.
    """
    try:
        return schema.model_validate(dict(values))
    except ValidationError as error:
        owner = str(values.get("name", "this experiment"))
        faults = [_explain(schema, owner, fault) for fault in error.errors()]
    raise ValueError("\n".join([f"{owner}: {len(faults)} parameter(s) cannot be used.", *faults]))


def _explain(schema: type[BaseModel], owner: str, fault: Any) -> str:
    """One line for one of pydantic's faults: what was expected, what came, what to do."""
    name = str(fault["loc"][0]) if fault["loc"] else ""
    came = f"got {fault['input']!r} ({type(fault['input']).__name__})"
    kind = fault["type"]
    if kind == "extra_forbidden":
        known = list(schema.model_fields)
        hint = _suggest(name, known) or "."
        return f"{name}: not a parameter of {owner}{hint} Parameters are: {', '.join(known)}"
    if kind == "missing":
        return (
            f"{name}: missing; set it in the parameters cell, for instance {name} = {_example(schema, name)}"
        )
    if kind == "literal_error":
        allowed = list(schema.model_fields[name].annotation.__args__)  # type: ignore[union-attr]
        hint = _suggest(fault["input"], allowed)
        return f"{name}: got {fault['input']!r}; allowed: {', '.join(allowed)}{hint}"
    if kind == "value_error":  # raised by a validator here or by the module it asks, already in words
        text = str(fault["ctx"]["error"])
        return text if not name or text.startswith(name) else f"{name}: {text}"
    expected = (
        fault["msg"]
        .removeprefix("Input should be ")
        .replace("valid integer", "whole number")
        .replace("valid ", "")
    )
    return f"{name}: expected {expected}, for instance {_example(schema, name)}; {came}"


def _example(schema: type[BaseModel], name: str) -> str:
    field = schema.model_fields[name]
    return repr(field.examples[0] if field.examples else field.default)


def _suggest(word: Any, known: list[str]) -> str:
    close = difflib.get_close_matches(str(word), known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
