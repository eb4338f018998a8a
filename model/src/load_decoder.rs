//! Decoders from where their weights are: a GGUF file, a folder of safetensors files, or a seed for
//! tests.

mod source;

use std::collections::HashSet;
use std::path::Path;

use crate::LoadError;
use crate::checkpoint::Checkpoint;
use crate::config_json::ConfigJson;
use crate::decoder::{Attention, Config, Decoder, Layer, Mlp, Rope};
use crate::device::Backend;
use crate::gguf::Gguf;
use crate::names::{Module, RowOrder, paired_row};
use crate::sample::Rng;
pub(crate) use source::Source;

/// Loads a decoder from a GGUF file of a family that is implemented.
pub(crate) fn from_gguf(file: &Gguf, backend: &Backend) -> Result<Decoder, LoadError> {
    let config = config_from_gguf(file)?;
    let order = row_order(file).map(|it| (it, config.head_dim));
    decoder(config, &mut Source::Gguf { file, order }, backend)
}

/// Loads a decoder from a folder with `config.json` and safetensors files.
pub(crate) fn from_folder(dir: &Path, backend: &Backend) -> Result<Decoder, LoadError> {
    with_source(dir, |config, source| {
        let decoder = decoder(config, source, backend)?;
        source.check_all_read(dir)?;
        Ok(decoder)
    })
}

/// Opens a model on disk, a GGUF file or a folder, to read some of its weights or all of them.
pub(crate) fn with_source<R>(
    model: &Path,
    read: impl FnOnce(Config, &mut Source<'_>) -> Result<R, LoadError>,
) -> Result<R, LoadError> {
    if model.is_dir() {
        let json = ConfigJson::open(model)?;
        let config = json.config()?;
        let checkpoint = Checkpoint::open(model)?;
        return read(config, &mut folder_source(&checkpoint, json.tied));
    }
    let file = Gguf::open(model)?;
    let config = config_from_gguf(&file)?;
    let order = row_order(&file).map(|it| (it, config.head_dim));
    read(config, &mut Source::Gguf { file: &file, order })
}

/// What is known of a model on disk without its matrices.
pub(crate) struct Outline {
    pub(crate) config: Config,
    /// The weights of its norms: those of each layer before attention and before the feed-forward
    /// part, then the last one.
    pub(crate) norms: Vec<Vec<f32>>,
    /// Whether its output matrix is that of the embeddings.
    pub(crate) is_tied: bool,
}

/// Looks at a model on disk.
pub(crate) fn read_outline(model: &Path) -> Result<Outline, LoadError> {
    with_source(model, |config, source| {
        let mut norms = Vec::with_capacity(2 * config.n_layers + 1);
        for idx in 0..config.n_layers {
            for name in ["input_layernorm", "post_attention_layernorm"] {
                let name = format!("model.layers.{idx}.{name}");
                norms.push(source.norm_values(&name, config.hidden)?);
            }
        }
        norms.push(source.norm_values("model.norm", config.hidden)?);
        Ok(Outline { config, norms, is_tied: !source.has_head() })
    })
}

fn folder_source(checkpoint: &Checkpoint, tied: bool) -> Source<'_> {
    let has = |name: &str| checkpoint.contains(name);
    let is_bare = !has("model.embed_tokens.weight") && has("embed_tokens.weight");
    let prefix = if is_bare { "model." } else { "" };
    Source::Folder { checkpoint, prefix, tied, used: HashSet::new() }
}

/// A decoder of random weights.
pub(crate) fn random(config: Config, seed: u64) -> Decoder {
    decoder(config, &mut Source::Random(Rng::new(seed)), &Backend::Processor)
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

fn decoder(
    config: Config,
    source: &mut Source<'_>,
    backend: &Backend,
) -> Result<Decoder, LoadError> {
    let Config { hidden, head_dim, vocab_size, .. } = config;
    let table = (vocab_size, hidden);
    let embed_tokens = source.linear("model.embed_tokens", table, false, backend)?;
    let mut layers = Vec::with_capacity(config.n_layers);
    for idx in 0..config.n_layers {
        let at = |name: &str| format!("model.layers.{idx}.{name}");
        let mut linear = |module: Module| {
            let name = at(module.checkpoint());
            source.linear(&name, module.shape(&config), module.is_rotated(), backend)
        };
        let (q_proj, k_proj) = (linear(Module::Q)?, linear(Module::K)?);
        let (v_proj, o_proj) = (linear(Module::V)?, linear(Module::O)?);
        let mlp = Mlp {
            gate_proj: linear(Module::Gate)?,
            up_proj: linear(Module::Up)?,
            down_proj: linear(Module::Down)?,
        };
        let device = backend.device();
        let q_norm = source.find_norm(&at("self_attn.q_norm"), head_dim, device)?;
        let k_norm = source.find_norm(&at("self_attn.k_norm"), head_dim, device)?;
        layers.push(Layer {
            input_norm: source.norm(&at("input_layernorm"), hidden, device)?,
            attention: Attention { q_proj, k_proj, v_proj, o_proj, q_norm, k_norm },
            post_attention_norm: source.norm(&at("post_attention_layernorm"), hidden, device)?,
            mlp,
        });
    }
    let norm = source.norm("model.norm", hidden, backend.device())?;
    let lm_head = match source.has_head() {
        true => Some(source.linear("lm_head", table, false, backend)?),
        false => None,
    };
    let (rope, backend) = (Rope::new(&config), backend.clone());
    Ok(Decoder { config, embed_tokens, layers, norm, lm_head, rope, backend })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{self, Golden, path as golden};
    use crate::sample::Rng;

    fn load(path: &Path) -> Result<Decoder, LoadError> {
        from_gguf(&Gguf::open(path)?, &Backend::Processor)
    }

    /// Logits agree with transformers, read in one piece and in several, by the processor's own code
    /// and over tensors.
    #[track_caller]
    fn check(name: &str) {
        let model = golden(name);
        let golden = Golden::of_model(&model);
        for backend in golden::backends() {
            let decoder = golden::decoder_on(&model, &backend);
            for piece in [golden.ids.len(), 33, 1] {
                let mut cache = decoder.cache();
                let mut actual: Vec<Vec<f32>> = Vec::new();
                for ids in golden.ids.chunks(piece) {
                    let hidden = decoder.forward(ids, &mut cache).unwrap();
                    actual.extend(decoder.logits(&hidden, &[]).unwrap().to_vec2::<f32>().unwrap());
                }
                golden.check(&actual, 1e-4);
            }
        }
    }

    #[test]
    fn llama_agrees_with_transformers() {
        check("tiny-llama.gguf");
    }

    #[test]
    fn llama_3_rotary_scaling_agrees_with_transformers() {
        check("tiny-llama3.gguf");
    }

    #[test]
    fn linear_rotary_scaling_agrees_with_transformers() {
        check("tiny-llama-linear.gguf");
    }

    #[test]
    fn qwen_2_agrees_with_transformers() {
        check("tiny-qwen2.gguf");
    }

    #[test]
    fn qwen_3_agrees_with_transformers() {
        check("tiny-qwen3.gguf");
    }

    #[test]
    fn sliding_windows_agree_with_transformers() {
        check("tiny-mistral.gguf");
    }

    #[test]
    fn folders_agree_with_transformers() {
        for name in ["tied-llama", "sharded-llama", "biased-llama", "qwen2", "qwen3"] {
            check(&format!("tiny-{name}-folder"));
        }
    }

    #[test]
    fn a_window_that_slides_agrees_with_transformers() {
        check("tiny-mistral-folder");
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
