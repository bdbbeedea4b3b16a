"""Validation errors as sentences a person can act on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from edge_node.call.rules import Outputs, parse_rule
from edge_node.protocol.secrets import scrub
from edge_node.settings import checks

if TYPE_CHECKING:
    from edge_node.settings.schema import Settings

T = TypeVar("T")
_LIMITS = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}


@dataclass(frozen=True, slots=True)
class Problem:
    """One wrong setting; `absent` when it complains about something that is not there."""

    key: str
    reason: str
    absent: bool = False

    def sentence(self, origin: str | None = None) -> str:
        """The whole complaint, with where the value came from."""
        where = f" [{origin}]" if origin else ""
        return scrub(f"{self.key} {self.reason}") + where


class Problems(ValueError):
    """Several problems of one section, carried through pydantic."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(problem.sentence() for problem in problems))
        self.problems = tuple(problems)

    @classmethod
    def check(cls, value: T, problems: Sequence[Problem]) -> T:
        """The value when there are no problems."""
        if problems:
            raise cls(problems)
        return value


def rule_problems(settings: Settings) -> Iterator[Problem]:
    """Rules that drive an output which does not exist.

    Which patterns a LED can show, its driver knows: any is taken here.
    """
    gpio = settings.gpio
    leds, relays = [led.name for led in gpio.led], [relay.name for relay in gpio.relay]
    doors = [relay.name for relay in gpio.relay if relay.door]
    for index, rule in enumerate(settings.rule):
        pattern = rule.do.partition("=")[2].partition("#")[0]
        outputs = Outputs(leds=leds, relays=relays, doors=doors, patterns=[pattern] if pattern else [])
        if isinstance(found := parse_rule(rule.on, rule.match, rule.do, outputs), str):
            absent = rule.do.partition("=")[0].partition(":")[0] in ("led", "relay")
            yield Problem(f"rule.{index}.do", f"is refused: {found}", absent)


def translate(errors: Iterable[ErrorDetails], model: type[BaseModel]) -> list[Problem]:
    """pydantic's errors as problems, one per key."""
    found: dict[str, Problem] = {}
    for error in errors:
        for problem in _problems(error, model):
            found.setdefault(problem.key, problem)
    return list(found.values())


def sentences(err: ValidationError, model: type[BaseModel], origin: str | None = None) -> list[str]:
    """pydantic's complaint as one sentence per problem."""
    return [problem.sentence(origin).strip() for problem in translate(err.errors(include_url=False), model)]


def _problems(error: ErrorDetails, model: type[BaseModel]) -> Iterator[Problem]:
    loc, context = error["loc"], error.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, Problems):
        yield from cause.problems
        return
    key = ".".join(str(part) for part in loc)
    if error["type"] == "extra_forbidden":
        yield Problem(key, _unknown(loc, model))
    elif error["type"] == "missing":
        table = ".".join(str(part) for part in loc[:-1])
        reason = f"write {loc[-1]} = … under [{table}]" if table else f"add a table [{loc[-1]}]"
        yield Problem(key, f"is missing: {reason}", absent=True)
    else:
        yield Problem(key, str(cause) if cause else _reason(error["type"], error["input"], context))


def _unknown(loc: tuple[int | str, ...], model: type[BaseModel]) -> str:
    known = known_keys(loc[:-1], model)
    word = str(loc[-1])
    guess = checks.did_you_mean(word, known)
    if guess:
        return f"is no setting{guess}"
    for section, field in model.model_fields.items():
        inner = inner_model(field.annotation)
        if len(loc) == 1 and inner is not None and word in inner.model_fields:
            return f"is no setting: {word} belongs under [{section}]"
    return f"is no setting: known here are {', '.join(sorted(known))}"


def known_keys(loc: Sequence[int | str], model: type[BaseModel]) -> list[str]:
    """The keys of the table at loc; empty when there is no such table."""
    current: type[BaseModel] | None = model
    for part in loc:
        if isinstance(part, int) or current is None:
            continue
        field = current.model_fields.get(part)
        current = inner_model(field.annotation) if field else None
    return list(current.model_fields) if current else []


def inner_model(annotation: Any) -> type[BaseModel] | None:
    """The model an annotation holds, directly or as a tuple's items."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if isinstance(argument, type) and issubclass(argument, BaseModel):
            return argument
    return None


def _reason(kind: str, value: Any, context: Mapping[str, Any]) -> str:
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    match kind:
        case "literal_error":
            words = re.findall(r"'([^']*)'", str(context.get("expected", "")))
            guess = checks.did_you_mean(str(value), words)
            return f"is {shown} but has to be one of {', '.join(words)}{guess}"
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            sign = next(sign for sign in _LIMITS if sign in context)
            return f"is {shown} but has to be {_LIMITS[sign]} {context[sign]:g}: write a number in that range"
        case "multiple_of":
            step = context["multiple_of"]
            return f"is {shown} but has to be a multiple of {step}: write {value // step * step}"
        case "string_type" | "string_sub_type" | "path_type":
            return "has to be text: put it in quotes"
        case "string_too_short" | "too_short":
            return "is empty: write a value, or leave the key out"
        case "string_too_long":
            return f"is too long: use at most {context['max_length']} characters"
        case "tuple_type" | "list_type":
            return "has to be a list: write it in [square brackets]"
        case "model_type" | "model_attributes_type" | "dict_type":
            return "has to be a table: write its keys under a [table] of that name"
        case _ if kind.startswith("int"):
            return f"is {shown} but has to be a whole number: write it without quotes or unit"
        case _ if kind.startswith("float"):
            return f"is {shown} but has to be a number: write it without quotes or unit"
        case _ if kind.startswith("bool"):
            return f"is {shown} but has to be true or false: write one of them without quotes"
        case _:
            return "has a value of the wrong kind: see edge-node config schema"
