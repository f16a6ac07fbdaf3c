"""Runs a command and says what it cost: wall clock, processor time, peak memory.

usage: measure.py RESULT COMMAND [ARGUMENT…]

The cost goes to the file RESULT as JSON. The kernel keeps these numbers for whoever waits for a process; Python's
standard library hands them out, Rust's does not.
"""

import json
import os
import sys
import time


def main():
    result, command = sys.argv[1], sys.argv[2:]
    started = time.perf_counter()
    process = os.posix_spawnp(command[0], command, os.environ)
    _, status, used = os.wait4(process, 0)
    cost = {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_bytes": used.ru_maxrss * 1024,
        "status": os.waitstatus_to_exitcode(status),
    }
    with open(result, "w", encoding="utf-8") as file:
        json.dump(cost, file)


main()
