"""Loss and gradients of PEFT adapters, and the logits of one that was saved here.

After make_tiny_serving.py, make_tiny_checkpoints.py and make_adapters.py, whose folders it reads.
`trained-here/` is what the test `peft_loads_what_is_saved_here` saves; PEFT must load it as it is.
"""
import json
import pathlib

import peft
import torch
import transformers
from peft import PeftModel
from transformers import AutoModelForCausalLM

HERE = pathlib.Path(__file__).parent
VERSIONS = {"torch": torch.__version__, "transformers": transformers.__version__,
            "peft": peft.__version__}
RUNS = [("tiny-llama.gguf", "tiny-lora-qv"), ("tiny-llama.gguf", "adapter-plain"),
        ("tiny-qwen2-folder", "adapter-all"), ("tiny-qwen3-folder", "adapter-head"),
        ("tiny-tied-llama-folder", "adapter-tied-head")]


def load(model, adapter, trainable):
    if model.endswith(".gguf"):
        base = AutoModelForCausalLM.from_pretrained(HERE, gguf_file=model, dtype=torch.float32)
    else:
        base = AutoModelForCausalLM.from_pretrained(HERE / model, dtype=torch.float32)
    return PeftModel.from_pretrained(base, HERE / adapter, is_trainable=trainable).eval()


def run(model, adapter):
    peft_model = load(model, adapter, True)
    torch.manual_seed(8)
    ids = torch.randint(0, 70, (1, 40))
    loss = peft_model(ids, labels=ids).loss
    loss.backward()
    gradients = {name.replace(".default", ""): [float(f"{x:.6g}") for x in parameter.grad.flatten().tolist()]
                 for name, parameter in peft_model.named_parameters() if parameter.requires_grad}
    return {"model": model, "adapter": adapter, "ids": ids[0].tolist(), "loss": round(loss.item(), 6),
            "gradients": gradients}


golden = {"made_with": VERSIONS, "runs": [run(*it) for it in RUNS]}
(HERE / "tiny-gradients.json").write_text(json.dumps(golden) + "\n")

folder = HERE / "trained-here"
if folder.is_dir():
    model = load("tiny-qwen3-folder", "trained-here", False)
    assert any("lora_A" in name for name, _ in model.named_parameters())
    ids = torch.arange(40).unsqueeze(0) * 3 % 70
    with torch.no_grad():
        logits = model(ids).logits[0]
    golden = {"made_with": VERSIONS, "ids": ids[0].tolist(), "positions": [0, 7, 39],
              "logits": [[round(x, 5) for x in logits[at].tolist()] for at in (0, 7, 39)]}
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")
