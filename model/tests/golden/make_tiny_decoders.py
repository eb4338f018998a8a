"""Tiny random decoders as GGUF files, with the logits that transformers computes."""
import json
import pathlib

import gguf
import numpy as np
import torch
import transformers
from transformers import (LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config,
                          Qwen3ForCausalLM)

HERE = pathlib.Path(__file__).parent
SIZES = dict(vocab_size=70, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128)
LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
MODELS = {
    "tiny-llama": ("llama", LlamaForCausalLM, LlamaConfig(**SIZES, tie_word_embeddings=True)),
    "tiny-llama3": ("llama", LlamaForCausalLM, LlamaConfig(**SIZES, rope_parameters=LLAMA3)),
    "tiny-llama-linear": ("llama", LlamaForCausalLM, LlamaConfig(**SIZES, rope_parameters=LINEAR)),
    "tiny-qwen2": ("qwen2", Qwen2ForCausalLM, Qwen2Config(**SIZES, tie_word_embeddings=True)),
    "tiny-qwen3": ("qwen3", Qwen3ForCausalLM, Qwen3Config(**SIZES, head_dim=16)),
}
NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
         "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
         "post_attention_layernorm": "ffn_norm"}


def gguf_name(name):
    if name.startswith("model.embed_tokens"):
        return "token_embd.weight"
    if name.startswith("model.norm"):
        return "output_norm.weight"
    if name.startswith("lm_head"):
        return "output.weight"
    _, _, layer, rest = name.split(".", 3)
    module, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{NAMES[module]}.{kind}"


def paired(weight, n_heads):
    """The order of query and key rows in files of the llama architecture, as llama.cpp permutes."""
    rest = weight.shape[1:]
    return weight.reshape(n_heads, 2, -1, *rest).swapaxes(1, 2).reshape(weight.shape)


def write(path, arch, model, config):
    writer = gguf.GGUFWriter(path, arch)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    if getattr(config, "head_dim", None):
        writer.add_key_length(config.head_dim)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "llama3":
        rotary = model.model.rotary_emb.inv_freq.numpy()
        head_dim = config.hidden_size // config.num_attention_heads
        plain = rope["rope_theta"] ** -(np.arange(0, head_dim, 2) / head_dim)
        writer.add_tensor("rope_freqs.weight", (plain / rotary).astype(np.float32))
    for name, tensor in model.state_dict().items():
        if name.startswith("lm_head") and config.tie_word_embeddings:
            continue
        data = tensor.numpy()
        if arch == "llama" and ("q_proj" in name or "k_proj" in name):
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            data = paired(data, heads)
        writer.add_tensor(gguf_name(name), data.astype(np.float16 if data.ndim > 1 else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


for name, (arch, kind, config) in MODELS.items():
    torch.manual_seed(1)
    model = kind(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            values = torch.randn_like(parameter) * (0.3 if parameter.ndim > 1 else 0.5) + (parameter.ndim == 1)
            parameter.copy_(values.half().float())  # The files hold f16.
    write(HERE / f"{name}.gguf", arch, model, config)
    torch.manual_seed(2)
    ids = torch.randint(0, SIZES["vocab_size"], (1, 100))
    with torch.no_grad():
        logits = model(ids).logits[0]
    golden = {
        "made_with": {"torch": torch.__version__, "transformers": transformers.__version__},
        "ids": ids[0].tolist(),
        "positions": [0, 1, 40, 99],
        "logits": [[round(x, 5) for x in logits[at].tolist()] for at in (0, 1, 40, 99)],
    }
    (HERE / f"{name}.json").write_text(json.dumps(golden) + "\n")
