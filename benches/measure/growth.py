"""Draws how searches grow with an index, from what the bench `measure` printed.

    for n in 10000 100000 1000000; do
        cargo bench --workspace --bench measure -- $n --model EMBEDDER > $n.txt
    done
    python3 benches/measure/growth.py docs/images/growth.svg 10000.txt 100000.txt 1000000.txt

The name of a file is its number of chunks. Searches that embed their question are drawn where all
files have them, which takes `--model`.
"""

import math
import re
import sys
from pathlib import Path

# What is drawn, where all files have it: its colour, and what it is called.
LINES = {
    "hybrid search, no filter": ("#1f5fa8", "index alone, no filter"),
    "hybrid search, 1 in 100 passes": ("#b3541e", "index alone, 1 in 100 passes"),
    "question to hits, no filter": ("#2f7d4f", "question embedded, words and vectors sought, no filter"),
}
WIDTH, LEFT, RIGHT, TOP, LOW, LEGEND = 640, 60, 20, 46, 330, 18


def read(path):
    found = {}
    for what, p50, p99 in re.findall(r"^(.+): p50 ([\d.]+) ms, p99 ([\d.]+) ms$", path.read_text(), re.M):
        found[what] = float(p50), float(p99)
    return int(path.stem), found


def main(out, paths):
    measured = sorted(read(Path(it)) for it in paths)
    sizes = [n for n, _ in measured]
    lines = {it: LINES[it] for it in LINES if all(it in found for _, found in measured)}
    height = LOW + 36 + LEGEND * len(lines)
    most = max(max(found[line]) for _, found in measured for line in lines)
    top = 5 * math.ceil(most / 5) if most > 5 else math.ceil(most)
    x = lambda n: LEFT + (WIDTH - LEFT - RIGHT) * math.log(n / sizes[0]) / math.log(sizes[-1] / sizes[0])
    y = lambda ms: LOW - (LOW - TOP) * ms / top
    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="12" fill="#222">',
        "<title>Time of a search by the number of chunks</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="14">Time of a search (ms) by the number of chunks</text>',
    ]
    for i in range(6):
        ms = top * i / 5
        svg.append(f'<path d="M{LEFT} {y(ms):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        svg.append(f'<text x="{LEFT - 8}" y="{y(ms) + 4:.1f}" text-anchor="end">{ms:g}</text>')
    for n in sizes:
        anchor = {sizes[0]: "start", sizes[-1]: "end"}.get(n, "middle")
        svg.append(f'<text x="{x(n):.1f}" y="{LOW + 20}" text-anchor="{anchor}">{n:,}</text>')
    for at, (line, (color, name)) in enumerate(lines.items()):
        for which, dash in ((0, ""), (1, ' stroke-dasharray="5 4"')):
            points = [(x(n), y(found[line][which])) for n, found in measured]
            path = "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
            svg.append(f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="2"{dash}/>')
            svg.extend(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{color}"/>' for a, b in points)
        svg.append(f'<text x="{LEFT}" y="{LOW + 28 + LEGEND * (at + 1)}" fill="{color}">'
                   f'{name}: p50 —, p99 - -</text>')
    Path(out).write_text("\n".join([*svg, "</svg>", ""]), encoding="utf-8")


main(sys.argv[1], sys.argv[2:])
