//! What a folder in sentence-transformers' layout says beyond its weights: pooling, prefixes and
//! length. The files are optional; what they say is not ignored.

use std::path::Path;

use serde_json::Value;

use crate::LoadError;
use crate::bert::positions_of;
use crate::embed::{EmbedderSpec, Pooling, Precision};

impl EmbedderSpec {
    /// How a folder's model is meant to be used: `modules.json`, the pooling's `config.json`,
    /// `sentence_bert_config.json` and `config_sentence_transformers.json`. Without them: mean
    /// pooling, no prefixes, and `tokens_max` tokens, or the model's positions where those are
    /// fewer.
    ///
    /// # Errors
    ///
    /// When a file is damaged, or asks for a step that is not implemented.
    pub fn of_folder(dir: &Path, tokens_max: usize) -> Result<Self, LoadError> {
        let positions_max = positions_of(dir)?;
        let pooling = pooling(dir)?;
        let lengths = read(&dir.join("sentence_bert_config.json"))?;
        let tokens_max = lengths["max_seq_length"].as_u64().map_or(tokens_max, |it| it as usize);
        let prompts = &read(&dir.join("config_sentence_transformers.json"))?["prompts"];
        let prompt = |names: &[&str]| {
            let found = names.iter().find_map(|it| prompts[it].as_str());
            found.unwrap_or_default().to_owned()
        };
        Ok(Self {
            pooling,
            query_prefix: prompt(&["query"]),
            passage_prefix: prompt(&["document", "passage"]),
            tokens_max: tokens_max.min(positions_max),
            precision: Precision::F32,
        })
    }
}

fn pooling(dir: &Path) -> Result<Pooling, LoadError> {
    let modules_path = dir.join("modules.json");
    let unsupported =
        |path: &Path, what: String| LoadError::Unsupported { path: path.to_owned(), what };
    let modules = read(&modules_path)?;
    let mut pooling_dir = "1_Pooling";
    for module in modules.as_array().into_iter().flatten() {
        let kind = module["type"].as_str().unwrap_or_default();
        match kind.rsplit('.').next() {
            Some("Transformer" | "Normalize") => {}
            Some("Pooling") => pooling_dir = module["path"].as_str().unwrap_or(pooling_dir),
            _ => return Err(unsupported(&modules_path, format!("a step of type `{kind}`"))),
        }
    }
    let path = dir.join(pooling_dir).join("config.json");
    let config = read(&path)?;
    let modes = [
        "cls_token",
        "mean_tokens",
        "max_tokens",
        "mean_sqrt_len_tokens",
        "weightedmean_tokens",
        "lasttoken",
    ];
    let flags: Vec<&str> = modes
        .into_iter()
        .filter(|it| config[format!("pooling_mode_{it}")].as_bool() == Some(true))
        .collect();
    let named = config["pooling_mode"].as_str();
    match (named, flags.as_slice()) {
        (None, []) | (Some("mean"), _) | (None, ["mean_tokens"]) => Ok(Pooling::Mean),
        (Some("cls"), _) | (None, ["cls_token"]) => Ok(Pooling::Cls),
        (Some(other), _) => Err(unsupported(&path, format!("pooling by `{other}`"))),
        (None, several) => Err(unsupported(&path, format!("pooling by {}", several.join(", ")))),
    }
}

/// A JSON file; null where there is none.
fn read(path: &Path) -> Result<Value, LoadError> {
    if !path.exists() {
        return Ok(Value::Null);
    }
    let text = fs_err::read_to_string(path)
        .map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    serde_json::from_str(&text)
        .map_err(|error| LoadError::Corrupt { path: path.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny-xlm-roberta");
        fs_err::copy(golden.join("config.json"), dir.path().join("config.json")).unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn a_bare_folder_is_pooled_by_mean_as_far_as_its_positions_go() {
        let spec = EmbedderSpec::of_folder(folder(&[]).path(), 256).unwrap();
        let expected = EmbedderSpec {
            pooling: Pooling::Mean,
            query_prefix: String::new(),
            passage_prefix: String::new(),
            tokens_max: 46, // Of 48 positions two are the padding's.
            precision: Precision::F32,
        };
        assert_eq!(spec, expected);
    }

    #[test]
    fn what_the_folder_says_is_followed() {
        let dir = folder(&[
            (
                "1_Pooling/config.json",
                r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#,
            ),
            ("sentence_bert_config.json", r#"{"max_seq_length": 32}"#),
            (
                "config_sentence_transformers.json",
                r#"{"prompts": {"query": "q: ", "document": "d: "}}"#,
            ),
        ]);
        let spec = EmbedderSpec::of_folder(dir.path(), 256).unwrap();
        assert_eq!((spec.pooling, spec.tokens_max), (Pooling::Cls, 32));
        assert_eq!((spec.query_prefix.as_str(), spec.passage_prefix.as_str()), ("q: ", "d: "));
    }

    #[test]
    fn what_is_not_implemented_is_refused_with_its_file() {
        let check = |name: &str, text: &str, expected: &str| {
            let error = EmbedderSpec::of_folder(folder(&[(name, text)]).path(), 256).unwrap_err();
            let error = error.to_string();
            assert!(error.contains(name) && error.contains(expected), "{error}");
        };
        check("1_Pooling/config.json", r#"{"pooling_mode_max_tokens": true}"#, "max_tokens");
        check("1_Pooling/config.json", r#"{"pooling_mode": "lasttoken"}"#, "lasttoken");
        check("1_Pooling/config.json", "{", "EOF");
        let dense = r#"[{"path": "", "type": "a.Transformer"}, {"path": "2", "type": "a.Dense"}]"#;
        check("modules.json", dense, "a.Dense");
    }
}
