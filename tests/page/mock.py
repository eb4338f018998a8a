"""A server that speaks the API which the page expects, for working on the page without building
anything: `python3 tests/page/mock.py --port 7979`, then open the address that it prints.

Only the standard library. `--empty` has no documents, `--key KEY` asks for a key.
"""

import argparse
import email.parser
import email.policy
import json
import mimetypes
import pathlib
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import lab
import links
from world import ROOT, World, iso, report

WEB = ROOT / "web"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)
ADAPTERS = ["rh-2026"]


class Handler(lab.LabRoutes, links.LinkRoutes, BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def world(self):
        return self.server.world

    def log_message(self, *_):
        pass

    # What is sent

    def headers_of(self, status, media_type, length=None, **more):
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Request-Id", "r_mock")
        origin = self.headers.get("Origin")
        if origin:
            self.send_header("Access-Control-Allow-Origin", origin)
            self.send_header("Access-Control-Allow-Headers", "authorization, content-type")
            self.send_header("Access-Control-Allow-Methods", "GET, POST, DELETE")
        for name, value in more.items():
            self.send_header(name.replace("_", "-"), value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()

    def reply(self, body, status=200, **more):
        data = json.dumps(body, ensure_ascii=False).encode()
        self.headers_of(status, "application/json", len(data), **more)
        self.wfile.write(data)

    def fail(self, status, message, kind="invalid_request_error", code=None, **more):
        self.reply(
            {"error": {"message": message, "type": kind, "code": code, "param": None}},
            status,
            **more,
        )

    def file(self, name):
        path = (WEB / name).resolve()
        if WEB not in path.parents or not path.is_file():
            self.fail(404, f"no such page: {name}", "not_found_error")
            return
        data = path.read_bytes()
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        kind = "text/javascript" if path.suffix == ".js" else kind
        self.headers_of(200, f"{kind}; charset=utf-8", len(data), Cache_Control="no-cache")
        self.wfile.write(data)

    def foreign(self, page):
        """A page of another site, without our policy."""
        data = page.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def event(self, name, data):
        self.wfile.write(
            f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
        )
        self.wfile.flush()

    # Routing

    def do_OPTIONS(self):
        self.headers_of(204, "text/plain", 0)

    def do_GET(self):
        self.route("GET")

    def do_POST(self):
        self.route("POST")

    def do_DELETE(self):
        self.route("DELETE")

    def route(self, method):
        url = urlsplit(self.path)
        path = unquote(url.path)
        self.query = {key: it[0] for key, it in parse_qs(url.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length) if length else b""
        try:
            if path in self.world.pages:
                self.foreign(self.world.pages[path])
            elif not path.startswith("/v1/") and method == "GET":
                pages = {
                    "/": "index.html",
                    "/docs": "docs.html",
                    "/judge": "judge.html",
                }
                self.file(pages.get(path, path.lstrip("/")))
            elif path.startswith("/v1/sources/") and "text/html" in self.headers.get("Accept", ""):
                self.file("source.html")
            elif path == "/v1/session":
                self.session(method)
            elif path.startswith("/v1/links/"):
                self.api(method, path)
            elif self.is_locked():
                self.fail(401, "no key, or not a valid one", "authentication_error")
            else:
                self.api(method, path)
        except (BrokenPipeError, ConnectionResetError):
            self.world.stopped.append(path)

    def is_locked(self):
        key = self.world.key
        if key is None or self.headers.get("Authorization") == f"Bearer {key}":
            return False
        cookie = re.search(r"souffleur=(\w+)", self.headers.get("Cookie", ""))
        return not (cookie and cookie[1] in self.world.sessions)

    def session(self, method):
        if method == "DELETE":
            self.world.sessions.clear()
            self.reply({"ended": True}, Set_Cookie="souffleur=; Path=/; Max-Age=0")
        elif json.loads(self.body).get("key") == self.world.key:
            self.world.sessions.add("s1")
            self.reply(
                {"scope": self.world.scope},
                Set_Cookie="souffleur=s1; Path=/; HttpOnly; SameSite=Strict",
            )
        else:
            self.fail(401, "not a valid key", "authentication_error")

    def api(self, method, path):
        for verb, pattern, action in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and verb == method:
                getattr(self, action)(*match.groups())
                return
        self.fail(404, f"nothing at {method} {path}", "not_found_error")

    # Questions

    def ask(self):
        request = json.loads(self.body)
        if self.world.busy:
            self.fail(503, "the queue is full", "overloaded_error", Retry_After="7")
            return
        if self.world.index_is_away:
            self.fail(503, "the cluster does not answer", "overloaded_error", code="index_unavailable")
            return
        answer = self.world.answer(request)
        if request.get("again"):
            answer["conversation"] = None
            self.world.shorten(answer)
        else:
            self.world.remember(request["question"], answer, request.get("conversation"))
        if not request.get("stream"):
            self.reply(answer)
            return
        pause = 0.02 * self.world.slow
        self.headers_of(200, "text/event-stream")
        self.event("status", {"state": "queued", "done": 0, "total": 0})
        time.sleep(pause * 4)
        self.event("sources", {"sources": answer["sources"]})
        self.event("status", {"state": "reading", "done": 512, "total": 1184})
        time.sleep(pause * 4)
        for piece in re.findall(r"\s*\S+", answer["answer"]):
            self.event("text", {"text": piece})
            self.wfile.write(b": still here\n\n")
            time.sleep(pause)
        time.sleep(pause * 4)
        self.event("answer", {key: value for key, value in answer.items() if key != "why"})

    def get_answer(self, number):
        self.found(self.world.answers.get(number))

    def found(self, it):
        if it is None:
            self.fail(404, "not found", "not_found_error")
        else:
            self.reply(it)

    def feedback(self):
        body = json.loads(self.body)
        self.world.feedback[body["answer"]] = body
        for conversation in self.world.conversations.values():
            for turn in conversation["turns"]:
                if turn["answer"]["id"] == body["answer"]:
                    turn["feedback"] = body
        self.reply(body, 201)

    def models(self):
        ids = ["rag", "base"]
        ids += [f"rag:{it['id']}" for it in self.world.collections() if it["id"]]
        ids += [it for name in ADAPTERS for it in (f"ft:{name}", f"rag+ft:{name}")]
        self.reply({"object": "list", "data": [{"id": it, "object": "model"} for it in ids]})

    def adapters(self):
        self.reply({"data": [{"name": it, "path": it, "loaded": True} for it in ADAPTERS]})

    def collections(self):
        self.reply({"data": self.world.collections()})

    def source(self, chunk):
        self.found(self.world.passage(chunk))

    def list_conversations(self):
        rows = [
            {key: it[key] for key in ("id", "title", "created", "updated")}
            for it in reversed(self.world.conversations.values())
        ]
        self.reply({"data": rows})

    def conversation(self, number):
        self.found(self.world.conversations.get(number))

    def delete_conversation(self, number):
        self.found(self.world.conversations.pop(number, None) and {"deleted": True})

    # Documents

    def documents(self):
        limit = int(self.query.get("limit", 100))
        self.reply(
            self.world.listed(
                self.query.get("collection"),
                self.query.get("query"),
                self.query.get("after"),
                limit,
            )
        )

    def skipped(self):
        if self.world.scope != "admin":
            self.fail(403, "this needs a key of the scope `admin`", "permission_error")
            return
        self.reply({"data": self.world.skipped})

    def document(self, number):
        it = self.world.documents.get(int(number))
        self.found(it and self.world.shown(it))

    def document_text(self, number):
        it = self.world.documents.get(int(number))
        self.found(it and {"text": it["text"], "pages": [], "headings": []})

    def original(self, number):
        it = self.world.documents.get(int(number))
        if it is None:
            self.fail(404, "not found", "not_found_error")
            return
        data = it["text"].encode()
        self.headers_of(200, "text/plain; charset=utf-8", len(data))
        self.wfile.write(data)

    def delete_document(self, number):
        it = self.world.documents.pop(int(number), None)
        self.found(it and {"deleted": True, "returns": not it["uploaded"]})

    def upload(self):
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + self.body)
        fields, files = {}, []
        for part in message.iter_parts():
            name = part.get_param("name", header="content-disposition")
            if name == "file":
                files.append((part.get_filename(), part.get_payload(decode=True)))
            else:
                fields[name] = part.get_payload(decode=True).decode()
        job = self.world.job("ingest", "running")
        threading.Thread(
            target=self.ingest, args=(self.world, job, files, fields), daemon=True
        ).start()
        self.reply(job, 202)

    @staticmethod
    def ingest(world, job, files, fields):
        skipped = []
        for number, (name, data) in enumerate(files, 1):
            for done in range(4):
                job["progress"] = {
                    "stage": "reading",
                    "done": number * 4 - 4 + done,
                    "total": len(files) * 4,
                }
                time.sleep(0.05 * world.slow)
            try:
                text = data.decode()
            except UnicodeDecodeError:
                skipped.append(
                    {"path": name, "reason": "not a format that holds text", "at": iso(0)}
                )
                continue
            groups = [it for it in fields.get("groups", "").split(",") if it]
            world.add(
                1000 + len(world.documents),
                f"uploads/{fields.get('collection') or ''}/{name}",
                name,
                fields.get("collection") or None,
                "fr",
                "text/plain",
                len(data),
                groups,
                text,
                uploaded=True,
            )
        world.skipped = skipped + world.skipped
        if job["state"] == "running":
            job.update(
                state="done",
                ended=iso(0),
                report=report(added=len(files) - len(skipped), chunks=len(files), skipped=skipped),
            )

    # Jobs and state

    def list_jobs(self):
        self.reply({"data": list(reversed(self.world.jobs.values()))})

    def start_job(self):
        request = json.loads(self.body)
        if request["kind"] == "dataset" and "/" in request["name"]:
            self.fail(400, f"`{request['name']}` cannot be a name here")
            return
        job = self.world.job(request["kind"], "running")
        self.world.asked_jobs.append(request)
        work = self.read_folders if request["kind"] == "ingest" else self.compute
        threading.Thread(target=work, args=(self.world, job, request), daemon=True).start()
        self.reply(job, 202)

    @staticmethod
    def compute(_, job, request):
        job["progress"] = {"stage": "training", "done": 1, "total": 2}
        time.sleep(0.2)
        name = request.get("name")
        reports = {
            "dataset": {"rows": 23},
            "tune": {"name": name, "loaded": True, "not_loaded": None},
            "compare": {
                "comparison": "0123456789abcdef-0123456789ab",
                "verdict": "Nothing can be concluded.",
                "verdict_fr": "On ne peut rien conclure.",
            },
        }
        job.update(state="done", ended=iso(0), report=reports[request["kind"]])

    @staticmethod
    def read_folders(world, job, _):
        total = len(world.documents)
        for done in range(0, total, 2):
            if job["state"] != "running":
                return
            job["progress"] = {"stage": "reading", "done": done, "total": total}
            time.sleep(0.1 * world.slow)
        job.update(state="done", ended=iso(0), report=report(unchanged=total, chunks=0))

    def cancel_job(self, number):
        job = self.world.jobs.get(number)
        if job and job["state"] == "running":
            job.update(state="cancelled", ended=iso(0))
        self.found(job)

    def job_events(self, number):
        job = self.world.jobs.get(number)
        if job is None:
            self.fail(404, "not found", "not_found_error")
            return
        self.headers_of(200, "text/event-stream")
        while True:
            self.event("job", job)
            if job["state"] not in ("queued", "running"):
                return
            time.sleep(0.05)

    def status(self):
        collections = self.world.collections()
        chunks = sum(it["chunks"] for it in collections)
        self.reply(
            {
                "version": "0.4.0",
                "models": {
                    "embedder": {"id": "multilingual-e5-small", "dimensions": 384},
                    "generator": {"id": "qwen3-1.7b", "kind": "local"},
                    "reranker": None,
                    "adapters": ADAPTERS,
                },
                "index": {
                    "documents": len(self.world.documents),
                    "chunks": chunks,
                    "pending": 0,
                    "collections": len(collections),
                },
                "queue": {"running": 1, "waiting": 3, "places": 2, "limit": 16},
                "latency_ms": {
                    "ask": {"p50": 2310, "p95": 5120},
                    "search": {"p50": 6.4, "p95": 14.9},
                    "first_token": {"p50": 640, "p95": 1420},
                },
                "uptime_s": 93_784,
                "scope": self.world.scope,
                "keeps_answers": True,
            }
        )

    def openapi(self):
        path = pathlib.Path(__file__).with_name("openapi.json")
        self.reply(json.loads(path.read_text(encoding="utf-8")))


ROUTES = [
    ("POST", "/v1/ask", "ask"),
    ("GET", "/v1/answers/([^/]+)", "get_answer"),
    ("POST", "/v1/feedback", "feedback"),
    ("GET", "/v1/models", "models"),
    ("GET", "/v1/adapters", "adapters"),
    ("GET", "/v1/collections", "collections"),
    ("GET", "/v1/sources/([^/]+)", "source"),
    ("GET", "/v1/conversations", "list_conversations"),
    ("GET", "/v1/conversations/([^/]+)", "conversation"),
    ("DELETE", "/v1/conversations/([^/]+)", "delete_conversation"),
    ("GET", "/v1/documents", "documents"),
    ("POST", "/v1/documents", "upload"),
    ("GET", "/v1/documents/skipped", "skipped"),
    ("GET", r"/v1/documents/(\d+)", "document"),
    ("DELETE", r"/v1/documents/(\d+)", "delete_document"),
    ("GET", r"/v1/documents/(\d+)/text", "document_text"),
    ("GET", r"/v1/documents/(\d+)/original", "original"),
    ("GET", "/v1/jobs", "list_jobs"),
    ("POST", "/v1/jobs", "start_job"),
    ("POST", "/v1/jobs/([^/]+)/cancel", "cancel_job"),
    ("GET", "/v1/jobs/([^/]+)/events", "job_events"),
    ("GET", "/v1/status", "status"),
    ("GET", "/v1/openapi.json", "openapi"),
    *lab.ROUTES,
    *links.ROUTES,
]


class Mock(ThreadingHTTPServer):
    """A mock on a free port of its own, answering from a thread."""

    daemon_threads = True

    def __init__(self, port=0, **options):
        super().__init__(("127.0.0.1", port), Handler)
        self.world = World(**options)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=7979)
    parser.add_argument("--empty", action="store_true", help="no documents")
    parser.add_argument("--key", help="ask for this key")
    parser.add_argument(
        "--slow", type=float, default=3.0, help="how many times slower than in the tests"
    )
    options = parser.parse_args()
    mock = Mock(options.port, empty=options.empty, key=options.key, slow=options.slow)
    print(f"{mock.url}/  (Ctrl-C ends it)")
    threading.Event().wait()


if __name__ == "__main__":
    main()
