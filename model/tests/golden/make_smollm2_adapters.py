"""Adapters of SmolLM2-135M-Instruct in PEFT: what they make of the base, token by token.

usage: make_smollm2_adapters.py MODELS_DIR [--train]

`smollm2-peft/` is trained here by PEFT; `smollm2-here/` is what `souffleur tune` left (README.md says how),
and PEFT must load it as it is. transformers dequantises the weights of the same GGUF file to f32.
"""
import json
import os
import pathlib
import shutil
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = pathlib.Path(__file__).parent
ROWS = HERE.parents[2] / "tune/tests/golden/rows.jsonl"
FOLDER = pathlib.Path(sys.argv[1]) / "smollm2-135m-instruct"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PROMPTS = [
    "How many days of remote work are allowed per week?",
    "Who approves a purchase above 5,000 euros?",
    "What is the capital of France?",
]
NEW_TOKENS, TOP, STEPS, RATE = 24, 10, 24, 4e-3

tokenizer = AutoTokenizer.from_pretrained(FOLDER, gguf_file=FILE)


def base():
    return AutoModelForCausalLM.from_pretrained(FOLDER, gguf_file=FILE, dtype=torch.float32)


def ids_of(turns, prompt):
    text = tokenizer.apply_chat_template(turns, add_generation_prompt=prompt, tokenize=False)
    return tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]


def train(folder):
    torch.manual_seed(4)
    config = LoraConfig(r=2, lora_alpha=8, target_modules=MODULES, layers_to_transform=[0, 14, 29],
                        task_type="CAUSAL_LM")
    model = get_peft_model(base(), config)
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=RATE)
    rows = [json.loads(line)["messages"] for line in ROWS.open()]
    for step in range(STEPS):
        ids = ids_of(rows[step % len(rows)], False)
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    shutil.rmtree(folder, ignore_errors=True)
    model.peft_config["default"].base_model_name_or_path = FILE
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    print(f"PEFT's last loss: {loss.item():.3f}")


def written(model, ids):
    """The likeliest tokens to come next with their log-probabilities, and what is written greedily."""
    with torch.no_grad():
        scores = model(input_ids=ids).logits[0, -1].float().log_softmax(-1)
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS,
                             do_sample=False, eos_token_id=2, pad_token_id=2)
    values, tokens = scores.topk(TOP)
    new = out[0, ids.shape[1]:].tolist()
    return {"top": [[int(t), round(float(v), 5)] for t, v in zip(tokens, values)], "new": new,
            "text": tokenizer.decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)}


def record(folder):
    prompts = [ids_of([{"role": "user", "content": it}], True) for it in PROMPTS]
    model = base().eval()
    of_base = [written(model, ids) for ids in prompts]
    model = PeftModel.from_pretrained(model, folder).eval()
    runs = [{"prompt": ids[0].tolist(), "base": plain, "adapter": written(model, ids)}
            for ids, plain in zip(prompts, of_base)]
    for run in runs:
        print(folder.name, run["base"]["text"][:70], "=>", run["adapter"]["text"][:70])
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}
    golden = {"made_with": versions, "runs": runs}
    (folder / "golden.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")


if "--train" in sys.argv:
    train(HERE / "smollm2-peft")
for name in ["smollm2-peft", "smollm2-here"]:
    if (HERE / name).is_dir():
        record(HERE / name)
