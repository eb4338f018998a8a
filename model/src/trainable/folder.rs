//! The model that training all weights makes: a folder as transformers and we read it.
//!
//! A base that is a folder brings its own files along. For a GGUF file they are written from what
//! it says, where `config.json` and `tokenizer.json` can say the same.

use std::collections::HashMap;
use std::path::Path;

use candle_core::Tensor;
use serde_json::{Map, Value, json};

use super::lora::write_weights;
use super::{Layer, Linear, TrainError, TrainableDecoder};
use crate::LoadError;
use crate::build_tokenizer::from_description;
use crate::config_json::read_object;
use crate::decoder::Config;
use crate::gguf::Gguf;
use crate::load_decoder::config_from_gguf;
use crate::merge::copy_companions;
use crate::staging::whole_folder;

/// The file of the weights.
pub(super) const WEIGHTS: &str = "model.safetensors";
const CONFIG: &str = "config.json";

/// Refuses a base whose folder could not be written, before anything is trained.
pub(super) fn check(model: &Path) -> Result<(), LoadError> {
    if !model.is_dir() {
        let file = Gguf::open(model)?;
        config_json(&file, &config_from_gguf(&file)?)?;
        tokenizer_files(&file)?;
    }
    Ok(())
}

impl TrainableDecoder {
    /// All weights by the names of checkpoints, in the order of their gradients.
    pub(super) fn weights(&self) -> Vec<(String, Tensor)> {
        let mut res = Vec::new();
        let mut add = |name: String, tensor: &Tensor| res.push((name, tensor.clone()));
        for (idx, layer) in self.layers.iter().enumerate() {
            for (name, tensor) in layer.weights() {
                add(format!("model.layers.{idx}.{name}"), tensor);
            }
        }
        add("model.norm.weight".to_owned(), &self.norm);
        add("model.embed_tokens.weight".to_owned(), &self.embed_tokens);
        if !self.tied
            && let Some(head) = self.lm_head.weight.held()
        {
            add("lm_head.weight".to_owned(), head);
        }
        res
    }

    /// Writes a model's folder, which appears under its name when it is complete.
    pub(super) fn save_model(&self, dir: &Path) -> Result<(), TrainError> {
        if dir.exists() {
            return Err(TrainError::Exists { path: dir.to_owned() });
        }
        whole_folder(dir, |partial| {
            for (name, text) in self.companions(partial)? {
                fs_err::write(partial.join(name), text)?;
            }
            let tensors: HashMap<String, Tensor> = self.weights().into_iter().collect();
            write_weights(&partial.join(WEIGHTS), &tensors)
        })
    }

    /// Copies what goes with a model's weights; gives what of it is written anew.
    fn companions(&self, out: &Path) -> Result<Vec<(&'static str, String)>, TrainError> {
        if !self.model.is_dir() {
            let file = Gguf::open(&self.model)?;
            let mut files = tokenizer_files(&file)?;
            files.push((CONFIG, format!("{:#}\n", config_json(&file, &self.config)?)));
            return Ok(files);
        }
        copy_companions(&self.model, out)?;
        let mut config = read_object(&self.model.join(CONFIG))?;
        config.remove("torch_dtype");
        config.insert("dtype".to_owned(), json!("float32"));
        // Of weights in several files; these are in one.
        let index = out.join("model.safetensors.index.json");
        if index.exists() {
            fs_err::remove_file(index)?;
        }
        Ok(vec![(CONFIG, Value::Object(config).to_string())])
    }
}

impl Layer {
    /// All weights, in the order of their gradients.
    fn weights(&self) -> Vec<(String, &Tensor)> {
        let mut res = Vec::new();
        for (module, Linear { weight, bias, .. }) in self.linears() {
            let name = module.checkpoint();
            res.extend(weight.held().map(|it| (format!("{name}.weight"), it)));
            res.extend(bias.as_ref().map(|it| (format!("{name}.bias"), it)));
        }
        for (name, norm) in [
            ("post_attention_layernorm", Some(&self.post_attention_norm)),
            ("self_attn.q_norm", self.q_norm.as_ref()),
            ("self_attn.k_norm", self.k_norm.as_ref()),
            ("input_layernorm", Some(&self.input_norm)),
        ] {
            res.extend(norm.map(|it| (format!("{name}.weight"), it)));
        }
        res
    }
}

/// `config.json` of a GGUF file's decoder.
fn config_json(file: &Gguf, config: &Config) -> Result<Value, LoadError> {
    let Config { n_layers, hidden, intermediate, n_heads, n_kv_heads, head_dim, .. } = *config;
    let has_bias = |name: &str| file.contains(&format!("blk.0.{name}.bias"));
    let family = match (file.text("general.architecture"), config.sliding_window) {
        (Some("llama"), Some(_)) => ("mistral", "MistralForCausalLM"),
        (Some("llama"), None) => ("llama", "LlamaForCausalLM"),
        (Some("qwen3"), None) => ("qwen3", "Qwen3ForCausalLM"),
        (Some("qwen2"), None) => ("qwen2", "Qwen2ForCausalLM"),
        (other, _) => {
            let what = format!("a folder of the architecture {other:?} with a window");
            return Err(take_the_folder(file, &what));
        }
    };
    if family.0 != "qwen2" && has_bias("attn_q") != has_bias("attn_output") {
        return Err(take_the_folder(file, "biases on some of the attention's matrices"));
    }
    let factor = config.rope_factors.first().copied().unwrap_or(1.0);
    if config.rope_factors.iter().any(|it| *it != factor) {
        return Err(take_the_folder(file, "rotary frequencies that are worked out"));
    }
    let token = |key: &str| file.find_number(&format!("tokenizer.ggml.{key}_token_id"));
    let mut rope = json!({ "rope_type": "default", "rope_theta": shortest(config.rope_theta) });
    if factor != 1.0 {
        rope["rope_type"] = json!("linear");
        rope["factor"] = json!(shortest(factor));
    }
    let mut res = json!({
        "architectures": [family.1],
        "model_type": family.0,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": n_layers,
        "num_attention_heads": n_heads,
        "num_key_value_heads": n_kv_heads,
        "head_dim": head_dim,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": shortest(config.norm_eps),
        "rope_theta": shortest(config.rope_theta),
        "rope_parameters": rope,
        "tie_word_embeddings": !file.contains("output.weight"),
        "attention_bias": has_bias("attn_q"),
        "hidden_act": "silu",
        "bos_token_id": token("bos")?,
        "eos_token_id": token("eos")?,
        "dtype": "float32",
    });
    if let Some(window) = config.sliding_window {
        res["sliding_window"] = json!(window);
    }
    Ok(res)
}

/// `tokenizer.json` and what goes with it, of a GGUF file.
fn tokenizer_files(file: &Gguf) -> Result<Vec<(&'static str, String)>, LoadError> {
    if file.text("tokenizer.ggml.model") != Some("gpt2") {
        return Err(take_the_folder(file, "a `tokenizer.json` of SentencePiece's pieces"));
    }
    let tokenizer = from_description(file.tokenizer()?)?;
    let json = tokenizer.to_json().map_err(|error| file.corrupt(error.to_string()))?;
    let mut settings: Map<String, Value> = Map::new();
    settings.insert("tokenizer_class".to_owned(), json!("PreTrainedTokenizerFast"));
    settings.insert("clean_up_tokenization_spaces".to_owned(), json!(false));
    for (key, of_file) in [("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")] {
        let id = file.find_number(&format!("tokenizer.ggml.{of_file}_token_id"))?;
        let id = id.and_then(|it| u32::try_from(it).ok());
        if let Some(text) = id.and_then(|it| tokenizer.special_text(it)) {
            settings.insert(format!("{key}_token"), json!(text));
        }
    }
    if let Some(template) = file.text("tokenizer.chat_template") {
        settings.insert("chat_template".to_owned(), json!(template));
    }
    let settings = format!("{:#}\n", Value::Object(settings));
    Ok(vec![("tokenizer.json", json), ("tokenizer_config.json", settings)])
}

fn take_the_folder(file: &Gguf, what: &str) -> LoadError {
    file.unsupported(format!(
        "{what}, from a GGUF file to a folder: train the model's folder from the Hub instead"
    ))
}

/// The decimal number that an f32 is written as.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().expect("a number's own text is a number")
}
