"""Kills nodes of a Qdrant cluster while documents are ingested and searched.

usage: three_nodes.py QDRANT SOUFFLEUR [FILES] [--hang]

QDRANT is a qdrant binary, SOUFFLEUR ours. Three nodes on 127.0.0.2, .3 and .4 hold each chunk
twice. In three rounds, FILES new files (3,000) are ingested; each time another node is killed
(SIGKILL) while their chunks are written, and started again once that is done. With --hang it is
stopped instead (SIGSTOP: connections stay, and nothing is answered) and goes on (SIGCONT). A reader
without a catalog answers searches all along. At the end every chunk is read back and compared with
the catalog.

Exits with 1 if anything that was acknowledged is lost, or a search fails for longer than one moment.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HOSTS = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
QUESTION = "Which badge opens the door of the archive?"
# Longest time without an answered search: one that was under way fails, and the next asks another node.
SILENCE_MAX_S = 15.0


class Node:
    def __init__(self, binary, folder, host):
        self.binary, self.host, self.folder = binary, host, folder / host
        self.folder.mkdir()
        self.process = None

    def start(self, bootstrap=None):
        env = {
            **os.environ,
            "QDRANT__CLUSTER__ENABLED": "true",
            "QDRANT__CLUSTER__P2P__PORT": "6335",
            "QDRANT__SERVICE__HOST": self.host,
            "QDRANT__STORAGE__STORAGE_PATH": str(self.folder / "storage"),
            "QDRANT__STORAGE__SNAPSHOTS_PATH": str(self.folder / "snapshots"),
            "QDRANT__TELEMETRY_DISABLED": "true",
        }
        args = [self.binary, "--uri", f"http://{self.host}:6335"]
        if bootstrap:
            args += ["--bootstrap", f"http://{bootstrap}:6335"]
        log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen(args, env=env, cwd=self.folder, stdout=log, stderr=log)

    def get(self, path):
        with urllib.request.urlopen(f"http://{self.host}:6333{path}", timeout=5) as answer:
            return json.load(answer)["result"]

    def collections(self):
        return sorted(it["name"] for it in self.get("/collections")["collections"])

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def is_dead(self):
        return self.process.poll() is not None

    def hang(self):
        self.process.send_signal(signal.SIGSTOP)

    def hangs(self):
        stat = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text()
        return stat.rsplit(")", 1)[1].split()[0] == "T"

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)


def wait_until(what, done, seconds=180):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if done():
                return
        except OSError:
            pass
        time.sleep(0.2)
    sys.exit(f"FAILED: waited {seconds} s until {what}")


def all_active(nodes):
    """Whether every node sees every copy of every shard as whole."""
    for node in nodes:
        if len(node.get("/cluster")["peers"]) != len(nodes):
            return False
        for it in node.get("/collections")["collections"]:
            cluster = node.get(f"/collections/{it['name']}/cluster")
            shards = cluster["local_shards"] + cluster["remote_shards"]
            if cluster["shard_transfers"] or any(shard["state"] != "Active" for shard in shards):
                return False
    return True


class Searcher(threading.Thread):
    """Asks one question after another, and remembers how it went."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.address, self.stop = address, False
        self.n_answered, self.failures, self.times = 0, [], []
        self.silence, self.last = 0.0, time.monotonic()

    def run(self):
        body = json.dumps({"query": QUESTION, "limit": 10}).encode()
        while not self.stop:
            start = time.monotonic()
            request = urllib.request.Request(f"http://{self.address}/v1/search", body, {"content-type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    assert json.load(answer)["results"], "an answer without any result"
                answered = True
            except OSError as error:
                self.failures.append(str(error))
                answered = False
            now = time.monotonic()
            # A silence that does not end counts, too.
            self.silence = max(self.silence, now - self.last)
            if answered:
                self.n_answered += 1
                self.times.append(now - start)
                self.last = now
            time.sleep(0.05)


def write_files(folder, first, n):
    for i in range(first, first + n):
        text = (f"# Archive {i}\n\nThe door of archive {i} opens with badge {i * 7919 % 100_003}, "
                f"between {i % 12 + 7} and {i % 12 + 9} o'clock. Shelf {i % 50} holds the files of year {1970 + i % 55}.\n")
        (folder / f"archive-{i:06}.md").write_text(text)


def main():
    args = [it for it in sys.argv[1:] if it != "--hang"]
    hang = len(args) < len(sys.argv) - 1
    qdrant, souffleur = (str(pathlib.Path(it).resolve()) for it in args[:2])
    n_files = int(args[2]) if len(args) > 2 else 3_000
    work = pathlib.Path(tempfile.mkdtemp(prefix="three-nodes-"))
    nodes = [Node(qdrant, work, host) for host in HOSTS]
    nodes[0].start()
    wait_until("the first node answers", lambda: nodes[0].get("/cluster")["peer_id"])
    for node in nodes[1:]:
        node.start(bootstrap=HOSTS[0])
    wait_until("three nodes know each other", lambda: all_active(nodes))

    env = {
        **os.environ,
        "SOUFFLEUR_STORE": "qdrant",
        "SOUFFLEUR_QDRANT__URLS": json.dumps([f"http://{host}:6334" for host in HOSTS]),
        "SOUFFLEUR_QDRANT__COLLECTION": "three-nodes",
        "SOUFFLEUR_QDRANT__REPLICAS": "2",
        "SOUFFLEUR_QDRANT__SHARDS": "3",
        "SOUFFLEUR_MODELS__GENERATOR": "extract",
    }
    documents = work / "documents"
    documents.mkdir()

    def command(*args):
        return [souffleur, *args, "--data-dir", str(work / "data")]

    write_files(documents, 0, 50)
    subprocess.run(command("ingest", str(documents), "--quiet"), env=env, check=True)
    # One that is made anew has another name, and would hide what the cluster had lost.
    wait_until("the first node knows the collection", nodes[0].collections)
    made = nodes[0].collections()
    address = "127.0.0.1:7979"
    reader = subprocess.Popen([souffleur, "serve", "--addr", address, "--data-dir", str(work / "reader"), "--quiet"], env=env)
    wait_until("the reader is ready", lambda: urllib.request.urlopen(f"http://{address}/ready", timeout=5).status == 200)
    searcher = Searcher(address)
    searcher.start()
    rounds = []
    try:
        for i, node in enumerate(nodes):
            write_files(documents, 50 + i * n_files, n_files)
            start = time.monotonic()
            ingest = subprocess.Popen(command("ingest", str(documents), "--json"), env={**env, "SOUFFLEUR_LOG": "souffleur=debug,index=debug"},
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            down_at = None
            waited = []
            for line in ingest.stderr:
                if "waiting for the Qdrant cluster" in line:
                    waited.append(line.strip())
                if "applying" in line and down_at is None:
                    down_at = time.monotonic() - start
                    threading.Timer(0.3, node.hang if hang else node.kill).start()
            if ingest.wait() != 0:
                sys.exit(f"FAILED: ingest ended with {ingest.returncode}")
            assert down_at is not None, "the cluster was never written to"
            done = time.monotonic() - start
            wait_until("the node is down", node.hangs if hang else node.is_dead)
            checked = subprocess.run(command("migrate", "--to", "qdrant", "--json", "--quiet"), env=env, check=True, stdout=subprocess.PIPE)
            n_two = json.loads(checked.stdout)["chunks"]
            other = nodes[(i + 1) % 3]
            assert other.collections() == made, (other.collections(), made)
            node.go_on() if hang else node.start(bootstrap=other.host)
            restarted = time.monotonic()
            wait_until("all copies are whole again", lambda: all_active(nodes), 600)
            rounds.append({
                "hung" if hang else "killed": node.host, "after_s": round(down_at, 1), "ingested_s": round(done, 1),
                "chunks_compared_without_it": n_two, "whole_again_s": round(time.monotonic() - restarted, 1),
                "times_waited": len(waited),
            })
            print(json.dumps(rounds[-1]), flush=True)
        searcher.stop = True
        searcher.join()
        # Through each node alone.
        for host in HOSTS:
            one = {**env, "SOUFFLEUR_QDRANT__URLS": json.dumps([f"http://{host}:6334"])}
            checked = subprocess.run(command("migrate", "--to", "qdrant", "--json", "--quiet"), env=one, check=True, stdout=subprocess.PIPE)
            checked = json.loads(checked.stdout)
            assert checked["chunks"] >= 50 + 3 * n_files, checked
        assert nodes[0].collections() == made, (nodes[0].collections(), made)
    finally:
        reader.terminate()
        for node in nodes:
            if node.process and node.process.poll() is None:
                node.kill()
    times = sorted(searcher.times)
    result = {
        "files": 50 + 3 * n_files,
        "chunks": checked["chunks"],
        "checksum": checked["checksum"],
        "searches_answered": searcher.n_answered,
        "searches_failed": len(searcher.failures),
        "longest_silence_s": round(searcher.silence, 2),
        "search_ms_p50": round(times[len(times) // 2] * 1e3, 1),
        "search_ms_p99": round(times[len(times) * 99 // 100] * 1e3, 1),
    }
    print(json.dumps(result, indent=2))
    if searcher.silence > SILENCE_MAX_S:
        sys.exit(f"FAILED: no search was answered for {searcher.silence:.1f} s: {searcher.failures[:3]}")


if __name__ == "__main__":
    main()
