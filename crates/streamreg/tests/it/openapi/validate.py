"""Validates values against the schemas of an OpenAPI document.

Reads {"document": ..., "values": [{"schema": NAME, "value": ...}]} from standard input, and prints each error. A member
that a schema does not list is an error, even if the schema allows other members.
"""

import json
import sys

import jsonschema_rs


def close(schema):
    if isinstance(schema, dict):
        if "properties" in schema:
            schema["additionalProperties"] = False
        for part in schema.values():
            close(part)
    elif isinstance(schema, list):
        for part in schema:
            close(part)


given = json.load(sys.stdin)
components = given["document"]["components"]
close(components["schemas"])
for case in given["values"]:
    schema = {"$ref": f"#/components/schemas/{case['schema']}", "components": components}
    validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    for error in validator.iter_errors(case["value"]):
        print(f"{case['schema']}: {error.message} at {error.instance_path}: {json.dumps(case['value'])}")
