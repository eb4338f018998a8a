//! Decoders from where their weights are: a GGUF file, or a seed for tests.

use candle_core::{Device, Tensor};

use crate::LoadError;
use crate::decoder::{Attention, Config, Decoder, Layer, Mlp, Rope};
use crate::gguf::{Gguf, RowOrder};
use crate::linear::{Linear, Weight};
use crate::panels::Panels;
use crate::sample::Rng;

/// Where weights come from.
enum Source<'a> {
    Gguf(&'a Gguf),
    /// Small random weights.
    Random(Rng),
}

/// Loads a decoder from a GGUF file of a family that is implemented.
pub(crate) fn from_gguf(file: &Gguf) -> Result<Decoder, LoadError> {
    let arch = file
        .text("general.architecture")
        .ok_or_else(|| file.corrupt("`general.architecture` is missing".to_owned()))?;
    if !["llama", "qwen2", "qwen3"].contains(&arch) {
        return Err(file.unsupported(format!("a decoder of architecture `{arch}`")));
    }
    let config = config_from_gguf(file, arch)?;
    // The files of this architecture store each head's rows in pairs that turn together; the
    // checkpoint, and the adapters trained on it, store the first halves of all pairs first.
    let order = (arch == "llama").then_some((paired_row as RowOrder, config.head_dim));
    decoder(config, &mut Source::Gguf(file), order)
}

/// A decoder of random weights.
pub(crate) fn random(config: Config, seed: u64) -> Decoder {
    decoder(config, &mut Source::Random(Rng::new(seed)), None)
        .expect("random weights have the shapes that are asked for")
}

/// Where llama.cpp's converter put a row of a query or key matrix.
fn paired_row(row: usize, head_dim: usize) -> usize {
    let (head, at) = (row / head_dim, row % head_dim);
    let half = head_dim / 2;
    head * head_dim + at % half * 2 + at / half
}

fn config_from_gguf(file: &Gguf, arch: &str) -> Result<Config, LoadError> {
    let key = |name: &str| format!("{arch}.{name}");
    let number = |name: &str| file.number(&key(name));
    let find_number = |name: &str| file.find_number(&key(name));
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
    let sliding_window = find_number("attention.sliding_window")?.filter(|&it| it > 0);
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
        sliding_window,
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
    order: Option<(RowOrder, usize)>,
) -> Result<Decoder, LoadError> {
    let Config { hidden, intermediate, head_dim, vocab_size, .. } = config;
    let (n_q, n_kv) = (config.n_heads * head_dim, config.n_kv_heads * head_dim);
    let embed_tokens = source.linear("token_embd", (vocab_size, hidden), None)?;
    let mut layers = Vec::with_capacity(config.n_layers);
    for idx in 0..config.n_layers {
        let at = |name: &str| format!("blk.{idx}.{name}");
        layers.push(Layer {
            input_norm: source.norm(&at("attn_norm"), hidden)?,
            attention: Attention {
                q_proj: source.linear(&at("attn_q"), (n_q, hidden), order)?,
                k_proj: source.linear(&at("attn_k"), (n_kv, hidden), order)?,
                v_proj: source.linear(&at("attn_v"), (n_kv, hidden), None)?,
                o_proj: source.linear(&at("attn_output"), (hidden, n_q), None)?,
                q_norm: source.find_norm(&at("attn_q_norm"), head_dim)?,
                k_norm: source.find_norm(&at("attn_k_norm"), head_dim)?,
            },
            post_attention_norm: source.norm(&at("ffn_norm"), hidden)?,
            mlp: Mlp {
                gate_proj: source.linear(&at("ffn_gate"), (intermediate, hidden), None)?,
                up_proj: source.linear(&at("ffn_up"), (intermediate, hidden), None)?,
                down_proj: source.linear(&at("ffn_down"), (hidden, intermediate), None)?,
            },
        });
    }
    let norm = source.norm("output_norm", hidden)?;
    let lm_head = match source.contains("output.weight") {
        true => Some(source.linear("output", (vocab_size, hidden), None)?),
        false => None,
    };
    let rope = Rope::new(&config);
    Ok(Decoder { config, embed_tokens, layers, norm, lm_head, rope })
}

impl Source<'_> {
    fn contains(&self, name: &str) -> bool {
        match self {
            Self::Gguf(file) => file.contains(name),
            Self::Random(_) => false,
        }
    }

    fn linear(
        &mut self,
        name: &str,
        (n_out, n_in): (usize, usize),
        order: Option<(RowOrder, usize)>,
    ) -> Result<Linear, LoadError> {
        match self {
            Self::Gguf(file) => {
                let weight = file.matrix(&format!("{name}.weight"), (n_out, n_in), order)?;
                let bias_name = format!("{name}.bias");
                if !file.contains(&bias_name) {
                    return Ok(Linear::new(weight, None));
                }
                let stored = file.vector(&bias_name, n_out)?;
                let bias = match order {
                    Some((order, head_dim)) => {
                        (0..n_out).map(|row| stored[order(row, head_dim)]).collect()
                    }
                    None => stored,
                };
                Ok(Linear::new(weight, Some(vector(bias))))
            }
            Self::Random(rng) => {
                let scale = 2.0 / (n_in as f32).sqrt();
                let values: Vec<f32> =
                    (0..n_out * n_in).map(|_| (rng.unit() - 0.5) * 2.0 * scale).collect();
                Ok(Linear::new(Weight::Panels(Panels::from_f32(&values, n_in)), None))
            }
        }
    }

    fn norm(&mut self, name: &str, n: usize) -> Result<Tensor, LoadError> {
        match self {
            Self::Gguf(file) => Ok(vector(file.vector(&format!("{name}.weight"), n)?)),
            Self::Random(_) => Ok(vector(vec![1.0; n])),
        }
    }

    fn find_norm(&mut self, name: &str, n: usize) -> Result<Option<Tensor>, LoadError> {
        match self.contains(&format!("{name}.weight")) {
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

    /// Logits agree with transformers, read in one piece and in several.
    #[track_caller]
    fn check(name: &str) {
        let text = fs_err::read_to_string(golden(&format!("{name}.json"))).unwrap();
        let Golden { ids, positions, logits } = serde_json::from_str(&text).unwrap();
        let decoder = load(&golden(&format!("{name}.gguf"))).unwrap();
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

    #[test]
    fn rows_are_stored_in_the_pairs_that_turn_together() {
        let order: Vec<usize> = (0..8).map(|row| paired_row(row, 4)).collect();
        assert_eq!(order, [0, 2, 1, 3, 4, 6, 5, 7]);
    }
}
