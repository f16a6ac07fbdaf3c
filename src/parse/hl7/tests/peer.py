"""Writes every part of HL7 messages as the package hl7 reads it: one JSON array per part."""

import json
import sys

import hl7


def parts(node):
    return list(node) if isinstance(node, hl7.Container) else [node]


for path in sys.argv[1:]:
    with open(path, "rb") as source:
        text = source.read().decode("utf-8-sig")
    # The package divides segments only at CR.
    message = hl7.parse(text.replace("\r\n", "\r").replace("\n", "\r"))
    for s, segment in enumerate(message, 1):
        for f, field in enumerate(list(segment)[1:], 1):
            for r, repetition in enumerate(parts(field), 1):
                for c, component in enumerate(parts(repetition), 1):
                    for n, leaf in enumerate(parts(component), 1):
                        part = [str(segment[0]), s, f, r, c, n, leaf, message.unescape(leaf)]
                        print(json.dumps(part, ensure_ascii=False, separators=(",", ":")))
