"""Preferences among drafts by known answers, to measure a reward with. No person votes here.

usage: reward_votes.py SOUFFLEUR DOCS QUESTIONS.jsonl N_DRAFTS OUT.jsonl

Each question that has an answer is asked with N_DRAFTS drafts (`ask --best-of`). A draft that
contains an accepted answer is preferred to one of the same question that contains none, as a person
would vote who knows the answer; questions of one document are one cluster. The rows are for

    souffleur tune --method reward --data OUT.jsonl

which holds clusters out in turn and says how often the reward, and the citation check alone, tell
the preferred answer.

Then the clusters are held out here, too: a reward is trained on the preferences of four fifths of
the documents, and chooses among the drafts of the questions of the last fifth. Printed at the end:
how often the first draft, one at random, the one that the check takes, the one that such a reward
takes, and any of them is right, over the questions that drafts were written for; and on how many of
them only one of check and reward is right, with McNemar's exact test. Only the standard library is
used.
"""

import json
import math
import pathlib
import re
import subprocess
import sys
import tempfile
import unicodedata

PAIRS_PER_QUESTION = 4
FOLDS = 5


def normal(text: str) -> str:
    text = unicodedata.normalize("NFKD", text).casefold()
    return " ".join(re.findall(r"\w+", "".join(it for it in text if not unicodedata.combining(it))))


def run(command: list[str]) -> dict:
    res = subprocess.run([*command, "--json"], capture_output=True, text=True)
    if res.returncode != 0:
        sys.exit(f"\n{' '.join(command)}: {res.stderr}")
    return json.loads(res.stdout)


def tell(what: str, done: int, total: int) -> None:
    print(f"\r{what}: {done} of {total}", end="" if done < total else "\n", file=sys.stderr)


def preferences(question: dict, cluster: int, reply: dict, right: list[bool]) -> list[dict]:
    """Rows of a right draft over a wrong one."""
    drafts = reply["best_of"]["drafts"]
    good = dict.fromkeys(it for it, good in zip(drafts, right) if good)
    bad = dict.fromkeys(it for it, good in zip(drafts, right) if not good)
    meta = {
        "question": question["question"],
        "path": question["document"],
        "cluster": cluster,
        "language": question["language"],
        "context": [{"text": it["text"], "gold": False} for it in reply["sources"]],
    }
    prompt = [{"role": "user", "content": question["question"]}]
    pairs = [(chosen, rejected) for chosen in good for rejected in bad][:PAIRS_PER_QUESTION]
    return [
        {"prompt": prompt, "chosen": chosen, "rejected": rejected, "meta": meta}
        for chosen, rejected in pairs
    ]


def mcnemar(wins: int, losses: int) -> float:
    n = wins + losses
    tail = sum(math.comb(n, k) for k in range(min(wins, losses) + 1)) / 2**n
    return min(1.0, 2 * tail)


def main() -> None:
    souffleur, docs, questions, n_drafts, out = sys.argv[1:]
    ask = [souffleur, "ask", "--docs", docs, "--best-of", n_drafts]
    known = [json.loads(line) for line in open(questions, encoding="utf-8")]
    known = [it for it in known if it["answers"]]
    clusters: dict[str, int] = {}
    drafted = []
    with open(out, "w", buffering=1, encoding="utf-8") as file:
        for at, question in enumerate(known):
            reply = run([*ask, question["question"]])
            tell("drafts", at + 1, len(known))
            if reply.get("best_of") is None:
                continue
            accepted = [f" {normal(it)} " for it in question["answers"]]
            drafts = [f" {normal(it)} " for it in reply["best_of"]["drafts"]]
            right = [any(it in draft for it in accepted) for draft in drafts]
            cluster = clusters.setdefault(question["document"], len(clusters))
            rows = preferences(question, cluster, reply, right)
            drafted.append((question["question"], cluster, reply["best_of"], right, rows))
            file.writelines(json.dumps(it, ensure_ascii=False) + "\n" for it in rows)
    n_rows, n_voted = sum(len(it[4]) for it in drafted), sum(bool(it[4]) for it in drafted)
    print(f"{n_rows} preferences of {n_voted} questions in {len({it[1] for it in drafted if it[4]})} documents; "
          f"{len(drafted)} questions drafted", file=sys.stderr)

    by_reward = []
    with tempfile.TemporaryDirectory() as folder:
        for fold in range(FOLDS):
            held_out = [it for it in drafted if it[1] % FOLDS == fold]
            rows = [row for it in drafted if it[1] % FOLDS != fold for row in it[4]]
            if not held_out:
                continue
            data = pathlib.Path(folder, f"others-{fold}.jsonl")
            data.write_text("".join(json.dumps(it) + "\n" for it in rows), encoding="utf-8")
            reward = str(pathlib.Path(folder, f"reward-{fold}"))
            run([souffleur, "tune", "--method", "reward", "--data", str(data), "--out", reward])
            for question, _, before, right, _ in held_out:
                best = run([*ask, "--reward", reward, question])["best_of"]
                if best["drafts"] != before["drafts"]:
                    sys.exit(f"\nother drafts than before: {question}")
                by_reward.append((right[before["chosen"]], right[best["chosen"]]))
                tell("held out", len(by_reward), len(drafted))

    n = max(len(drafted), 1)
    rights = [it[3] for it in drafted]
    shares = {
        "first": sum(it[0] for it in rights) / n,
        "random": sum(sum(it) / len(it) for it in rights) / n,
        "check": sum(check for check, _ in by_reward) / n,
        "reward": sum(reward for _, reward in by_reward) / n,
        "any": sum(any(it) for it in rights) / n,
    }
    only_reward = sum(reward and not check for check, reward in by_reward)
    only_check = sum(check and not reward for check, reward in by_reward)
    print(json.dumps({
        "questions": len(drafted),
        **{name: round(it, 3) for name, it in shares.items()},
        "only_reward_right": only_reward,
        "only_check_right": only_check,
        "p": round(mcnemar(only_reward, only_check), 3),
    }))


main()
