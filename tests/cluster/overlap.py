"""How far two servers find the same: the index in the data folder, and its copy on a cluster.

usage: overlap.py URL_A URL_B QUESTIONS [N]

URL_A and URL_B are addresses of `souffleur serve`; QUESTIONS is a JSON lines file whose rows have a
`text` or `question`. Asks both for the ten best passages of the first N questions (all of them), and
prints how many of those they share, how often the first one is the same, and how long each took.
"""

import json
import sys
import time
import urllib.request

K = 10


def found(url, question):
    body = json.dumps({"query": question, "limit": K}).encode()
    request = urllib.request.Request(f"{url}/v1/search", body, {"content-type": "application/json"})
    start = time.monotonic()
    with urllib.request.urlopen(request, timeout=60) as answer:
        results = json.load(answer)["results"]
    return [it["chunk"] for it in results], time.monotonic() - start


def main():
    urls = [it.rstrip("/") for it in sys.argv[1:3]]
    with open(sys.argv[3]) as lines:
        rows = [json.loads(it) for it in lines if it.strip()]
    rows = rows[: int(sys.argv[4])] if len(sys.argv) > 4 else rows
    questions = [it.get("text") or it["question"] for it in rows]
    shared, wanted, same_first, times = 0, 0, 0, ([], [])
    for question in questions:
        lists = []
        for url, took in zip(urls, times):
            chunks, seconds = found(url, question)
            lists.append(chunks)
            took.append(seconds)
        shared += len(set(lists[0]) & set(lists[1]))
        wanted += max(map(len, lists))
        same_first += lists[0][:1] == lists[1][:1]
    result = {
        "questions": len(questions),
        "overlap_at_10": round(shared / max(wanted, 1), 4),
        "same_first": round(same_first / max(len(questions), 1), 4),
    }
    for name, took in zip("ab", times):
        took.sort()
        result[f"ms_p50_{name}"] = round(took[len(took) // 2] * 1e3, 1)
        result[f"ms_p99_{name}"] = round(took[len(took) * 99 // 100] * 1e3, 1)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
