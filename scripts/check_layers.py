#!/usr/bin/env python3
"""Holds the includes under src/ against the table "Who may include whom" of docs/architecture.md.

A module is a folder of src/. Its own headers are always allowed; tests and what begins with "// For tests" may include anything. Prints each
include that the table does not allow, and exits with 1 when there is one.
"""

import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
ROW = re.compile(r"^\| `(\w+)` \|.*\| ([^|]*) \|$")
INCLUDE = re.compile(r'^\s*#\s*include\s+"(\w+)/')


def read_table():
    """{module: set of modules it may include, or None for all}"""
    text = (TOP / "docs/architecture.md").read_text()
    section = text.split("## Who may include whom", 1)[1].split("\n## ", 1)[0]
    table = {}
    for line in section.splitlines():
        if row := ROW.match(line):
            allowed = row.group(2).strip()
            table[row.group(1)] = None if allowed == "all" else set(allowed.split()) - {"nothing"}
    return table


def is_test(path):
    return "_test" in path.stem or path.stem.startswith("test_") or path.read_text().startswith("// For tests")


def main():
    table = read_table()
    modules = {p.name for p in (TOP / "src").iterdir() if p.is_dir() and any(p.rglob("*.*"))}
    faults = [f"src/{m} is not in the table" for m in sorted(modules - table.keys())]
    count = 0
    for path in sorted((TOP / "src").rglob("*")):
        if path.suffix not in {".h", ".cc", ".inc"} or is_test(path):
            continue
        module = path.relative_to(TOP / "src").parts[0]
        allowed = table.get(module, set())
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = INCLUDE.match(line)
            if not match or match.group(1) not in modules:
                continue
            count += 1
            target = match.group(1)
            if target != module and allowed is not None and target not in allowed:
                faults.append(f"{path.relative_to(TOP)}:{number}: {module} may not include {target}")
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"layers: {count} includes of {len(modules)} modules, {len(faults)} not allowed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
