"""Ingests a folder of realistic size and checks speed and memory.

usage: check_ingestion.py SOUFFLEUR FOLDER DATA_DIR
"""

import json
import resource
import subprocess
import sys
import time

# Parse, clean and cut, in megabytes of source text a second, on two cores.
SPEED_MIN = 5.0
# Peak memory of a whole ingestion.
PEAK_MB_MAX = 600

souffleur, folder, data = sys.argv[1:]


def run(*flags):
    start = time.monotonic()
    out = subprocess.run([souffleur, "ingest", folder, "--data-dir", data, "--json", "--quiet", *flags],
                         check=True, stdout=subprocess.PIPE)
    return json.loads(out.stdout), time.monotonic() - start


dry, _ = run("--dry-run")
speed = dry["source_bytes"] / 1e6 / dry["seconds"]
report, seconds = run()
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
again, again_seconds = run()
print(f"     parse, clean, cut: {speed:.1f} MB/s; whole: {seconds:.0f} s, {report['chunks']} chunks; "
      f"again: {again_seconds:.1f} s; peak {peak:.0f} MB")
assert speed >= SPEED_MIN, f"{speed:.1f} MB/s is less than {SPEED_MIN}"
assert peak <= PEAK_MB_MAX, f"{peak:.0f} MB is more than {PEAK_MB_MAX}"
changed = {key: value for key, value in again["documents"].items() if key in ("added", "updated", "removed") and value}
assert not changed, f"a second run changed {changed}"
print("ok   ingestion")
