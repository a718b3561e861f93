"""The reference of the configuration and its JSON Schemas, made from the fields themselves."""

import datetime as dt
import json
import re
from collections.abc import Iterator
from enum import Enum
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app.config.catalogue import Catalogue
from app.config.described import meanings_of, parts_in, parts_of
from app.config.document import MAX_BYTES, MAX_DEPTH, MAX_VALUES
from app.config.expected import annotations_of, expected, plain, unit_of, without_none
from app.config.gateway import GatewayConfig
from app.config.settings import Settings

SCHEMAS: dict[str, type[BaseModel]] = {"gateway": GatewayConfig, "models": Catalogue}
"""What there is a JSON Schema for, by its name."""

_INTRODUCTION = f"""\
# Configuration reference

Made by `make reference` from the fields themselves; edit the text below a field in `app/config`,
not this page.

`steelyard check-config FILE` says line by line what is wrong with a file, what may be, and what it
amounts to. `--no-env` leaves out what depends on the machine (environment variables, folders,
extras), for a pipeline without secrets; `--strict` fails for what may be a mistake, too.

- A configuration is one YAML file, and the catalogue of models that it names. Paths in it are
  relative to its folder. Units are in the names: `_s` is seconds, `_usd` US dollars, `_mtok` a
  million tokens.
- What is left out has its default. What is no field is an error, and so is a key that stands twice.
- Secrets are never written: fields that end in `_env` name environment variables.
- One file has at most {MAX_BYTES:,} bytes, {MAX_VALUES:,} keys and values (what aliases repeat
  included) and {MAX_DEPTH} levels. Anchors, aliases and merge keys (`<<: *defaults`) work; tags do
  not.

Editors that know `yaml-language-server` (VS Code, Neovim, Helix) complete and check with
[gateway.schema.json](../../configs/schema/gateway.schema.json) and
[models.schema.json](../../configs/schema/models.schema.json) if the first line of a file says so:

```yaml
# yaml-language-server: $schema=schema/gateway.schema.json
```

`steelyard config-reference --schema gateway` prints one of them.
"""


def reference_page() -> str:
    """Return the whole reference as Markdown."""
    lines = [_INTRODUCTION]
    lines += ["## Environment", "", *_environment(), ""]
    for title, model in (("The configuration file", GatewayConfig), ("The catalogue", Catalogue)):
        lines += [f"## {title}", ""]
        # Both have `models.<name>`, and headings want to be told apart.
        suffix = " of the catalogue" if model is Catalogue else ""
        seen: dict[type[BaseModel], tuple[str, str]] = {}
        for place, part in parts_of(model):
            lines += _section(place, part, seen, suffix)
    return "\n".join(lines).rstrip() + "\n"


def schema_text(name: str) -> str:
    """Return one of `SCHEMAS` as JSON Schema (draft 2020-12)."""
    model = SCHEMAS[name]
    schema = model.model_json_schema()
    models = {each.__name__: each for _, each in parts_of(model)}
    for definition, each in ((model.__name__, schema), *schema.get("$defs", {}).items()):
        if definition in models:
            _describe(each, models[definition])
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Steelyard: {name}.yaml",
    }
    return json.dumps(head | {k: v for k, v in schema.items() if k != "title"}, indent=2) + "\n"


def _describe(schema: dict[str, Any], model: type[BaseModel]) -> None:
    schema["description"] = _one_line(model.__doc__ or "")
    meanings = meanings_of(model)
    for name, each in schema["properties"].items():
        unit = unit_of(name)
        each["description"] = meanings[name] + (f" In {unit}." if unit else "")
        each.pop("title", None)
        if isinstance(each.get("default"), dict):
            del each["default"]  # it repeats the defaults of the part


def _environment() -> Iterator[str]:
    yield from ("| variable | default | meaning |", "|---|---|---|")
    meanings = meanings_of(Settings)
    for name, field in Settings.model_fields.items():
        variable = field.validation_alias or f"STEELYARD_{name.upper()}"
        meaning = meanings[name].removeprefix(f"`{variable}`: ").rstrip(".")
        yield f"| `{variable}` | {_default(field)} | {_cell(meaning)} |"
    for place, part in parts_of(GatewayConfig):
        for name in annotations_of(part):
            if name.endswith("_env"):
                default = part.model_fields[name].default
                variable = f"`{default}`" if default else "of your choice"
                said = _cell(meanings_of(part)[name]).rstrip(".")
                yield f"| {variable} | not set | `{place}.{name}`: {said} |"
    yield (
        "| `OTEL_EXPORTER_OTLP_*`, `OTEL_SEMCONV_STABILITY_OPT_IN` | not set | "
        "as OpenTelemetry defines them, with `traces.enabled` |"
    )
    yield (
        "| `SSL_CERT_FILE`, `SSL_CERT_DIR` | the system's | whose certificates are trusted, of "
        "upstreams and of `rediss://` |"
    )


def _section(
    place: str, part: type[BaseModel], seen: dict[type[BaseModel], tuple[str, str]], suffix: str
) -> Iterator[str]:
    if place:
        yield from (f"### `{place}`{suffix}", "")
    about = _one_line(part.__doc__ or "")
    if part in seen:
        first, of = seen[part]
        yield from (f"{about} The fields are those of [`{first}`]({_anchor(first + of)}).", "")
        return
    seen[part] = place, suffix
    yield from (about, "")
    yield from ("| field | allowed | unit | default | meaning |", "|---|---|---|---|---|")
    meanings = meanings_of(part)
    for name, annotation in annotations_of(part).items():
        field = part.model_fields[name]
        allowed = _linked(annotation, f"{place}.{name}".lstrip("."), suffix)
        if field.is_required() and len(without_none(annotation)) < _width(annotation):
            allowed += ", or null where it is not known"
        cells = (f"`{name}`", _cell(allowed), unit_of(name), _default(field), meanings[name])
        yield f"| {' | '.join(map(_cell, cells))} |"
    yield ""


def _linked(annotation: Any, place: str, suffix: str) -> str:
    """Say what is allowed; of a part by itself, where that is said."""
    inner = next(parts_in(annotation), None)
    if inner is None:
        return expected(annotation)
    heading = place + inner[1]
    return f"[`{heading}`]({_anchor(heading + suffix)})"


def _width(annotation: Any) -> int:
    return len(getattr(annotation, "__args__", (annotation,)))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "left out"
    if isinstance(value, BaseModel):
        return "its defaults"
    if value in ({}, ()):
        return "none"
    return f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, int | float):
        return plain(value)
    if isinstance(value, frozenset):
        return f"[{', '.join(sorted(_yaml(each) for each in value))}]"
    return value.isoformat() if isinstance(value, dt.date) else str(value)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", text)


def _anchor(heading: str) -> str:
    """Return the anchor that GitHub makes of a heading."""
    return "#" + re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-"))
