"""Makes many files out of the sample handbook, and watches an ingestion of them.

    python3 benches/many_files.py make FOLDER N
    python3 benches/many_files.py run SOUFFLEUR FOLDER DATA_DIR [--kill SECONDS] [--one-layer MODELS_DIR]

`make` writes N files into a tree of folders. Most are Markdown, plain text or a page whose sections are
drawn from the handbook, with names, figures and dates changed; every fiftieth is a whole file of the
handbook in its own format (PDF, Word, slides, sheet, table, message), office files with other figures in
them. File i is the same in every run.

`run` prints, as the ingestion goes on, documents recorded, memory and the share of the cores in use, then
what it came to; it fails where memory grew by more than the index may, or cores were idle. With `--kill` a
first run is killed after so many seconds: the second has to find what was recorded until then, of which no
more than a few seconds may be lost, and must not double anything. Models are found as `souffleur` finds them.
To embed 100,000 files takes hours on two cores; `--one-layer` embeds with the first of the embedder's six
layers only, which asks the same of all else.
"""

import argparse
import hashlib
import io
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

HANDBOOK = Path(__file__).parent.parent / "examples" / "handbook"
SERVICES = ["achats", "atelier", "comptabilite", "direction", "expedition", "formation", "informatique",
            "juridique", "laboratoire", "paie", "produit", "qualite", "recrutement", "securite", "support"]
FIRST = ["Agathe", "Basile", "Clémence", "Damien", "Elsa", "Fanny", "Gaspard", "Héloïse", "Ismaël", "Jeanne",
         "Kevin", "Léonie", "Mathis", "Nadia", "Oscar", "Pauline", "Quentin", "Rose", "Salomé", "Tristan"]
LAST = ["Abadie", "Berthier", "Carpentier", "Delacourt", "Estève", "Fontanel", "Garrigue", "Huguet", "Imbert",
        "Jourdain", "Lacombe", "Maurel", "Nogaret", "Oudin", "Pradel", "Quintin", "Roumieu", "Salvan", "Tissot"]
PLACES = ["Nantes", "Lyon", "Dublin", "Angers", "Rennes", "Grenoble", "Lille", "Cork", "Pau", "Metz"]
# What the index holds of a chunk, half a kilobyte (docs/decisions/0014), and what is known of each file so that
# copies are found. With the texts of the files, 1.4 kB on average, it would be too much.
GROWTH_MAX_KB = {"chunk": 0.6, "file": 1.4}
CORES_MIN = 0.85
LOST_MAX_S = 5.0
EMBEDDER = "all-minilm-l6-v2"
WHOLE = [".pdf", ".docx", ".pptx", ".xlsx", ".csv", ".eml"]
CAPITALISED = re.compile(r"\b(?:Nantes|Lyon|Dublin)\b|\b[A-ZÉ][a-zéèêëïôç]+ (?:[A-ZÉ][a-zéèêëïôç]{3,})\b")


def sections():
    """Pieces of the handbook below a heading each, by language of the file that they are from."""
    pieces = {}
    for path in sorted(HANDBOOK.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.S)
        language = "fr" if text.count(" le ") + text.count(" la ") > text.count(" the ") else "en"
        found = re.split(r"^(?=## )", text, flags=re.M)[1:]
        pieces.setdefault(language, []).extend(it.strip() for it in found if len(it) > 200)
    return pieces


def varied(text, numbers):
    """The text with other names, places and figures. Years stay plausible."""
    name = lambda _: f"{numbers.choice(FIRST)} {numbers.choice(LAST)}"
    place = lambda it: numbers.choice(PLACES) if " " not in it.group() else name(it)
    text = CAPITALISED.sub(place, text)
    figure = lambda it: it.group() if it.group().startswith("20") else str(max(1, int(it.group()) + numbers.randint(-9, 40)))
    return re.sub(r"\b\d{1,4}\b", figure, text)


def page(i, pieces, numbers):
    language = "fr" if numbers.random() < 0.7 else "en"
    chosen = numbers.sample(pieces[language], min(numbers.randint(2, 4), len(pieces[language])))
    service, place = numbers.choice(SERVICES), numbers.choice(PLACES)
    what = "Note de service" if language == "fr" else "Service note"
    title = f"{what} {i} : {service}, {place}"
    body = "\n\n".join(varied(it, numbers) for it in chosen)
    kind = numbers.choice([".md", ".md", ".md", ".txt", ".html"])
    if kind == ".md":
        return kind, f"---\ntitle: {title}\nlanguage: {language}\n---\n\n# {title}\n\n{body}\n".encode()
    if kind == ".txt":
        return kind, f"{title.upper()}\n\n{re.sub(r'[#*]', '', body)}\n".encode()
    escaped = body.replace("&", "&amp;").replace("<", "&lt;")
    lines = (f"<h2>{it[3:]}</h2>" if it.startswith("## ") else f"<p>{it}</p>" for it in escaped.split("\n\n"))
    text = f'<!doctype html><html lang="{language}"><head><title>{title}</title></head><body><h1>{title}</h1>'
    return kind, f"{text}{''.join(lines)}</body></html>\n".encode()


def whole(i, files, numbers):
    path = files[i // 50 % len(files)]
    data = path.read_bytes()
    if path.suffix in (".docx", ".pptx", ".xlsx"):
        out = io.BytesIO()
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
            for name in old.namelist():
                part = old.read(name)
                if re.search(r"(document|slide\d+|sharedStrings)\.xml$", name):
                    text = part.decode("utf-8")
                    text = re.sub(r">([^<]+)<", lambda it: f">{varied(it.group(1), numbers)}<", text)
                    part = text.encode("utf-8")
                new.writestr(name, part)
        data = out.getvalue()
    elif path.suffix in (".csv", ".eml"):
        data += f"\n{i}\n".encode()
    else:
        # What follows the end of a PDF is no part of its text.
        data += f"%{i}\n".encode()
    return path.suffix, data


def make(folder, n_files):
    pieces = sections()
    files = [it for it in sorted(HANDBOOK.rglob("*")) if it.suffix in WHOLE]
    n_bytes = 0
    for i in range(n_files):
        numbers = random.Random(i)
        kind, data = whole(i, files, numbers) if i % 50 == 49 else page(i, pieces, numbers)
        path = folder / SERVICES[i % len(SERVICES)] / str(2015 + i // 15 % 12) / f"{i // 1000:03}" / f"note-{i}{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        n_bytes += len(data)
    print(f"{n_files} files, {n_bytes / 1e6:.1f} MB")


def recorded(data):
    """Documents that the catalog holds, and when the last one was recorded, in seconds."""
    path = data / "catalog.db"
    if not path.exists():
        return 0, None
    catalog = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    try:
        return catalog.execute("SELECT count(*), max(ingested_at) FROM documents").fetchone()
    except sqlite3.OperationalError:
        return 0, None  # The tables are not there yet.
    finally:
        catalog.close()


def memory(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    kilobytes = lambda line: int(re.search(rf"^{line}:\s+(\d+)", status, re.M).group(1))
    return kilobytes("VmRSS") / 1e3, kilobytes("RssAnon") / 1e3


def processor_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def one_layer(souffleur, models):
    """A folder of models in which the embedder has one layer."""
    listed = subprocess.run([souffleur, "models", "list", "--json"], check=True, stdout=subprocess.PIPE)
    shutil.copytree(Path(json.loads(listed.stdout)["dir"]) / EMBEDDER, models / EMBEDDER, dirs_exist_ok=True)
    path = models / EMBEDDER / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_hidden_layers": 1}))
    record = models / EMBEDDER / "files.json"
    files = json.loads(record.read_text())
    for it in files:
        if it["name"] == "config.json":
            it["size"], it["sha256"] = path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()
    record.write_text(json.dumps(files))
    return ["--models-dir", str(models)]


def ingest(souffleur, folder, data, options, n_files, kill_after=None):
    command = [souffleur, "ingest", str(folder), "--data-dir", str(data), "--json", "--quiet", *options]
    start, last, processor, peak, n_samples = time.monotonic(), 0.0, 0.0, 0.0, 0
    # Of documents recorded and memory that is not mapped from files, and the cores in use meanwhile.
    seen = []
    # Into a file: a report of many documents fills a pipe, and the program would wait for a reader.
    with tempfile.TemporaryFile() as out, subprocess.Popen(command, stdout=out) as program:
        print("  seconds  documents  resident MB  of which not files  cores in use")
        while program.poll() is None:
            try:
                program.wait(0.5)
                break
            except subprocess.TimeoutExpired:
                pass
            seconds = time.monotonic() - start
            try:
                resident, anonymous = memory(program.pid)
                now = processor_seconds(program.pid)
            except (OSError, AttributeError):
                break  # It ended meanwhile.
            peak = max(peak, resident)
            if seconds - last >= 5 * (1 + n_samples // 12):
                cores = (now - processor) / (seconds - last)
                n_recorded = recorded(data)[0]
                seen.append((n_recorded, anonymous, cores))
                print(f"  {seconds:7.0f}  {n_recorded:9}  {resident:11.0f}  {anonymous:18.0f}  {cores:12.2f}", flush=True)
                last, processor, n_samples = seconds, now, n_samples + 1
            if kill_after is not None and seconds >= kill_after:
                program.kill()
                killed = time.time()
                program.wait()
                n, at = recorded(data)
                assert at is not None, "nothing was recorded"
                print(f"killed after {seconds:.0f} s with {n} documents recorded, the last at most {killed - at:.1f} s before")
                assert killed - at <= LOST_MAX_S, "more than a few seconds of work were lost"
                return n
        if program.returncode != 0:
            sys.exit(f"souffleur ended with {program.returncode}")
        out.seek(0)
        report = json.load(out)
    seconds = time.monotonic() - start
    print(f"{seconds:.0f} s; peak {peak:.0f} MB; {report['chunks']} chunks; {json.dumps(report['documents'])}; "
          f"{len(report['duplicates'])} near duplicates; skipped {len(report['documents']['skipped'])}")
    check_use(seen, n_files, report["chunks"])
    return report


def check_use(seen, n_files, n_chunks):
    """While files were read: no growth of memory but the index's, and no core without work."""
    reading = [it for it in seen if it[0] < 0.98 * n_files]
    early = [it for it in reading if it[0] < n_files / 4]
    if len(early) < 3 or len(reading) < 6:
        print("too short a run to tell about memory and cores")
        return
    before, after = early[-1][1], max(it[1] for it in reading)
    share = 1 - early[-1][0] / n_files
    allowed = share * (n_chunks * GROWTH_MAX_KB["chunk"] + n_files * GROWTH_MAX_KB["file"]) / 1e3
    cores = sorted(it[2] for it in reading)[len(reading) // 2] / (os.cpu_count() or 1)
    print(f"memory that is not mapped from files: {before:.0f} MB at a quarter of the files, {after:.0f} MB at most "
          f"({allowed:.0f} MB more allowed); {100 * cores:.0f} % of the cores in use")
    assert after - before <= allowed, "memory grew with the files"
    assert cores >= CORES_MIN, "cores were idle while files were read"


def run(souffleur, folder, data, kill_after, models):
    options = one_layer(souffleur, models) if models is not None else []
    n_files = sum(1 for it in folder.rglob("*") if it.is_file())
    kept = ingest(souffleur, folder, data, options, n_files, kill_after) if kill_after is not None else 0
    report = ingest(souffleur, folder, data, options, n_files)
    n_recorded, _ = recorded(data)
    expected = n_files - len(report["documents"]["skipped"])
    assert n_recorded == expected, f"{n_recorded} documents recorded of {expected} files"
    assert report["documents"]["unchanged"] >= kept, f"{kept} documents were recorded, then read again"
    print(f"ok   {n_recorded} documents")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("folder", type=Path)
    making.add_argument("n_files", type=int)
    running = commands.add_parser("run")
    running.add_argument("souffleur")
    running.add_argument("folder", type=Path)
    running.add_argument("data", type=Path)
    running.add_argument("--kill", type=float)
    running.add_argument("--one-layer", type=Path, metavar="MODELS_DIR")
    args = parser.parse_args()
    if args.command == "make":
        make(args.folder, args.n_files)
    else:
        run(args.souffleur, args.folder, args.data, args.kill, args.one_layer)
