//! Decoders from where their weights are: a GGUF file, a folder of safetensors files, or a seed for
//! tests.

use std::collections::HashSet;
use std::path::Path;

use candle_core::{Device, Tensor};

use crate::LoadError;
use crate::checkpoint::Checkpoint;
use crate::config_json::ConfigJson;
use crate::decoder::{Attention, Config, Decoder, Layer, Mlp, Rope};
use crate::gguf::Gguf;
use crate::linear::{Linear, Weight};
use crate::names::{Module, RowOrder, gguf_name, paired_row};
use crate::panels::Panels;
use crate::sample::Rng;

/// Where weights come from.
enum Source<'a> {
    Gguf {
        file: &'a Gguf,
        /// How query and key rows are stored, where that is not the checkpoint's order.
        order: Option<(RowOrder, usize)>,
    },
    Folder {
        checkpoint: &'a Checkpoint,
        /// What stands before the names: nothing where the network was saved without its head.
        prefix: &'static str,
        tied: bool,
        /// Tensors that the network has read.
        used: HashSet<String>,
    },
    /// Small random weights.
    Random(Rng),
}

/// Loads a decoder from a GGUF file of a family that is implemented.
pub(crate) fn from_gguf(file: &Gguf) -> Result<Decoder, LoadError> {
    let config = config_from_gguf(file)?;
    let order = row_order(file).map(|it| (it, config.head_dim));
    decoder(config, &mut Source::Gguf { file, order })
}

/// Loads a decoder from a folder with `config.json` and safetensors files.
pub(crate) fn from_folder(dir: &Path) -> Result<Decoder, LoadError> {
    let json = ConfigJson::open(dir)?;
    let config = json.config()?;
    let checkpoint = Checkpoint::open(dir)?;
    let mut source = folder_source(&checkpoint, json.tied);
    let decoder = decoder(config, &mut source)?;
    let Source::Folder { used, .. } = &source else { return Ok(decoder) };
    // A tensor that nothing reads belongs to a network that is not this one.
    let is_known = |name: &str| {
        used.contains(name)
            || name == "lm_head.weight" // A copy, where it is tied.
            || name.ends_with("rotary_emb.inv_freq") // Of old checkpoints; computed from the sizes.
    };
    let mut unread: Vec<&str> = checkpoint.names().filter(|name| !is_known(name)).collect();
    unread.sort_unstable();
    match unread.first() {
        None => Ok(decoder),
        Some(name) => Err(LoadError::Unsupported {
            path: dir.to_owned(),
            what: format!("it has a tensor `{name}` that its architecture has no place for"),
        }),
    }
}

/// The sizes of a model on disk, and the weights of its norms: those of each layer before attention
/// and before the feed-forward part, then the last one.
pub(crate) fn read_norms(model: &Path) -> Result<(Config, Vec<Vec<f32>>), LoadError> {
    if model.is_dir() {
        let json = ConfigJson::open(model)?;
        let config = json.config()?;
        let checkpoint = Checkpoint::open(model)?;
        let norms = norms(&config, &mut folder_source(&checkpoint, json.tied))?;
        return Ok((config, norms));
    }
    let file = Gguf::open(model)?;
    let config = config_from_gguf(&file)?;
    let norms = norms(&config, &mut Source::Gguf { file: &file, order: None })?;
    Ok((config, norms))
}

fn norms(config: &Config, source: &mut Source<'_>) -> Result<Vec<Vec<f32>>, LoadError> {
    let mut res = Vec::with_capacity(2 * config.n_layers + 1);
    for idx in 0..config.n_layers {
        for name in ["input_layernorm", "post_attention_layernorm"] {
            let name = source.name(&format!("model.layers.{idx}.{name}"), "weight");
            res.push(source.values(&name, config.hidden)?);
        }
    }
    let name = source.name("model.norm", "weight");
    res.push(source.values(&name, config.hidden)?);
    Ok(res)
}

fn folder_source(checkpoint: &Checkpoint, tied: bool) -> Source<'_> {
    let has = |name: &str| checkpoint.contains(name);
    let is_bare = !has("model.embed_tokens.weight") && has("embed_tokens.weight");
    let prefix = if is_bare { "model." } else { "" };
    Source::Folder { checkpoint, prefix, tied, used: HashSet::new() }
}

/// A decoder of random weights.
pub(crate) fn random(config: Config, seed: u64) -> Decoder {
    decoder(config, &mut Source::Random(Rng::new(seed)))
        .expect("random weights have the shapes that are asked for")
}

/// How a GGUF file stores query and key rows, where that is not the checkpoint's order.
pub(crate) fn row_order(file: &Gguf) -> Option<RowOrder> {
    (file.text("general.architecture") == Some("llama")).then_some(paired_row as RowOrder)
}

/// The sizes of a GGUF file's decoder.
pub(crate) fn config_from_gguf(file: &Gguf) -> Result<Config, LoadError> {
    let arch = file
        .text("general.architecture")
        .ok_or_else(|| file.corrupt("`general.architecture` is missing".to_owned()))?;
    if !["llama", "qwen2", "qwen3"].contains(&arch) {
        return Err(file.unsupported(format!("a decoder of architecture `{arch}`")));
    }
    let key = |name: &str| format!("{arch}.{name}");
    let number = |name: &str| file.number(&key(name));
    let find_number = |name: &str| file.find_number(&key(name));
    if let Some(n_experts) = find_number("expert_count")?.filter(|&it| it > 0) {
        return Err(file.unsupported(format!("a decoder of {n_experts} experts")));
    }
    let hidden = number("embedding_length")?;
    let n_heads = number("attention.head_count")?;
    let n_kv_heads = find_number("attention.head_count_kv")?.unwrap_or(n_heads);
    if n_heads == 0 || n_kv_heads == 0 || !n_heads.is_multiple_of(n_kv_heads) {
        return Err(file.corrupt(format!("{n_heads} heads cannot share {n_kv_heads} key heads")));
    }
    let head_dim = find_number("attention.key_length")?.unwrap_or(hidden / n_heads);
    let rope_dim = find_number("rope.dimension_count")?.unwrap_or(head_dim);
    if head_dim == 0 || head_dim % 2 != 0 || rope_dim != head_dim {
        let what = format!("heads of {head_dim} values of which {rope_dim} are rotated");
        return Err(file.unsupported(what));
    }
    let context_length = number("context_length")?;
    if context_length == 0 || hidden == 0 {
        return Err(file.corrupt("its context or hidden size is zero".to_owned()));
    }
    let vocab_size = match find_number("vocab_size")? {
        Some(it) => it,
        None => file.tokenizer()?.tokens.len(),
    };
    Ok(Config {
        n_layers: number("block_count")?,
        hidden,
        intermediate: number("feed_forward_length")?,
        n_heads,
        n_kv_heads,
        head_dim,
        vocab_size,
        context_length,
        sliding_window: find_number("attention.sliding_window")?.filter(|&it| it > 0),
        norm_eps: file.find_real(&key("attention.layer_norm_rms_epsilon"))?.unwrap_or(1e-5),
        rope_theta: file.find_real(&key("rope.freq_base"))?.unwrap_or(10_000.0),
        rope_factors: rope_factors(file, arch, head_dim)?,
    })
}

fn rope_factors(file: &Gguf, arch: &str, head_dim: usize) -> Result<Vec<f32>, LoadError> {
    let half = head_dim / 2;
    if file.contains("rope_freqs.weight") {
        return file.vector("rope_freqs.weight", half); // Llama 3's scaling, worked out.
    }
    let factor = file.find_real(&format!("{arch}.rope.scaling.factor"))?.unwrap_or(1.0);
    match file.text(&format!("{arch}.rope.scaling.type")) {
        None | Some("none") => Ok(vec![1.0; half]),
        Some("linear") => Ok(vec![factor; half]),
        Some(other) => Err(file.unsupported(format!("rotary scaling of type `{other}`"))),
    }
}

fn decoder(config: Config, source: &mut Source<'_>) -> Result<Decoder, LoadError> {
    let Config { hidden, head_dim, vocab_size, .. } = config;
    let embed_tokens = source.linear("model.embed_tokens", (vocab_size, hidden), false)?;
    let mut layers = Vec::with_capacity(config.n_layers);
    for idx in 0..config.n_layers {
        let at = |name: &str| format!("model.layers.{idx}.{name}");
        let mut linear = |module: Module| {
            let name = at(module.checkpoint());
            source.linear(&name, module.shape(&config), module.is_rotated())
        };
        let (q_proj, k_proj) = (linear(Module::Q)?, linear(Module::K)?);
        let (v_proj, o_proj) = (linear(Module::V)?, linear(Module::O)?);
        let mlp = Mlp {
            gate_proj: linear(Module::Gate)?,
            up_proj: linear(Module::Up)?,
            down_proj: linear(Module::Down)?,
        };
        let q_norm = source.find_norm(&at("self_attn.q_norm"), head_dim)?;
        let k_norm = source.find_norm(&at("self_attn.k_norm"), head_dim)?;
        layers.push(Layer {
            input_norm: source.norm(&at("input_layernorm"), hidden)?,
            attention: Attention { q_proj, k_proj, v_proj, o_proj, q_norm, k_norm },
            post_attention_norm: source.norm(&at("post_attention_layernorm"), hidden)?,
            mlp,
        });
    }
    let norm = source.norm("model.norm", hidden)?;
    let lm_head = match source.has_head() {
        true => Some(source.linear("lm_head", (vocab_size, hidden), false)?),
        false => None,
    };
    let rope = Rope::new(&config);
    Ok(Decoder { config, embed_tokens, layers, norm, lm_head, rope })
}

impl Source<'_> {
    /// Whether the output matrix is another than that of the embeddings.
    fn has_head(&self) -> bool {
        match self {
            Self::Gguf { file, .. } => file.contains("output.weight"),
            Self::Folder { tied, .. } => !tied,
            Self::Random(_) => false,
        }
    }

    /// The source's name for what checkpoints call `name`.
    fn name(&self, name: &str, kind: &str) -> String {
        match self {
            Self::Gguf { .. } => format!("{}.{kind}", gguf_name(name)),
            Self::Folder { prefix, .. } => {
                format!("{}.{kind}", name.strip_prefix(prefix).unwrap_or(name))
            }
            Self::Random(_) => String::new(),
        }
    }

    fn contains(&self, name: &str) -> bool {
        match self {
            Self::Gguf { file, .. } => file.contains(name),
            Self::Folder { checkpoint, .. } => checkpoint.contains(name),
            Self::Random(_) => false,
        }
    }

    fn linear(
        &mut self,
        name: &str,
        (n_out, n_in): (usize, usize),
        rotated: bool,
    ) -> Result<Linear, LoadError> {
        let (weight_name, bias_name) = (self.name(name, "weight"), self.name(name, "bias"));
        let weight = match self {
            Self::Gguf { file, order } => {
                file.matrix(&weight_name, (n_out, n_in), order.filter(|_| rotated))?
            }
            Self::Folder { checkpoint, .. } => checkpoint.matrix(&weight_name, (n_out, n_in))?,
            Self::Random(rng) => {
                let scale = 2.0 / (n_in as f32).sqrt();
                let values: Vec<f32> =
                    (0..n_out * n_in).map(|_| (rng.unit() - 0.5) * 2.0 * scale).collect();
                Weight::Panels(Panels::from_f32(&values, n_in))
            }
        };
        self.mark(weight_name);
        if !self.contains(&bias_name) {
            return Ok(Linear::new(weight, None));
        }
        let stored = self.values(&bias_name, n_out)?;
        let bias = match self {
            Self::Gguf { order: Some((order, head_dim)), .. } if rotated => {
                (0..n_out).map(|row| stored[order(row, *head_dim)]).collect()
            }
            Self::Gguf { .. } | Self::Folder { .. } | Self::Random(_) => stored,
        };
        Ok(Linear::new(weight, Some(vector(bias))))
    }

    fn values(&mut self, name: &str, n: usize) -> Result<Vec<f32>, LoadError> {
        let values = match self {
            Self::Gguf { file, .. } => file.vector(name, n)?,
            Self::Folder { checkpoint, .. } => checkpoint.vector(name, n)?,
            Self::Random(_) => vec![1.0; n],
        };
        self.mark(name.to_owned());
        Ok(values)
    }

    /// Remembers that the network has read a tensor.
    fn mark(&mut self, name: String) {
        if let Self::Folder { used, .. } = self {
            used.insert(name);
        }
    }

    fn norm(&mut self, name: &str, n: usize) -> Result<Tensor, LoadError> {
        let name = self.name(name, "weight");
        self.values(&name, n).map(vector)
    }

    fn find_norm(&mut self, name: &str, n: usize) -> Result<Option<Tensor>, LoadError> {
        match self.contains(&self.name(name, "weight")) {
            true => self.norm(name, n).map(Some),
            false => Ok(None),
        }
    }
}

fn vector(values: Vec<f32>) -> Tensor {
    let n = values.len();
    Tensor::from_vec(values, n, &Device::Cpu).expect("a vector has its own length")
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use serde::Deserialize;

    use super::*;
    use crate::sample::Rng;

    #[derive(Deserialize)]
    struct Golden {
        ids: Vec<u32>,
        positions: Vec<usize>,
        logits: Vec<Vec<f32>>,
    }

    fn golden(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
    }

    fn load(path: &Path) -> Result<Decoder, LoadError> {
        from_gguf(&Gguf::open(path)?)
    }

    #[track_caller]
    fn check(name: &str) {
        let decoder = load(&golden(&format!("{name}.gguf"))).unwrap();
        check_decoder(&decoder, &golden(&format!("{name}.json")));
    }

    #[track_caller]
    fn check_folder(name: &str) {
        let dir = golden(&format!("tiny-{name}-folder"));
        check_decoder(&from_folder(&dir).unwrap(), &dir.join("golden.json"));
    }

    /// Logits agree with transformers, read in one piece and in several.
    #[track_caller]
    fn check_decoder(decoder: &Decoder, golden: &Path) {
        let text = fs_err::read_to_string(golden).unwrap();
        let Golden { ids, positions, logits } = serde_json::from_str(&text).unwrap();
        for piece in [ids.len(), 33, 1] {
            let mut cache = decoder.cache().unwrap();
            let mut actual: Vec<Vec<f32>> = Vec::new();
            for ids in ids.chunks(piece) {
                let hidden = decoder.forward(ids, &mut cache).unwrap();
                actual.extend(decoder.logits(&hidden).unwrap().to_vec2::<f32>().unwrap());
            }
            for (&position, expected) in positions.iter().zip(&logits) {
                for (x, expected) in actual[position].iter().zip(expected) {
                    assert!(
                        (x - expected).abs() < 1e-4,
                        "{x} instead of {expected} at {position}, in pieces of {piece}"
                    );
                }
            }
        }
    }

    #[test]
    fn llama_agrees_with_transformers() {
        check("tiny-llama");
    }

    #[test]
    fn llama_3_rotary_scaling_agrees_with_transformers() {
        check("tiny-llama3");
    }

    #[test]
    fn linear_rotary_scaling_agrees_with_transformers() {
        check("tiny-llama-linear");
    }

    #[test]
    fn qwen_2_agrees_with_transformers() {
        check("tiny-qwen2");
    }

    #[test]
    fn qwen_3_agrees_with_transformers() {
        check("tiny-qwen3");
    }

    #[test]
    fn sliding_windows_agree_with_transformers() {
        check("tiny-mistral");
    }

    #[test]
    fn folders_agree_with_transformers() {
        for name in ["tied-llama", "sharded-llama", "biased-llama", "qwen2", "qwen3"] {
            check_folder(name);
        }
    }

    #[test]
    fn a_window_that_slides_agrees_with_transformers() {
        check_folder("mistral");
    }

    #[test]
    fn truncated_and_damaged_files_are_refused_without_panic() {
        let bytes = fs_err::read(golden("tiny-llama.gguf")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        for n in (0..2_000).step_by(37).chain([bytes.len() - 40_000, bytes.len() - 100]) {
            fs_err::write(&path, &bytes[..n]).unwrap();
            let error = load(&path).err().expect("a truncated file is refused").to_string();
            assert!(error.contains("model.gguf"), "{error}");
        }
        let mut rng = Rng::new(11);
        for _ in 0..500 {
            let mut bytes = bytes.clone();
            for _ in 0..1 + rng.next() % 4 {
                let at = (rng.next() % 2_500) as usize;
                bytes[at] = rng.next() as u8;
            }
            fs_err::write(&path, &bytes).unwrap();
            // Some changes are harmless; none may panic.
            if let Err(error) = load(&path) {
                assert!(error.to_string().contains("model.gguf"), "{error}");
            }
        }
    }

    #[test]
    fn an_unknown_architecture_is_refused_by_name() {
        let bytes = fs_err::read(golden("tiny-llama.gguf")).unwrap();
        let at = bytes.windows(5).position(|it| it == b"llama").unwrap();
        let mut bytes = bytes;
        bytes[at..at + 5].copy_from_slice(b"mamba");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        fs_err::write(&path, &bytes).unwrap();
        let error = load(&path).err().unwrap();
        assert!(matches!(error, LoadError::Unsupported { .. }));
        assert!(error.to_string().contains("mamba"), "{error}");
    }
}
