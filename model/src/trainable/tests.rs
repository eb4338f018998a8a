use serde::Deserialize;
use serde_json::Value;

use super::*;
use crate::adapter::{Adapter, Base};
use crate::device::multiplies_bf16;
use crate::golden::{self, Golden, furthest, path as golden};
use crate::sample::Rng;

mod adapters;
mod sixteen_bits;

/// Over tensors.
fn options(base: BaseForm) -> TrainOptions {
    let lora = LoraSpec { rank: 2, alpha: 6.0, ..LoraSpec::default() };
    let (device, trained) = (golden::device(), Trained::Lora(lora));
    TrainOptions { device, base, trained, seed: 5, ..TrainOptions::default() }
}

/// Over slices.
fn by_hand(options: &TrainOptions) -> TrainOptions {
    TrainOptions { device: Device::Cpu, ..options.clone() }
}

fn changed(options: &TrainOptions, change: impl FnOnce(&mut LoraSpec)) -> TrainOptions {
    let mut options = options.clone();
    let Trained::Lora(spec) = &mut options.trained else { panic!("an adapter is trained") };
    change(spec);
    options
}

/// Targets of all matrices, the output matrix included.
fn with_head(it: &mut LoraSpec) {
    it.targets = Module::ALL.map(|it| it.checkpoint().to_owned()).to_vec();
    it.targets.push("lm_head".to_owned());
}

fn load(model: &str, options: &TrainOptions) -> TrainableDecoder {
    TrainableDecoder::load(&golden(model), options).unwrap()
}

fn batch<'a>(sequences: &'a [&'a [u32]]) -> TokenBatch<'a> {
    TokenBatch { sequences, dropout_seed: None }
}

fn rows(tensor: &Tensor) -> Vec<Vec<f32>> {
    tensor.to_vec2().unwrap()
}

/// The weighted loss by its parts and its gradients by variable, over tensors on any device.
fn over_tensors(
    decoder: &TrainableDecoder,
    batch: &TokenBatch<'_>,
    targets: &[Target],
) -> (Vec<f32>, Vec<Vec<f32>>) {
    let (log_probs, grads) = decoder.weighted_over_tensors(batch, targets).unwrap();
    (log_probs, decoder.by_variable(&grads).unwrap())
}

/// The same over slices.
fn over_slices(
    decoder: &TrainableDecoder,
    batch: &TokenBatch<'_>,
    targets: &[Target],
) -> (Vec<f32>, Vec<Vec<f32>>) {
    decoder.weighted_by_hand(batch, targets).unwrap()
}

/// A tensor's values.
fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// The loss that the parts make.
fn sum(log_probs: &[f32], targets: &[Target]) -> f32 {
    log_probs.iter().zip(targets).map(|(part, it)| -part * it.weight).sum()
}

fn size(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |size: f32, it| size.max(it.abs()))
}

/// Gives all factors random values, so that B has some, too.
fn scatter(decoder: &TrainableDecoder) {
    let mut rng = Rng::new(9);
    let mut values = decoder.values().unwrap();
    values.iter_mut().flatten().for_each(|it| *it = (rng.unit() - 0.5) * 0.2);
    decoder.set_values(&values).unwrap();
}

/// What the adapter of a decoder gives in serving.
fn served(decoder: &TrainableDecoder, model: &str, ids: &[u32]) -> Vec<Vec<f32>> {
    let dir = tempfile::tempdir().unwrap();
    let saved = dir.path().join("adapter");
    decoder.save(&saved).unwrap();
    let base = golden::decoder(&golden(model));
    let adapter = Adapter::load(&saved, &Base::of(&base)).unwrap();
    golden::logits(&base, ids, Some(&golden::packed(&adapter, &base)))
}

const MODELS: [&str; 12] = [
    "tiny-llama.gguf",
    "tiny-llama3.gguf",
    "tiny-llama-linear.gguf",
    "tiny-mistral.gguf",
    "tiny-qwen2.gguf",
    "tiny-qwen3.gguf",
    "tiny-tied-llama-folder",
    "tiny-sharded-llama-folder",
    "tiny-biased-llama-folder",
    "tiny-mistral-folder",
    "tiny-qwen2-folder",
    "tiny-qwen3-folder",
];

#[test]
fn every_family_agrees_with_transformers() {
    for model in MODELS {
        let golden = Golden::of_model(&golden(model));
        let decoder = load(model, &options(BaseForm::Dense));
        // B is zero: the adapter changes nothing yet.
        let logits = decoder.forward(&batch(&[&golden.ids])).unwrap();
        golden.check(&rows(&logits), 1e-4);
    }
}

#[test]
fn training_and_serving_give_the_same_logits() {
    for model in MODELS {
        let decoder = load(model, &options(BaseForm::Dense));
        scatter(&decoder);
        let ids = Golden::of_model(&golden(model)).ids;
        let actual = rows(&decoder.forward(&batch(&[&ids])).unwrap());
        for (actual, served) in actual.iter().zip(served(&decoder, model, &ids)) {
            let off = furthest(actual, &served);
            assert!(off < 1e-4, "{model}: off by {off}");
        }
    }
}

#[test]
fn packed_sequences_do_not_see_each_other() {
    for model in ["tiny-llama.gguf", "tiny-mistral-folder", "tiny-qwen3-folder"] {
        let decoder = load(model, &options(BaseForm::Dense));
        scatter(&decoder);
        let texts: Vec<Vec<u32>> =
            [3, 40, 1, 27].map(|n| (0..n).map(|it| (it * 7 + n) % 70).collect()).to_vec();
        let sequences: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let together = rows(&decoder.forward(&batch(&sequences)).unwrap());
        let alone: Vec<Vec<f32>> = sequences
            .iter()
            .flat_map(|it| rows(&decoder.forward(&batch(&[it])).unwrap()))
            .collect();
        for (a, b) in together.iter().zip(&alone) {
            assert!(furthest(a, b) < 1e-5, "{model}");
        }
    }
}

/// The mean of `-ln p` of each next token.
fn next_tokens(ids: &[u32]) -> Vec<Target> {
    let weight = 1.0 / (ids.len() - 1) as f32;
    ids.iter().skip(1).enumerate().map(|(row, &id)| Target { row, id, weight }).collect()
}

/// The weighted loss of all next tokens of some sequences, some of which count more than others.
fn targets(sequences: &[&[u32]]) -> Vec<Target> {
    let mut res = Vec::new();
    let mut row = 0;
    for sequence in sequences {
        for (idx, id) in sequence.iter().skip(1).enumerate().filter(|(idx, _)| idx % 5 != 2) {
            let weight = if idx % 3 == 0 { -0.05 } else { 0.1 };
            res.push(Target { row: row + idx, id: *id, weight });
        }
        row += sequence.len();
    }
    res
}

#[test]
fn over_slices_and_over_tensors_the_loss_is_the_same() {
    for model in MODELS {
        for recompute in [false, true] {
            let options = changed(&options(BaseForm::Dense), with_head);
            let options = TrainOptions { recompute, ..options };
            let (slices, tensors) = (load(model, &by_hand(&options)), load(model, &options));
            scatter(&slices);
            scatter(&tensors);
            let texts: Vec<Vec<u32>> =
                [3, 40, 2, 27].map(|n| (0..n).map(|it| (it * 7 + n) % 70).collect()).to_vec();
            let sequences: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
            let (batch, targets) = (batch(&sequences), targets(&sequences));
            let by_hand = over_slices(&slices, &batch, &targets);
            let tensors = over_tensors(&tensors, &batch, &targets);
            assert!(furthest(&tensors.0, &by_hand.0) < 1e-4, "{model}");
            assert_eq!(by_hand.1.len(), tensors.1.len());
            for (a, b) in by_hand.1.iter().zip(&tensors.1) {
                assert!(furthest(a, b) < 2e-4 * size(b).max(1.0), "{model}: {}", furthest(a, b));
            }
        }
    }
}

#[test]
fn a_row_may_be_learned_twice() {
    let (slices, tensors) = (by_hand(&options(BaseForm::Dense)), options(BaseForm::Dense));
    let [slices, tensors] = [&slices, &tensors].map(|it| load("tiny-qwen3-folder", it));
    scatter(&slices);
    scatter(&tensors);
    let batch_ids = [&[1, 2, 3, 4_u32][..]];
    let target = |row, id, weight| Target { row, id, weight };
    let targets = [target(1, 5, 0.3), target(2, 6, 0.2), target(1, 7, -0.1)];
    let by_hand = over_slices(&slices, &batch(&batch_ids), &targets);
    let tensors = over_tensors(&tensors, &batch(&batch_ids), &targets);
    for (a, b) in by_hand.1.iter().zip(&tensors.1) {
        assert!(furthest(a, b) < 2e-4 * size(b).max(1e-2), "{}", furthest(a, b));
    }
}

#[test]
fn over_tensors_too_the_base_is_there_without_its_adapter() {
    let ids: Vec<u32> = (0..40).map(|it| it * 3 % 70).collect();
    let sequences = [ids.as_slice()];
    let (batch, targets) = (batch(&sequences), targets(&sequences));
    let options = changed(&options(BaseForm::Dense), with_head);
    let decoder = load("tiny-qwen3-folder", &options);
    scatter(&decoder);
    let fresh = load("tiny-qwen3-folder", &by_hand(&options));
    let by_hand = fresh.log_probs(&batch, &targets, With::Base).unwrap();
    let tensors = decoder.log_probs_over_tensors(&batch, &targets, With::Base).unwrap();
    assert!(furthest(&tensors, &by_hand) < 1e-5);
}

#[test]
fn long_sequences_have_the_gradients_of_short_tiles() {
    // Longer than the tiles of both ways, with and without a window; and a shorter one beside it.
    for model in ["tiny-tied-llama-folder", "tiny-mistral-folder"] {
        let dir = with_context(model, 2_048);
        let load = |options: &TrainOptions| TrainableDecoder::load(dir.path(), options).unwrap();
        let options = options(BaseForm::Dense);
        let (slices, tensors) = (load(&by_hand(&options)), load(&options));
        scatter(&slices);
        scatter(&tensors);
        let ids: Vec<u32> = (0..1_100).map(|it| it * it % 69).collect();
        let sequences = [ids.as_slice(), &ids[..600]];
        let (batch, targets) = (batch(&sequences), targets(&sequences));
        let by_hand = over_slices(&slices, &batch, &targets);
        let tensors = over_tensors(&tensors, &batch, &targets);
        for (a, b) in by_hand.1.iter().zip(&tensors.1) {
            assert!(furthest(a, b) < 5e-4 * size(b).max(1e-2), "{model}: {}", furthest(a, b));
        }
    }
}

/// A copy of a model with a longer context.
fn with_context(model: &str, n_tokens: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs_err::read_dir(golden(model)).unwrap() {
        let path = entry.unwrap().path();
        fs_err::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = dir.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
    config["max_position_embeddings"] = n_tokens.into();
    fs_err::write(&path, config.to_string()).unwrap();
    dir
}

#[derive(Deserialize)]
struct Gradients {
    model: String,
    adapter: String,
    ids: Vec<u32>,
    loss: f32,
    /// By PEFT's names.
    gradients: std::collections::BTreeMap<String, Vec<f32>>,
}

/// The settings that a PEFT folder was made with.
fn spec_of(adapter: &str) -> LoraSpec {
    let text = fs_err::read(golden(adapter).join("adapter_config.json")).unwrap();
    let config: Value = serde_json::from_slice(&text).unwrap();
    let target = |it: &Value| it.as_str().unwrap().to_owned();
    LoraSpec {
        rank: config["r"].as_u64().unwrap() as usize,
        alpha: config["lora_alpha"].as_f64().unwrap(),
        rslora: config["use_rslora"].as_bool().unwrap(),
        targets: config["target_modules"].as_array().unwrap().iter().map(target).collect(),
        dropout: 0.0,
    }
}

#[test]
fn loss_and_gradients_agree_with_peft() {
    let text = fs_err::read(golden("tiny-gradients.json")).unwrap();
    let all: Vec<Gradients> =
        serde_json::from_value(serde_json::from_slice::<Value>(&text).unwrap()["runs"].take())
            .unwrap();
    assert_eq!(all.len(), 5);
    for Gradients { model, adapter, ids, loss: expected_loss, gradients } in all {
        for base in [BaseForm::Dense, BaseForm::Stored] {
            let trained = Trained::Lora(spec_of(&adapter));
            let options = TrainOptions { base, trained, ..options(base) };
            let (slices, tensors) = (load(&model, &by_hand(&options)), load(&model, &options));
            let (batch_ids, targets) = ([ids.as_slice()], next_tokens(&ids));
            for (decoder, run) in [(&slices, over_slices as Run), (&tensors, over_tensors)] {
                decoder.restore(&golden(&adapter)).unwrap();
                let (log_probs, grads) = run(decoder, &batch(&batch_ids), &targets);
                let loss = sum(&log_probs, &targets);
                assert!((loss - expected_loss).abs() < 1e-4, "{loss} instead of {expected_loss}");
                let vars = decoder.vars().unwrap();
                assert_eq!(vars.len(), gradients.len(), "{adapter}");
                for ((name, _), actual) in vars.iter().zip(&grads) {
                    let expected = &gradients[name];
                    let size = size(expected);
                    assert!(size > 0.0, "{name} has a gradient");
                    let off = furthest(actual, expected);
                    assert!(off < 1e-4 * size.max(1.0), "{model} {name}: off by {off} of {size}");
                }
            }
        }
    }
}

/// One of the two ways to gradients.
type Run = fn(&TrainableDecoder, &TokenBatch<'_>, &[Target]) -> (Vec<f32>, Vec<Vec<f32>>);

#[test]
fn gradients_agree_with_finite_differences() {
    for model in ["tiny-qwen3.gguf", "tiny-mistral-folder", "tiny-qwen2-folder"] {
        let decoder = load(model, &options(BaseForm::Dense));
        scatter(&decoder);
        let ids: Vec<u32> = (0..30).map(|it| it * 11 % 70).collect();
        let (batch_ids, targets) = ([ids.as_slice()], next_tokens(&ids));
        let (_, grads) = over_tensors(&decoder, &batch(&batch_ids), &targets);
        let start = decoder.values().unwrap();
        for (idx, (name, _)) in decoder.vars().unwrap().iter().enumerate() {
            // Along the gradient itself, where the difference stands out from rounding.
            let length = grads[idx].iter().map(|it| it * it).sum::<f32>().sqrt();
            let step = 2e-3;
            let at = |factor: f32| {
                let mut values = start.clone();
                for (value, grad) in values[idx].iter_mut().zip(&grads[idx]) {
                    *value += grad / length * factor;
                }
                decoder.set_values(&values).unwrap();
                let (batch, with) = (batch(&batch_ids), With::Adapter);
                let log_probs = decoder.log_probs_over_tensors(&batch, &targets, with).unwrap();
                f64::from(sum(&log_probs, &targets))
            };
            let slope = (at(step) - at(-step)) / f64::from(2.0 * step);
            at(0.0);
            let off = (slope - f64::from(length)).abs() / f64::from(length);
            assert!(off < 0.02, "{model} {name}: {slope} instead of {length}");
        }
    }
}

#[test]
fn long_sequences_are_attended_in_tiles() {
    // Longer than a tile, with and without a window.
    for model in ["tiny-tied-llama-folder", "tiny-mistral-folder"] {
        let dir = with_context(model, 1_024);
        let decoder = TrainableDecoder::load(dir.path(), &options(BaseForm::Dense)).unwrap();
        let ids: Vec<u32> = (0..700).map(|it| it * it % 69).collect();
        let actual = rows(&decoder.forward(&batch(&[&ids])).unwrap());
        let expected = golden::logits(&golden::decoder(dir.path()), &ids, None);
        for (a, b) in actual.iter().zip(&expected) {
            assert!(furthest(a, b) < 1e-4);
        }
    }
}

#[test]
fn every_factor_has_a_gradient_after_two_steps() {
    let ids: Vec<u32> = (0..40).map(|it| it * 3 % 70).collect();
    let (batch_ids, targets) = ([ids.as_slice()], next_tokens(&ids));
    for options in [options(BaseForm::Dense), by_hand(&options(BaseForm::Dense))] {
        let decoder = load("tiny-qwen3-folder", &options);
        let mut optimiser = AdamW::new(&decoder, 0.0).unwrap();
        for is_first in [true, false] {
            let out = decoder.weighted(&batch(&batch_ids), &targets).unwrap();
            let grads = decoder.on_processor(&out.grads).unwrap();
            for (grad, (name, _)) in grads.iter().zip(decoder.vars().unwrap()) {
                let has = size(grad) > 0.0;
                assert_eq!(has, !is_first || name.contains("lora_B"), "{name}, {is_first}");
            }
            optimiser.step(&decoder, &out.grads, 0.01).unwrap();
        }
    }
}

#[test]
fn a_quantised_base_gives_the_numbers_of_a_dense_one() {
    // Its matrices of 512 columns are quantised; the tiny models' rows are shorter than a block.
    let dir = tempfile::tempdir().unwrap();
    let path = write_quantised_model(dir.path());
    let ids: Vec<u32> = (0..20).map(|it| it * 3 % 40).collect();
    let [dense, stored] = [BaseForm::Dense, BaseForm::Stored].map(|base| {
        let decoder = TrainableDecoder::load(&path, &options(base)).unwrap();
        scatter(&decoder);
        let quantised = matches!(decoder.layers[0].q_proj.weight, Frozen::Quantised(..));
        assert_eq!(quantised, base == BaseForm::Stored);
        let weighted = over_tensors(&decoder, &batch(&[&ids]), &next_tokens(&ids));
        (rows(&decoder.forward(&batch(&[&ids])).unwrap()), weighted)
    });
    assert_eq!(dense, stored);
    // Over slices, too.
    for dtype in [DType::F32, DType::BF16] {
        if dtype == DType::BF16 && !multiplies_bf16() {
            continue;
        }
        let [dense, stored] = [BaseForm::Dense, BaseForm::Stored].map(|base| {
            let options = by_hand(&TrainOptions { dtype, ..options(base) });
            let decoder = TrainableDecoder::load(&path, &options).unwrap();
            scatter(&decoder);
            over_slices(&decoder, &batch(&[&ids]), &next_tokens(&ids))
        });
        assert_eq!(dense, stored, "{dtype:?}");
    }
    // And those of serving, where the same blocks are multiplied in panels.
    let served = golden::logits(&golden::decoder(&path), &ids, None);
    let decoder = TrainableDecoder::load(&path, &options(BaseForm::Stored)).unwrap();
    for (a, b) in rows(&decoder.forward(&batch(&[&ids])).unwrap()).iter().zip(&served) {
        assert!(furthest(a, b) < 1e-4);
    }
}

/// A small Llama whose matrices are of several quantised types.
fn write_quantised_model(dir: &Path) -> PathBuf {
    use candle_core::quantized::gguf_file::{Value as Meta, write};
    use candle_core::quantized::{GgmlDType, QTensor};
    let mut rng = Rng::new(3);
    let mut tensors: Vec<(String, QTensor)> = Vec::new();
    let mut add = |name: &str, shape: &[usize], kind: GgmlDType| {
        let n: usize = shape.iter().product();
        let values: Vec<f32> = match shape.len() {
            1 => vec![1.0; n],
            _ => (0..n).map(|_| (rng.unit() - 0.5) * 0.3).collect(),
        };
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        tensors.push((name.to_owned(), QTensor::quantize(&tensor, kind).unwrap()));
    };
    let (hidden, inner, vocab) = (256, 256, 40);
    add("token_embd.weight", &[vocab, hidden], GgmlDType::Q8_0);
    add("output_norm.weight", &[hidden], GgmlDType::F32);
    for layer in 0..2 {
        let mut layer_add = |name: &str, shape: &[usize], kind| {
            add(&format!("blk.{layer}.{name}.weight"), shape, kind);
        };
        layer_add("attn_norm", &[hidden], GgmlDType::F32);
        layer_add("ffn_norm", &[hidden], GgmlDType::F32);
        layer_add("attn_q", &[hidden, hidden], GgmlDType::Q4_1);
        layer_add("attn_k", &[hidden / 2, hidden], GgmlDType::Q5_0);
        layer_add("attn_v", &[hidden / 2, hidden], GgmlDType::Q8_0);
        layer_add("attn_output", &[hidden, hidden], GgmlDType::Q4_0);
        layer_add("ffn_gate", &[inner, hidden], GgmlDType::Q5_1);
        layer_add("ffn_up", &[inner, hidden], GgmlDType::Q3K);
        layer_add("ffn_down", &[hidden, inner], GgmlDType::Q2K);
    }
    let number = |n: u32| Meta::U32(n);
    let metadata = [
        ("general.architecture", Meta::String("llama".to_owned())),
        ("llama.block_count", number(2)),
        ("llama.embedding_length", number(hidden as u32)),
        ("llama.feed_forward_length", number(inner as u32)),
        ("llama.attention.head_count", number(4)),
        ("llama.attention.head_count_kv", number(2)),
        ("llama.context_length", number(64)),
        ("llama.vocab_size", number(vocab as u32)),
        ("llama.rope.dimension_count", number(64)),
    ];
    let metadata: Vec<(&str, &Meta)> = metadata.iter().map(|(key, it)| (*key, it)).collect();
    let tensors: Vec<(&str, &QTensor)> =
        tensors.iter().map(|(key, it)| (key.as_str(), it)).collect();
    let path = dir.join("small.gguf");
    write(&mut fs_err::File::create(&path).unwrap(), &metadata, &tensors).unwrap();
    path
}
