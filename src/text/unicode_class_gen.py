#!/usr/bin/env python3
"""Writes unicode_class.inc: the general-category classes of all non-ASCII code points as runs.

    pip install unicodedata2==15.1.0 && python3 unicode_class_gen.py > unicode_class.inc
"""
import unicodedata2

# White_Space=yes of PropList.txt, beyond ASCII.
WHITE_SPACE = {0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}
CLASSES = {"N": "kNumber", "L": "kLetter", "P": "kPunctuation", "M": "kMark", "S": "kSymbol"}


def class_of(code_point):
    if code_point in WHITE_SPACE:
        return "kSpace"
    return CLASSES.get(unicodedata2.category(chr(code_point))[0], "kOther")


def main():
    version = unicodedata2.unidata_version
    print(f"// Made by unicode_class_gen.py from Unicode {version}: first code point and class of each run;")
    print("// a run ends where the next begins. Code points that are not assigned are kOther.")
    previous = None
    line = ""
    for code_point in range(0x80, 0x110000):
        name = class_of(code_point)
        if name == previous:
            continue
        previous = name
        item = f"{{0x{code_point:x}, {name}}},"
        if len(line) + len(item) + 1 > 108:
            print(line)
            line = ""
        line += (" " if line else "") + item
    print(line)


main()
