# SPDX-License-Identifier: Apache-2.0
"""JSON schema of the configuration, from the models that validate it."""

import ast
import inspect
import json
import textwrap
from itertools import pairwise
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from dronebms.core.plausible_range import PlausibleRange
from dronebms.core.toml_schema import Names
from dronebms.service.config import Config


class _Generator(GenerateJsonSchema):
    """A generator with the names and ranges of our validators; TOML has no null."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """Schema of the value alone: a key that is unknown is left out."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Schema with its default, unless that is None or a section, which has its own defaults."""
        found = super().default_schema(schema)
        given = found.get("default")
        return found if given is not None and not isinstance(given, dict) else _without(found)

    def function_after_schema(
        self, schema: core_schema.AfterValidatorFunctionSchema
    ) -> JsonSchemaValue:
        """Schema of a validated value, with what the validator accepts."""
        inner = super().function_after_schema(schema)
        owner = getattr(schema["function"]["function"], "__self__", None)
        match owner:
            case Names(known):
                return {**inner, "enum": list(known)}
            case PlausibleRange(low, high):
                return {**inner, "minimum": low, "maximum": high}
        return inner

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Schema of a table, with the meanings of its keys."""
        found = super().model_schema(schema)
        fields = schema["cls"].model_fields
        for name, text in meanings(schema["cls"]).items():
            found["properties"][fields[name].alias or name]["description"] = text
        return found

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401, ARG002 - of the base
        """No title: it would repeat the key."""
        return False


def _without(schema: JsonSchemaValue) -> JsonSchemaValue:
    return {key: value for key, value in schema.items() if key != "default"}


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """The text below each field of a model, by the name of the field; also of its bases.

    The models are made without it (`use_attribute_docstrings`): every start of a command would
    read and parse their source.
    """
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not issubclass(base, BaseModel) or base is BaseModel:
            continue
        rows = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        body = rows.body if isinstance(rows, ast.ClassDef) else []
        for row, text in pairwise(body):
            match row, text:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(words))),
                ):
                    found[name] = inspect.cleandoc(words)
    return found


def configuration_schema() -> dict[str, Any]:
    """The schema of a configuration file."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    whole = Config.model_json_schema(schema_generator=_Generator)
    return head | whole | {"title": "Configuration of dronebms run"}


def schema_text() -> str:
    """The schema, as the file that is shipped; editors complete and check a TOML file with it."""
    return f"{json.dumps(configuration_schema(), indent=1)}\n"
