use serde::Deserialize;
use serde_json::Value;

use super::*;
use crate::adapter::{Adapter, Base};
use crate::device::multiplies_bf16;
use crate::golden::{self, Golden, furthest, path as golden};
use crate::sample::Rng;

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

#[test]
fn sixteen_bits_give_nearly_the_same_gradients() {
    let ids: Vec<u32> = (0..40).map(|it| it * 3 % 70).collect();
    let run = |model: &str, dtype: DType| {
        let device = if dtype == DType::F16 { Device::Cpu } else { golden::device() };
        let options = TrainOptions { device, dtype, ..options(BaseForm::Dense) };
        let decoder = load(model, &options);
        scatter(&decoder);
        let targets = next_tokens(&ids);
        let (log_probs, grads) = over_tensors(&decoder, &batch(&[&ids]), &targets);
        (sum(&log_probs, &targets), grads.concat())
    };
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    for model in ["tiny-qwen3-folder", "tiny-mistral.gguf"] {
        let (loss, grads) = run(model, DType::F32);
        // Random weights magnify what is rounded: bf16 keeps 8 bits of a number, f16 keeps 11.
        for (dtype, cosine_min) in [(DType::F16, 0.98), (DType::BF16, 0.8)] {
            let (half_loss, half) = run(model, dtype);
            assert!((loss - half_loss).abs() < 0.03 * loss, "{loss} and {half_loss}");
            let cosine = dot(&grads, &half) / (dot(&grads, &grads) * dot(&half, &half)).sqrt();
            assert!(cosine > cosine_min, "{model}, {dtype:?}: {cosine}");
        }
    }
}

#[test]
fn sixteen_bits_on_the_processor_give_nearly_the_same_gradients() {
    if !multiplies_bf16() {
        return;
    }
    let texts: Vec<Vec<u32>> =
        [3, 40, 2, 27].map(|n| (0..n).map(|it| (it * 7 + n) % 70).collect()).to_vec();
    let sequences: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let (batch, targets) = (batch(&sequences), targets(&sequences));
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    for model in MODELS {
        let [exact, halves] = [DType::F32, DType::BF16].map(|dtype| {
            let options = by_hand(&changed(&options(BaseForm::Dense), with_head));
            let decoder = load(model, &TrainOptions { dtype, ..options });
            scatter(&decoder);
            over_slices(&decoder, &batch, &targets)
        });
        let [loss, half_loss] = [&exact, &halves].map(|it| sum(&it.0, &targets));
        assert!((loss - half_loss).abs() < 0.02 * loss.abs(), "{model}: {loss} and {half_loss}");
        let (exact, halves) = (exact.1.concat(), halves.1.concat());
        let cosine = dot(&exact, &halves) / (dot(&exact, &exact) * dot(&halves, &halves)).sqrt();
        assert!(cosine > 0.9, "{model}: {cosine}");
    }
}

#[test]
fn on_the_processor_a_fresh_adapter_changes_no_bit() {
    let ids: Vec<u32> = (0..40).map(|it| it * 3 % 70).collect();
    let sequences = [ids.as_slice()];
    let (batch, targets) = (batch(&sequences), targets(&sequences));
    for dtype in [DType::F32, DType::BF16] {
        let options = by_hand(&changed(&options(BaseForm::Dense), with_head));
        let decoder = load("tiny-qwen3-folder", &TrainOptions { dtype, ..options });
        if dtype == DType::BF16 && !multiplies_bf16() {
            continue;
        }
        let [base, adapter] = [With::Base, With::Adapter]
            .map(|with| decoder.log_probs_by_hand(&batch, &targets, with).unwrap());
        assert_eq!(base, adapter, "{dtype:?}");
        // And the buffers that a pass leaves behind change none of the next.
        let again = decoder.log_probs_by_hand(&batch, &targets, With::Adapter).unwrap();
        assert_eq!(again, adapter, "{dtype:?}");
    }
}

#[test]
fn dropout_is_the_same_for_the_same_seed_and_recomputed_alike() {
    let options = changed(&options(BaseForm::Dense), |it| it.dropout = 0.3);
    let decoder = load("tiny-qwen2-folder", &options);
    scatter(&decoder);
    let ids: Vec<u32> = (0..40).map(|it| it * 3 % 70).collect();
    let sequences = [ids.as_slice()];
    let with = |dropout_seed| TokenBatch { sequences: &sequences, dropout_seed };
    let logits = |seed| rows(&decoder.forward(&with(seed)).unwrap());
    assert_eq!(logits(Some(1)), logits(Some(1)));
    assert_ne!(logits(Some(1)), logits(Some(2)));
    assert_ne!(logits(Some(1)), logits(None));

    let targets = next_tokens(&ids);
    let again = load("tiny-qwen2-folder", &TrainOptions { recompute: true, ..options });
    scatter(&again);
    let (whole, by_layer) = (&decoder, &again);
    let [whole, by_layer] =
        [whole, by_layer].map(|it| over_tensors(it, &with(Some(1)), &targets).1.concat());
    assert!(furthest(&whole, &by_layer) < 1e-5);

    // It is one network, with one derivative.
    let start = decoder.values().unwrap();
    let length = whole.iter().map(|it| it * it).sum::<f32>().sqrt();
    let at = |factor: f32| {
        let mut values = start.clone();
        for (value, grad) in values.iter_mut().flatten().zip(&whole) {
            *value += grad / length * factor;
        }
        decoder.set_values(&values).unwrap();
        sum(&over_tensors(&decoder, &with(Some(1)), &targets).0, &targets)
    };
    let slope = (at(2e-3) - at(-2e-3)) / 4e-3;
    assert!((slope - length).abs() < 0.02 * length, "{slope} instead of {length}");

    // What is kept makes up for what is left out.
    let factors = decoder.layers[0].q_proj.lora.as_ref().unwrap();
    let ones = Tensor::ones((200, 32), DType::F32, &golden::device()).unwrap();
    let mask = values(&factors.mask(&ones, Some(3)).unwrap().unwrap());
    let mean = mask.iter().sum::<f32>() / mask.len() as f32;
    assert!((mean - 1.0).abs() < 0.05 && mask.contains(&0.0), "{mean}");
}

#[test]
fn a_saved_adapter_is_restored_to_the_last_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/adapter");
    let decoder = load("tiny-qwen2-folder", &options(BaseForm::Dense));
    scatter(&decoder);
    decoder.save(&path).unwrap();
    assert!(matches!(decoder.save(&path), Err(TrainError::Exists { .. })));
    let other = load("tiny-qwen2-folder", &options(BaseForm::Dense));
    other.restore(&path).unwrap();
    for ((name, a), (_, b)) in decoder.vars().unwrap().iter().zip(other.vars().unwrap()) {
        assert_eq!(values(a), values(&b), "{name}");
    }
    let target = |it: &mut LoraSpec| it.targets = vec!["q_proj".to_owned()];
    let fewer = changed(&options(BaseForm::Dense), target);
    let error = load("tiny-qwen2-folder", &fewer).restore(&path).unwrap_err();
    assert!(matches!(error, TrainError::Untrained { .. }), "{error}");
    let error = load("tiny-qwen2-folder", &fewer).restore(dir.path()).unwrap_err();
    assert!(error.to_string().contains("adapter_model.safetensors"), "{error}");
}

#[test]
fn peft_loads_what_is_saved_here() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("adapter");
    let options = changed(&options(BaseForm::Dense), |it| {
        it.targets = ["q_proj", "o_proj", "down_proj"].map(str::to_owned).to_vec();
        it.rslora = true;
    });
    let decoder = load("tiny-qwen3-folder", &options);
    scatter(&decoder);
    decoder.save(&path).unwrap();
    let kept = golden("trained-here");
    if !kept.is_dir() {
        panic!("copy `{}` to `{}` and run make_gradients.py", dir.keep().display(), kept.display());
    }
    // PEFT has loaded the very folder that is written today ...
    for name in ["adapter_config.json", "adapter_model.safetensors", "souffleur.json"] {
        let [new, old] = [&path, &kept].map(|it| fs_err::read(it.join(name)).unwrap());
        assert_eq!(new, old, "{name} is another than PEFT has loaded");
    }
    // ... and computes with it what is computed here.
    let golden = Golden::of_model(&kept);
    let actual = rows(&decoder.forward(&batch(&[&golden.ids])).unwrap());
    golden.check(&actual, 1e-4);
    let served = served(&decoder, "tiny-qwen3-folder", &golden.ids);
    golden.check(&served, 1e-4);
}

#[test]
fn a_target_means_matrices_by_the_end_of_their_names() {
    let targets = ["v_proj", "mlp.up_proj", "layers.1.self_attn.q_proj"];
    let options = changed(&options(BaseForm::Dense), |it| {
        it.targets = targets.map(str::to_owned).to_vec();
    });
    let decoder = load("tiny-qwen2-folder", &options);
    let names: Vec<String> = decoder.vars().unwrap().into_iter().map(|(name, _)| name).collect();
    let key = |layer, module| lora::key(Matrix::Layer(layer, module), 'A');
    let expected = [
        key(0, Module::V),
        key(0, Module::Up),
        key(1, Module::Q),
        key(1, Module::V),
        key(1, Module::Up),
    ];
    assert_eq!(names.iter().step_by(2).collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
    // What is saved serves, though layers differ.
    scatter(&decoder);
    let ids: Vec<u32> = (0..20).collect();
    let actual = rows(&decoder.forward(&batch(&[&ids])).unwrap());
    for (a, b) in actual.iter().zip(served(&decoder, "tiny-qwen2-folder", &ids)) {
        assert!(furthest(a, &b) < 1e-4);
    }
}

#[test]
fn the_output_matrix_is_trained_to_an_adapter_that_serves() {
    let ids: Vec<u32> = (0..30).map(|it| it * 11 % 70).collect();
    for model in ["tiny-qwen3-folder", "tiny-tied-llama-folder", "tiny-llama.gguf"] {
        let targets = ["lm_head", "down_proj"].map(str::to_owned).to_vec();
        let decoder = load(model, &changed(&options(BaseForm::Dense), |it| it.targets = targets));
        let names: Vec<String> =
            decoder.vars().unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names.last().unwrap(), "base_model.model.lm_head.lora_B.weight");
        assert_eq!(names.len(), 6);
        scatter(&decoder);
        let actual = rows(&decoder.forward(&batch(&[&ids])).unwrap());
        for (a, b) in actual.iter().zip(served(&decoder, model, &ids)) {
            assert!(furthest(a, &b) < 1e-4, "{model}");
        }
    }
}

#[test]
fn adapters_of_the_output_matrix_agree_with_peft() {
    for (model, adapter) in
        [("tiny-qwen3-folder", "adapter-head"), ("tiny-tied-llama-folder", "adapter-tied-head")]
    {
        let golden_logits = Golden::read(&golden(adapter).join("golden.json"));
        for backend in golden::backends() {
            let base = golden::decoder_on(&golden(model), &backend);
            let read = Adapter::load(&golden(adapter), &Base::of(&base)).unwrap();
            let packed = golden::packed(&read, &base);
            golden_logits.check(&golden::logits(&base, &golden_logits.ids, Some(&packed)), 1e-4);
        }
    }
}

/// Options to train all weights.
fn full() -> TrainOptions {
    TrainOptions { trained: Trained::Full, ..TrainOptions::default() }
}

#[test]
fn all_weights_are_trained_to_a_model_that_serves() {
    for model in ["tiny-tied-llama-folder", "tiny-biased-llama-folder", "tiny-qwen3-folder"] {
        let decoder = load(model, &full());
        let texts: [&[u32]; 2] = [&[1, 2, 3, 4, 5, 6], &[9, 8, 7, 9, 8, 7, 9]];
        let (batch, targets) = (batch(&texts), targets(&texts));
        let before = decoder.weighted(&batch, &targets).unwrap();
        let grads = decoder.on_processor(&before.grads).unwrap();
        let mut values = decoder.values().unwrap();
        assert_eq!(values.len(), grads.len());
        for (value, grad) in values.iter_mut().flatten().zip(grads.iter().flatten()) {
            *value -= 1e-3 * grad;
        }
        decoder.set_values(&values).unwrap();
        let after = decoder.weighted(&batch, &targets).unwrap();
        let [before, after] = [before, after].map(|it| sum(&it.log_probs, &targets));
        assert!(after < before, "{model}: a step against the gradient helps");

        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("model");
        decoder.save(&out).unwrap();
        assert!(matches!(decoder.save(&out), Err(TrainError::Exists { .. })));
        let served = golden::logits(&golden::decoder(&out), texts[0], None);
        let sequences = [texts[0]];
        let actual =
            decoder.forward(&TokenBatch { sequences: &sequences, dropout_seed: None }).unwrap();
        for (a, b) in rows(&actual).iter().zip(&served) {
            assert!(furthest(a, b) < 1e-4, "{model}");
        }
        let again = load(model, &full());
        again.restore(&out).unwrap();
        assert_eq!(again.values().unwrap(), values, "{model}");
    }
}

#[test]
fn all_weights_are_trained_dense_and_in_f32_only() {
    let refused = |options: TrainOptions| {
        TrainableDecoder::load(&golden("tiny-qwen3-folder"), &options).unwrap_err()
    };
    for options in [
        TrainOptions { base: BaseForm::Stored, ..full() },
        TrainOptions { dtype: DType::BF16, ..full() },
    ] {
        assert!(matches!(refused(options), TrainError::Full));
    }
}

#[test]
fn what_cannot_be_trained_is_refused_by_name() {
    let model = golden("tiny-qwen2-folder");
    let error = |change: &dyn Fn(&mut LoraSpec)| {
        let options = changed(&options(BaseForm::Dense), change);
        TrainableDecoder::load(&model, &options).unwrap_err().to_string()
    };
    let unknown = error(&|it| it.targets = vec!["q_proj".to_owned(), "fc1".to_owned()]);
    assert!(unknown.contains("`fc1`") && unknown.contains("down_proj"), "{unknown}");
    let beyond = error(&|it| it.targets = vec!["layers.2.self_attn.q_proj".to_owned()]);
    assert!(beyond.contains("`layers.2.self_attn.q_proj`"), "there are two layers: {beyond}");
    let part = error(&|it| it.targets = vec!["proj".to_owned()]);
    assert!(part.contains("`proj`"), "{part}");
    let embeddings = error(&|it| it.targets = vec!["embed_tokens".to_owned()]);
    assert!(embeddings.contains("choose of q_proj, ") && embeddings.contains(", lm_head"));
    assert!(error(&|it| it.rank = 0).contains("rank 0"));
    assert!(error(&|it| it.dropout = 1.0).contains("dropout 1"));

    let decoder = load("tiny-qwen2-folder", &options(BaseForm::Dense));
    let long = vec![1; 10_000];
    let refused = |sequences: &[&[u32]]| decoder.forward(&batch(sequences)).unwrap_err();
    assert!(matches!(refused(&[&long]), TrainError::TooLong { n_tokens: 10_000, .. }));
    assert!(matches!(refused(&[&[1, 70]]), TrainError::UnknownToken { id: 70, vocab_size: 70 }));
    assert!(matches!(refused(&[&[1], &[]]), TrainError::Empty { idx: 1 }));
    assert!(matches!(refused(&[]), TrainError::Empty { idx: 0 }));
}
