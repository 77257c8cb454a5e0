"""Write the part of docs/configuration.md that tells the pillar's keys, from the pillar's schema.

    python3 tests/support/configuration.py

The rest of that page is written by hand. A unit test fails when the page is not what this writes.
"""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "pillar/tungsten.schema.json"
PAGE = ROOT / "docs/configuration.md"
BEGIN = "<!-- from pillar/tungsten.schema.json by tests/support/configuration.py: not to be edited here -->"
END = "<!-- end of that -->"
# The sections of the page, by what the schema calls them.
SECTIONS = (("site", "tungsten:sites:SITE"), ("reprovision", "tungsten:reprovision"), ("drift", "tungsten:drift"),
            ("plans", "tungsten:plans"))


def leaves(schema, properties, above=""):
    """[(key, its schema with what it refers to)], without those that only hold others."""
    found = []
    for key, own in properties.items():
        whole = {**schema["$defs"][own["$ref"].rpartition("/")[2]], **own} if "$ref" in own else own
        if "properties" in whole:
            found += leaves(schema, whole["properties"], f"{above}{key}:")
        else:
            found.append((f"{above}{key}", whole))
    return found


def kind(value):
    """What may stand there, in words."""
    if "enum" in value:
        return "one of " + ", ".join(f"`{word}`" for word in value["enum"])
    if value.get("type") == "integer":
        return f"whole number, {value['minimum']} to {value['maximum']}"
    return "`true` or `false`" if value.get("type") == "boolean" else value["title"]


def shown(value):
    """As it stands in pillar: what JSON writes is YAML as well, and this is nearer to how people write it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {shown(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(shown, value)) + "]"
    return value if isinstance(value, str) else json.dumps(value)


def row(key, value, required):
    default = "**needed**" if required else f"`{shown(value['default'])}`" if "default" in value else ""
    examples = " or ".join(f"`{shown(example)}`" for example in value["examples"])
    return f"| `{key}` | {kind(value)} | {default} | {value['description']} | {examples} |"


def tables(schema):
    """The generated part: a table a section."""
    parts = []
    for name, title in SECTIONS:
        section = schema["$defs"][name]
        rows = [row(key, value, key in section.get("required", ()))
                for key, value in leaves(schema, section["properties"])]
        parts.append("\n".join([
            f"### `{title}`", "| key | type | default | meaning | example |", "|---|---|---|---|---|", *rows]))
    return "\n\n".join(parts)


def page(text, schema):
    """The page with its generated part as it has to be; all else is left as it is."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE} has lost the lines between which the keys are told: {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{tables(schema)}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(), json.loads(SCHEMA.read_text())))
