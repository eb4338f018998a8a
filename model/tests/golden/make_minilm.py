"""Vectors of all-MiniLM-L6-v2 for twelve texts: mean pooling and unit length, cut at 256 tokens.

These three steps are what sentence-transformers does with this model's `modules.json`.
usage: make_minilm.py MODELS_DIR
"""
import json
import pathlib
import sys

import torch
import transformers
from transformers import AutoModel, AutoTokenizer

HERE = pathlib.Path(__file__).parent
TEXTS = [
    "",
    "How many days of remote work are allowed per week?",
    "Combien de jours de télétravail sont autorisés par semaine ?",
    "L'employé·e doit prévenir son responsable avant 9 h 30 ; à défaut, l'absence est injustifiée.",
    "Annual leave accrues at 2.08 days per month worked.",
    "Référence : NDF-2024-017 — remboursement de 1 234,56 €.",
    "| Niveau | Plafond |\n|---|---|\n| A | 120 € |\n| B | 90 € |",
    "naïve café ÉCOLE Straße ﬁn 日本語 русский",
    "👩‍💻 works\u200bwith\ttabs\r\nand [SEP] markers [CLS]",
    "x" * 300,
    "The quick brown fox jumps over the lazy dog. " * 40,
    "Les congés payés s'acquièrent à raison de deux jours et demi ouvrables par mois. " * 30,
]

folder = pathlib.Path(sys.argv[1]) / "all-minilm-l6-v2"
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModel.from_pretrained(folder).eval()
vectors, n_tokens, n_plain = [], [], []
for text in TEXTS:
    encoded = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**encoded).last_hidden_state[0]
    vector = torch.nn.functional.normalize(hidden.mean(0), dim=0)
    vectors.append([round(x, 6) for x in vector.tolist()])
    n_tokens.append(encoded["input_ids"].shape[1])
    n_plain.append(len(tokenizer(text, add_special_tokens=False)["input_ids"]))
golden = {
    "made_with": {"torch": torch.__version__, "transformers": transformers.__version__},
    "texts": TEXTS, "n_tokens": n_tokens, "n_plain_tokens": n_plain, "vectors": vectors,
}
(HERE / "minilm.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")
