//! `adapter_config.json` of a PEFT folder.

use std::path::Path;

use serde_json::{Map, Value};

use super::{AdapterError, of_adapter};
use crate::config_json::read_object;

/// What `adapter_config.json` says, as far as it matters here.
pub(super) struct Settings {
    alpha: f64,
    /// Ends of module names with an alpha of their own.
    alpha_pattern: Vec<(String, f64)>,
    pub(super) rslora: bool,
    pub(super) rank: Option<usize>,
    pub(super) base: Option<String>,
}

/// Keys that describe training, or that the tensors' names and shapes say as well.
const IGNORED: [&str; 16] = [
    "peft_type",
    "task_type",
    "base_model_name_or_path",
    "revision",
    "auto_mapping",
    "peft_version",
    "inference_mode",
    "lora_dropout",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "megatron_core",
    "qalora_group_size",
    "ensure_weight_tying",
    "eva_config",
];

/// Ways to initialise that leave the base as it is.
const PLAIN_STARTS: [&str; 3] = ["gaussian", "orthogonal", "eva"];

impl Settings {
    pub(super) fn read(path: &Path) -> Result<Self, AdapterError> {
        let map = read_object(path).map_err(of_adapter)?;
        let unsupported = |what: String| AdapterError::Unsupported { path: path.to_owned(), what };
        let corrupt = |reason: String| AdapterError::Corrupt { path: path.to_owned(), reason };
        match map.get("peft_type").and_then(Value::as_str) {
            Some("LORA") => {}
            other => return Err(unsupported(format!("`peft_type` {other:?}"))),
        }
        refuse_options(&map).map_err(unsupported)?;
        let number = |key: &str| {
            let value = map.get(key).and_then(Value::as_f64);
            value.ok_or_else(|| corrupt(format!("`{key}` is missing or no number")))
        };
        let mut alpha_pattern = Vec::new();
        for (pattern, alpha) in
            map.get("alpha_pattern").and_then(Value::as_object).into_iter().flatten()
        {
            // PEFT takes these for regular expressions; names are what people write.
            let is_name = pattern.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.');
            let alpha = alpha.as_f64().filter(|_| is_name);
            let alpha = alpha.ok_or_else(|| unsupported(format!("`alpha_pattern` `{pattern}`")))?;
            alpha_pattern.push((pattern.clone(), alpha));
        }
        let has_ranks = map.get("rank_pattern").and_then(Value::as_object);
        let rank = number("r")?;
        Ok(Self {
            alpha: number("lora_alpha")?,
            alpha_pattern,
            rslora: map.get("use_rslora") == Some(&Value::Bool(true)),
            // With a pattern, the tensors' shapes say which rank each has.
            rank: has_ranks.is_none_or(Map::is_empty).then_some(rank as usize),
            base: map.get("base_model_name_or_path").and_then(Value::as_str).map(str::to_owned),
        })
    }

    pub(super) fn alpha_of(&self, module: &str) -> f64 {
        let ends = |pattern: &str| {
            module.strip_suffix(pattern).is_some_and(|it| it.is_empty() || it.ends_with('.'))
        };
        let found = self.alpha_pattern.iter().find(|(pattern, _)| {
            ends(pattern) || pattern.strip_prefix("model.").is_some_and(|it| it == module)
        });
        found.map_or(self.alpha, |(_, alpha)| *alpha)
    }
}

/// Says which option is not implemented, if one is asked for.
fn refuse_options(map: &Map<String, Value>) -> Result<(), String> {
    for (key, value) in map {
        let is_neutral = match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(items) => items.is_empty(),
            Value::String(text) => text.is_empty(),
            Value::Bool(true) | Value::Number(_) => false,
        };
        let is_known = match key.as_str() {
            "r" | "lora_alpha" | "use_rslora" | "rank_pattern" | "alpha_pattern" => true,
            "bias" => value == "none",
            "init_lora_weights" => {
                value == &Value::Bool(true)
                    || value.as_str().is_some_and(|it| PLAIN_STARTS.contains(&it))
            }
            key => IGNORED.contains(&key),
        };
        if !is_neutral && !is_known {
            return Err(format!("`{key}` {value}"));
        }
    }
    Ok(())
}
