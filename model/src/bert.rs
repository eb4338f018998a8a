//! BERT and XLM-RoBERTa encoders on packed batches.
//!
//! A batch is the tokens of several texts one after another, without padding: the products see one
//! tall matrix, and attention runs text by text (Krell et al. 2021, "Efficient Sequence Packing
//! without Cross-contamination"). A batch is computed by one thread and sized so that its
//! activations stay in that core's cache; threads take different batches and never wait for each
//! other. Follows Devlin et al. 2018 and the checkpoint's own names.

use std::path::Path;

use serde::Deserialize;

use crate::LoadError;
use crate::kernels::{self, LayerNorm};
use crate::panel_product::Product;
use crate::panels::{PANEL, Panels, Threads};
use crate::weights::{Safetensors, Table};

/// The part of `config.json` that the computation depends on.
#[derive(Debug, Deserialize)]
struct Config {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: String,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    layer_norm_eps: f32,
    #[serde(default)]
    pad_token_id: usize,
    #[serde(default = "absolute")]
    position_embedding_type: String,
}

fn absolute() -> String {
    "absolute".to_owned()
}

/// An encoder: token ids to one hidden vector per token.
pub(crate) struct Bert {
    hidden: usize,
    n_heads: usize,
    vocab_size: usize,
    /// Positions count from here: RoBERTa reserves the first rows for padding.
    position_start: usize,
    positions_max: usize,
    weights: Safetensors,
    /// (vocab, hidden), read from the file row by row.
    word_embeddings: Table,
    /// (positions, hidden), with the embedding of token type 0 added.
    position_embeddings: Vec<f32>,
    embedding_norm: LayerNorm,
    layers: Vec<Layer>,
}

struct Layer {
    /// (3 * hidden, hidden): query, key and value in one product. The query's rows are scaled by
    /// 1 / √head_dim, which the attention would otherwise do at every score.
    query_key_value: Dense,
    attention_output: Dense,
    attention_norm: LayerNorm,
    intermediate: Dense,
    output: Dense,
    output_norm: LayerNorm,
}

/// `x · weightᵀ + bias`; the bias is added by whoever reads the product next.
struct Dense {
    weight: Panels,
    bias: Vec<f32>,
}

/// The tokens of some texts, one after another.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    /// (tokens)
    pub(crate) ids: Vec<u32>,
    /// Tokens of each text.
    pub(crate) lens: Vec<usize>,
}

impl Bert {
    /// Loads `config.json` and `model.safetensors` of a folder.
    pub(crate) fn load(dir: &Path) -> Result<Self, LoadError> {
        let config_path = dir.join("config.json");
        let config = read_config(&config_path)?;
        let weights = Safetensors::open(&dir.join("model.safetensors"))?;
        // Files saved with a task head put the encoder under its family's name.
        let prefix = ["", "bert.", "roberta."]
            .into_iter()
            .find(|prefix| weights.contains(&format!("{prefix}embeddings.word_embeddings.weight")))
            .unwrap_or("");
        let hidden = config.hidden_size;
        let read = |name: &str, shape: &[usize]| weights.read(&format!("{prefix}{name}"), shape);
        let norm = |name: &str| -> Result<LayerNorm, LoadError> {
            Ok(LayerNorm {
                weight: read(&format!("{name}.weight"), &[hidden])?,
                bias: read(&format!("{name}.bias"), &[hidden])?,
                eps: config.layer_norm_eps,
            })
        };

        let word_embeddings = weights.table(
            &format!("{prefix}embeddings.word_embeddings.weight"),
            &[config.vocab_size, hidden],
        )?;
        let positions = config.max_position_embeddings;
        let mut position_embeddings =
            read("embeddings.position_embeddings.weight", &[positions, hidden])?;
        let types =
            read("embeddings.token_type_embeddings.weight", &[config.type_vocab_size, hidden])?;
        kernels::add_bias(&mut position_embeddings, &types[..hidden]);

        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for idx in 0..config.num_hidden_layers {
            layers.push(Layer::load(idx, &config, &read, &norm)?);
        }
        let position_start = if config.model_type == "bert" { 0 } else { config.pad_token_id + 1 };
        Ok(Self {
            hidden,
            n_heads: config.num_attention_heads,
            vocab_size: config.vocab_size,
            position_start,
            positions_max: positions.saturating_sub(position_start),
            word_embeddings,
            position_embeddings,
            embedding_norm: norm("embeddings.LayerNorm")?,
            layers,
            weights,
        })
    }

    /// Length of a hidden vector.
    pub(crate) fn hidden(&self) -> usize {
        self.hidden
    }

    /// Most tokens of one text.
    pub(crate) fn positions_max(&self) -> usize {
        self.positions_max
    }

    /// Rows of the embedding table.
    pub(crate) fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The last layer's hidden vectors, computed on the calling thread. result: (tokens, hidden)
    ///
    /// # Panics
    ///
    /// When an id is not below `vocab_size` or a text is longer than `positions_max`.
    pub(crate) fn forward(&self, batch: &Packed) -> Vec<f32> {
        let mut x = self.embed_tokens(batch); // (tokens, hidden)
        let mut buffers = Buffers::default();
        for layer in &self.layers {
            layer.forward(&mut x, &batch.lens, self.n_heads, &mut buffers);
        }
        x
    }

    fn embed_tokens(&self, batch: &Packed) -> Vec<f32> {
        let hidden = self.hidden;
        let mut x = vec![0.0; batch.ids.len() * hidden];
        let mut tokens = batch.ids.iter().zip(x.chunks_exact_mut(hidden));
        for &len in &batch.lens {
            assert!(len <= self.positions_max, "a text is cut before it is encoded");
            for (position, (&id, x)) in tokens.by_ref().take(len).enumerate() {
                assert!((id as usize) < self.vocab_size, "checked against the tokenizer at load");
                self.weights.read_at(&self.word_embeddings, id as usize * hidden, x);
                let at = (self.position_start + position) * hidden;
                kernels::add_bias(x, &self.position_embeddings[at..at + hidden]);
            }
        }
        self.embedding_norm.normalise(&mut x);
        x
    }
}

/// Intermediate results, kept from layer to layer so that their memory stays warm.
#[derive(Default)]
struct Buffers {
    qkv: Vec<f32>,
    attended: Vec<f32>,
    projected: Vec<f32>,
    inner: Vec<f32>,
    attention: AttentionBuffers,
}

impl Layer {
    fn load(
        idx: usize,
        config: &Config,
        read: &impl Fn(&str, &[usize]) -> Result<Vec<f32>, LoadError>,
        norm: &impl Fn(&str) -> Result<LayerNorm, LoadError>,
    ) -> Result<Self, LoadError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let at = |name: &str| format!("encoder.layer.{idx}.{name}");
        let dense = |name: &str, n_out: usize, n_in: usize| -> Result<Dense, LoadError> {
            let weight = read(&at(&format!("{name}.weight")), &[n_out, n_in])?;
            let bias = read(&at(&format!("{name}.bias")), &[n_out])?;
            Ok(Dense { weight: Panels::from_f32(&weight, n_in), bias })
        };
        let mut weight = Vec::with_capacity(3 * hidden * hidden);
        let mut bias = Vec::with_capacity(3 * hidden);
        for name in ["query", "key", "value"] {
            weight.extend(read(&at(&format!("attention.self.{name}.weight")), &[hidden, hidden])?);
            bias.extend(read(&at(&format!("attention.self.{name}.bias")), &[hidden])?);
        }
        let scale = 1.0 / ((hidden / config.num_attention_heads) as f32).sqrt();
        for x in weight[..hidden * hidden].iter_mut().chain(&mut bias[..hidden]) {
            *x *= scale;
        }
        Ok(Self {
            query_key_value: Dense { weight: Panels::from_f32(&weight, hidden), bias },
            attention_output: dense("attention.output.dense", hidden, hidden)?,
            attention_norm: norm(&at("attention.output.LayerNorm"))?,
            intermediate: dense("intermediate.dense", inner, hidden)?,
            output: dense("output.dense", hidden, inner)?,
            output_norm: norm(&at("output.LayerNorm"))?,
        })
    }

    /// x: (tokens, hidden)
    fn forward(&self, x: &mut Vec<f32>, lens: &[usize], n_heads: usize, buffers: &mut Buffers) {
        let Buffers { qkv, attended, projected, inner, attention } = buffers;
        self.query_key_value.product(x, qkv); // (tokens, 3 * hidden)
        kernels::add_bias(qkv, &self.query_key_value.bias);
        attended.resize(x.len(), 0.0);
        attend(qkv, lens, n_heads, attended, attention); // (tokens, hidden)
        self.attention_output.product(attended, projected);
        self.attention_norm.add_and_normalise(projected, x, &self.attention_output.bias);

        self.intermediate.product(projected, inner); // (tokens, intermediate)
        kernels::add_bias(inner, &self.intermediate.bias);
        kernels::gelu(inner);
        self.output.product(inner, x);
        self.output_norm.add_and_normalise(x, projected, &self.output.bias);
    }
}

impl Dense {
    /// x: (tokens, n_in), out: (tokens, n_out)
    fn product(&self, x: &[f32], out: &mut Vec<f32>) {
        out.resize(x.len() / self.weight.n_in() * self.weight.n_out(), 0.0);
        self.weight.matmul(x, out, Threads::One);
    }
}

#[derive(Default)]
struct AttentionBuffers {
    keys: Vec<f32>,
    values: Vec<f32>,
    scores: Vec<f32>,
    out: Vec<f32>,
}

/// Attention (Vaswani et al. 2017) of each text over itself, head by head.
///
/// qkv: (tokens, 3 * hidden) with scaled queries, out: (tokens, hidden)
fn attend(
    qkv: &[f32],
    lens: &[usize],
    n_heads: usize,
    out: &mut [f32],
    buffers: &mut AttentionBuffers,
) {
    let hidden = qkv.len() / 3 / lens.iter().sum::<usize>().max(1);
    let head_dim = hidden / n_heads;
    let mut start = 0;
    for &len in lens {
        let qkv = &qkv[start * 3 * hidden..][..len * 3 * hidden];
        let out = &mut out[start * hidden..][..len * hidden];
        for head in 0..n_heads {
            attend_head(qkv, (head * head_dim, head_dim, hidden), out, buffers);
        }
        start += len;
    }
}

/// One head of one text, with the kernel of [`Product`]: keys and values become its panels.
///
/// qkv: (len, 3 * hidden), out: (len, hidden); of both, the columns of the head that starts at `at`
fn attend_head(
    qkv: &[f32],
    (at, head_dim, hidden): (usize, usize, usize),
    out: &mut [f32],
    buffers: &mut AttentionBuffers,
) {
    let len = out.len() / hidden;
    let len_padded = len.next_multiple_of(PANEL);
    let stride = 3 * hidden;
    let AttentionBuffers { keys, values, scores, out: padded } = buffers;

    // scores = query · keyᵀ: (len, len_padded)
    keys.clear();
    keys.resize(len_padded * head_dim, 0.0); // (len_padded / 32, head_dim, 32)
    for (token, row) in qkv.chunks_exact(stride).enumerate() {
        let panel = &mut keys[token / PANEL * head_dim * PANEL..][..head_dim * PANEL];
        let key = &row[hidden + at..][..head_dim];
        for (slot, &key) in panel.iter_mut().skip(token % PANEL).step_by(PANEL).zip(key) {
            *slot = key;
        }
    }
    scores.resize(len * len_padded, 0.0);
    for (idx, weights) in keys.chunks_exact(head_dim * PANEL).enumerate() {
        let out = &mut scores[idx * PANEL..];
        Product {
            weights,
            rows: len,
            x: &qkv[at..],
            x_stride: stride,
            out,
            out_stride: len_padded,
        }
        .compute();
    }
    kernels::softmax(scores, len_padded, |_| len);

    // out = scores · value: (len, head_dim), a panel of 32 columns at a time
    for column in (0..head_dim).step_by(PANEL) {
        let width = PANEL.min(head_dim - column);
        values.clear();
        values.resize(len * PANEL, 0.0); // (len, 32)
        for (value, row) in values.chunks_exact_mut(PANEL).zip(qkv.chunks_exact(stride)) {
            value[..width].copy_from_slice(&row[2 * hidden + at + column..][..width]);
        }
        padded.resize(len * PANEL, 0.0); // (len, 32)
        let x: &[f32] = scores;
        let out_stride = PANEL;
        Product { weights: values, rows: len, x, x_stride: len_padded, out: padded, out_stride }
            .compute();
        for (out, padded) in out.chunks_exact_mut(hidden).zip(padded.chunks_exact(PANEL)) {
            out[at + column..][..width].copy_from_slice(&padded[..width]);
        }
    }
}

fn read_config(path: &Path) -> Result<Config, LoadError> {
    let text = fs_err::read_to_string(path)
        .map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    let config: Config = serde_json::from_str(&text)
        .map_err(|error| LoadError::Corrupt { path: path.to_owned(), reason: error.to_string() })?;
    let unsupported = |what: String| LoadError::Unsupported { path: path.to_owned(), what };
    if !["bert", "roberta", "xlm-roberta"].contains(&config.model_type.as_str()) {
        return Err(unsupported(format!("an encoder of type `{}`", config.model_type)));
    }
    if config.hidden_act != "gelu" {
        return Err(unsupported(format!("the activation `{}`", config.hidden_act)));
    }
    if config.position_embedding_type != "absolute" {
        let what = format!("position embeddings of type `{}`", config.position_embedding_type);
        return Err(unsupported(what));
    }
    let (hidden, heads) = (config.hidden_size, config.num_attention_heads);
    if hidden == 0 || heads == 0 || hidden % heads != 0 || config.intermediate_size == 0 {
        return Err(unsupported(format!("{heads} heads over a hidden size of {hidden}")));
    }
    if config.type_vocab_size == 0 {
        return Err(unsupported("no token types".to_owned()));
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::PathBuf;

    use candle_core::{DType, Device, Tensor};
    use candle_nn::VarBuilder;
    use candle_transformers::models::bert;

    use super::*;
    use crate::sample::Rng;

    #[derive(Deserialize)]
    struct Golden {
        ids: Vec<Vec<u32>>,
        hidden: Vec<Vec<[f32; 3]>>,
    }

    fn folder(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
    }

    /// All texts in one batch agree with transformers, which ran each alone.
    #[track_caller]
    fn check_golden(name: &str) {
        let text = fs_err::read_to_string(folder(name).join("golden.json")).unwrap();
        let golden: Golden = serde_json::from_str(&text).unwrap();
        let model = Bert::load(&folder(name)).unwrap();
        let lens = golden.ids.iter().map(Vec::len).collect();
        let hidden = model.forward(&Packed { ids: golden.ids.concat(), lens });
        let expected = golden.hidden.concat();
        assert_eq!(hidden.len(), expected.len() * model.hidden());
        for (row, expected) in hidden.chunks_exact(model.hidden()).zip(&expected) {
            for (x, expected) in row.iter().zip(expected) {
                assert!((x - expected).abs() < 2e-5, "{row:?} instead of {expected:?}");
            }
        }
    }

    #[test]
    fn bert_agrees_with_transformers() {
        check_golden("tiny-bert");
    }

    #[test]
    fn xlm_roberta_agrees_with_transformers() {
        check_golden("tiny-xlm-roberta");
    }

    /// Saves a random model whose sizes are no multiples of anything.
    fn save_random(dir: &Path) -> bert::Config {
        let (hidden, inner) = (90, 70);
        let config = serde_json::json!({
            "model_type": "bert", "vocab_size": 50, "hidden_size": hidden,
            "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": inner,
            "hidden_act": "gelu", "max_position_embeddings": 80, "type_vocab_size": 2,
            "layer_norm_eps": 1e-12, "hidden_dropout_prob": 0.0, "initializer_range": 0.02,
            "pad_token_id": 0
        });
        let mut rng = Rng::new(5);
        let mut tensors = HashMap::new();
        let mut add = |name: String, shape: &[usize]| {
            let n = shape.iter().product();
            let values: Vec<f32> = (0..n).map(|_| (rng.unit() - 0.5) * 0.8).collect();
            tensors.insert(name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap());
        };
        for (name, rows) in [("word", 50), ("position", 80), ("token_type", 2)] {
            add(format!("embeddings.{name}_embeddings.weight"), &[rows, hidden]);
        }
        let mut names = vec![("embeddings.LayerNorm".to_owned(), hidden, None)];
        for layer in 0..2 {
            for (name, n_out, n_in) in [
                ("attention.self.query", hidden, Some(hidden)),
                ("attention.self.key", hidden, Some(hidden)),
                ("attention.self.value", hidden, Some(hidden)),
                ("attention.output.dense", hidden, Some(hidden)),
                ("attention.output.LayerNorm", hidden, None),
                ("intermediate.dense", inner, Some(hidden)),
                ("output.dense", hidden, Some(inner)),
                ("output.LayerNorm", hidden, None),
            ] {
                names.push((format!("encoder.layer.{layer}.{name}"), n_out, n_in));
            }
        }
        for (name, n_out, n_in) in names {
            match n_in {
                Some(n_in) => add(format!("{name}.weight"), &[n_out, n_in]),
                None => add(format!("{name}.weight"), &[n_out]),
            }
            add(format!("{name}.bias"), &[n_out]);
        }
        candle_core::safetensors::save(&tensors, dir.join("model.safetensors")).unwrap();
        fs_err::write(dir.join("config.json"), config.to_string()).unwrap();
        serde_json::from_value(config).unwrap()
    }

    #[test]
    fn agrees_with_candles_padded_bert() {
        let dir = tempfile::tempdir().unwrap();
        let config = save_random(dir.path());
        let ours = Bert::load(dir.path()).unwrap();
        let file = dir.path().join("model.safetensors");
        let tensors = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
        let vars = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        let theirs = bert::BertModel::load(vars, &config).unwrap();

        let mut rng = Rng::new(6);
        let texts: Vec<Vec<u32>> = [33usize, 80, 1, 64]
            .iter()
            .map(|&len| (0..len).map(|_| (rng.next() % 50) as u32).collect())
            .collect();
        let lens = texts.iter().map(Vec::len).collect();
        let hidden = ours.forward(&Packed { ids: texts.concat(), lens });
        let mut start = 0;
        for text in &texts {
            let ids = Tensor::new(text.as_slice(), &Device::Cpu).unwrap().unsqueeze(0).unwrap();
            let expected = theirs.forward(&ids, &ids.zeros_like().unwrap(), None).unwrap();
            let expected: Vec<f32> = expected.flatten_all().unwrap().to_vec1().unwrap();
            for (x, expected) in hidden[start..][..expected.len()].iter().zip(&expected) {
                assert!((x - expected).abs() < 5e-5, "{x} instead of {expected}");
            }
            start += expected.len();
        }
    }

    #[test]
    fn damaged_folders_are_refused_with_their_file() {
        let dir = tempfile::tempdir().unwrap();
        let load = || Bert::load(dir.path()).err().unwrap().to_string();
        assert!(load().contains("config.json"));
        save_random(dir.path());
        let weights = dir.path().join("model.safetensors");
        let bytes = fs_err::read(&weights).unwrap();
        for n in [0, 7, 100, bytes.len() - 1] {
            fs_err::write(&weights, &bytes[..n]).unwrap();
            assert!(load().contains("model.safetensors"), "cut at {n}");
        }
        fs_err::write(&weights, &bytes).unwrap();
        let config = fs_err::read_to_string(dir.path().join("config.json")).unwrap();
        for (from, to, expected) in [
            ("\"hidden_size\":90", "\"hidden_size\":64", "shape [50, 90] instead of [50, 64]"),
            ("\"num_hidden_layers\":2", "\"num_hidden_layers\":3", "is missing"),
            ("\"gelu\"", "\"swish\"", "the activation `swish`"),
            ("\"model_type\":\"bert\"", "\"model_type\":\"t5\"", "an encoder of type `t5`"),
            ("\"num_attention_heads\":2", "\"num_attention_heads\":0", "0 heads"),
        ] {
            fs_err::write(dir.path().join("config.json"), config.replace(from, to)).unwrap();
            assert!(load().contains(expected), "{from}: {}", load());
        }
    }
}
