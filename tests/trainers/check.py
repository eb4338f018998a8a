"""Lets LLaMA-Factory, axolotl and TRL read what `souffleur dataset export` writes for them.

Usage: check.py SOUFFLEUR [DATASET]. DATASET is the folder of a dataset whose conversations and
texts are exported as well; without it, made-up rows are all there is.
"""

import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import yaml

# LLaMA-Factory asks for versions that its data modules do not need, and for torchaudio, whose name it
# only mentions.
os.environ.setdefault("DISABLE_VERSION_CHECK", "1")
if importlib.util.find_spec("torchaudio") is None:
    nothing = types.ModuleType("torchaudio")
    nothing.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
    sys.modules["torchaudio"] = nothing

KINDS = ("supervised", "preference", "unpaired", "text")


def made_up(kind, i):
    """A row; some have provenance, some a system prompt, one speaks several turns."""
    system = [{"role": "system", "content": "Answer from the passages."}] if i % 3 else []
    earlier = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Yes?"}]
    prompt = system + (earlier if i == 4 and kind != "unpaired" else [])
    prompt = prompt + [{"role": "user", "content": f"[1] Bus {i} leaves at {i}:30.\nWhen does it?"}]
    good, bad = f"At {i}:30 [1].", f"At {i}:45 [1]."
    said = lambda text: [{"role": "assistant", "content": text}]
    row = {
        "supervised": {"messages": prompt + said(good)},
        "preference": {"prompt": prompt, "chosen": said(good), "rejected": said(bad)},
        "unpaired": {"prompt": prompt, "completion": said(good if i % 2 else bad), "label": i % 2 == 1},
        "text": {"text": f"Bus {i} leaves at {i}:30. " * 8},
    }[kind]
    row["id"] = f"{kind}-{i}"
    if i % 2:
        row["meta"] = {"path": f"{i}.md", "document": i, "page": 3 if i % 5 else None, "span": [0, 9]}
    return row


def has(*modules):
    missing = [it for it in modules if importlib.util.find_spec(it) is None]
    if missing:
        print(f"SKIPPED: {', '.join(missing)} not installed")
    return not missing


def write_base(folder):
    """A tiny Llama with a ChatML template and a tokenizer of bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocab = {it: i for i, it in enumerate(special + sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=special[0], pad_token=special[0], eos_token=special[2]
    )
    fast.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    fast.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(vocab), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=8192,
        bos_token_id=0, eos_token_id=2, pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return fast


def lines(path):
    return [json.loads(it) for it in path.read_text().splitlines()]


def own(row):
    """Prompt and answers of a row of ours."""
    if "messages" in row:
        return row["messages"][:-1], [row["messages"][-1]["content"]]
    text = lambda it: it if isinstance(it, str) else it[0]["content"]
    answers = ["chosen", "rejected"] if "chosen" in row else ["completion"]
    return row["prompt"], [text(row[it]) for it in answers]


def check_llama_factory(folder, kind, rows):
    from datasets import load_dataset
    from llamafactory.data.converter import get_dataset_converter
    from llamafactory.data.parser import get_dataset_list

    (attr,) = get_dataset_list(["souffleur_train"], str(folder))
    data = load_dataset("json", data_files=str(folder / attr.dataset_name), split="train")
    convert = get_dataset_converter(attr.formatting, attr, None)
    assert len(data) == len(rows), (len(data), len(rows))
    for example, row in zip(data, rows):
        found = convert(example)
        if kind == "text":
            assert found["_prompt"][0]["content"] == row["text"], found
            continue
        prompt, answers = own(row)
        turns = ([{"role": "system", "content": found["_system"]}] if found["_system"] else [])
        assert turns + found["_prompt"] == prompt, (found, prompt)
        responses = [it["content"] for it in found["_response"] if it["content"]]
        assert responses == answers, (responses, answers)
        if kind == "unpaired":
            assert bool(found["_response"][0]["content"]) == row["label"], found
    config = yaml.safe_load((folder / "llama_factory.yaml").read_text())
    from llamafactory.hparams import DataArguments, FinetuningArguments, ModelArguments
    from transformers import Seq2SeqTrainingArguments
    import dataclasses

    known = {f.name for c in (DataArguments, FinetuningArguments, ModelArguments,
                              Seq2SeqTrainingArguments) for f in dataclasses.fields(c)}
    assert set(config) <= known, set(config) - known


def check_axolotl(folder, kind, rows, tokenizer):
    from axolotl.utils.dict import DictDefault
    from axolotl.utils.schemas.config import AxolotlInputConfig
    from datasets import load_dataset

    text = yaml.safe_load((folder / "axolotl.yaml").read_text())
    known = set(AxolotlInputConfig.model_fields)
    assert set(text) <= known, set(text) - known
    cfg = DictDefault(AxolotlInputConfig(**text).model_dump(exclude_none=True))
    cfg["tokenizer_config"] = text["base_model"]
    (entry,) = text["datasets"]
    data = load_dataset("json", data_files=str(folder / entry["path"]), split=entry["split"])
    assert len(data) == len(rows)
    if kind == "supervised":
        from axolotl.prompt_strategies.chat_template import load

        strategy = load(tokenizer, cfg, DictDefault(entry))
        for example, row in zip(data, rows):
            labels = strategy.tokenize_prompt(example)["labels"]
            learnt = tokenizer.decode([it for it in labels if it != -100])
            assert own(row)[1][0] in learnt, (learnt, row)
            assert row["messages"][-2]["content"] not in learnt, learnt
    elif kind == "preference":
        from axolotl.prompt_strategies.dpo.chat_template import default

        transform, _ = default(cfg)
        for example, row in zip(data, rows):
            prompt, answers = own(row)
            found = transform(dict(example), tokenizer)
            expected = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
            assert found["prompt"] == expected, found
            assert [found["chosen"], found["rejected"]] == [f"{it}<|im_end|>" for it in answers], found
    elif kind == "unpaired":
        from axolotl.prompt_strategies.kto import chatml

        assert entry["type"] == "chatml.ultra"
        transform = chatml.ultra(cfg)
        for example, row in zip(data, rows):
            prompt, answers = own(row)
            found = transform(dict(example))
            expected = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
            assert found["prompt"] == expected, (found, expected)
            assert found["completion"] == f"{answers[0]}<|im_end|>" and found["label"] == row["label"]
    else:
        assert [it["text"] for it in data] == [it["text"] for it in rows] and entry["field"] == "text"


def check_trl(folder, kind):
    command = {"preference": "dpo", "unpaired": "kto"}.get(kind, "sft")
    args = ["--config", "trl.yaml", "--use_cpu", "true", "--max_steps", "2", "--logging_steps", "1"]
    out = subprocess.run(
        [Path(sys.executable).with_name("trl"), command, *args], cwd=folder, capture_output=True, text=True
    )
    assert out.returncode == 0, out.stderr[-4000:]
    assert (folder / "adapter" / "adapter_model.safetensors").exists(), out.stdout[-2000:]
    return [it for it in out.stdout.splitlines() if "'loss'" in it][-1].strip()


def main(souffleur, dataset=None):
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        tokenizer = write_base(work / "base")
        for kind in KINDS:
            source = work / f"{kind}.jsonl"
            rows = [made_up(kind, i) for i in range(12)]
            source.write_text("".join(json.dumps(it) + "\n" for it in rows))
            sources = {kind: source}
            if dataset is not None and (Path(dataset) / f"{kind}.jsonl").exists():
                sources[f"{kind} of the dataset"] = Path(dataset) / f"{kind}.jsonl"
            for label, source in sources.items():
                rows = {it["id"]: it for it in lines(source)}
                for trainer in ("llama-factory", "axolotl", "trl"):
                    folder = work / label.replace(" ", "_") / trainer
                    subprocess.run(
                        [souffleur, "dataset", "export", source, "--out", folder, "--for", trainer,
                         "--base", work / "base", "--tokens-max", "1024", "--quiet"],
                        check=True, stdout=subprocess.DEVNULL,
                    )
                    data = folder / "data" if trainer == "trl" else folder
                    train = [rows[it["id"]] for it in lines(data / "train.jsonl")]
                    said = f"{len(train)} rows"
                    if trainer == "llama-factory" and has("llamafactory"):
                        check_llama_factory(folder, kind, train)
                    elif trainer == "axolotl" and has("axolotl"):
                        check_axolotl(folder, kind, train, tokenizer)
                    elif trainer == "trl" and has("trl"):
                        said += f", {check_trl(folder, kind)}"
                    print(f"{label}, {trainer}: {said}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
