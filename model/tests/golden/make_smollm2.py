"""Tokens, rendered conversations and greedy continuations of SmolLM2-135M-Instruct.

From the same GGUF file as ours, whose weights transformers dequantises to f32.
usage: make_smollm2.py MODELS_DIR
"""
import json
import pathlib
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = pathlib.Path(__file__).parent
TEXTS = [
    "Hello world", " leading and  double   spaces ", "12345 and 3.14", "l'été à l'école, ça va ?",
    "tabs\tand\r\nlines\n\n\nend", "don't I'll we've they're", "日本語 русский 👩‍💻", "x=[1,2];/*c*/ // d",
    "NDF-2024-017 : 1 234,56 €", "",
]
CONVERSATIONS = [
    [("user", "What is the capital of France?")],
    [("system", "Answer in one sentence."), ("user", "Why is the sky blue?")],
    [("user", "Say hello."), ("assistant", "Hello!"), ("user", "Now in French, s'il te plaît.")],
    [("user", "List three colours.")],
    [("system", "You answer from the passages.\n\n[1] Remote work is allowed two days per week."),
     ("user", "How many days of remote work are allowed?")],
    [("user", "Write a haiku about autumn.")],
    [("user", "What is 17 + 25?")],
    [("user", "Explain what an employee handbook is for.")],
    [("user", "Translate to English: « Les congés payés sont acquis chaque mois. »")],
    [("user", "Write a Python function that reverses a string.")],
]
NEW_TOKENS = 64

folder = pathlib.Path(sys.argv[1]) / "smollm2-135m-instruct"
name = "SmolLM2-135M-Instruct.Q4_1.gguf"
tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
runs = []
for conversation in CONVERSATIONS:
    turns = [{"role": role, "content": content} for role, content in conversation]
    text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS,
                             do_sample=False, eos_token_id=2, pad_token_id=2)
    new = out[0, ids.shape[1]:].tolist()
    new_text = tokenizer.decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    runs.append({"turns": turns, "text": text, "prompt": ids[0].tolist(), "new": new,
                 "new_text": new_text})
golden = {
    "made_with": {"torch": torch.__version__, "transformers": transformers.__version__},
    "texts": [{"text": text, "ids": tokenizer(text, add_special_tokens=False)["input_ids"]} for text in TEXTS],
    "runs": runs,
}
(HERE / "smollm2.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")
