"""A tiny Mistral whose window is shorter than its text, and two PEFT adapters of tiny-llama.

The logits are those of transformers and PEFT. Needs tiny-llama.gguf of make_tiny_decoders.py.
"""
import json
import pathlib

import gguf
import numpy as np
import peft
import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, MistralConfig, MistralForCausalLM

HERE = pathlib.Path(__file__).parent
VERSIONS = {"torch": torch.__version__, "transformers": transformers.__version__,
            "peft": peft.__version__}
POSITIONS = [0, 1, 40, 99]
WINDOW = 21
NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
         "post_attention_layernorm": "ffn_norm"}
WHOLE = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
         "lm_head.weight": "output.weight"}


def some_ids(seed):
    torch.manual_seed(seed)
    return torch.randint(0, 70, (1, 100))


def logits_of(model, ids):
    with torch.no_grad():
        logits = model(ids).logits[0]
    return [[round(x, 5) for x in logits[at].tolist()] for at in POSITIONS]


def mistral():
    config = MistralConfig(
        vocab_size=70, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
        sliding_window=WINDOW, head_dim=8)
    config._attn_implementation = "eager"
    torch.manual_seed(1)
    model = MistralForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            values = torch.randn_like(parameter) * (0.3 if parameter.ndim > 1 else 0.5)
            parameter.copy_((values + (parameter.ndim == 1)).half().float())
    writer = gguf.GGUFWriter(HERE / "tiny-mistral.gguf", "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_freq_base(10000.0)
    writer.add_sliding_window(WINDOW)
    for name, tensor in model.state_dict().items():
        data = tensor.numpy()
        if "q_proj" in name or "k_proj" in name:
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            data = data.reshape(heads, 2, -1, data.shape[1]).swapaxes(1, 2).reshape(data.shape)
        if name not in WHOLE:
            _, _, layer, rest = name.split(".", 3)
            module, kind = rest.rsplit(".", 1)
            name = f"blk.{layer}.{NAMES[module]}.{kind}"
        data = data.astype(np.float16 if data.ndim > 1 else np.float32)
        writer.add_tensor(WHOLE.get(name, name), data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    ids = some_ids(2)
    golden = {"made_with": VERSIONS, "ids": ids[0].tolist(), "positions": POSITIONS,
              "logits": logits_of(model, ids)}
    (HERE / "tiny-mistral.json").write_text(json.dumps(golden) + "\n")


ADAPTERS = {
    "tiny-lora-all": LoraConfig(r=4, lora_alpha=8, target_modules=[
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]),
    "tiny-lora-qv": LoraConfig(r=2, lora_alpha=3, use_rslora=True, target_modules=["q_proj", "v_proj"]),
}


def adapters():
    ids = some_ids(3)
    golden = {"made_with": VERSIONS, "ids": ids[0].tolist(), "positions": POSITIONS, "logits": {}}
    for seed, (name, config) in enumerate(ADAPTERS.items()):
        base = AutoModelForCausalLM.from_pretrained(HERE, gguf_file="tiny-llama.gguf",
                                                    dtype=torch.float32).eval()
        if not golden["logits"]:
            golden["logits"]["base"] = logits_of(base, ids)
        model = get_peft_model(base, config).eval()
        torch.manual_seed(seed)
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if "lora_" in key:
                    parameter.copy_(torch.randn_like(parameter) * 0.2)
        golden["logits"][name] = logits_of(model, ids)
        model.peft_config["default"].base_model_name_or_path = "tiny-llama"
        model.save_pretrained(HERE / name)
        (HERE / name / "README.md").unlink(missing_ok=True)
        (HERE / name / "adapter_model.safetensors").chmod(0o644)
    (HERE / "tiny-lora.json").write_text(json.dumps(golden) + "\n")


mistral()
adapters()
