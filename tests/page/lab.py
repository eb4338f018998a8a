"""The mock's arena, comparisons, datasets and training runs."""

import json

ARMS = ["base", "rag", "extract", "rag+ft:rh"]


def metrics(right, f1):
    def figure(mean, spread, n=3):
        return {"mean": mean, "interval": [mean - spread, mean + spread], "n": n}

    return {
        "right": figure(right, 0.2),
        "f1": figure(f1, 0.15),
        "total_ms": figure(900.0, 100.0),
    }


def compared(arm, answer, right, sources=(), sentences=(), **more):
    return {
        "arm": arm, "answer": answer, "refused": False, "generator": "qwen3-1.7b",
        "truncated": False, "sources": list(sources), "prompt_tokens": 300,
        "sentences": list(sentences), "scores": {"right": right, "f1": right, "total_ms": 812.0},
        **more,
    }


def comparison():
    """Two arms and three questions, of which one flipped."""
    said = {"text": "Three days per week.", "supported": True, "citations": [1]}
    wrong = {"text": "Five days.", "supported": False, "citations": []}
    policy = "rh/teletravail-2026.md"
    questions = [
        {
            "question": "How many days of remote work?", "accepted": ["three days"],
            "document": policy, "language": "en", "type": "fact", "generated": None, "outdated": ["two days"],
            "trained_on": ["rag"],
            "answers": [
                compared("base", "Five days.", 0.0, sentences=[wrong]),
                compared("rag", "Three days per week.", 1.0, [policy], [said]),
            ],
        },
        {
            "question": "<b>Who won the cup?</b>", "accepted": [], "document": None,
            "language": "en", "type": "unanswerable", "generated": None, "outdated": [],
            "trained_on": [],
            "answers": [
                compared("base", "I do not know.", 1.0, refused=True),
                compared("rag", "The documents do not say.", 1.0, refused=True),
            ],
        },
        {
            "question": "What is lent?", "accepted": ["a screen"], "document": policy,
            "language": "en", "type": "list", "generated": "model", "outdated": [], "trained_on": [],
            "answers": [compared("base", "A car.", 0.0), compared("rag", "A desk.", 0.0, [policy])],
        },
    ]

    def pair(metric, difference, interval, **more):
        return {
            "a": "base", "b": "rag", "metric": metric, "n": 3, "difference": difference,
            "interval": interval, "p": 1.0, "p_holm": 1.0, "wins": 1, "ties": 2, "losses": 0,
            "largest": 1.0, "detectable": None, "more_questions": None, "verdict": "cannot_tell", **more,
        }

    pairs = [
        pair("right", 0.333, [0.0, 1.0], flipped={"only_a_right": [], "only_b_right": [0]}),
        pair("f1", 0.4, [0.1, 0.7], detectable=0.32, more_questions=12, p=0.25, p_holm=0.5),
        pair("total_ms", -88.0, [-120.0, 4.0], verdict="better"),
    ]

    def arm(name, way, right, f1, n_seen):
        return {
            "arm": name, "way": way, "adapter": None, "metrics": metrics(right, f1),
            "median_first_token_ms": 300.0, "median_total_ms": 812.0, "p90_total_ms": 900.0,
            "written_by": {"qwen3-1.7b": 3}, "quoted_for_want_of_language": 0, "truncated": 0,
            "unanswerable_refused": 1, "weights_bytes": 98_000_000,
            "memory_bytes": 99_500_000, "training_seconds": None, "training_peak_bytes": None,
            "ability": None, "staleness": None,
            "outdated": 0, "questions_trained_on": n_seen,
        }

    return {
        "id": "0123456789abcdef-0123456789ab", "at": 1_795_000_000, "n_questions": 3,
        "questions_generated": 1, "questions_made_by_rules": 0, "questions_left_out": 0,
        "arms": [
            arm("base", "alone", 0.33, 0.2, None), arm("rag", "documents", 0.67, 0.6, 1),
        ],
        "pairs": pairs,
        "slices": [
            {
                "by": "language", "value": "en", "n": 3,
                "right": {
                    "base": {"mean": 0.33, "interval": [0.0, 1.0]},
                    "rag": {"mean": 0.67, "interval": [0.0, 1.0]},
                },
            }
        ],
        "judge": None,
        "verdict": {
            "decision": "too_few_questions", "arms": [],
            "en": "Nothing can be concluded: 3 questions. Ask at least 10 of `base` and `rag`.",
            "fr": "On ne peut rien conclure : 3 questions. Posez-en au moins 10 à `base` et `rag`.",
        },
        "questions": questions,
    }


def row(number, question, answer, **meta):
    return {
        "id": f"row{number:02}", "kind": "supervised", "question": question,
        "prompt": [{"role": "user", "content": f"[1] … {question}"}],
        "texts": [answer], "changed": None, "decision": "open", "label": None,
        "meta": {
            "path": "rh/conges.md", "page": 3, "made_by": "section", "split": "train",
            "language": "fr", "checks": ["found", "supported"],
            "context": [{"path": "rh/conges.md", "text": "Vingt-cinq jours.", "gold": True}], **meta,
        },
    }


def ability():
    def score(perplexity, n_right, n):
        return {"perplexity": perplexity, "n_right": n_right, "n_questions": n}

    return {
        "before": {"all": score(20.0, 30, 40), "en": score(12.5, 18, 20), "fr": score(31.0, 12, 20)},
        "after": {"all": score(24.0, 25, 40), "en": score(15.0, 14, 20), "fr": score(37.0, 11, 20)},
        "dropped": True,
    }


def run(state, n):
    return {
        "name": "rh", "state": state, "at": 1_795_000_000, "step": n, "n_steps": 8,
        "epoch": n / 4, "loss": 2.0 / n, "validation_loss": 1.1, "seconds": 3.5 * n,
        "tokens_per_second": 180.4, "peak_bytes": 1_400_000_000,
        "seconds_left": 3.5 * (8 - n) if state == "running" else None,
        "method": "lora", "every": 1,
        "steps": [
            {"step": i, "loss": 2.0 / i, "accuracy": None, "learning_rate": 2e-4}
            for i in range(1, n + 1)
        ],
        "validations": [{"step": 0, "loss": 2.4, "is_best": False}, {"step": 4, "loss": 1.1, "is_best": True}],
        # Both stand in the record that the end of a run writes.
        "settings": {"method": "lora", "rank": 16, "learning_rate": 2e-4, "quantised": False,
                     "targets": []},
        "ability": ability() if state == "done" else None,
    }


class Lab:
    """What evaluation and training know."""

    def __init__(self, empty):
        self.matches = {}
        self.decided = set()
        self.votes = []
        self.comparisons = [] if empty else [comparison()]
        self.rows = [] if empty else [
            row(i, f"Question {i} ?", f"Réponse {i} [1].") for i in range(1, 24)
        ]
        self.runs = [] if empty else [run("running", 4), {**run("done", 8), "name": "old"}]


class LabRoutes:
    """Answers of the mock; a part of its handler."""

    def open_match(self):
        request = json.loads(self.body)
        sides = [self.world.answer({"question": request["question"]}) for _ in range(2)]
        number = f"m_{len(self.world.lab.matches) + len(self.world.lab.decided)}"
        self.world.lab.matches[number] = ["rag+ft:rh", "rag"]
        shown = ("answer", "language", "refused", "truncated", "sentences", "sources")
        left, right = ({key: it.get(key) for key in shown} for it in sides)
        body = {"id": number, "question": request["question"], "left": left, "right": right}
        self.reply(body, 201)

    def vote(self, number):
        if number in self.world.lab.decided:
            self.fail(409, "this match was decided before", "conflict_error")
            return
        if number not in self.world.lab.matches:
            self.fail(404, f"there is no match `{number}`", "not_found_error")
            return
        self.world.lab.decided.add(number)
        request = json.loads(self.body)
        left, right = self.world.lab.matches.pop(number)
        self.world.lab.votes.append((left, right, request["choice"], request["reason"]))
        sides = {"left": {"arm": left, "answer": "a_1"}, "right": {"arm": right, "answer": "a_2"}}
        self.reply({"id": number, "choice": request["choice"], **sides}, 201)

    def ratings(self):
        votes = self.world.lab.votes
        data = [
            {"arm": arm, "rating": rating, "interval": [rating - 90, rating + 90],
             "wins": wins, "ties": 0, "losses": len(votes) - wins}
            for arm, rating, wins in (("rag", 1060, len(votes)), ("rag+ft:rh", 940, 0))
        ]
        self.reply({"object": "list", "votes": len(votes), "data": data if votes else []})

    def is_admin(self):
        if self.world.scope == "admin":
            return True
        self.fail(403, "this needs a key of the scope `admin`", "permission_error")
        return False

    def list_comparisons(self):
        if self.is_admin():
            data = [
                {"id": it["id"], "at": it["at"], "n_questions": it["n_questions"],
                 "verdict": it["verdict"], "arms": [arm["arm"] for arm in it["arms"]]}
                for it in self.world.lab.comparisons
            ]
            self.reply({"object": "list", "total": len(data), "data": data})

    def get_comparison(self, number):
        if self.is_admin():
            found = [it for it in self.world.lab.comparisons if it["id"] == number]
            self.found(found[0] if found else None)

    def report(self, number, form):
        if not self.is_admin():
            return
        found = [it for it in self.world.lab.comparisons if it["id"] == number]
        if not found:
            self.fail(404, f"there is no comparison `{number}`", "not_found_error")
            return
        verdict = found[0]["verdict"][self.query.get("language", "en")]
        kind = {"html": "text/html", "md": "text/markdown"}[form]
        name = f'attachment; filename="comparison-{number}.{form}"'
        data = f"<title>Comparison</title>{verdict}".encode()
        self.headers_of(200, f"{kind}; charset=utf-8", len(data), Content_Disposition=name)
        self.wfile.write(data)

    def list_datasets(self):
        if not self.is_admin():
            return
        rows = self.world.lab.rows
        count = {
            it: sum(row["decision"] == it for row in rows) for it in ("approved", "rejected")
        }
        count["changed"] = sum(bool(row["changed"]) for row in rows)
        kinds = {"supervised": {"rows": len(rows), "unreadable": 0, **count}}
        dataset = {"id": "d1", "name": "handbook", "path": "datasets/handbook", "kinds": kinds}
        self.reply({"object": "list", "data": [dataset] if rows else []})

    def dataset_rows(self, _):
        if not self.is_admin():
            return
        state, words = self.query.get("state"), self.query.get("q", "").lower()
        wanted = [
            it for it in self.world.lab.rows
            if (not state or it["decision"] == state or (state == "changed" and it["changed"]))
            and words in " ".join([it["question"], it["meta"]["path"], *it["texts"]]).lower()
        ]
        start, n = int(self.query.get("offset", 0)), int(self.query.get("limit", 20))
        page = wanted[start : start + n]
        self.reply({"object": "list", "name": "handbook", "total": len(wanted), "data": page})

    def decide_row(self, _, number):
        if not self.is_admin():
            return
        request = json.loads(self.body)
        found = next((it for it in self.world.lab.rows if it["id"] == number), None)
        if found is None:
            self.fail(404, f"there is no row `{number}`", "not_found_error")
            return
        found["decision"] = request["decision"]
        changed = request["texts"]
        found["changed"] = changed if changed and changed != found["texts"] else None
        self.reply(found)

    def list_runs(self):
        if self.is_admin():
            shown = ("steps", "validations", "settings", "ability", "every")
            runs = [{k: v for k, v in it.items() if k not in shown} for it in self.world.lab.runs]
            self.reply({"object": "list", "data": runs})

    def get_run(self, name):
        if self.is_admin():
            found = [it for it in self.world.lab.runs if it["name"] == name]
            self.found(found[0] if found else None)


ROUTES = [
    ("POST", "/v1/arena", "open_match"),
    ("POST", "/v1/arena/([^/]+)/vote", "vote"),
    ("GET", "/v1/arena/ratings", "ratings"),
    ("GET", "/v1/comparisons", "list_comparisons"),
    ("GET", "/v1/comparisons/([^/]+)", "get_comparison"),
    ("GET", r"/v1/comparisons/([^/]+)/report\.(html|md)", "report"),
    ("GET", "/v1/datasets", "list_datasets"),
    ("GET", "/v1/datasets/([^/]+)/rows", "dataset_rows"),
    ("POST", "/v1/datasets/([^/]+)/rows/([^/]+)", "decide_row"),
    ("GET", "/v1/runs", "list_runs"),
    ("GET", "/v1/runs/([^/]+)", "get_run"),
]
