"""LoRA adapters as PEFT saves them, with the logits of the models that they are merged into.

After make_tiny_decoders.py and make_tiny_checkpoints.py, whose models are the bases.
"""
import json
import pathlib
import shutil

import gguf
import numpy as np
import peft
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaForCausalLM

HERE = pathlib.Path(__file__).parent
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ADAPTERS = {
    "adapter-all": ("tiny-qwen2-folder", LoraConfig(r=2, lora_alpha=6, target_modules=MODULES)),
    "adapter-patterns": ("tiny-llama.gguf", LoraConfig(
        r=2, lora_alpha=3, use_rslora=True, target_modules=["q_proj", "k_proj", "down_proj"],
        rank_pattern={"down_proj": 3}, alpha_pattern={"layers.1.self_attn.q_proj": 5})),
    "adapter-head": ("tiny-qwen3-folder", LoraConfig(r=2, lora_alpha=6, target_modules=["v_proj", "lm_head"])),
    "adapter-tied-head": ("tiny-tied-llama-folder", LoraConfig(r=2, lora_alpha=6, target_modules=["lm_head"])),
}
NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "mlp.down_proj": "ffn_down"}


def paired(weight, n_heads):
    return weight.reshape(n_heads, 2, -1, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(folder, path, config, alpha):
    """The same adapter as llama.cpp's converter writes it: one alpha, names and row order of GGUF."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for name, tensor in load_file(folder / "adapter_model.safetensors").items():
        _, layer, rest = name.split("base_model.model.model.")[1].split(".", 2)
        module, kind, _ = rest.rsplit(".", 2)
        data = tensor.numpy()
        if kind == "lora_B" and module.endswith(("q_proj", "k_proj")):
            data = paired(data, config.num_attention_heads if "q_proj" in module else config.num_key_value_heads)
        writer.add_tensor(f"blk.{layer}.{NAMES[module]}.weight.{kind.lower()}", data.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make(name, base, config):
    if base.endswith(".gguf"):
        model = LlamaForCausalLM.from_pretrained(HERE, gguf_file=base, dtype=torch.float32)
    else:
        model = AutoModelForCausalLM.from_pretrained(HERE / base, dtype=torch.float32)
    torch.manual_seed(6)
    model = get_peft_model(model, config).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "lora_" in key:
                parameter.copy_(torch.randn_like(parameter) * 0.2)
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    model.peft_config["default"].base_model_name_or_path = base
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    torch.manual_seed(7)
    ids = torch.randint(0, model.config.vocab_size, (1, 40))
    with torch.no_grad():
        unmerged = model(ids).logits[0]
        # Merged into a tied matrix, a change of the output would change the embeddings, too.
        merged = unmerged if "tied" in name else model.merge_and_unload()(ids).logits[0]
    assert (merged - unmerged).abs().max() < 1e-4
    golden = {
        "made_with": {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__},
        "ids": ids[0].tolist(), "positions": [0, 7, 39],
        "logits": [[round(x, 5) for x in merged[at].tolist()] for at in (0, 7, 39)],
    }
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")
    return model.config


for name, (base, config) in ADAPTERS.items():
    make(name, base, config)
plain = LoraConfig(r=2, lora_alpha=5, target_modules=["q_proj", "k_proj", "down_proj"])
config = make("adapter-plain", "tiny-llama.gguf", plain)
write_gguf(HERE / "adapter-plain", HERE / "adapter-plain" / "adapter.gguf", config, 5.0)
