"""Tiny random decoders as safetensors folders, with the logits that transformers computes."""
import json
import pathlib
import shutil

import torch
import transformers
from safetensors.torch import save_file
from transformers import (LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config,
                          Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

HERE = pathlib.Path(__file__).parent
SIZES = dict(vocab_size=70, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128)
LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
LINEAR = {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0}


def old_style(config):
    """Rotary settings as they were written before `rope_parameters`, with `type` for the kind."""
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = {("type" if key == "rope_type" else key): it for key, it in rope.items()}


MODELS = {
    # Tied, everything at its default.
    "tied-llama": (LlamaForCausalLM, LlamaConfig(**SIZES, tie_word_embeddings=True), "f16", 1, None),
    # Two shards, a head of its own.
    "sharded-llama": (LlamaForCausalLM, LlamaConfig(**SIZES, rope_parameters=LLAMA3), "f16", 2, None),
    # Biases everywhere, rotary settings in their old form.
    "biased-llama": (LlamaForCausalLM, LlamaConfig(**SIZES, rope_parameters=LINEAR, attention_bias=True,
                                                   mlp_bias=True), "bf16", 1, old_style),
    # The window is shorter than the text.
    "mistral": (MistralForCausalLM, MistralConfig(**SIZES, sliding_window=16, head_dim=8), "f16", 1, None),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**SIZES, tie_word_embeddings=True), "f32", 1, None),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**SIZES, head_dim=16), "bf16", 1, None),
}
TYPES = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32}


def write(folder, model, dtype, n_shards, change):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    config = json.loads(model.config.to_json_string())
    if change is not None:
        change(config)
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    tied = model.config.tie_word_embeddings
    tensors = {name: it.to(TYPES[dtype]).contiguous() for name, it in model.state_dict().items()
               if not (tied and name == "lm_head.weight")}
    names = sorted(tensors)
    if n_shards == 1:
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return
    weight_map = {}
    for shard in range(n_shards):
        file = f"model-{shard + 1:05}-of-{n_shards:05}.safetensors"
        part = {name: tensors[name] for name in names[shard::n_shards]}
        weight_map.update({name: file for name in part})
        save_file(part, folder / file, {"format": "pt"})
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


for name, (kind, config, dtype, n_shards, change) in MODELS.items():
    torch.manual_seed(3)
    model = kind(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            values = torch.randn_like(parameter) * (0.3 if parameter.ndim > 1 else 0.5) + (parameter.ndim == 1)
            parameter.copy_(values.to(TYPES[dtype]).float())
    write(HERE / f"tiny-{name}-folder", model, dtype, n_shards, change)
    torch.manual_seed(4)
    ids = torch.randint(0, SIZES["vocab_size"], (1, 60))
    with torch.no_grad():
        logits = model(ids).logits[0]
    golden = {
        "made_with": {"torch": torch.__version__, "transformers": transformers.__version__},
        "ids": ids[0].tolist(),
        "positions": [0, 1, 15, 59],
        "logits": [[round(x, 5) for x in logits[at].tolist()] for at in (0, 1, 15, 59)],
    }
    (HERE / f"tiny-{name}-folder" / "golden.json").write_text(json.dumps(golden) + "\n")
