#!/usr/bin/env python3
"""Word lists for `hedge privacy train`: names, places, streets, companies and occupations by country.

Usage: pip install faker==40.54.0; make_lists.py [--words FILE] > lists.tsv

One line per value: class, locale, value, separated by tabs. Names and places come from Faker's providers (MIT,
https://github.com/joke2k/faker); --words names a list of English words, one a line (Debian's wamerican, from SCOWL).
The lists are used while training only, besides the Bloom filters of single words that the weights hold.
"""
import argparse
import importlib
import pkgutil
import sys

import faker

LATIN_LIMIT = 0x0600  # Latin, Greek, Cyrillic, Armenian, Hebrew; the others write no spaces or have no case
GENERATED = 120


def usable(value):
    return isinstance(value, str) and value and all(ord(c) < LATIN_LIMIT or ord(c) in (0x1E9E, 0x2019) for c in value)


def providers(kind):
    package = importlib.import_module("faker.providers." + kind)
    for module in pkgutil.iter_modules(package.__path__):
        yield module.name, importlib.import_module(f"faker.providers.{kind}.{module.name}").Provider


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words")
    args = parser.parse_args()
    rows = set()

    def add(kind, locale, value):
        value = " ".join(str(value).split())
        if usable(value) and len(value) <= 60:
            rows.add((kind, locale, value))

    for locale, provider in providers("person"):
        for name in dir(provider):
            kind = "first" if name.startswith("first_names") else "last" if name.startswith("last_names") else None
            values = getattr(provider, name) if kind else ()
            for value in values if hasattr(values, "__iter__") else ():
                add(kind, locale, value)
    wanted = {"cities": "city", "city_names": "city", "places": "city", "bairros": "city", "communes": "city",
              "localities": "city", "towns": "city", "villages": "city", "states": "region", "provinces": "region",
              "counties": "region", "regions": "region", "states_abbr": "abbreviation",
              "provinces_abbr": "abbreviation", "streets": "street", "street_names": "street"}
    for locale, provider in providers("address"):
        for name, kind in wanted.items():
            values = getattr(provider, name, ())
            values = list(values) if hasattr(values, "__iter__") else []
            for value in values[:: max(1, len(values) // 2500)]:
                add(kind, locale, value[0] if isinstance(value, tuple) else value)
        if locale == "en":
            for value in provider.countries:
                add("country", locale, value)
        elif locale in ("de", "de_DE", "fr_FR", "es_ES", "it_IT", "pt_PT", "nl_NL", "sv_SE", "pl_PL"):
            for value in provider.countries[::4]:
                add("country", locale, value)
    for locale in faker.config.AVAILABLE_LOCALES:
        fake = faker.Faker(locale)
        fake.seed_instance(7)
        for kind, method, count in (("city", "city", GENERATED), ("street", "street_name", GENERATED),
                                    ("company", "company", GENERATED), ("job", "job", 1200 if locale == "en_US" else 0)):
            for _ in range(count):
                try:
                    add(kind, locale, getattr(fake, method)())
                except (AttributeError, NotImplementedError, IndexError, ValueError):
                    break
    if args.words:
        with open(args.words, encoding="utf-8") as f:
            for line in f:
                word = line.strip()
                if word.isalpha() and word.islower():
                    add("word", "en", word)
    for row in sorted(rows):
        sys.stdout.write("\t".join(row) + "\n")


if __name__ == "__main__":
    main()
