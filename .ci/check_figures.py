"""Compares measured figures with what they must reach. usage: check_figures.py SET FILE"""

import json
import sys

# Retrieval: nDCG@10 of bm25, dense and hybrid; None where no figure is set for a leg.
RETRIEVAL = {
    "scifact": (0.68, 0.645, 0.73),
    "cnil-fr": (0.58, None, 0.61),
    "piaf-fr/beir": (None, None, 0.80),
}
# Sample questions: share of answerable ones whose document is among the first five passages, and
# share of unanswerable ones that are refused.
SAMPLE = {"recall_at_5": 0.95, "unanswerable_refused": 10 / 12}

name, path = sys.argv[1:]
figures = json.load(open(path))
failed = False


def check(what, value, least):
    global failed
    ok = value >= least
    failed |= not ok
    print(f"{'ok  ' if ok else 'FAIL'} {name} {what}: {value:.4f} (at least {least:.4f})")


if name == "sample":
    for what, least in SAMPLE.items():
        check(what, figures[what]["mean"], least)
    check("no dangling citation", -figures["dangling_citations"], 0)
else:
    for leg, least in zip(("bm25", "dense", "hybrid"), RETRIEVAL[name]):
        value = figures[leg]["ndcg_at_10"]
        if least is None:
            print(f"     {name} {leg} nDCG@10: {value:.4f}")
        else:
            check(f"{leg} nDCG@10", value, least)
    better = max(figures["bm25"]["ndcg_at_10"], figures["dense"]["ndcg_at_10"])
    check("hybrid against the better leg", figures["hybrid"]["ndcg_at_10"], better)
sys.exit(failed)
