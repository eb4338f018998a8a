//! A dataset for another trainer: its data in the form that it reads, and a ready configuration.
//!
//! Keys as in LLaMA-Factory (`data/README.md`, `examples/train_lora`, what
//! `src/llamafactory/data/converter.py` looks up in a row), axolotl (`prompt_strategies/`:
//! `chat_template`, `dpo/chat_template`, `kto/chatml`) and TRL ("Dataset formats and types";
//! scripts `trl sft`, `trl dpo`, `trl kto`).

use std::path::{Path, PathBuf};

use fs_err as fs;
use serde_json::{Map, Value, json};

use super::{
    format::{self, Format, put_identity},
    jsonl::{RowWriter, RowsError},
    row::{Body, BodyKind, Role, Row},
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
    /// The format of ours that it reads rows of a kind in. `None`: it has one of its own.
    #[must_use]
    pub fn format(self, kind: BodyKind) -> Option<Format> {
        match (self, kind) {
            (Self::Axolotl, BodyKind::Preference | BodyKind::Unpaired) => None,
            (Self::LlamaFactory, BodyKind::Text) => Some(Format::Text),
            (Self::LlamaFactory, _) => Some(Format::ShareGpt),
            // On `messages` TRL learns prompts too, or wants a chat template that marks answers.
            (Self::Trl, BodyKind::Supervised) => Some(Format::PromptCompletion),
            (Self::Axolotl | Self::Trl, _) => Some(Format::own(kind)),
        }
    }

    fn row(self, row: &Row) -> Result<Value, ExportError> {
        match self.format(row.body.kind()) {
            Some(format) => Ok(format::write(row, format).map_err(RowsError::from)?),
            None => axolotl_row(row),
        }
    }
}

/// Why a dataset cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file cannot be written, or a row has no place in the format.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// A file cannot be written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The configuration would name a file of rows that is not written.
    #[error(
        "no row is in the part for training: {n_valid} are in the one for validation, {n_test} in \
         the one for the test"
    )]
    NoTrain {
        /// Rows for validation.
        n_valid: usize,
        /// Rows for the test.
        n_test: usize,
    },
    /// The trainer reads single questions only.
    #[error(
        "axolotl reads labelled answers to one question, with a system prompt or without: the \
         prompt of row `{id}` has {n_turns} turns"
    )]
    Turns {
        /// The row.
        id: String,
        /// Turns of its prompt.
        n_turns: usize,
    },
}

/// Preferences with their prompt under `messages`, and labelled answers to a prompt that is a text.
fn axolotl_row(row: &Row) -> Result<Value, ExportError> {
    let mut res = Map::new();
    let mut put = |key: &str, value: Value| res.insert(key.to_owned(), value);
    match &row.body {
        Body::Preference { prompt, chosen, rejected } => {
            let said = |text: &String| json!({"role": "assistant", "content": text});
            put("messages", json!(prompt));
            put("chosen", said(chosen));
            put("rejected", said(rejected));
        }
        Body::Unpaired { prompt, completion, label } => {
            let (system, asked) = match &prompt[..] {
                [asked] => ("", asked),
                [system, asked] if system.role == Role::System => (&*system.content, asked),
                _ => {
                    let n_turns = prompt.len();
                    return Err(ExportError::Turns { id: row.id.clone(), n_turns });
                }
            };
            put("system", json!(system));
            put("prompt", json!(asked.content));
            put("completion", json!(completion));
            put("label", json!(label));
        }
        Body::Messages(_) | Body::Text(_) => {
            let format = Format::own(row.body.kind());
            return Ok(format::write(row, format).map_err(RowsError::from)?);
        }
    }
    put_identity(&mut res, row);
    Ok(Value::Object(res))
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

/// A file of rows that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// Its part.
    pub split: Split,
    /// Its name in the folder.
    pub name: String,
    /// Whether a row of it has a system prompt. Where none has, there is no such column.
    pub has_system: bool,
}

/// Writes data and configuration into a folder. Returns the files.
///
/// # Errors
/// [`ExportError`]
pub fn export(
    dir: &Path,
    trainer: Trainer,
    exported: &Exported<'_>,
) -> Result<Vec<PathBuf>, ExportError> {
    let n = |part: Split| -> usize {
        exported.parts.iter().filter(|(it, _)| *it == part).map(|(_, rows)| rows.len()).sum()
    };
    if n(Split::Train) == 0 {
        return Err(ExportError::NoTrain { n_valid: n(Split::Valid), n_test: n(Split::Test) });
    }
    // The `datasets` library takes a folder of data alone: not the one with the configuration.
    let folder = if trainer == Trainer::Trl { "data/" } else { "" };
    fs::create_dir_all(dir.join(folder))?;
    let mut res = Vec::new();
    let mut files: Vec<DataFile> = Vec::new();
    for (split, rows) in exported.parts.iter().filter(|(_, rows)| !rows.is_empty()) {
        let name = format!("{folder}{}.jsonl", split.as_str());
        let path = dir.join(&name);
        let mut writer = RowWriter::create(&path, Format::Text)?;
        for row in rows {
            writer.write_value(&trainer.row(row)?)?;
        }
        writer.flush()?;
        let speaks = |row: &Row| row.body.prompt().iter().any(|it| it.role == Role::System);
        files.push(DataFile { split: *split, name, has_system: rows.iter().any(speaks) });
        res.push(path);
    }
    let config = match trainer {
        Trainer::LlamaFactory => {
            let info = dir.join("dataset_info.json");
            let text = serde_json::to_string_pretty(&dataset_info(exported.kind, &files));
            fs::write(&info, text.map_err(std::io::Error::from)? + "\n")?;
            res.push(info);
            ("llama_factory.yaml", llama_factory(exported, &files))
        }
        Trainer::Axolotl => ("axolotl.yaml", axolotl(exported, &files)),
        Trainer::Trl => ("trl.yaml", trl(exported, &files)),
    };
    let path = dir.join(config.0);
    fs::write(&path, config.1)?;
    res.push(path);
    Ok(res)
}

/// What LLaMA-Factory must be told of data files. It looks every column up that is named here, so a
/// column that a file lacks must not be.
#[must_use]
pub fn dataset_info(kind: BodyKind, files: &[DataFile]) -> Value {
    let entry = |file: &DataFile| {
        let mut columns = json!({"messages": "conversations"});
        if file.has_system {
            columns["system"] = json!("system");
        }
        let mut res = json!({"file_name": file.name, "formatting": "sharegpt"});
        match kind {
            BodyKind::Supervised => {}
            BodyKind::Preference => {
                res["ranking"] = json!(true);
                columns["chosen"] = json!("chosen");
                columns["rejected"] = json!("rejected");
            }
            BodyKind::Unpaired => columns["kto_tag"] = json!("kto_tag"),
            BodyKind::Text => {
                return json!({"file_name": file.name, "columns": {"prompt": "text"}});
            }
        }
        res["columns"] = columns;
        res
    };
    let entries: Map<String, Value> = files
        .iter()
        .map(|file| (format!("souffleur_{}", file.split.as_str()), entry(file)))
        .collect();
    Value::Object(entries)
}

/// A text as a YAML scalar: JSON's strings are YAML's.
fn yaml(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

/// Preferences stray far on what suits supervised rows.
fn learning_rate(kind: BodyKind) -> &'static str {
    match kind {
        BodyKind::Supervised | BodyKind::Text => "2.0e-4",
        BodyKind::Preference | BodyKind::Unpaired => "2.0e-5",
    }
}

fn has(files: &[DataFile], split: Split) -> bool {
    files.iter().any(|it| it.split == split)
}

fn llama_factory(exported: &Exported<'_>, files: &[DataFile]) -> String {
    let (stage, more) = match exported.kind {
        BodyKind::Supervised => ("sft", "mask_history: true\n"),
        BodyKind::Preference => ("dpo", "pref_beta: 0.1\npref_loss: sigmoid\n"),
        BodyKind::Unpaired => ("kto", "pref_beta: 0.1\n"),
        BodyKind::Text => ("pt", ""),
    };
    let valid = if has(files, Split::Valid) {
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
         gradient_accumulation_steps: 4\nlearning_rate: {rate}\nnum_train_epochs: 3\n\
         lr_scheduler_type: cosine\nwarmup_steps: 10\nlogging_steps: 10\nsave_steps: 200\n",
        base = yaml(exported.base),
        rate = learning_rate(exported.kind),
        tokens = exported.tokens_max,
    )
}

fn axolotl(exported: &Exported<'_>, files: &[DataFile]) -> String {
    let (rl, entry) = match exported.kind {
        BodyKind::Supervised => (
            "",
            "    type: chat_template\n    field_messages: messages\n    \
             roles_to_train: [assistant]\n",
        ),
        BodyKind::Preference => (
            "rl: dpo\n",
            "    type: chat_template.default\n    field_messages: messages\n    \
             field_chosen: chosen\n    field_rejected: rejected\n",
        ),
        BodyKind::Unpaired => (
            "rl: kto\nremove_unused_columns: false\n",
            "    # ChatML, which Qwen and SmolLM2 speak; llama3.ultra for Llama 3.\n    type: \
             chatml.ultra\n",
        ),
        BodyKind::Text => ("", "    type: completion\n    field: text\n"),
    };
    let list = |key: &str, split: Split| match has(files, split) {
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
         learning_rate: {rate}\nlr_scheduler: cosine\nwarmup_steps: 10\noptimizer: adamw_torch\n\
         bf16: auto\nlogging_steps: 10\n",
        base = yaml(exported.base),
        rate = learning_rate(exported.kind),
        train = list("datasets", Split::Train),
        valid = list("test_datasets", Split::Valid),
        tokens = exported.tokens_max,
    )
}

fn trl(exported: &Exported<'_>, files: &[DataFile]) -> String {
    let (command, more) = match exported.kind {
        BodyKind::Supervised => ("sft", "completion_only_loss: true\n"),
        BodyKind::Preference => ("dpo", "beta: 0.1\n"),
        BodyKind::Unpaired => ("kto", "beta: 0.1\n"),
        BodyKind::Text => ("sft", "packing: true\n"),
    };
    let eval = if has(files, Split::Valid) {
        "dataset_test_split: validation\neval_strategy: steps\neval_steps: 50\n"
    } else {
        ""
    };
    // The `datasets` library reads the part of `valid.jsonl` as `validation`.
    format!(
        "# trl {command} --config trl.yaml   (run it in this folder)\n\
         model_name_or_path: {base}\ndataset_name: ./data\ndataset_train_split: train\n{eval}\
         max_length: {tokens}\nuse_peft: true\nlora_r: 16\nlora_alpha: 32\n\
         lora_target_modules: all-linear\n{more}output_dir: adapter\n\
         per_device_train_batch_size: 4\ngradient_accumulation_steps: 4\nlearning_rate: {rate}\n\
         num_train_epochs: 3\nlr_scheduler_type: cosine\nwarmup_steps: 10\nlogging_steps: 10\n",
        base = yaml(exported.base),
        rate = learning_rate(exported.kind),
        tokens = exported.tokens_max,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{
        jsonl::{BadLines, read},
        row::{Message, Meta},
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
                let back = read(&files[0], BadLines::Stop).unwrap();
                assert_eq!(back.rows, std::slice::from_ref(&row), "{trainer:?}");
                assert!(!files.iter().any(|it| it.ends_with("test.jsonl")), "it has no rows");
                let config = fs::read_to_string(files.last().unwrap()).unwrap();
                assert!(config.contains(r#""a/\"b\"""#) && config.contains("512"), "{config}");
                assert!(config.contains("valid"), "{config}");
                if trainer == Trainer::LlamaFactory {
                    let info = fs::read_to_string(dir.path().join("dataset_info.json")).unwrap();
                    let info: Value = serde_json::from_str(&info).unwrap();
                    let train = &info["souffleur_train"];
                    assert_eq!(train["file_name"], "train.jsonl");
                    let line = fs::read_to_string(dir.path().join("train.jsonl")).unwrap();
                    let line: Value = serde_json::from_str(&line).unwrap();
                    for column in train["columns"].as_object().unwrap().values() {
                        let column = column.as_str().unwrap();
                        assert!(line.get(column).is_some(), "no column `{column}` in {line}");
                    }
                }
            }
        }
    }

    #[test]
    fn without_rows_to_learn_nothing_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let row = Row::new(&["1"], Body::Text("Du texte.".into()), Meta::default());
        let parts = [(Split::Train, vec![]), (Split::Test, vec![row])];
        let exported = Exported { kind: BodyKind::Text, base: "b", tokens_max: 512, parts: &parts };
        let out = dir.path().join("out");
        for trainer in [Trainer::LlamaFactory, Trainer::Axolotl, Trainer::Trl] {
            let error = export(&out, trainer, &exported).unwrap_err();
            assert!(matches!(error, ExportError::NoTrain { n_valid: 0, n_test: 1 }), "{error}");
        }
        assert!(!out.exists());
    }

    #[test]
    fn columns_that_no_row_has_are_not_named() {
        let file = |has_system| DataFile {
            split: Split::Train,
            name: "train.jsonl".to_owned(),
            has_system,
        };
        let info = dataset_info(BodyKind::Supervised, &[file(false)]);
        assert_eq!(info["souffleur_train"]["columns"], json!({"messages": "conversations"}));
        let info = dataset_info(BodyKind::Unpaired, &[file(true)]);
        let columns = &info["souffleur_train"]["columns"];
        assert_eq!(
            (&columns["system"], &columns["kto_tag"]),
            (&json!("system"), &json!("kto_tag"))
        );
    }

    #[test]
    fn labelled_answers_to_a_conversation_are_refused_for_axolotl() {
        let turn = |role, text: &str| Message::new(role, text);
        let prompt = vec![turn(Role::User, "a"), turn(Role::Assistant, "b"), turn(Role::User, "c")];
        let body = Body::Unpaired { prompt, completion: "d".into(), label: true };
        let row = Row::new(&["1"], body, Meta::default());
        let error = axolotl_row(&row).unwrap_err().to_string();
        assert!(error.contains("3 turns"), "{error}");
    }
}
