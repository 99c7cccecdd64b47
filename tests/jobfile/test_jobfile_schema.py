"""The JSON Schema that editors get agrees with what the reader takes."""

import json
import re
from pathlib import Path

import pytest
import yaml

from hqtrio.jobfile.native import DEFAULT_KEYS, TASK_KEYS, TOP_KEYS
from hqtrio.jobfile.schema import json_schema

EXAMPLES = Path(__file__).parents[2] / "configs" / "jobs"
SCHEMA = json_schema()
TYPES = {
    "string": str,
    "object": dict,
    "array": list,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}
KNOWN_WORDS = {
    *("$schema", "title", "description", "type", "properties", "additionalProperties", "anyOf"),
    *("enum", "required", "items", "minItems", "maxItems", "minimum", "maximum", "minLength"),
    *("exclusiveMinimum", "minProperties", "maxProperties", "propertyNames", "pattern"),
}


class Loader(yaml.SafeLoader):
    """YAML 1.2, as editors read it: `on` is a text."""


Loader.yaml_implicit_resolvers = {
    first: [row for row in rows if not row[0].endswith(":bool") or first in "tTfF"]
    for first, rows in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def is_of(value, name):
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, TYPES[name])


def fits(value, schema):
    """A small judge of the few words that the schema uses."""
    assert set(schema) <= KNOWN_WORDS, set(schema) - KNOWN_WORDS
    kinds = schema.get("type", [])
    if kinds and not any(is_of(value, k) for k in ([kinds] if isinstance(kinds, str) else kinds)):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if "anyOf" in schema and not any(fits(value, other) for other in schema["anyOf"]):
        return False
    if isinstance(value, dict):
        if not schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", 999):
            return False
        if any(name not in value for name in schema.get("required", ())):
            return False
        if "propertyNames" in schema and not all(fits(n, schema["propertyNames"]) for n in value):
            return False
        others = schema.get("additionalProperties", True)
        known = schema.get("properties", {})
        inner = {name: known.get(name, others) for name in value}
        return all(s is not False and (s is True or fits(value[n], s)) for n, s in inner.items())
    if isinstance(value, list):
        within = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 999)
        return within and all(fits(item, schema.get("items", {})) for item in value)
    if isinstance(value, str):
        long_enough = len(value) >= schema.get("minLength", 0)
        return long_enough and re.search(schema.get("pattern", ""), value) is not None
    if isinstance(value, int | float):
        above = value > schema.get("exclusiveMinimum", -1e99)
        return above and schema.get("minimum", -1e99) <= value <= schema.get("maximum", 1e99)
    return True


def test_it_knows_exactly_the_keys_that_the_reader_knows():
    by_name, listed = SCHEMA["properties"]["tasks"]["anyOf"]
    assert set(SCHEMA["properties"]) == TOP_KEYS
    assert set(by_name["additionalProperties"]["properties"]) == TASK_KEYS
    assert set(listed["items"]["properties"]) == TASK_KEYS | {"name"}
    assert set(SCHEMA["properties"]["defaults"]["properties"]) == DEFAULT_KEYS


def test_it_can_be_printed():
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert SCHEMA["$schema"].startswith("https://json-schema.org/")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_it_accepts_every_native_example(path):
    value = yaml.load(path.read_text(), Loader)
    assert fits(value, SCHEMA) == ("tasks" in value)


@pytest.mark.parametrize(
    "text",
    [
        "tasks: {}",
        "name: x",
        "tasks: {a: {comand: x}}",
        "tasks: {1a: {command: x}}",
        "tasks: {a: {command: []}}",
        "tasks: [{command: x}]",
        "tasks: {a: {command: x, pin: both}}",
        "tasks: {a: {command: x, retry: {backoff: 1s}}}",
        "tasks: {a: {command: x, needs: {b: some}}}",
        "tasks: {a: {command: x, entries: {xml: f}}}",
        "tasks: {a: {command: x, matrix: {n: []}}}",
        "defaults: {needs: a}\ntasks: {a: {command: x}}",
    ],
)
def test_it_refuses_what_the_reader_refuses(text):
    assert not fits(yaml.safe_load(text), SCHEMA)
