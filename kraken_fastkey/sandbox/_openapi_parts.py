"""The pieces that OpenAPI documents are put together from."""

from collections.abc import Collection
from typing import Any, TypeAlias

Schema: TypeAlias = dict[str, Any]


def ref(name: str, section: str = "schemas") -> Schema:
    return {"$ref": f"#/components/{section}/{name}"}


def json_content(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def closed_object(properties: Schema, optional: Collection[str] = ()) -> Schema:
    """Return the schema of an object with these fields and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }
