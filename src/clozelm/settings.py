"""Load frozen, validated settings from TOML and ``section.key=value`` overrides, and describe them.

Only the loader lives here: every settings class stands beside the code it sets, as a frozen pydantic model
that forbids unknown keys; sections are nested models, and a section with variants is a union of models.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from clozelm.errors import SettingsError

SettingsT = TypeVar("SettingsT", bound=BaseModel)

_PLAIN_NAMES = {
    str: "text",
    Path: "path",
    NoneType: "none",
    int: "integer",
    float: "number",
    bool: "true | false",
}


@dataclass(frozen=True)
class SettingRow:
    """One setting as a person reads it: dotted name, type, default, meaning, source of the default."""

    name: str
    type: str
    default: str
    meaning: str
    source: str


def load(
    cls: type[SettingsT], source: Path | str | Mapping[str, Any] | None = None, overrides: Sequence[str] = ()
) -> SettingsT:
    """Merge a TOML file (or a dict) and overrides into validated settings; later overrides win.

    An override is ``section.key=value`` with the value as in TOML, where quotes may be left out; ``none``
    stands for "no value" wherever the setting allows that, in the file as well.
    """
    given = tree(cls, source, overrides)
    _choose_variants(cls, given)
    try:
        return cls.model_validate(_with_nones(cls, given))
    except ValidationError as error:
        raise SettingsError("; ".join(_messages(cls, given, error))) from None


def tree(
    cls: type[BaseModel], source: Path | str | Mapping[str, Any] | None = None, overrides: Sequence[str] = ()
) -> dict[str, Any]:
    """Merge as ``load`` does, refuse names that are no settings, and return the values as they were given."""
    given = read_toml(source) if isinstance(source, Path | str) else _copy(source or {})
    _make_room(cls, given, overrides)
    for override in overrides:
        _apply(cls, given, override)
    _refuse_unknown(cls, given)
    return given


def overlaid(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tree ``below`` with the values of ``above`` over it, table by table."""
    merged = _copy(below)
    for key, value in above.items():
        inner = merged.get(key)
        is_table = isinstance(value, Mapping) and isinstance(inner, Mapping)
        merged[key] = overlaid(inner, value) if is_table else value  # type: ignore[arg-type]
    return merged


def read_toml(path: Path | str) -> dict[str, Any]:
    """Read a TOML file; a missing, unreadable or malformed one is an error that names it."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such settings file.") from None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}).") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not a TOML file: {error}.") from None


def describe(cls: type[BaseModel]) -> list[SettingRow]:
    """List every setting of a class in the order of declaration, sections flattened into dotted names."""
    rows: dict[str, SettingRow] = {}
    for name, field in _leaves(cls):
        row = _row(name, field)
        before = rows.setdefault(name, row)
        kinds = dict.fromkeys(before.type.split(" | ") + row.type.split(" | "))
        rows[name] = replace(before, type=" | ".join(kinds))
    return list(rows.values())


def _row(name: str, field: FieldInfo) -> SettingRow:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    default = "required" if field.is_required() else _show(field.get_default(call_default_factory=True))
    kind = _type_name(field.annotation) + (f", {bounds}" if (bounds := _bounds(field)) else "")
    return SettingRow(name, kind, default, field.description or "", str(extra.get("source", "")))


def _leaves(cls: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Walk the settings that are not sections; a union of sections yields the settings of each member."""
    for key, field in cls.model_fields.items():
        sections = _sections(field.annotation)
        if not sections:
            yield prefix + key, field
        for section in sections:
            yield from _leaves(section, f"{prefix}{key}.")


def _sections(annotation: Any) -> list[type[BaseModel]]:
    """Return the settings classes an annotation may hold: none for a plain value, several for a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is Annotated:
        return _sections(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [section for member in get_args(annotation) for section in _sections(member)]
    return []


def _field(cls: type[BaseModel], path: Sequence[str]) -> FieldInfo | None:
    """Find the field at a path of keys, through sections; None where there is no such setting."""
    *outer, last = path
    classes: list[type[BaseModel]] = [cls]
    for key in outer:
        fields = [each.model_fields[key] for each in classes if key in each.model_fields]
        classes = [section for field in fields for section in _sections(field.annotation)]
    return next((each.model_fields[last] for each in classes if last in each.model_fields), None)


def _make_room(cls: type[BaseModel], given: dict[str, Any], overrides: Sequence[str]) -> None:
    """Empty every ``exclusive`` section that an override chooses from: of its settings only one may be given."""
    for override in overrides:
        name, _, value = override.partition("=")
        key = name.strip().partition(".")[0]
        field = cls.model_fields.get(key)
        sections = _sections(field.annotation) if field else []
        chooses = value.strip() != "none" and any(getattr(section, "exclusive", False) for section in sections)
        if chooses and isinstance(given.get(key), dict):
            given[key] = {}


def _apply(cls: type[BaseModel], given: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    path = name.strip().split(".")
    if not equals or not all(path):
        raise SettingsError(f"{override!r} is not a setting: write it as section.key=value.")
    field = _field(cls, path)
    if field is None:
        raise SettingsError(_unknown(cls, name.strip()))
    table = given
    for key in path[:-1]:
        inner = table.setdefault(key, {})
        if not isinstance(inner, dict):
            raise SettingsError(f"{key}={_show(inner)} must be a table of settings for '{override}' to change it.")
        table = inner
    table[path[-1]] = _parse(text.strip(), field)


def _parse(text: str, field: FieldInfo) -> Any:
    """Read the value of an override as TOML; for a setting that is text, what is not quoted is text."""
    kinds = _members(field.annotation)
    is_text = any(kind is str or get_origin(kind) is Literal for kind in kinds) and text[:1] not in ("'", '"')
    if is_text and not any(kind in (int, float, bool) for kind in kinds):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _members(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [kind for member in get_args(annotation) for kind in _members(member)]
    return [annotation]


def _with_nones(cls: type[BaseModel], given: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[str, Any]:
    """Replace the text ``none``, for which TOML has no word, wherever the setting may have no value."""
    replaced: dict[str, Any] = {}
    for key, value in given.items():
        field = _field(cls, [*path, key])
        if isinstance(value, Mapping):
            replaced[key] = _with_nones(cls, value, (*path, key))
        elif value == "none" and field is not None and NoneType in _members(field.annotation):
            replaced[key] = None
        else:
            replaced[key] = value
    return replaced


def _choose_variants(cls: type[BaseModel], given: dict[str, Any]) -> None:
    """Name the default variant in every section with variants that sets something else than the variant."""
    for key, field in cls.model_fields.items():
        inner = given.get(key)
        if not isinstance(inner, dict):
            continue
        if isinstance(field.discriminator, str) and isinstance(field.default, BaseModel):
            inner.setdefault(field.discriminator, getattr(field.default, field.discriminator))
        for section in _sections(field.annotation):
            _choose_variants(section, inner)


def _refuse_unknown(cls: type[BaseModel], given: Mapping[str, Any], path: tuple[str, ...] = ()) -> None:
    for key, value in given.items():
        field = _field(cls, [*path, key])
        if field is None:
            raise SettingsError(_unknown(cls, ".".join([*path, key])))
        if isinstance(value, Mapping) and _sections(field.annotation):
            _refuse_unknown(cls, value, (*path, key))


def _unknown(cls: type[BaseModel], name: str) -> str:
    known = [row.name for row in describe(cls)]
    last = name.rpartition(".")[2]
    close = get_close_matches(name, known, n=1) or [each for each in known if each.rpartition(".")[2] == last]
    sections = sorted({each.partition(".")[0] for each in known if "." in each})
    fallback = f"The sections are {', '.join(sections)}." if sections else f"The settings are {', '.join(known)}."
    return f"Unknown setting {name!r}. " + (f"Did you mean '{close[0]}'?" if close else fallback)


def _messages(cls: type[BaseModel], given: Mapping[str, Any], error: ValidationError) -> Iterator[str]:
    """Say each mistake in the words of the user: the dotted name, the value given, what it must be."""
    for detail in error.errors():
        path = _path(given, detail["loc"])
        name, context = ".".join(path), detail.get("ctx", {})
        field = _field(cls, path) if path else None
        if detail["type"] == "extra_forbidden":
            yield _misplaced(cls, given, path)
        elif detail["type"] == "union_tag_invalid":
            tag = context["discriminator"].strip("'")
            yield f"{name}.{tag}={context['tag']} must be one of {context['expected_tags']}."
        elif field is not None and (isinstance(detail["loc"][-1], int) or detail["type"] == "tuple_type"):
            whole = _show(_value(given, path))
            yield f"{name}={whole} must be {_list_name(field, detail)}{_usual(field)}."
        elif detail["type"] == "missing":
            meaning = f": {field.description.rstrip('.')}" if field and field.description else ""
            yield f"{name} is required and not given{meaning}."
        elif detail["type"] in ("value_error", "assertion_error"):
            yield _said_by_validator(name, field, detail)
        else:
            yield f"{name}={_show(detail['input'])} must {_demand(field, detail)}{_usual(field)}."


def _misplaced(cls: type[BaseModel], given: Mapping[str, Any], path: Sequence[str]) -> str:
    """Name the variant of a section that a setting of another variant was given to."""
    section = _field(cls, path[:-1]) if len(path) > 1 else None
    if section is None or not isinstance(section.discriminator, str):
        return _unknown(cls, ".".join(path))
    tag = f"{'.'.join(path[:-1])}.{section.discriminator}"
    variant = _value(given, [*path[:-1], section.discriminator])
    return f"Setting '{'.'.join(path)}' does not go with {tag}={variant}."


def _said_by_validator(name: str, field: FieldInfo | None, detail: ErrorDetails) -> str:
    said = detail["msg"].partition(", ")[2].rstrip(".") + "."
    if field is None or _sections(field.annotation):
        is_named = not name or f"{name}." in said
        return said if is_named else f"{name}: {said}"
    return f"{name}={_show(detail['input'])} {said}"


def _value(given: Any, path: Sequence[str]) -> Any:
    return _value(given[path[0]], path[1:]) if path else given


def _path(given: Mapping[str, Any], loc: tuple[int | str, ...]) -> list[str]:
    """Drop from an error's place what pydantic adds: the tags of unions, the indices in lists."""
    path: list[str] = []
    here: Any = given
    for i, part in enumerate(loc):
        is_key = isinstance(here, Mapping) and part in here
        if is_key or (i == len(loc) - 1 and isinstance(here, Mapping)):
            path.append(str(part))
        here = here[part] if is_key else here
    return path


def _demand(field: FieldInfo | None, detail: ErrorDetails) -> str:
    if detail["type"].startswith(("greater_than", "less_than")) and field is not None:
        return _range(field)
    if field is not None and _sections(field.annotation):
        return "be a table of settings"
    said = detail["msg"].removeprefix("Input should be ").removeprefix("Value should be ")
    return f"be {said}" if said != detail["msg"] else f"be valid ({said})"


def _usual(field: FieldInfo | None) -> str:
    if field is None or field.is_required() or _sections(field.annotation):
        return ""
    source = _row("", field).source
    return f" (default {_show(field.default)}{': ' + source if source else ''})"


def _range(field: FieldInfo) -> str:
    low, high = _limit(field, "gt", "ge"), _limit(field, "lt", "le")
    if low and high:
        word = {("gt", "lt"): "lie strictly between", ("ge", "le"): "lie between"}.get((low[0], high[0]))
        if word:
            return f"{word} {_plain(low[1])} and {_plain(high[1])}"
    words = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}
    return "be " + " and ".join(f"{words[limit[0]]} {_plain(limit[1])}" for limit in (low, high) if limit)


def _bounds(field: FieldInfo) -> str:
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    limits = (_limit(field, "gt", "ge"), _limit(field, "lt", "le"))
    return ", ".join(f"{signs[limit[0]]} {_plain(limit[1])}" for limit in limits if limit)


def _plain(limit: float) -> str:
    return str(limit) if isinstance(limit, int) else f"{limit:g}"


def _limit(field: FieldInfo, *kinds: str) -> tuple[str, float] | None:
    for mark in field.metadata:
        for kind in kinds:
            if hasattr(mark, kind):
                return kind, getattr(mark, kind)
    return None


def _list_name(field: FieldInfo, detail: ErrorDetails) -> str:
    """Say what a list must be of; where one thing stood for a list, show that in brackets."""
    inner = next((get_args(kind) for kind in _members(field.annotation) if get_origin(kind) is tuple), ())
    if len(inner) != 2 or inner[1] is not Ellipsis:
        return _type_name(field.annotation)
    one = detail["input"]
    example = f", as [{json.dumps(one, ensure_ascii=False)}]" if isinstance(one, inner[0]) else ""
    return f"a list of {_type_name(inner[0])}s{example}"


def _type_name(annotation: Any) -> str:
    if annotation in _PLAIN_NAMES:
        return _PLAIN_NAMES[annotation]
    if get_origin(annotation) is Literal:
        return " | ".join(_show(value) for value in get_args(annotation))
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return " | ".join(_type_name(member) for member in _members(annotation))
    if get_origin(annotation) is not None:
        inner = ", ".join("..." if member is Ellipsis else _type_name(member) for member in get_args(annotation))
        return f"{get_origin(annotation).__name__}[{inner}]"
    return str(getattr(annotation, "__name__", annotation))


def _show(value: Any) -> str:
    """Write a value as TOML would, which is how a user typed it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(_show(each) for each in value)}]"
    return str(value) if str(value).isprintable() else repr(value)


def _copy(given: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in given.items()}
