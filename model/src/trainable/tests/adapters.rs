//! Adapters and whole models that are saved, restored and refused.

use super::*;

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
