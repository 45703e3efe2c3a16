#!/usr/bin/env python3
"""Checks that object files of kernel levels share no code with the rest of the program.

A level is compiled for instructions that the machine may lack. An inline function or template that it shares with other
files as a weak symbol could be linked from its object and then run everywhere. So each object may define one global
symbol, its table, and may need nothing but the C memory functions.

usage: check_symbols.py NM OBJECT...
"""

import re
import subprocess
import sys

NEEDED = {"memcpy", "memset", "memmove", "memcmp"}
TABLE = re.compile(r"^hedge::kernels::k\w+Table$")


def faults(nm: str, path: str) -> list[str]:
    output = subprocess.run([nm, "-C", "-f", "posix", path], check=True, capture_output=True, text=True).stdout
    found, tables = [], 0
    for line in output.splitlines():
        # NAME TYPE [VALUE [SIZE]], where NAME may hold spaces.
        match = re.match(r"^(.*) ([A-Za-z?-])(?: [0-9a-f]*)*$", line.rstrip())
        if match is None:
            found.append(f"nm wrote a line that is not understood: {line}")
            continue
        name, kind = match.groups()
        if kind == "U":
            if name not in NEEDED:
                found.append(f"needs {name}; allowed are {', '.join(sorted(NEEDED))}")
        elif kind in "wWvVu":
            found.append(f"shares {name} (nm type {kind}) with other files")
        elif kind.isupper():
            if TABLE.match(name):
                tables += 1
            else:
                found.append(f"defines {name} for all to link; put it into an unnamed namespace")
    if tables != 1:
        found.append(f"defines {tables} tables; expected 1")
    return found


def main() -> int:
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    bad = 0
    for path in sys.argv[2:]:
        for fault in faults(sys.argv[1], path):
            print(f"{path}: {fault}")
            bad += 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
