"""Checks the shape and the substance of the first answer of the README. usage: check_answer.py FILE"""

import json
import sys

answer = json.load(open(sys.argv[1]))
for key in ("answer", "language", "refused", "generator", "sentences", "sources", "context", "timings_ms"):
    assert key in answer, f"no `{key}`"
assert not answer["refused"], "refused"
assert answer["language"] == "en", answer["language"]
assert answer["sentences"] and answer["sources"], "no sentence or no source"
for sentence in answer["sentences"]:
    assert sentence["verdict"] in ("supported", "partly", "unsupported"), sentence
    for citation in sentence["citations"]:
        assert 1 <= citation <= len(answer["sources"]), f"citation {citation} names no source"
for source in answer["sources"]:
    assert source["document"] and source["text"] and source["char_end"] > source["char_start"], source
found = any("remote" in source["document"] for source in answer["sources"])
assert found, [source["document"] for source in answer["sources"]]
print(f"ok   answered: {answer['answer']!r}; {answer['timings_ms']}")
