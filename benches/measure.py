"""Runs a command and writes its cost to a file: elapsed time, processor time, peak memory.

usage: measure.py RESULT COMMAND [ARGUMENT…]

RESULT is the file for the cost, as JSON. This is a Python program because the cost is a result of the system call
`wait4`: Python's standard library has this call, and Rust's does not.
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
