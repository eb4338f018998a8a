"""PyTorch and ONNX Runtime on the models, the question and the passages that speed.rs scores.

usage: rerank_peer.py MODELS_DIR CORPUS.jsonl [N_TEXTS]

Makes two cross-encoders with random weights and the tokenizer of MODELS_DIR/all-minilm-l6-v2 where they are
not there: MODELS_DIR/random-reranker in the shape of MiniLM-L6 and MODELS_DIR/random-reranker-xlm-r in that
of XLM-R base, and beside their weights what ONNX Runtime reads. Leaves PyTorch's logits in `logits.json` of
each, which speed.rs compares its own with. Prints one JSON line per model and system.
"""
import json
import os
import pathlib
import shutil
import sys
import time
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
warnings.filterwarnings("ignore")
import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from sentence_transformers import CrossEncoder
from transformers import (BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast, XLMRobertaConfig,
                          XLMRobertaForSequenceClassification)

models, corpus = pathlib.Path(sys.argv[1]), sys.argv[2]
n_texts = int(sys.argv[3]) if len(sys.argv) > 3 else 500
QUESTION = "How many days of remote work are allowed per week?"
THREADS, BATCH, MAX_TOKENS = os.cpu_count(), 32, 256
torch.set_num_threads(THREADS)
SHAPES = {
    "random-reranker": (BertForSequenceClassification, BertConfig(
        vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536,
        num_labels=1)),
    "random-reranker-xlm-r": (XLMRobertaForSequenceClassification, XLMRobertaConfig(
        vocab_size=30522, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
        max_position_embeddings=514, type_vocab_size=1, pad_token_id=0, layer_norm_eps=1e-5, num_labels=1)),
}


class Logits(torch.nn.Module):
    """The network as ONNX takes it: tensors in, a tensor out."""

    def __init__(self, inner, names):
        super().__init__()
        self.inner, self.names = inner, names

    def forward(self, *inputs):
        return self.inner(**dict(zip(self.names, inputs))).logits


def make(folder, kind, config):
    torch.manual_seed(0)
    model = kind(config).eval()
    for weight in model.classifier.parameters():
        weight.data.mul_(10)  # Scores that differ from each other.
    model.save_pretrained(folder)
    source = models / "all-minilm-l6-v2" / "tokenizer.json"
    names = ["input_ids", "attention_mask"] + ["token_type_ids"] * (config.type_vocab_size == 2)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(source), model_max_length=MAX_TOKENS, pad_token="[PAD]", cls_token="[CLS]",
        sep_token="[SEP]", unk_token="[UNK]", model_input_names=names)
    tokenizer.save_pretrained(folder)
    shutil.copy(source, folder)
    example = tokenizer([("a", "b"), ("c", "d e")], padding=True, return_tensors="pt")
    f32 = str(folder / "f32.onnx")
    torch.onnx.export(Logits(model, names), tuple(example[name] for name in names), f32, input_names=names,
                      output_names=["logits"], dynamic_axes={name: {0: "batch", 1: "tokens"} for name in names},
                      opset_version=17, dynamo=False)
    quantize_dynamic(f32, str(folder / "int8.onnx"), weight_type=QuantType.QInt8)


def onnx(folder, name, model, pairs):
    """Logits of all pairs, in batches of similar length as CrossEncoder makes them."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(str(folder / f"{name}.onnx"), options, providers=["CPUExecutionProvider"])
    inputs = [it.name for it in session.get_inputs()]

    def predict(pairs):
        order = sorted(range(len(pairs)), key=lambda it: -len(pairs[it][1]))
        logits = np.zeros(len(pairs))
        for at in range(0, len(pairs), BATCH):
            batch = order[at:at + BATCH]
            enc = model.tokenizer([pairs[it] for it in batch], padding=True, truncation=True, max_length=MAX_TOKENS,
                                  return_tensors="np")
            logits[batch] = session.run(None, {name: enc[name] for name in inputs})[0][:, 0]
        return logits

    return predict


def report(folder, system, predict, pairs, expected=None):
    predict(pairs[:8])
    start = time.perf_counter()
    logits = predict(pairs)
    seconds = time.perf_counter() - start
    off = 0.0 if expected is None else float(np.abs(logits - expected).max())
    print(json.dumps({"model": folder.name, "system": system, "threads": THREADS, "spread": round(float(logits.std()), 3),
                      "pairs_per_s": round(len(pairs) / seconds, 1), "off_max": round(off, 6)}), flush=True)
    return logits


texts = []
with open(corpus) as lines:
    for line in lines:
        doc = json.loads(line)
        texts.append(f"{doc.get('title', '')} {doc['text']}".strip())
        if len(texts) == n_texts:
            break
pairs = [(QUESTION, text) for text in texts]
for name, (kind, config) in SHAPES.items():
    folder = models / name
    if not (folder / "int8.onnx").is_file():
        make(folder, kind, config)
    model = CrossEncoder(str(folder), max_length=MAX_TOKENS, device="cpu", activation_fn=torch.nn.Identity())
    torch_logits = report(folder, "pytorch f32", lambda it: model.predict(it, batch_size=BATCH), pairs)
    (folder / "logits.json").write_text(json.dumps([float(it) for it in torch_logits]) + "\n")
    for system in ["f32", "int8"]:
        report(folder, f"onnxruntime {system}", onnx(folder, system, model, pairs), pairs, torch_logits)
