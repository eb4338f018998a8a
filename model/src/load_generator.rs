//! A generator's parts from where its model is: a GGUF file, or a folder as the Hub has them.

use std::path::Path;

use serde_json::{Map, Value};

use crate::LoadError;
use crate::build_tokenizer::{from_description, from_json};
use crate::chat::{ChatTemplate, SpecialTexts};
use crate::config_json::{ConfigJson, ends_in, read_object};
use crate::decoder::Decoder;
use crate::device::Backend;
use crate::gguf::Gguf;
use crate::load_decoder;
use crate::tokenizer::TextTokenizer;

/// Control tokens by which chat models end their turn; files often name only one of them.
const END_OF_TURN: [&str; 5] =
    ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "</s>"];

/// What a generator is made of.
pub(crate) struct Parts {
    pub(crate) decoder: Decoder,
    pub(crate) tokenizer: TextTokenizer,
    pub(crate) chat: Option<ChatTemplate>,
    /// Tokens that end a draft.
    pub(crate) ends: Vec<u32>,
}

/// What turns text into tokens: the parts that need no weights.
pub(crate) struct TextParts {
    pub(crate) tokenizer: TextTokenizer,
    pub(crate) chat: Option<ChatTemplate>,
    /// Tokens that end a draft.
    pub(crate) ends: Vec<u32>,
    /// The one that ends a text.
    pub(crate) eos: Option<u32>,
}

/// Loads a model from a GGUF file, or from a folder with `config.json`, safetensors files and
/// `tokenizer.json`. Nothing is computed before all of it has been checked.
pub(crate) fn load(model: &Path, backend: &Backend) -> Result<Parts, LoadError> {
    let parts =
        if model.is_dir() { from_folder(model, backend)? } else { from_gguf(model, backend)? };
    let (n_tokens, n_rows) = (parts.tokenizer.n_tokens(), parts.decoder.config.vocab_size);
    if n_tokens > n_rows {
        return Err(LoadError::TokenizerMismatch { path: model.to_owned(), n_tokens, n_rows });
    }
    Ok(parts)
}

/// A model's tokenizer, without its weights.
pub(crate) fn tokenizer(model: &Path) -> Result<TextTokenizer, LoadError> {
    match model.is_dir() {
        true => from_json(&model.join("tokenizer.json")),
        false => from_description(Gguf::open(model)?.tokenizer()?),
    }
}

/// A model's tokenizer and chat template, without its weights.
pub(crate) fn text_parts(model: &Path) -> Result<TextParts, LoadError> {
    match model.is_dir() {
        true => text_of_folder(model),
        false => text_of_gguf(&Gguf::open(model)?),
    }
}

fn from_gguf(path: &Path, backend: &Backend) -> Result<Parts, LoadError> {
    let file = Gguf::open(path)?;
    let TextParts { tokenizer, chat, ends, .. } = text_of_gguf(&file)?;
    let decoder = load_decoder::from_gguf(&file, backend)?;
    Ok(Parts { decoder, tokenizer, chat, ends })
}

fn text_of_gguf(file: &Gguf) -> Result<TextParts, LoadError> {
    let tokenizer = from_description(file.tokenizer()?)?;
    let token = |key: &str| -> Result<Option<u32>, LoadError> {
        let id = file.find_number(&format!("tokenizer.ggml.{key}_token_id"))?;
        Ok(id.and_then(|id| u32::try_from(id).ok()))
    };
    let mut ends = Vec::new();
    for key in ["eos", "eot", "eom"] {
        ends.extend(token(key)?);
    }
    let text = |key: &str| -> Result<String, LoadError> {
        let text = token(key)?.and_then(|id| tokenizer.special_text(id));
        Ok(text.unwrap_or_default().to_owned())
    };
    let texts = SpecialTexts {
        bos: text("bos")?,
        eos: text("eos")?,
        unk: text("unknown")?,
        pad: text("padding")?,
    };
    let chat = match file.text("tokenizer.chat_template") {
        None => None,
        Some(source) => Some(
            ChatTemplate::new(source, texts).map_err(|error| file.corrupt(error.to_string()))?,
        ),
    };
    Ok(TextParts { eos: token("eos")?, ends: all_ends(ends, &tokenizer), tokenizer, chat })
}

fn from_folder(dir: &Path, backend: &Backend) -> Result<Parts, LoadError> {
    let TextParts { tokenizer, chat, ends, .. } = text_of_folder(dir)?;
    let decoder = load_decoder::from_folder(dir, backend)?;
    Ok(Parts { decoder, tokenizer, chat, ends })
}

fn text_of_folder(dir: &Path) -> Result<TextParts, LoadError> {
    let tokenizer = from_json(&dir.join("tokenizer.json"))?;
    let optional = |name: &str| -> Result<Map<String, Value>, LoadError> {
        let path = dir.join(name);
        if path.is_file() { read_object(&path) } else { Ok(Map::new()) }
    };
    let settings = optional("tokenizer_config.json")?;
    let special = optional("special_tokens_map.json")?;
    let text = |key: &str| {
        let text = settings.get(key).and_then(token_text);
        text.or_else(|| special.get(key).and_then(token_text)).unwrap_or_default()
    };
    let texts = SpecialTexts {
        bos: text("bos_token"),
        eos: text("eos_token"),
        unk: text("unk_token"),
        pad: text("pad_token"),
    };

    let mut ends = ConfigJson::open(dir)?.ends()?;
    let path = dir.join("generation_config.json");
    if path.is_file() {
        ends.extend(ends_in(&read_object(&path)?).ok_or_else(|| LoadError::Corrupt {
            path,
            reason: "`eos_token_id` is no token id".to_owned(),
        })?);
    }
    let eos = tokenizer.special_id(&texts.eos);
    ends.extend(eos);

    let chat = match chat_template(dir, &settings)? {
        None => None,
        Some((path, source)) => Some(
            ChatTemplate::new(&source, texts)
                .map_err(|error| LoadError::Corrupt { path, reason: error.to_string() })?,
        ),
    };
    Ok(TextParts { ends: all_ends(ends, &tokenizer), tokenizer, chat, eos })
}

/// A folder's chat template, in a file of its own or in the tokenizer's settings, and which file
/// that is.
fn chat_template(
    dir: &Path,
    settings: &Map<String, Value>,
) -> Result<Option<(std::path::PathBuf, String)>, LoadError> {
    let path = dir.join("chat_template.jinja");
    if path.is_file() {
        let text = fs_err::read_to_string(&path)
            .map_err(|source| LoadError::Read { path: path.clone(), source })?;
        return Ok(Some((path, text)));
    }
    let path = dir.join("tokenizer_config.json");
    match settings.get("chat_template") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some((path, text.clone()))),
        Some(Value::Array(named)) => {
            let find = |name: &str| named.iter().find(|it| it["name"] == name);
            let text = find("default").and_then(|it| it["template"].as_str());
            text.map(|it| Some((path.clone(), it.to_owned()))).ok_or_else(|| LoadError::Corrupt {
                path,
                reason: "none of its chat templates is named `default`".to_owned(),
            })
        }
        Some(_) => Err(LoadError::Corrupt {
            path,
            reason: "`chat_template` is neither a text nor a list".to_owned(),
        }),
    }
}

/// A token of the settings: a text, or an object that holds one.
fn token_text(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
}

fn all_ends(mut ends: Vec<u32>, tokenizer: &TextTokenizer) -> Vec<u32> {
    ends.extend(END_OF_TURN.iter().filter_map(|it| tokenizer.special_id(it)));
    ends.sort_unstable();
    ends.dedup();
    ends
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::golden::folder_with_tokenizer as folder;

    fn write(dir: &tempfile::TempDir, name: &str, value: &Value) {
        fs_err::write(dir.path().join(name), value.to_string()).unwrap();
    }

    fn error_of(dir: &tempfile::TempDir) -> LoadError {
        load(dir.path(), &Backend::Processor).err().expect("the folder is refused")
    }

    #[test]
    fn a_folder_brings_template_and_ends() {
        let dir = folder("tiny-tied-llama-folder", 70);
        let settings = json!({
            "eos_token": {"content": "<end>"},
            "chat_template": [{"name": "tool_use", "template": "x"},
                {"name": "default", "template": "{{ eos_token }}{{ messages[0].content }}"}],
        });
        write(&dir, "tokenizer_config.json", &settings);
        write(&dir, "generation_config.json", &json!({"eos_token_id": [5, 6]}));
        let parts = load(dir.path(), &Backend::Processor).unwrap();
        assert_eq!(parts.ends, [2, 5, 6]);
        let messages = json!([{"role": "user", "content": "hi"}]);
        let chat = parts.chat.unwrap();
        assert_eq!(chat.render(&messages, &Default::default()).unwrap(), "<end>hi");

        fs_err::write(dir.path().join("chat_template.jinja"), "of a file").unwrap();
        let chat = load(dir.path(), &Backend::Processor).unwrap().chat.unwrap();
        assert_eq!(chat.render(&messages, &Default::default()).unwrap(), "of a file");
    }

    #[test]
    fn a_tokenizer_that_does_not_fit_is_refused_with_both_numbers() {
        let dir = folder("tiny-tied-llama-folder", 71);
        let error = error_of(&dir);
        assert!(matches!(error, LoadError::TokenizerMismatch { n_tokens: 71, n_rows: 70, .. }));
    }

    #[test]
    fn options_that_are_not_implemented_are_refused_by_name() {
        let dir = folder("tiny-tied-llama-folder", 70);
        let original = read_object(&dir.path().join("config.json")).unwrap();
        let check = |key: &str, value: Value, expected: &str| {
            let mut config = original.clone();
            config.insert(key.to_owned(), value);
            write(&dir, "config.json", &Value::Object(config));
            let error = error_of(&dir).to_string();
            assert!(error.contains(expected) && error.contains("config.json"), "{error}");
        };
        check("model_type", json!("mamba"), "mamba");
        check("quantization_config", json!({"quant_method": "gptq"}), "gptq");
        check("hidden_act", json!("gelu"), "gelu");
        check("rope_parameters", json!({"rope_type": "yarn", "factor": 4.0}), "yarn");
        check(
            "rope_parameters",
            json!({"full_attention": {"rope_type": "default"}}),
            "differ by layer",
        );
        check("rope_parameters", json!({"rope_type": "linear"}), "`factor`");
        check("num_key_value_heads", json!(3), "4 heads cannot share 3");
        check("hidden_size", json!("wide"), "`hidden_size`");
        check("max_position_embeddings", json!(0), "zero");
    }

    #[test]
    fn windows_are_read_as_each_family_means_them() {
        let dir = folder("tiny-qwen2-folder", 70);
        let original = read_object(&dir.path().join("config.json")).unwrap();
        let window = |changes: Value| {
            let mut config = original.clone();
            config.remove("layer_types");
            config.extend(changes.as_object().unwrap().clone());
            write(&dir, "config.json", &Value::Object(config));
            ConfigJson::open(dir.path()).unwrap().config().map(|it| it.sliding_window)
        };
        assert_eq!(window(json!({"sliding_window": 16})).unwrap(), None, "it is not switched on");
        let on = |first: usize| json!({"use_sliding_window": true, "sliding_window": 16, "max_window_layers": first});
        assert_eq!(window(on(0)).unwrap(), Some(16));
        assert_eq!(window(on(2)).unwrap(), None);
        let error = window(on(1)).unwrap_err().to_string();
        assert!(error.contains("1 of 2 layers"), "{error}");
        let mistral = |window: Value| json!({"model_type": "mistral", "sliding_window": window});
        assert_eq!(window(mistral(json!(16))).unwrap(), Some(16));
        assert_eq!(window(mistral(Value::Null)).unwrap(), None);
        let kinds = json!({"use_sliding_window": true, "sliding_window": 16,
            "layer_types": ["sliding_attention", "sliding_attention"]});
        assert_eq!(window(kinds).unwrap(), Some(16));
    }

    #[test]
    fn damaged_weights_are_refused_with_the_file() {
        let dir = folder("tiny-tied-llama-folder", 70);
        let path = dir.path().join("model.safetensors");
        let bytes = fs_err::read(&path).unwrap();
        for n in [0, 5, 100, bytes.len() / 2, bytes.len() - 1] {
            fs_err::write(&path, &bytes[..n]).unwrap();
            let error = error_of(&dir).to_string();
            assert!(error.contains("model.safetensors"), "{error}");
        }
        let mut rng = crate::sample::Rng::new(3);
        for _ in 0..300 {
            let mut bytes = bytes.clone();
            for _ in 0..1 + rng.next() % 4 {
                let at = (rng.next() % 2_000) as usize;
                bytes[at] = rng.next() as u8;
            }
            fs_err::write(&path, &bytes).unwrap();
            // Some changes are harmless; none may panic.
            if let Err(error) = load(dir.path(), &Backend::Processor) {
                assert!(error.to_string().contains(&*dir.path().to_string_lossy()), "{error}");
            }
        }
    }

    #[test]
    fn shards_must_all_be_there() {
        let dir = folder("tiny-sharded-llama-folder", 70);
        load(dir.path(), &Backend::Processor).unwrap();
        let index = dir.path().join("model.safetensors.index.json");
        let text = fs_err::read_to_string(&index).unwrap();
        fs_err::write(&index, text.replace("model-00002", "../model-00002")).unwrap();
        assert!(error_of(&dir).to_string().contains("is not the name of a file"));
        fs_err::write(&index, &text[..text.len() / 2]).unwrap();
        assert!(error_of(&dir).to_string().contains("model.safetensors.index.json"));
        fs_err::write(&index, text).unwrap();
        fs_err::remove_file(dir.path().join("model-00002-of-00002.safetensors")).unwrap();
        let error = error_of(&dir);
        assert!(matches!(error, LoadError::MissingPart { n_tensors, .. } if n_tensors > 5));
        fs_err::remove_file(index).unwrap();
        assert!(error_of(&dir).to_string().contains("neither model.safetensors"));
        fs_err::write(dir.path().join("pytorch_model.bin"), "").unwrap();
        assert!(error_of(&dir).to_string().contains("pickle"));
    }

    #[test]
    fn a_tensor_without_a_place_is_refused_by_name() {
        let dir = folder("tiny-biased-llama-folder", 70);
        let mut config = read_object(&dir.path().join("config.json")).unwrap();
        config.insert("num_hidden_layers".to_owned(), json!(1));
        write(&dir, "config.json", &Value::Object(config));
        let error = error_of(&dir).to_string();
        assert!(error.contains("model.layers.1.input_layernorm.weight"), "{error}");
    }

    #[test]
    fn files_that_are_missing_are_named() {
        for name in ["config.json", "tokenizer.json"] {
            let dir = folder("tiny-tied-llama-folder", 70);
            fs_err::remove_file(dir.path().join(name)).unwrap();
            let error = error_of(&dir);
            assert!(matches!(error, LoadError::Read { .. }) && error.to_string().contains(name));
        }
    }
}
