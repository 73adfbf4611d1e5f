"""The JSON schema of `Example`, made from the dataclass: what a row of a corpus looks like to other programs.

`elixir-coder data schema` prints it; it lies beside this file as `example.schema.json`, and a test holds one to the
other. Source: https://json-schema.org/draft/2020-12/schema
"""

from __future__ import annotations

import argparse
import inspect
import json
import typing
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from elixir_coder.example import KINDS, Example

SCHEMA_FILE = Path(__file__).with_name("example.schema.json")

# What the annotations do not say; of a field by its name, wherever it stands.
_ALSO: dict[str, dict[str, Any]] = {
    "kind": {"enum": list(KINDS)},
    "sha256": {"pattern": "^[0-9a-f]{64}$"},
    "role": {"enum": ["user", "assistant"]},
    "line": {"minimum": 0},
    "difficulty": {"minimum": 0, "maximum": 5},
    "start": {"minimum": -1},
    "end": {"minimum": -1},
}


def schema() -> dict[str, Any]:
    """The schema of one row, with a definition for each dataclass inside it."""
    definitions: dict[str, Any] = {}
    row = _object(Example, definitions)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Example", **row, "$defs": definitions}


def text() -> str:
    """The schema as it is committed and printed."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def _object(of: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(of)
    return {
        "description": inspect.getdoc(of),
        "type": "object",
        "properties": {
            each.name: _type(hints[each.name], definitions)
            | _ALSO.get(each.name, {})
            | ({} if each.default is MISSING else {"default": _plain(each.default)})
            for each in fields(of)
        },
        "required": [each.name for each in fields(of) if each.default is MISSING],
        "additionalProperties": False,
    }


def _type(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if is_dataclass(hint):
        name = typing.cast(type, hint).__name__
        definitions.setdefault(name, None)  # in the order they are met
        definitions[name] = _object(hint, definitions)
        return {"$ref": f"#/$defs/{name}"}
    if typing.get_origin(hint) is tuple:
        return {"type": "array", "items": _type(typing.get_args(hint)[0], definitions)}
    return {"type": {str: "string", int: "integer"}[hint]}


def _plain(default: Any) -> Any:
    return list(default) if isinstance(default, tuple) else default


def add_parser(subparsers: Any) -> None:
    """Add `schema` to the subcommands of `elixir-coder data`."""
    parser = subparsers.add_parser("schema", help="print the JSON schema of a corpus's rows")
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """The command `data schema`."""
    print(text(), end="")
    return 0
