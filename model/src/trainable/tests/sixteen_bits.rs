//! Training in 16 bits beside training in 32.

use super::*;

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
