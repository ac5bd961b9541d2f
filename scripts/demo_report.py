"""Prints the labelled windows of the failing motor beside what was found, and checks the list.

Usage: demo_report.py LABELS ANOMALIES MAINTENANCE
Ends with an error when the failing motor is not first.
"""

import json
import sys
from datetime import datetime


def instant(text):
    return datetime.fromisoformat(text.replace("Z", "").split(".")[0])


def main():
    labels, anomalies, maintenance = sys.argv[1:]
    labels = json.load(open(labels))
    windows = next(iter(labels.values()))["windows"] if "windows" not in labels else labels["windows"]
    found = [json.loads(line) for line in open(anomalies) if line.strip()]
    failing = [(instant(a["time"]), a["reason"]) for a in found if a["deviceId"] == "motor-failing"]
    print("labelled windows of motor-failing          first anomaly in it")
    for start, end in windows:
        inside = [a for a in failing if instant(start) <= a[0] <= instant(end)]
        words = f"{inside[0][0]}  {inside[0][1]}" if inside else "none"
        print(f"{start[:16]} to {end[:16]}    {words}")
    outside = [a for a in failing if not any(instant(s) <= a[0] <= instant(e) for s, e in windows)]
    print(f"anomalies outside of the windows: {len(outside)}")
    items = json.load(open(maintenance))
    first = items[0]
    print(f"\nfirst in the maintenance list: {first['deviceId']}, because {first['reason']}")
    if first["deviceId"] != "motor-failing":
        sys.exit("the failing motor is not first")


main()
