"""The losses of the first steps of PEFT on rows.jsonl, with the settings of tune/tests/peft.rs.

usage: make_losses.py SMOLLM2_DIR GGUF_FILE

The same data, order, masks, first factors, optimiser and schedule as `souffleur tune`, in PyTorch: what
the engine draws at random is drawn here by the same generator (SplitMix64), everything else is PEFT's.
"""
import json
import math
import os
import pathlib
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np
import peft
import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = pathlib.Path(__file__).parent
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
MASK = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15
SEED, RANK, ALPHA, BATCH, STEPS, RATE, WARMUP, CLIP, DECAY = 7, 8, 16, 4, 20, 1e-3, 0.1, 1.0, 0.01


def draw(state, n):
    """The next n numbers of SplitMix64 after `state`."""
    z = (np.uint64(state) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(GAMMA)).astype(np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def order(n_rows, epoch):
    first = int(draw((SEED ^ epoch * 0xD6E8FEB86659FD93 & MASK) & MASK, 1)[0])
    numbers = draw(int(draw(first ^ 0x0BAD5EED, 1)[0]), n_rows)
    res = list(range(n_rows))
    for idx, number in zip(range(n_rows - 1, 0, -1), numbers):
        other = int(number) % (idx + 1)
        res[idx], res[other] = res[other], res[idx]
    return res


def encode(tokenizer, messages):
    def ids(messages, prompt):
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    whole = ids(messages, False)
    labels = [-100] * len(whole)
    for idx, message in enumerate(messages):
        if message["role"] == "assistant":
            first, last = len(ids(messages[:idx], True)), len(ids(messages[: idx + 1], False))
            while whole[last - 1] != tokenizer.convert_tokens_to_ids("<|im_end|>"):
                last -= 1
            labels[first:last] = whole[first:last]
    return whole, labels


def main(folder, file):
    np.seterr(over="ignore")
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS,
                                             task_type="CAUSAL_LM"))
    n_drawn = 0
    for layer in range(model.config.num_hidden_layers):
        for target in TARGETS:
            part = "mlp" if target in TARGETS[4:] else "self_attn"
            base = model.base_model.model.model.layers[layer].get_submodule(f"{part}.{target}")
            weight = base.lora_A["default"].weight
            unit = (draw((SEED + n_drawn * GAMMA) & MASK, weight.numel()) >> np.uint64(40)).astype(np.float32)
            unit = unit / np.float32(1 << 24) * np.float32(2) - np.float32(1)
            values = unit * np.float32(1 / math.sqrt(weight.shape[1]))
            weight.data.copy_(torch.from_numpy(values).view_as(weight))
            n_drawn += weight.numel()
    rows = [json.loads(line)["messages"] for line in (HERE / "rows.jsonl").open()]
    rows = [encode(tokenizer, it) for it in rows]
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY)
    per_epoch, losses = math.ceil(len(rows) / BATCH), []
    warm = math.ceil(WARMUP * STEPS)
    for step in range(STEPS):
        at = step % per_epoch * BATCH
        chosen = [rows[it] for it in order(len(rows), step // per_epoch)[at:at + BATCH]]
        total = sum(sum(it >= 0 for it in labels) for _, labels in chosen)
        loss = 0.0
        for ids, labels in chosen:
            logits = model(input_ids=torch.tensor([ids])).logits[0, :-1]
            part = torch.nn.functional.cross_entropy(logits, torch.tensor(labels[1:]), reduction="sum") / total
            part.backward()
            loss += part.item()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        share = (step + 1) / warm if step < warm else \
            0.5 * (1 + math.cos(math.pi * (step - warm) / (STEPS - warm)))
        optimizer.param_groups[0]["lr"] = RATE * share
        optimizer.step()
        optimizer.zero_grad()
        losses.append(round(loss, 6))
        print(step, loss, flush=True)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}
    out = {"versions": versions, "losses": losses}
    (HERE / "losses.json").write_text(json.dumps(out) + "\n")


main(*sys.argv[1:3])
