"""Reads a template into plain Python values. `!Ref X` becomes {"Ref": "X"}, so the result can be written as JSON."""

from pathlib import Path

import yaml

TEMPLATES = Path(__file__).resolve().parent.parent / "templates"


class Loader(yaml.SafeLoader):
    """Reads YAML with the short forms of CloudFormation's functions, for example `!Ref`."""


def short_form(loader, tag, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if tag == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {tag if tag in ("Ref", "Condition") else f"Fn::{tag}": value}


Loader.add_multi_constructor("!", short_form)


def read(path):
    with open(path, encoding="utf-8") as file:
        return yaml.load(file, Loader)


def all_templates():
    return {path.name: read(path) for path in sorted(TEMPLATES.glob("*.yaml"))}
