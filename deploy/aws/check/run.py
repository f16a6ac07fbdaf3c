"""Checks the templates without an AWS account. Usage: run.py [static|stack|array|member|load]…, all by default."""

import os
import sys
import time

from tools import Tools, Unavailable


def in_our_python():
    """Starts this program again with the Python in which the libraries of the checks are installed."""
    python = Tools().python_program("python")
    if os.path.realpath(sys.prefix) != os.path.realpath(os.path.dirname(os.path.dirname(python))):
        os.execv(python, [python, "-u", *sys.argv])


def main(arguments):
    try:
        in_our_python()
    except Unavailable as missing:
        print(f"NOT CHECKED: everything: {missing}")
        return 0
    import sections

    names = arguments or list(sections.SECTIONS)
    unknown = [name for name in names if name not in sections.SECTIONS]
    if unknown:
        sys.exit(f"unknown section {unknown[0]}; the sections are {', '.join(sections.SECTIONS)}")
    failed = []
    for name in names:
        started = time.monotonic()
        print(f"== {name}", flush=True)
        try:
            ok = sections.SECTIONS[name](Tools())
        except Unavailable as missing:
            # xtask reads this line. At its end, it lists the checks that were not possible on this machine.
            print(f"NOT CHECKED: {name}: {missing}")
            continue
        print(f"== {name} {'passed' if ok else 'FAILED'} in {time.monotonic() - started:.0f} s", flush=True)
        failed += [] if ok else [name]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
