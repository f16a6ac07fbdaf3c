"""Prints what a deployment costs per month, and what loading 100 million rows costs. Usage: costs.py [ROWS_PER_SECOND]

The prices are AWS's list prices for us-east-1 in US dollars as the author knew them on 2026-11-30, without taxes, free
tiers and discounts. They were not looked up on that day. Check the current prices: https://aws.amazon.com/pricing/
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

HOURS = 730  # hours of a month
INSTANCE = {"r7g.large": 0.1071, "r7g.2xlarge": 0.4284, "r7g.8xlarge": 1.7136}
VCPU_HOUR, GIB_HOUR, SCRATCH_GIB_HOUR = 0.04048, 0.004445, 0.000111
ENDPOINT_HOUR, ZONES = 0.01, 3
GP3_GIB, GP3_IOPS, GP3_MIBPS = 0.08, 0.005, 0.04
KEY, SECRET, ALARM = 1.0, 0.40, 0.10
ROWS, COMPRESSED_BYTES_PER_ROW, S3_GIB_MONTH = 100_000_000, 52, 0.023  # measured with gzip of data/sample.csv


def parameters(size):
    lines = (HERE.parent / "parameters" / f"{size}.parameters").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def months_stored(values):
    """Returns how long a source is stored. After KeepDays, its version is hidden, and after KeepDays more, deleted."""
    template = (HERE.parent / "templates/storage.yaml").read_text()
    default = re.search(r"^  KeepDays: .*Default: (\d+)", template, re.MULTILINE).group(1)
    return 2 * int(values.get("KeepDays", default)) / 30


def base_per_month(size):
    endpoints = 4 * ZONES * ENDPOINT_HOUR * HOURS
    alarms = {"small": 3, "medium": 5, "large": 6}[size]
    return endpoints + 2 * KEY + 7 * SECRET + alarms * ALARM


def database_per_month(values):
    volume = int(values["VolumeGiB"]) * GP3_GIB
    volume += (int(values["VolumeIops"]) - 3000) * GP3_IOPS + (int(values["VolumeMiBps"]) - 125) * GP3_MIBPS
    endpoints = 2 * ZONES * ENDPOINT_HOUR * HOURS  # endpoints of Session Manager
    return 3 * (INSTANCE[values["MongoInstance"]] * HOURS + volume) + endpoints + 3 * SECRET


def load(values, rows_per_second):
    tasks = int(values.get("Workers", 1))
    task_hour = int(values["Vcpus"]) * VCPU_HOUR + int(values["Memory"]) / 1024 * GIB_HOUR
    task_hour += (int(values["ScratchGiB"]) - 20) * SCRATCH_GIB_HOUR
    stored = ROWS * COMPRESSED_BYTES_PER_ROW / 2**30 * S3_GIB_MONTH * months_stored(values)
    return tasks * task_hour * ROWS / rows_per_second / 3600 + stored


def main():
    rows_per_second = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    print(f"| size | per month without database | database (target ec2) per month | 100 million rows at {rows_per_second:,} rows/s |")
    print("|---|--:|--:|--:|")
    for size in ("small", "medium", "large"):
        values = parameters(size)
        print(f"| {size} | ${base_per_month(size):,.0f} | ${database_per_month(values):,.0f} | ${load(values, rows_per_second):.2f} |")


if __name__ == "__main__":
    main()
