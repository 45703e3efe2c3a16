#!/usr/bin/env python3
"""Holds the doors to the network under src/ against one list: what sends bytes stands where the list says, and nowhere else.

Together with two types this is the argument that nothing leaves the device around the privacy gate (docs/privacy.md, "What leaves"): a
chat::Outbound is made by privacy::OutboundGate alone, an upstream::Letter from a chat::Outbound or from text of the program, and the one
file that gives libcurl bytes takes letters. Prints each place that the list does not have, and exits with 1 when there is one.
"""

import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent

# What sends, or opens a way to do so: {pattern: {file: why it may}}. Tests are not looked at.
WIRE = "src/upstream/wire.cc"
PULL = "src/cli/models/fetch_url.cc"
TOP_VIEW = "src/cli/http_get.cc"
DOORS = {
    # libcurl: every option of a request (URL, headers and body are such) and every call that starts one.
    r"\beasy_setopt\b|\bmulti_add_handle\b|\beasy_perform\b|\beasy_send\b|\bws_send\b|\bmime_\w+|\bformadd\b": {
        WIRE: "takes letters alone",
        PULL: "`hedge pull`: a command of its own that sends the URL it was given; it never sees a request",
        TOP_VIEW: "`hedge top`: a command of its own that GETs the status of the server it was given; it never sees a request",
        "src/upstream/libcurl_list.inc": "names libcurl's functions, calls none",
    },
    # Sockets of our own that connect: none. The server only accepts.
    r"::connect\s*\(|\basync_connect\b|\basio::connect\b|\bsendto\s*\(|\bsendmsg\s*\(": {},
    # libpq: what opens a connection to a database and writes to it.
    r"\bconnectdbParams\b|\bsendQuery\w*\b|\bsendPrepare\b": {
        "src/session/postgres.cc": "the store of sessions, where the operator put it on a server",
        "src/session/libpq_list.inc": "names libpq's functions, calls none",
    },
    # Other programs that could send.
    r"\bsystem\s*\(|\bpopen\s*\(|\bexecv\w*\s*\(|\bexecl\w*\s*\(|\bposix_spawn\w*\s*\(": {
        "src/cli/models/fetch_pypi.cc": "`hedge pull`: runs pip with a name of the list of models",
    },
    # Who makes what may leave.
    r"\bfriend class privacy::OutboundGate\b": {"src/chat/outbound.h": "the only friend"},
    r"\bnew chat::Outbound\(|\bchat::Outbound\(chat::Request|\bchat::Outbound\{": {"src/privacy/outbound_gate.cc": "the gate"},
    r"\bfriend class Exchange\b": {"src/upstream/wire.h": "the only reader of letters"},
}
# libcurl's functions that Hedge loads, which the first pattern knows: a new one is looked at by whoever adds it.
KNOWN = set("""easy_cleanup easy_getinfo easy_init easy_pause easy_perform easy_setopt easy_strerror global_init multi_add_handle multi_cleanup
multi_info_read multi_init multi_perform multi_poll multi_remove_handle multi_setopt multi_wakeup slist_append slist_free_all""".split())


def is_test(path):
    return "_test" in path.stem or path.stem.startswith("test_") or path.read_text().startswith("// For tests")


def without_comment(line):
    return line.split("//", 1)[0] if '"' not in line.split("//", 1)[0] else line


def main():
    faults, places = [], 0
    for path in sorted((TOP / "src").rglob("*")):
        if path.suffix not in {".h", ".cc", ".inc"} or is_test(path):
            continue
        name = str(path.relative_to(TOP))
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for pattern, allowed in DOORS.items():
                if re.search(pattern, without_comment(line)):
                    places += 1
                    if name not in allowed:
                        faults.append(f"{name}:{number}: sends, or lets something leave, outside of {', '.join(allowed) or 'anything that may'}")
    loaded = set(re.findall(r"HEDGE_CURL_FUNCTION\((\w+)\)", (TOP / "src/upstream/libcurl_list.inc").read_text()))
    faults += [f"src/upstream/libcurl_list.inc: {f} is new; say in scripts/check_outbound.py whether it sends" for f in sorted(loaded - KNOWN)]
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"outbound: {places} places that send, {len(faults)} not allowed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
