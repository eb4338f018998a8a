"""Made-up vocabularies in the forms that generators bring, with the tokens that transformers cuts."""
import json
import pathlib

import gguf
import tokenizers
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).parent
CORPUS = """Le télétravail est autorisé deux jours par semaine, avec l'accord du responsable.
Remote work is allowed two days per week, with the manager's approval. The handbook says so.
Les congés payés sont acquis chaque mois ; le solde figure sur la fiche de paie.
Expense reports are due by the 5th; receipts above 150.00 euros need a second signature.
""".splitlines()
TEXTS = [
    "", " ", "Remote work", " Remote  work ", "Le télétravail, c'est\ntrois jours ?", "日本 👍🏽 ﬁn", "a\tb\r\n\n  c",
    "12345 and 3.14", "<s>[INST] work [/INST] week</s><s>", "x<s> y </s> z", "  <s>", "▁week ▁▁ days", "\u00e9 e\u0301",
    "don't I'LL we've", "[INST][INST]  [/INST]", "NDF-2024-017 : 1 234,56 €",
]


def sentencepiece_pieces():
    """Pieces and scores as SentencePiece's BPE gives them: the earlier a merge, the higher its score."""
    words = [" " + line for line in CORPUS]
    symbols = sorted({c for word in words for c in word.replace(" ", "▁")})
    texts = [list(word.replace(" ", "▁")) for word in words]
    merged = []
    for _ in range(60):
        counts = {}
        for text in texts:
            for pair in zip(text, text[1:]):
                if "▁" not in pair[1]:
                    counts[pair] = counts.get(pair, 0) + 1
        pair = max(counts, key=lambda it: (counts[it], it))
        merged.append("".join(pair))
        for text in texts:
            i = 0
            while i + 1 < len(text):
                if (text[i], text[i + 1]) == pair:
                    text[i:i + 2] = ["".join(pair)]
                i += 1
    merged = list(dict.fromkeys(merged))
    return merged, symbols


def write_sentencepiece(path):
    merged, symbols = sentencepiece_pieces()
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + merged + symbols
    tokens += ["[INST]", "[/INST]"]
    types = [2, 3, 3] + [6] * 256 + [1] * (len(merged) + len(symbols)) + [3, 4]
    scores = [0.0] * 259 + [-float(i) for i in range(len(merged) + len(symbols))] + [0.0, 0.0]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def byte_level():
    res = Tokenizer(models.BPE())
    res.normalizer = normalizers.NFC()
    res.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    res.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    res.train_from_iterator(CORPUS, trainer)
    res.add_special_tokens([AddedToken("<s>"), AddedToken("</s>", rstrip=True), AddedToken("[INST]", lstrip=True)])
    res.add_tokens([AddedToken("[/INST]", normalized=False)])
    return res


def cut(tokenizer):
    return [{"text": it, "ids": tokenizer(it, add_special_tokens=False)["input_ids"]} for it in TEXTS]


golden = {"made_with": {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__}}
write_sentencepiece(HERE / "sentencepiece.gguf")
spm = AutoTokenizer.from_pretrained(HERE, gguf_file="sentencepiece.gguf")
golden["sentencepiece.gguf"] = cut(spm)
# The same vocabulary as Llama 2 and Mistral publish it: a space before every piece of text.
legacy = Tokenizer.from_str(spm.backend_tokenizer.to_str())
legacy.pre_tokenizer = None
legacy.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
for name, tokenizer in (("tokenizer_first", spm.backend_tokenizer), ("tokenizer_prepend", legacy),
                        ("tokenizer_bytes", byte_level())):
    tokenizer.save(str(HERE / f"{name}.json"), pretty=False)
    golden[f"{name}.json"] = cut(PreTrainedTokenizerFast(tokenizer_object=tokenizer))
(HERE / "tokenizers.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")
