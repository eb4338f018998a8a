"""What `train.rs` beside this measures, with transformers and PEFT on the same device.

    python3 peft_peer.py make BASE [1.7b]         a base of Qwen3-0.6B's shape with random weights
    python3 peft_peer.py run BASE TOKENS BATCH STEPS [bf16|f32|autocast] [checkpoint] [save=DIR]

`bf16` holds the factors in bf16, too, as is fastest; `autocast` keeps them in f32 under autocast, as
transformers' Trainer does. One JSON line a step. Tokens are those of `train.rs`; `save` keeps the
first factors, for `from=DIR` there.
"""

import json
import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM


def make(base: str, size: str, layers: int = 28) -> None:
    width = {"0.6b": 1024, "1.7b": 2048}[size]
    config = Qwen3Config(
        vocab_size=151936,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=40960,
        rope_theta=1000000.0,
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
        bos_token_id=151643,
        eos_token_id=151645,
    )
    torch.manual_seed(0)
    with torch.device("cuda"):
        model = Qwen3ForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(base)


def texts(batch: int, n_tokens: int) -> torch.Tensor:
    state, ids = 1, []
    for _ in range(batch * n_tokens):
        state = (state * 6364136223846793005 + 1) % 2**64
        ids.append((state >> 33) % 2**32 % 40000)
    return torch.tensor(ids, device="cuda").reshape(batch, n_tokens)


def run(base: str, n_tokens: int, batch: int, n_steps: int, words: list[str]) -> None:
    mode = next((it for it in words if it in ("bf16", "f32", "autocast")), "bf16")
    torch.manual_seed(1)
    dtype = torch.float32 if mode == "f32" else torch.bfloat16
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, attn_implementation="sdpa").cuda()
    model.config.use_cache = False
    spec = LoraConfig(
        r=16,
        lora_alpha=32,
        task_type="CAUSAL_LM",
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    )
    model = get_peft_model(model, spec, autocast_adapter_dtype=mode != "bf16")
    for word in words:
        if word.startswith("save="):
            model.save_pretrained(word.removeprefix("save="))
    if "checkpoint" in words:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    factors = [it for it in model.parameters() if it.requires_grad]
    optimiser = torch.optim.AdamW(factors, lr=1e-4, weight_decay=0.0, fused=True)
    ids = texts(batch, n_tokens)
    torch.cuda.reset_peak_memory_stats()
    for step in range(n_steps):
        torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16, enabled=mode == "autocast"):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(factors, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        value = loss.item()
        torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        line = {
            "system": " ".join(["peft", mode] + [it for it in words if it == "checkpoint"]),
            "tokens": f"{batch}x{n_tokens}",
            "step": step,
            "loss": value,
            "grad_norm": norm.item(),
            "seconds": seconds,
            "tokens_per_s": round(batch * n_tokens / seconds, 1),
            "gpu_gb": torch.cuda.max_memory_allocated() / 1e9,
            "gpu_reserved_gb": torch.cuda.max_memory_reserved() / 1e9,
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["make", base]:
            make(base, "0.6b")
        case ["make", base, size]:
            make(base, size)
        case ["run", base, n_tokens, batch, n_steps, *words]:
            run(base, int(n_tokens), int(batch), int(n_steps), words)
        case _:
            sys.exit(__doc__)
