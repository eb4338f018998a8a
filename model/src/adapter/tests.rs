use serde_json::json;

use super::*;
use crate::device::Backend;
use crate::golden::{self, path as golden};
use crate::load_generator;

fn base(name: &str) -> Base {
    Base::read(&golden(name)).unwrap()
}

/// A copy of an adapter whose settings are changed.
fn changed(name: &str, change: impl Fn(&mut Value)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        fs_err::copy(golden(name).join(file), dir.path().join(file)).unwrap();
    }
    let path = dir.path().join("adapter_config.json");
    let mut config = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
    change(&mut config);
    fs_err::write(&path, config.to_string()).unwrap();
    dir
}

fn error_of(dir: &Path, base: &Base) -> String {
    Adapter::load(dir, base).unwrap_err().to_string()
}

#[track_caller]
fn check_refused(key: &str, value: Value, expected: &str) {
    let dir = changed("adapter-all", |config| config[key] = value.clone());
    let error = error_of(dir.path(), &base("tiny-qwen2-folder"));
    assert!(error.contains(expected) && error.contains("adapter"), "{error}");
}

#[test]
fn every_matrix_is_found() {
    let adapter = Adapter::load(&golden("adapter-all"), &base("tiny-qwen2-folder")).unwrap();
    assert_eq!((adapter.name.as_str(), adapter.layers.len()), ("adapter-all", 2));
    for layer in &adapter.layers {
        assert!(Module::ALL.into_iter().all(|it| layer.get(it).is_some()));
    }
    let adapter = Adapter::load(&golden("adapter-patterns"), &base("tiny-llama.gguf")).unwrap();
    assert!(adapter.layers[0].v.is_none() && adapter.layers[1].q.is_some());
    assert_eq!(adapter.layers[0].down.as_ref().unwrap().a.dims(), [3, 64]);
}

#[test]
fn a_gguf_adapter_is_the_folder_that_it_was_made_from() {
    let base = base("tiny-llama.gguf");
    let folder = Adapter::load(&golden("adapter-plain"), &base).unwrap();
    let file = Adapter::load(&golden("adapter-plain/adapter.gguf"), &base).unwrap();
    assert_eq!(file.name, "adapter");
    for (a, b) in folder.layers.iter().zip(&file.layers) {
        for module in Module::ALL {
            let deltas = [a, b].map(|it| it.get(module).map(|it| it.delta().unwrap()));
            assert_eq!(deltas[0], deltas[1], "{module:?}");
        }
    }
}

#[test]
fn options_that_change_the_result_are_refused_by_name() {
    check_refused("use_dora", json!(true), "use_dora");
    check_refused("lora_bias", json!(true), "lora_bias");
    check_refused("bias", json!("all"), "`bias` \"all\"");
    check_refused("modules_to_save", json!(["lm_head"]), "modules_to_save");
    check_refused("fan_in_fan_out", json!(true), "fan_in_fan_out");
    check_refused("init_lora_weights", json!("pissa"), "pissa");
    check_refused("layer_replication", json!([[0, 1]]), "layer_replication");
    check_refused("an_option_of_tomorrow", json!(3), "an_option_of_tomorrow");
    check_refused("alpha_pattern", json!({"q_proj|k_proj": 3}), "q_proj|k_proj");
    check_refused("peft_type", json!("IA3"), "IA3");
}

#[test]
fn another_base_is_refused_with_what_disagrees() {
    let error = error_of(&golden("adapter-all"), &base("tiny-llama.gguf"));
    assert!(error.contains("(64, 32) in the model, (32, 32) in it"), "{error}");
    assert!(error.contains("tiny-qwen2-folder"), "the hint is shown: {error}");
    let mut short = base("tiny-qwen2-folder");
    short.config.n_layers = 1;
    let error = error_of(&golden("adapter-all"), &short);
    assert!(error.contains("layer 1 of 1"), "{error}");
}

#[test]
fn our_own_record_of_the_base_decides() {
    let right = base("tiny-qwen2-folder");
    let dir = changed("adapter-all", |_| {});
    let record = |text: &str| fs_err::write(dir.path().join(OWN_FILE), text).unwrap();
    record(&json!({"base": right.fingerprint}).to_string());
    Adapter::load(dir.path(), &right).unwrap();
    record(&json!({"base": "0123"}).to_string());
    let error = error_of(dir.path(), &right);
    assert!(error.contains("fingerprint 0123"), "{error}");
}

#[test]
fn the_fingerprint_is_the_same_on_disk_and_in_memory_and_differs_between_models() {
    for name in ["tiny-qwen2-folder", "tiny-llama.gguf"] {
        let on_disk = base(name);
        let decoder = golden::decoder(&golden(name));
        assert_eq!(Base::of(&decoder).fingerprint, on_disk.fingerprint);
    }
    let prints = ["tiny-qwen2-folder", "tiny-llama.gguf", "tiny-qwen3-folder"].map(base);
    assert_ne!(prints[0].fingerprint, prints[1].fingerprint);
    assert_ne!(prints[0].fingerprint, prints[2].fingerprint);
}

#[test]
fn damaged_and_incomplete_folders_are_refused() {
    let base = base("tiny-qwen2-folder");
    let dir = changed("adapter-all", |_| {});
    let path = dir.path().join("adapter_model.safetensors");
    let bytes = fs_err::read(&path).unwrap();
    for n in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        fs_err::write(&path, &bytes[..n]).unwrap();
        let error = error_of(dir.path(), &base);
        assert!(error.contains("adapter_model.safetensors"), "{error}");
    }
    fs_err::remove_file(&path).unwrap();
    assert!(error_of(dir.path(), &base).contains("could not read"));
    fs_err::write(dir.path().join("adapter_config.json"), "{").unwrap();
    assert!(error_of(dir.path(), &base).contains("adapter_config.json"));

    let dir = changed("adapter-all", |config| config["r"] = json!(4));
    let error = error_of(dir.path(), &base);
    assert!(error.contains("for rank Some(4)"), "{error}");
}

#[test]
fn a_model_is_no_adapter() {
    let base = base("tiny-llama.gguf");
    let error = error_of(&golden("tiny-llama.gguf"), &base);
    assert!(error.contains("it holds no LoRA"), "{error}");
    assert!(
        load_generator::load(&golden("adapter-plain/adapter.gguf"), &Backend::Processor).is_err()
    );
}
