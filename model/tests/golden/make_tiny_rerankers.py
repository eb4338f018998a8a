"""Tiny random cross-encoders of both families, with tokenizers of their own.

Records what sentence-transformers' CrossEncoder scores (and that transformers' logits agree), and
what its pooling and prefixes make of the same encoder: everything that an embedder or a reranker
does from text to number.
"""
import json
import pathlib
import re
import shutil
import tempfile
import unicodedata

import sentence_transformers
import tokenizers
import torch
import transformers
from sentence_transformers import CrossEncoder
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast,
                          XLMRobertaConfig, XLMRobertaForSequenceClassification)

HERE = pathlib.Path(__file__).parent
TOKENS_MAX = 64
CORPUS = [
    "How many days of remote work are allowed per week?",
    "Employees may work remotely up to three days per week.",
    "The company lends a screen and a chair for work at home.",
    "The car park opens at seven in the morning and closes at nine.",
    "Combien de jours de télétravail sont autorisés par semaine ?",
    "Le télétravail est autorisé jusqu'à trois jours par semaine.",
    "Le repas est remboursé jusqu'à 19,40 € par jour.",
    "Les congés payés s'acquièrent à raison de deux jours et demi par mois.",
]
QUERY, FRENCH = CORPUS[0], CORPUS[4]
PAIRS = [(QUERY, text) for text in CORPUS[1:4]] + [(FRENCH, text) for text in CORPUS[5:]] + [
    ("", "An empty question."), ("An empty passage?", ""),
    (QUERY, CORPUS[3] * 9),  # The passage is cut.
    (FRENCH * 9, CORPUS[5]),  # The question is cut.
    (QUERY * 9, CORPUS[2] * 9),  # Both are.
    ("naïve 日本語 [SEP] </s>", "👩‍💻 works\u200bwith\ttabs\r\n<s> [CLS]"),
]
TEXTS = [CORPUS[0], CORPUS[6], "", CORPUS[7] * 9]
PREFIX = "query: "


def strip(text):
    return "".join(it for it in unicodedata.normalize("NFD", text) if not unicodedata.combining(it))


def bert_tokenizer():
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = sorted({word for text in CORPUS for word in re.findall(r"\w+|[^\w\s]", strip(text.lower()))})
    letters = sorted({letter for word in words for letter in word})
    pieces = special + letters + [f"##{it}" for it in letters] + [it for it in words[::2] if len(it) > 1]
    res = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    res.normalizer = normalizers.BertNormalizer(lowercase=True)
    res.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    res.add_special_tokens(special)
    res.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return PreTrainedTokenizerFast(tokenizer_object=res, model_max_length=TOKENS_MAX, pad_token="[PAD]",
                                   cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]",
                                   model_input_names=["input_ids", "token_type_ids", "attention_mask"])


def roberta_tokenizer():
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    letters = sorted({letter for text in CORPUS for letter in text if letter != " "})
    words = sorted({f"▁{word}" for text in CORPUS for word in text.split()})
    pieces = [(it, 0.0) for it in special] + [("▁", -3.0)] + [(it, -4.0) for it in letters]
    pieces += [(it, -5.0 - i % 3) for i, it in enumerate(words[::2])]
    res = Tokenizer(models.Unigram(pieces, unk_id=3))
    res.normalizer = normalizers.NFKC()
    res.pre_tokenizer = pre_tokenizers.Metaspace()
    res.add_special_tokens(special)
    res.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=res, model_max_length=TOKENS_MAX, pad_token="<pad>",
                                   bos_token="<s>", cls_token="<s>", eos_token="</s>", sep_token="</s>",
                                   unk_token="<unk>", model_input_names=["input_ids", "attention_mask"])


SIZES = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40, num_labels=1)
MODELS = {
    "tiny-bert-reranker": (
        bert_tokenizer(), BertForSequenceClassification,
        lambda n: BertConfig(**SIZES, vocab_size=n, max_position_embeddings=TOKENS_MAX)),
    "tiny-xlm-roberta-reranker": (
        roberta_tokenizer(), XLMRobertaForSequenceClassification,
        lambda n: XLMRobertaConfig(**SIZES, vocab_size=n, max_position_embeddings=TOKENS_MAX + 2,
                                   type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2)),
}

for name, (tokenizer, kind, config) in MODELS.items():
    torch.manual_seed(3)
    model = kind(config(len(tokenizer))).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():  # Larger than usual: errors should show.
            scale = 1.0 if "classifier" in key or "pooler" in key else 0.3
            center = 1.0 if key.endswith("LayerNorm.weight") else 0.0
            parameter.copy_(center + torch.randn_like(parameter) * scale)
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as whole:
        model.save_pretrained(whole)
        tokenizer.save_pretrained(whole)
        cross_encoder = CrossEncoder(whole, device="cpu", max_length=TOKENS_MAX)
        scores = cross_encoder.predict(PAIRS).tolist()
        for file in ("config.json", "model.safetensors", "tokenizer.json"):
            shutil.copyfile(f"{whole}/{file}", folder / file)
    # The vocabulary in one line: small, and nobody reads it.
    tokenizer_json = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json, ensure_ascii=False) + "\n")

    plain = Tokenizer.from_file(str(folder / "tokenizer.json"))
    plain.no_truncation()
    logits, ids, types, n_truncated = [], [], [], 0
    for (query, passage), score in zip(PAIRS, scores):
        # In lists: alone, an empty passage would be taken for none.
        encoded = tokenizer([query], [passage], truncation="longest_first", max_length=TOKENS_MAX, return_tensors="pt")
        with torch.no_grad():
            logit = model(**encoded).logits[0, 0]
        assert abs(torch.sigmoid(logit).item() - score) < 1e-5, (score, logit)
        logits.append(round(logit.item(), 6))
        ids.append(encoded["input_ids"][0].tolist())
        types.append(encoded["token_type_ids"][0].tolist() if "token_type_ids" in encoded else [0] * len(ids[-1]))
        n_truncated += len(plain.encode(query, passage)) > TOKENS_MAX

    vectors = {"mean": [], "cls": []}
    for text in TEXTS:
        encoded = tokenizer(PREFIX + text, truncation=True, max_length=TOKENS_MAX, return_tensors="pt")
        with torch.no_grad():
            hidden = model.base_model(**encoded).last_hidden_state[0]
        for pooling, vector in (("mean", hidden.mean(0)), ("cls", hidden[0])):
            vector = torch.nn.functional.normalize(vector, dim=0)
            vectors[pooling].append([round(x, 6) for x in vector.tolist()])
    golden = {
        "made_with": {"torch": torch.__version__, "transformers": transformers.__version__,
                      "sentence-transformers": sentence_transformers.__version__,
                      "tokenizers": tokenizers.__version__},
        "tokens_max": TOKENS_MAX, "pairs": PAIRS, "ids": ids, "types": types, "logits": logits,
        "scores": [round(score, 6) for score in scores], "n_truncated": n_truncated,
        "texts": TEXTS, "prefix": PREFIX, "vectors": vectors,
    }
    (folder / "golden.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")
    if name == "tiny-bert-reranker":  # The same weights as PyTorch pickles them.
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
