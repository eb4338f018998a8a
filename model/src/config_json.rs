//! What a folder's `config.json` says of a decoder. An option that is not implemented is refused by
//! name: ignoring it would give wrong text without any error.

use std::f64::consts::TAU;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::LoadError;
use crate::decoder::Config;

/// Families whose networks are implemented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    /// SmolLM and SmolLM2 are of this family too.
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
}

/// A decoder's `config.json`.
pub(crate) struct ConfigJson {
    path: PathBuf,
    map: Map<String, Value>,
    /// Whether the output matrix is that of the embeddings.
    pub(crate) tied: bool,
}

impl ConfigJson {
    /// Reads the file of a folder.
    pub(crate) fn open(dir: &Path) -> Result<Self, LoadError> {
        let path = dir.join("config.json");
        let map = read_object(&path)?;
        let mut res = Self { path, map, tied: false };
        res.tied = res.flag("tie_word_embeddings")?.unwrap_or(false);
        Ok(res)
    }

    /// The sizes of the network.
    pub(crate) fn config(&self) -> Result<Config, LoadError> {
        let family = self.family()?;
        self.refuse_options()?;
        let hidden = self.number("hidden_size")?;
        let n_heads = self.number("num_attention_heads")?;
        let n_kv_heads = self.find_number("num_key_value_heads")?.unwrap_or(n_heads);
        if n_heads == 0 || n_kv_heads == 0 || !n_heads.is_multiple_of(n_kv_heads) {
            let reason = format!("{n_heads} heads cannot share {n_kv_heads} key heads");
            return Err(self.corrupt(reason));
        }
        let head_dim = match (self.find_number("head_dim")?, family) {
            (Some(it), _) => it,
            (None, Family::Qwen3) => 128,
            (None, Family::Llama | Family::Mistral | Family::Qwen2) => hidden / n_heads,
        };
        if head_dim == 0 || head_dim % 2 != 0 {
            return Err(self.unsupported(format!("heads of {head_dim} values")));
        }
        let context_length = self.number("max_position_embeddings")?;
        let n_layers = self.number("num_hidden_layers")?;
        let (rope_theta, rope_factors) = self.rope(head_dim)?;
        let config = Config {
            n_layers,
            hidden,
            intermediate: self.number("intermediate_size")?,
            n_heads,
            n_kv_heads,
            head_dim,
            vocab_size: self.number("vocab_size")?,
            context_length,
            sliding_window: self.sliding_window(family, n_layers)?,
            norm_eps: self.find_real("rms_norm_eps")?.unwrap_or(1e-6) as f32,
            rope_theta: rope_theta as f32,
            rope_factors,
        };
        if [config.context_length, hidden, config.intermediate, config.vocab_size].contains(&0) {
            return Err(self.corrupt("one of its sizes is zero".to_owned()));
        }
        Ok(config)
    }

    /// Ids of the tokens that end a text.
    pub(crate) fn ends(&self) -> Result<Vec<u32>, LoadError> {
        ends_in(&self.map).ok_or_else(|| self.corrupt("`eos_token_id` is no token id".to_owned()))
    }

    /// The name of its architecture in GGUF files.
    pub(crate) fn gguf_architecture(&self) -> Result<&'static str, LoadError> {
        Ok(match self.family()? {
            Family::Llama | Family::Mistral => "llama",
            Family::Qwen2 => "qwen2",
            Family::Qwen3 => "qwen3",
        })
    }

    fn family(&self) -> Result<Family, LoadError> {
        match self.map.get("model_type").and_then(Value::as_str) {
            Some("llama") => Ok(Family::Llama),
            Some("mistral") => Ok(Family::Mistral),
            Some("qwen2") => Ok(Family::Qwen2),
            Some("qwen3") => Ok(Family::Qwen3),
            Some(other) => Err(self.unsupported(format!("a decoder of architecture `{other}`"))),
            None => Err(self.corrupt("`model_type` is missing".to_owned())),
        }
    }

    fn refuse_options(&self) -> Result<(), LoadError> {
        if let Some(method) = self.map.get("quantization_config").filter(|it| !it.is_null()) {
            let method = method.get("quant_method").and_then(Value::as_str).unwrap_or("unknown");
            let what = format!(
                "weights quantised by `{method}`: take the model's f16 or bf16 weights, or a GGUF file"
            );
            return Err(self.unsupported(what));
        }
        let activation = self.map.get("hidden_act").and_then(Value::as_str).unwrap_or("silu");
        if activation != "silu" {
            return Err(self.unsupported(format!("the activation `{activation}`")));
        }
        for (key, neutral) in [("partial_rotary_factor", 1.0), ("pretraining_tp", 1.0)] {
            if let Some(value) = self.find_real(key)?.filter(|it| *it != neutral) {
                return Err(self.unsupported(format!("`{key}` of {value}")));
            }
        }
        Ok(())
    }

    /// The window that every layer attends to; none where all see everything.
    fn sliding_window(&self, family: Family, n_layers: usize) -> Result<Option<usize>, LoadError> {
        let window = match (self.map.contains_key("sliding_window"), family) {
            // What transformers takes where the file leaves it open.
            (false, Family::Mistral | Family::Qwen2 | Family::Qwen3) => Some(4_096),
            _ => self.find_number("sliding_window")?,
        };
        let first = match family {
            Family::Llama => return Ok(None),
            Family::Mistral => 0,
            Family::Qwen2 | Family::Qwen3 => {
                if !self.flag("use_sliding_window")?.unwrap_or(false) {
                    return Ok(None);
                }
                self.find_number("max_window_layers")?.unwrap_or(28)
            }
        };
        let Some(window) = window else { return Ok(None) };
        if window == 0 {
            return Err(self.corrupt("its sliding window is zero".to_owned()));
        }
        let n_sliding = match self.map.get("layer_types") {
            Some(Value::Array(kinds)) if kinds.len() == n_layers => {
                kinds.iter().filter(|it| it.as_str() == Some("sliding_attention")).count()
            }
            _ => n_layers.saturating_sub(first),
        };
        match n_sliding {
            0 => Ok(None),
            n if n == n_layers => Ok(Some(window)),
            n => Err(self.unsupported(format!("a sliding window on {n} of {n_layers} layers"))),
        }
    }

    /// Base of the rotary frequencies, and what each is divided by; (head_dim / 2).
    fn rope(&self, head_dim: usize) -> Result<(f64, Vec<f32>), LoadError> {
        let empty = Map::new();
        let object = |key: &str| -> Result<Option<&Map<String, Value>>, LoadError> {
            match self.map.get(key) {
                None | Some(Value::Null) => Ok(None),
                Some(Value::Object(it)) => Ok(Some(it)),
                Some(_) => Err(self.corrupt(format!("`{key}` is no object"))),
            }
        };
        let rope = object("rope_parameters")?.or(object("rope_scaling")?).unwrap_or(&empty);
        if rope.values().any(Value::is_object) {
            return Err(self.unsupported("rotary frequencies that differ by layer".to_owned()));
        }
        let real = |key: &str| -> Result<f64, LoadError> {
            let value = rope.get(key).and_then(Value::as_f64);
            value.ok_or_else(|| self.corrupt(format!("`{key}` of the rotary scaling is missing")))
        };
        let theta = match rope.get("rope_theta").and_then(Value::as_f64) {
            Some(it) => it,
            None => self.find_real("rope_theta")?.unwrap_or(10_000.0),
        };
        let kind = rope.get("rope_type").or(rope.get("type")).and_then(Value::as_str);
        let half = head_dim / 2;
        let factors = match kind.unwrap_or("default") {
            "default" => vec![1.0; half],
            "linear" => vec![real("factor")? as f32; half],
            "llama3" => {
                let scaling = Llama3Scaling {
                    factor: real("factor")?,
                    low: real("low_freq_factor")?,
                    high: real("high_freq_factor")?,
                    context: real("original_max_position_embeddings")?,
                };
                let exponent = |idx: usize| -2.0 * idx as f64 / head_dim as f64;
                (0..half).map(|it| scaling.divisor(theta.powf(exponent(it))) as f32).collect()
            }
            other => return Err(self.unsupported(format!("rotary scaling of type `{other}`"))),
        };
        if !factors.iter().all(|it: &f32| it.is_finite() && *it > 0.0) || theta <= 0.0 {
            return Err(self.corrupt("its rotary scaling is not a positive number".to_owned()));
        }
        Ok((theta, factors))
    }

    fn number(&self, key: &str) -> Result<usize, LoadError> {
        self.find_number(key)?.ok_or_else(|| self.corrupt(format!("`{key}` is missing")))
    }

    fn find_number(&self, key: &str) -> Result<Option<usize>, LoadError> {
        let Some(value) = self.map.get(key).filter(|it| !it.is_null()) else { return Ok(None) };
        value
            .as_u64()
            .and_then(|it| usize::try_from(it).ok())
            .map(Some)
            .ok_or_else(|| self.corrupt(format!("`{key}` is not a whole number")))
    }

    fn find_real(&self, key: &str) -> Result<Option<f64>, LoadError> {
        let Some(value) = self.map.get(key).filter(|it| !it.is_null()) else { return Ok(None) };
        let real = value.as_f64().map(Some);
        real.ok_or_else(|| self.corrupt(format!("`{key}` is not a number")))
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, LoadError> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(it)) => Ok(Some(*it)),
            Some(_) => Err(self.corrupt(format!("`{key}` is neither true nor false"))),
        }
    }

    fn corrupt(&self, reason: String) -> LoadError {
        LoadError::Corrupt { path: self.path.clone(), reason }
    }

    fn unsupported(&self, what: String) -> LoadError {
        LoadError::Unsupported { path: self.path.clone(), what }
    }
}

/// Llama 3's scaling: long waves are stretched, short ones kept, those between mixed.
struct Llama3Scaling {
    factor: f64,
    low: f64,
    high: f64,
    /// Tokens that the model was trained on before it was stretched.
    context: f64,
}

impl Llama3Scaling {
    /// What a frequency is divided by.
    fn divisor(&self, frequency: f64) -> f64 {
        let waves = self.context * frequency / TAU; // That fit into the context.
        if waves < self.low {
            return self.factor;
        }
        if waves > self.high {
            return 1.0;
        }
        let smooth = (waves - self.low) / (self.high - self.low);
        1.0 / ((1.0 - smooth) / self.factor + smooth)
    }
}

/// A JSON file that holds an object.
pub(crate) fn read_object(path: &Path) -> Result<Map<String, Value>, LoadError> {
    let bytes =
        fs_err::read(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    serde_json::from_slice(&bytes)
        .map_err(|error| LoadError::Corrupt { path: path.to_owned(), reason: error.to_string() })
}

/// The `eos_token_id` of a configuration: one id, a list of them, or nothing. None where it is
/// something else.
pub(crate) fn ends_in(map: &Map<String, Value>) -> Option<Vec<u32>> {
    let id = |value: &Value| value.as_u64().and_then(|it| u32::try_from(it).ok());
    match map.get("eos_token_id") {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(ids)) => ids.iter().map(id).collect(),
        Some(it) => id(it).map(|it| vec![it]),
    }
}
