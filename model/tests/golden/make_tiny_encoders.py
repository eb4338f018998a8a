"""Tiny random BERT and XLM-RoBERTa models with the hidden vectors that transformers computes."""
import json
import pathlib

import torch
import transformers
from transformers import BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel

HERE = pathlib.Path(__file__).parent
SIZES = dict(vocab_size=60, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
             intermediate_size=40, max_position_embeddings=48)
MODELS = {
    "tiny-bert": (BertModel, BertConfig(**SIZES, layer_norm_eps=1e-12)),
    "tiny-xlm-roberta": (XLMRobertaModel, XLMRobertaConfig(**SIZES, type_vocab_size=1, pad_token_id=1)),
}

for name, (kind, config) in MODELS.items():
    torch.manual_seed(1)
    model = kind(config, add_pooling_layer=False).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # Larger than usual, biases too: errors should show.
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    model.save_pretrained(folder)
    torch.manual_seed(2)
    texts = [torch.randint(2, SIZES["vocab_size"], (n,)) for n in (5, 1, 40)]
    with torch.no_grad():
        hidden = [model(input_ids=ids[None]).last_hidden_state[0] for ids in texts]
    golden = {
        "made_with": {"torch": torch.__version__, "transformers": transformers.__version__},
        "ids": [ids.tolist() for ids in texts],
        # The first three values of each token tell the implementations apart.
        "hidden": [[[round(x, 6) for x in row[:3]] for row in text.tolist()] for text in hidden],
    }
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")
