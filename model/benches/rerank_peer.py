"""sentence-transformers' CrossEncoder on the model, the question and the passages that speed.rs scores.

usage: rerank_peer.py MODELS_DIR CORPUS.jsonl [N_TEXTS]

Makes MODELS_DIR/random-reranker where it is not there: a cross-encoder in the shape of MiniLM-L6 with
random weights and the tokenizer of MODELS_DIR/all-minilm-l6-v2. Prints one JSON line.
"""
import json
import os
import pathlib
import shutil
import sys
import time

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from sentence_transformers import CrossEncoder
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

models, corpus = pathlib.Path(sys.argv[1]), sys.argv[2]
n_texts = int(sys.argv[3]) if len(sys.argv) > 3 else 500
question = "How many days of remote work are allowed per week?"
torch.set_num_threads(os.cpu_count())

folder = models / "random-reranker"
if not folder.is_dir():
    torch.manual_seed(0)
    config = BertConfig(vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12,
                        intermediate_size=1536, num_labels=1)
    BertForSequenceClassification(config).save_pretrained(folder)
    source = models / "all-minilm-l6-v2" / "tokenizer.json"
    PreTrainedTokenizerFast(tokenizer_file=str(source), model_max_length=256, pad_token="[PAD]",
                            cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]").save_pretrained(folder)
    shutil.copy(source, folder)

texts = []
with open(corpus) as lines:
    for line in lines:
        doc = json.loads(line)
        texts.append(f"{doc.get('title', '')} {doc['text']}".strip())
        if len(texts) == n_texts:
            break
model = CrossEncoder(str(folder), max_length=256, device="cpu")
pairs = [(question, text) for text in texts]
model.predict(pairs[:64], batch_size=32)
start = time.perf_counter()
scores = model.predict(pairs, batch_size=32)
seconds = time.perf_counter() - start
print(json.dumps({"system": "sentence-transformers", "pairs_per_s": round(len(pairs) / seconds, 1),
                  "first_scores": [round(float(x), 5) for x in scores[:3]]}))
