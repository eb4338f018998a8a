//! A dataset for another trainer: its data in the form that it reads, and a ready configuration.
//!
//! Keys as in LLaMA-Factory (`data/README.md`, `examples/train_lora`), axolotl (documentation of
//! `datasets` and `rl`) and TRL (scripts `trl sft`, `trl dpo`, `trl kto`).

use std::path::{Path, PathBuf};

use fs_err as fs;
use serde_json::{Map, Value, json};

use super::{
    format::Format,
    jsonl::{RowWriter, RowsError},
    row::{BodyKind, Row},
    split::Split,
};

/// A trainer of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trainer {
    /// LLaMA-Factory.
    LlamaFactory,
    /// axolotl.
    Axolotl,
    /// TRL, by Hugging Face.
    Trl,
}

impl Trainer {
    /// The format that it reads rows of a kind in.
    #[must_use]
    pub fn format(self, kind: BodyKind) -> Format {
        match (self, kind) {
            (Self::LlamaFactory, BodyKind::Text) => Format::Text,
            (Self::LlamaFactory, _) => Format::ShareGpt,
            (Self::Axolotl | Self::Trl, _) => Format::own(kind),
        }
    }
}

/// What is exported.
#[derive(Debug, Clone, Copy)]
pub struct Exported<'a> {
    /// What the rows are good for: all of them the same.
    pub kind: BodyKind,
    /// The base model, as the trainer names it.
    pub base: &'a str,
    /// Tokens of a row at most.
    pub tokens_max: usize,
    /// The parts; those without rows are left out.
    pub parts: &'a [(Split, Vec<Row>)],
}

/// Writes data and configuration into a folder. Returns the files.
///
/// # Errors
/// When a file cannot be written.
pub fn export(
    dir: &Path,
    trainer: Trainer,
    exported: &Exported<'_>,
) -> Result<Vec<PathBuf>, RowsError> {
    fs::create_dir_all(dir)?;
    let format = trainer.format(exported.kind);
    let mut res = Vec::new();
    let mut names: Vec<(Split, String)> = Vec::new();
    for (split, rows) in exported.parts.iter().filter(|(_, rows)| !rows.is_empty()) {
        let name = format!("{}.jsonl", split.as_str());
        let path = dir.join(&name);
        let mut writer = RowWriter::create(&path, format)?;
        for row in rows {
            writer.write(row)?;
        }
        writer.flush()?;
        names.push((*split, name));
        res.push(path);
    }
    let config = match trainer {
        Trainer::LlamaFactory => {
            let info = dir.join("dataset_info.json");
            let text = serde_json::to_string_pretty(&dataset_info(exported.kind, &names));
            fs::write(&info, text.map_err(std::io::Error::from)? + "\n")?;
            res.push(info);
            ("llama_factory.yaml", llama_factory(exported, &names))
        }
        Trainer::Axolotl => ("axolotl.yaml", axolotl(exported, &names)),
        Trainer::Trl => ("trl.yaml", trl(exported, &names)),
    };
    let path = dir.join(config.0);
    fs::write(&path, config.1)?;
    res.push(path);
    Ok(res)
}

/// What LLaMA-Factory must be told of data files.
#[must_use]
pub fn dataset_info(kind: BodyKind, files: &[(Split, String)]) -> Value {
    let entry = |name: &str| match kind {
        BodyKind::Supervised => json!({
            "file_name": name, "formatting": "sharegpt",
            "columns": {"messages": "conversations", "system": "system"}}),
        BodyKind::Preference => json!({
            "file_name": name, "formatting": "sharegpt", "ranking": true,
            "columns": {"messages": "conversations", "system": "system",
                "chosen": "chosen", "rejected": "rejected"}}),
        BodyKind::Unpaired => json!({
            "file_name": name, "formatting": "sharegpt",
            "columns": {"messages": "conversations", "system": "system", "kto_tag": "kto_tag"}}),
        BodyKind::Text => json!({"file_name": name, "columns": {"prompt": "text"}}),
    };
    let entries: Map<String, Value> = files
        .iter()
        .map(|(split, name)| (format!("souffleur_{}", split.as_str()), entry(name)))
        .collect();
    Value::Object(entries)
}

/// A text as a YAML scalar: JSON's strings are YAML's.
fn yaml(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

fn has(names: &[(Split, String)], split: Split) -> bool {
    names.iter().any(|(it, _)| *it == split)
}

fn llama_factory(exported: &Exported<'_>, names: &[(Split, String)]) -> String {
    let (stage, more) = match exported.kind {
        BodyKind::Supervised => ("sft", ""),
        BodyKind::Preference => ("dpo", "pref_beta: 0.1\npref_loss: sigmoid\n"),
        BodyKind::Unpaired => ("kto", "pref_beta: 0.1\n"),
        BodyKind::Text => ("pt", ""),
    };
    let valid = if has(names, Split::Valid) {
        "eval_dataset: souffleur_valid\neval_strategy: steps\neval_steps: 50\n"
    } else {
        ""
    };
    format!(
        "# llamafactory-cli train llama_factory.yaml   (run it in this folder)\n\
         model_name_or_path: {base}\nstage: {stage}\ndo_train: true\nfinetuning_type: lora\n\
         lora_rank: 16\nlora_alpha: 32\nlora_target: all\ndataset_dir: .\n\
         dataset: souffleur_train\n{valid}cutoff_len: {tokens}\n\
         # The template of the base model: qwen3, llama3, mistral, …\ntemplate: default\n\
         {more}output_dir: adapter\nper_device_train_batch_size: 4\n\
         gradient_accumulation_steps: 4\nlearning_rate: 2.0e-4\nnum_train_epochs: 3\n\
         lr_scheduler_type: cosine\nwarmup_ratio: 0.05\nlogging_steps: 10\nsave_steps: 200\n",
        base = yaml(exported.base),
        tokens = exported.tokens_max,
    )
}

fn axolotl(exported: &Exported<'_>, names: &[(Split, String)]) -> String {
    let (rl, entry) = match exported.kind {
        BodyKind::Supervised => (
            "",
            "    type: chat_template\n    field_messages: messages\n    roles_to_train: [assistant]\n",
        ),
        BodyKind::Preference => (
            "rl: dpo\n",
            "    type: chat_template.default\n    field_messages: prompt\n    \
             field_chosen: chosen\n    field_rejected: rejected\n",
        ),
        BodyKind::Unpaired => ("rl: kto\n", "    type: chat_template.argilla\n"),
        BodyKind::Text => ("", "    type: completion\n    field: text\n"),
    };
    let list = |key: &str, split: Split| match has(names, split) {
        true => format!(
            "{key}:\n  - path: {}.jsonl\n    ds_type: json\n    split: train\n{entry}",
            split.as_str()
        ),
        false => String::new(),
    };
    format!(
        "# axolotl train axolotl.yaml   (run it in this folder)\nbase_model: {base}\n{rl}{train}\
         {valid}adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_dropout: 0.05\n\
         lora_target_linear: true\nsequence_len: {tokens}\noutput_dir: adapter\n\
         micro_batch_size: 4\ngradient_accumulation_steps: 4\nnum_epochs: 3\n\
         learning_rate: 0.0002\nlr_scheduler: cosine\nwarmup_ratio: 0.05\noptimizer: adamw_torch\n\
         bf16: auto\nlogging_steps: 10\n",
        base = yaml(exported.base),
        train = list("datasets", Split::Train),
        valid = list("test_datasets", Split::Valid),
        tokens = exported.tokens_max,
    )
}

fn trl(exported: &Exported<'_>, names: &[(Split, String)]) -> String {
    let (command, more) = match exported.kind {
        BodyKind::Supervised => ("sft", "assistant_only_loss: true\n"),
        BodyKind::Preference => ("dpo", "beta: 0.1\n"),
        BodyKind::Unpaired => ("kto", "beta: 0.1\n"),
        BodyKind::Text => ("sft", "packing: true\n"),
    };
    let eval = if has(names, Split::Valid) {
        "dataset_test_split: validation\neval_strategy: steps\neval_steps: 50\n"
    } else {
        ""
    };
    // A folder with train.jsonl is a data set for the `datasets` library, which knows `valid` as
    // `validation`.
    format!(
        "# trl {command} --config trl.yaml   (run it in this folder)\n\
         model_name_or_path: {base}\ndataset_name: .\ndataset_train_split: train\n{eval}\
         max_length: {tokens}\nuse_peft: true\nlora_r: 16\nlora_alpha: 32\n\
         lora_target_modules: all-linear\n{more}output_dir: adapter\n\
         per_device_train_batch_size: 4\ngradient_accumulation_steps: 4\nlearning_rate: 2.0e-4\n\
         num_train_epochs: 3\nlr_scheduler_type: cosine\nwarmup_ratio: 0.05\nlogging_steps: 10\n",
        base = yaml(exported.base),
        tokens = exported.tokens_max,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{
        jsonl::{BadLines, read},
        row::{Body, Message, Meta, Role},
    };

    #[test]
    fn every_trainer_gets_data_that_is_read_back_and_a_configuration() {
        let message = |role, text: &str| Message::new(role, text);
        let prompt = vec![message(Role::System, "S"), message(Role::User, "Q?")];
        let mut all = prompt.clone();
        all.push(message(Role::Assistant, "A"));
        let bodies = [
            Body::Messages(all),
            Body::Preference { prompt: prompt.clone(), chosen: "a".into(), rejected: "b".into() },
            Body::Unpaired { prompt, completion: "a".into(), label: true },
            Body::Text("Du texte.".into()),
        ];
        for trainer in [Trainer::LlamaFactory, Trainer::Axolotl, Trainer::Trl] {
            for body in &bodies {
                let dir = tempfile::tempdir().unwrap();
                let row = Row::new(&["1"], body.clone(), Meta::default());
                let parts = [
                    (Split::Train, vec![row.clone()]),
                    (Split::Valid, vec![row.clone()]),
                    (Split::Test, vec![]),
                ];
                let exported =
                    Exported { kind: body.kind(), base: "a/\"b\"", tokens_max: 512, parts: &parts };
                let files = export(dir.path(), trainer, &exported).unwrap();
                let back = read(&dir.path().join("train.jsonl"), BadLines::Stop).unwrap();
                assert_eq!(back.rows, std::slice::from_ref(&row), "{trainer:?}");
                assert!(!dir.path().join("test.jsonl").exists());
                let config = fs::read_to_string(files.last().unwrap()).unwrap();
                assert!(config.contains(r#""a/\"b\"""#) && config.contains("512"), "{config}");
                assert!(config.contains("valid"), "{config}");
                if trainer == Trainer::LlamaFactory {
                    let info = fs::read_to_string(dir.path().join("dataset_info.json")).unwrap();
                    let info: Value = serde_json::from_str(&info).unwrap();
                    assert_eq!(info["souffleur_train"]["file_name"], "train.jsonl");
                }
            }
        }
    }
}
