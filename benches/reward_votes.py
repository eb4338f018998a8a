"""Preferences among drafts by known answers, to measure a reward with.

usage: reward_votes.py SOUFFLEUR DOCS QUESTIONS.jsonl N_DRAFTS OUT.jsonl

Each question that has an answer is asked with N_DRAFTS drafts (`ask --best-of`). A draft that
contains an accepted answer is preferred to one of the same question that contains none, as a person
would vote who knows the answer; questions of one document are one cluster. The rows are for

    souffleur tune --method reward --data OUT.jsonl

which holds clusters out in turn and says how often the reward, and the citation check alone, tell
the preferred answer. Printed at the end: how often the first draft, one at random, the one that the
check takes, and any of them is right. Only the standard library is used.
"""

import json
import re
import subprocess
import sys
import unicodedata

PAIRS_PER_QUESTION = 4


def normal(text: str) -> str:
    text = unicodedata.normalize("NFKD", text).casefold()
    return " ".join(re.findall(r"\w+", "".join(it for it in text if not unicodedata.combining(it))))


def main() -> None:
    souffleur, docs, questions, n_drafts, out = sys.argv[1:]
    known = [json.loads(line) for line in open(questions, encoding="utf-8")]
    known = [it for it in known if it["answers"]]
    clusters: dict[str, int] = {}
    shares: dict[str, list[float]] = {"first": [], "random": [], "check": [], "any": []}
    n_rows = n_voted = 0
    with open(out, "w", buffering=1, encoding="utf-8") as rows:
        for at, question in enumerate(known):
            command = [souffleur, "ask", "--docs", docs, "--best-of", n_drafts, "--json"]
            res = subprocess.run([*command, question["question"]], capture_output=True, text=True)
            if res.returncode != 0:
                sys.exit(f"{question['question']}: {res.stderr}")
            reply = json.loads(res.stdout)
            print(f"\r{at + 1} of {len(known)}", end="", file=sys.stderr)
            best = reply.get("best_of")
            if best is None:
                continue
            accepted = [f" {normal(it)} " for it in question["answers"]]
            right = [any(it in f" {normal(draft)} " for it in accepted) for draft in best["drafts"]]
            shares["first"].append(right[0])
            shares["random"].append(sum(right) / len(right))
            shares["check"].append(right[best["chosen"]])
            shares["any"].append(any(right))
            good = dict.fromkeys(it for it, good in zip(best["drafts"], right) if good)
            bad = dict.fromkeys(it for it, good in zip(best["drafts"], right) if not good)
            pairs = [(chosen, rejected) for chosen in good for rejected in bad][:PAIRS_PER_QUESTION]
            n_voted += bool(pairs)
            document = question["document"]
            meta = {
                "question": question["question"],
                "path": document,
                "cluster": clusters.setdefault(document, len(clusters)),
                "language": question["language"],
                "context": [{"text": it["text"], "gold": False} for it in reply["sources"]],
            }
            prompt = [{"role": "user", "content": question["question"]}]
            for chosen, rejected in pairs:
                row = {"prompt": prompt, "chosen": chosen, "rejected": rejected, "meta": meta}
                rows.write(json.dumps(row, ensure_ascii=False) + "\n")
                n_rows += 1
    n = len(shares["first"])
    print(f"\n{n_rows} preferences of {n_voted} questions; {n} questions drafted", file=sys.stderr)
    print(json.dumps({name: round(sum(it) / max(n, 1), 3) for name, it in shares.items()}))


main()
