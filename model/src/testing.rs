//! Models that need no files, for tests of what is built on top.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde_json::{Map, Value, json};

use crate::build_tokenizer::{Description, from_description};
use crate::chat::{ChatTemplate, SpecialTexts};
use crate::decoder::Config;
use crate::generate::Generator;
use crate::load_decoder;
use crate::names::Module;
use crate::sample::Rng;
use crate::tokenizer::byte_alphabet;

const CHAT_ML: &str = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' \
    + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}\
    {{ '<|im_start|>assistant\n' }}{% endif %}";

/// A generator of two small layers with random weights and a token per byte, in milliseconds.
///
/// It writes nonsense, but the same nonsense for the same seed and prompt. Context 1,024 tokens.
pub fn tiny_generator(seed: u64) -> Generator {
    let mut alphabet: Vec<(char, u8)> = byte_alphabet().into_iter().collect();
    alphabet.sort_by_key(|&(_, byte)| byte);
    let mut tokens: Vec<String> = alphabet.into_iter().map(|(c, _)| c.to_string()).collect();
    tokens.extend(["<|im_start|>", "<|im_end|>"].map(str::to_owned));
    let config = Config {
        n_layers: 2,
        hidden: 32,
        intermediate: 64,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 8,
        vocab_size: tokens.len(),
        context_length: 1_024,
        sliding_window: None,
        norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_factors: vec![1.0; 4],
    };
    let description = Description {
        pre: "smollm".to_owned(),
        special: vec![256, 257],
        tokens,
        ..Description::default()
    };
    let tokenizer = from_description(description).expect("a tokenizer of bytes is valid");
    let chat =
        ChatTemplate::new(CHAT_ML, SpecialTexts::default()).expect("a constant template parses");
    Generator::new(load_decoder::random(config, seed), tokenizer, Some(chat), vec![257])
        .expect("the parts are made for each other")
}

/// Writes a model of two small layers with random weights, a token per byte and a chat template
/// into a folder, as the Hub has them. Context 512 tokens.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_tiny_model(dir: &Path, seed: u64) -> io::Result<()> {
    let (hidden, intermediate, n_vocab) = (32, 64, 258);
    let config = json!({
        "model_type": "llama", "hidden_size": hidden, "intermediate_size": intermediate,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 8, "vocab_size": n_vocab, "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5, "rope_theta": 10_000.0, "tie_word_embeddings": true,
        "hidden_act": "silu", "eos_token_id": 257,
    });
    let mut alphabet: Vec<(char, u8)> = byte_alphabet().into_iter().collect();
    alphabet.sort_by_key(|&(_, byte)| byte);
    let mut vocab: Map<String, Value> =
        alphabet.iter().map(|(c, byte)| (c.to_string(), json!(byte))).collect();
    let special = [("<|im_start|>", 256), ("<|im_end|>", 257)];
    vocab.extend(special.map(|(text, id)| (text.to_owned(), json!(id))));
    let added: Vec<Value> = special
        .iter()
        .map(|(text, id)| {
            json!({"id": id, "content": text, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true})
        })
        .collect();
    let tokenizer = json!({
        "version": "1.0", "added_tokens": added,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    });
    let settings = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": CHAT_ML, "eos_token": "<|im_end|>",
    });
    fs_err::create_dir_all(dir)?;
    for (name, value) in [
        ("config.json", config),
        ("tokenizer.json", tokenizer),
        ("tokenizer_config.json", settings),
    ] {
        fs_err::write(dir.join(name), value.to_string())?;
    }
    let mut rng = Rng::new(seed);
    let mut tensors: HashMap<String, Tensor> = HashMap::new();
    let mut add = |name: String, shape: &[usize]| -> io::Result<()> {
        let n = shape.iter().product();
        let values: Vec<f32> = match shape.len() {
            1 => (0..n).map(|_| 1.0 + (rng.unit() - 0.5) * 0.1).collect(),
            _ => (0..n).map(|_| (rng.unit() - 0.5) * 0.3).collect(),
        };
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu).map_err(io::Error::other)?;
        tensors.insert(format!("model.{name}.weight"), tensor);
        Ok(())
    };
    add("embed_tokens".to_owned(), &[n_vocab, hidden])?;
    add("norm".to_owned(), &[hidden])?;
    for layer in 0..2 {
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            add(format!("layers.{layer}.{norm}"), &[hidden])?;
        }
        for module in Module::ALL {
            let shape = match module {
                Module::Q | Module::O => [hidden, hidden],
                Module::K | Module::V => [16, hidden],
                Module::Gate | Module::Up => [intermediate, hidden],
                Module::Down => [hidden, intermediate],
            };
            add(format!("layers.{layer}.{}", module.checkpoint()), &shape)?;
        }
    }
    candle_core::safetensors::save(&tensors, dir.join("model.safetensors"))
        .map_err(io::Error::other)
}
