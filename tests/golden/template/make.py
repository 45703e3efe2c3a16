#!/usr/bin/env python3
"""Writes goldens.json: what Python's jinja2 makes of every chat template over a set of conversations.

The environment is the one that Hugging Face transformers sets up (utils/chat_template_utils.py): immutable sandbox,
trim_blocks, lstrip_blocks, loop controls, the {% generation %} tag, tojson without HTML escapes, raise_exception and
strftime_now, here with a fixed time. The templates themselves are not part of the tree: only the 64-bit FNV-1a hash of
each output is, or the word "error" where jinja2 raises; two per conversation, with and without the generation prompt.
expressions.json holds small templates with their whole outputs, null where jinja2 raises; to add one, write it there
without "text" and run this.

    pip install jinja2==3.1.6
    python3 tests/golden/template/make.py PATH/TO/chat_templates
"""

import datetime
import functools
import json
import pathlib
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

HERE = pathlib.Path(__file__).resolve().parent
NOW = datetime.datetime(2025, 1, 2, 3, 4, 5)


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("_pass_through")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _pass_through(self, caller):
        return caller()


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: NOW.strftime(form)
    return env


ENV = environment()


@functools.lru_cache(maxsize=1)
def compiled(source):
    return ENV.from_string(source)


def render(source, context):
    """The text, or None where jinja2 raises."""
    try:
        return compiled(source).render(**context)
    except Exception:
        return None


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def main():
    templates = pathlib.Path(sys.argv[1])
    conversations = json.loads((HERE / "conversations.json").read_text())
    goldens = {}
    for path in sorted(templates.glob("*.jinja")):
        source = path.read_text()
        row = []
        for conversation in conversations:
            for prompted in (True, False):
                context = {
                    "bos_token": "<s>",
                    "eos_token": "</s>",
                    "tools": None,
                    "documents": None,
                    **conversation["context"],
                    "add_generation_prompt": prompted,
                }
                text = render(source, context)
                row.append("error" if text is None else fnv1a(text.encode()))
        goldens[path.name] = row
    lines = [f"{json.dumps(name)}: {json.dumps(row)}" for name, row in goldens.items()]
    (HERE / "goldens.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")

    cases = json.loads((HERE / "expressions.json").read_text())
    for case in cases:
        case["text"] = render(case["template"], case.get("context", {}))
    lines = [json.dumps(case, ensure_ascii=False) for case in cases]
    (HERE / "expressions.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
    raised = sum(row.count("error") for row in goldens.values())
    print(f"{len(goldens)} templates, {len(goldens) * 2 * len(conversations)} renders, {raised} raise")


if __name__ == "__main__":
    main()
