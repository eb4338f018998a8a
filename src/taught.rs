//! How an adapter was taught to be asked: its record says it, and answering asks it so.

use std::path::Path;

use model::adapter::AdapterError;
use tune::{
    dataset::row::{PromptForm, PromptStyle},
    train::run::RECORD,
};

use crate::{config::Style, engine::Engine, stale::record_of, writer::Writer};

/// How the prompts that an adapter was taught with were made; `None` where nobody has said so.
///
/// # Errors
/// When its record is there and cannot be read.
pub fn prompt_form(adapter: &Path) -> Result<Option<PromptForm>, AdapterError> {
    let path = adapter.join(RECORD);
    let record =
        record_of(adapter).map_err(|source| AdapterError::Read { path: path.clone(), source })?;
    let form = record.and_then(|it| it.get("prompt").cloned()).unwrap_or_default();
    serde_json::from_value(form)
        .map_err(|error| AdapterError::Corrupt { path, reason: error.to_string() })
}

impl Engine {
    /// Chooses the adapter that writes, or none. It gets its prompts as it was taught: with as many
    /// examples, with whole passages or single sentences.
    pub fn choose_adapter(&mut self, name: Option<String>) {
        let taught = match (&*self.writer, &name) {
            (Writer::Model(model), Some(name)) => model.taught(name),
            _ => None,
        };
        if let Some(form) = taught {
            self.settings.prompts.examples_max = form.examples_max;
        }
        self.settings.prompt_style = taught.map(|it| it.style);
        self.settings.adapter = name;
    }

    /// Whether a model is shown single sentences instead of passages. `is_small`: as its size says.
    pub(crate) fn by_sentences(&self, is_small: bool) -> bool {
        let is_small = match self.settings.prompt_style {
            Some(taught) => taught == PromptStyle::Small,
            None => is_small,
        };
        is_small && self.settings.prompts.style == Style::Plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_record_says_how_an_adapter_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(prompt_form(dir.path()).unwrap(), None, "of another trainer");
        let write = |record: serde_json::Value| {
            fs_err::write(dir.path().join(RECORD), record.to_string()).unwrap();
            prompt_form(dir.path())
        };
        assert_eq!(write(json!({ "base": {} })).unwrap(), None, "older than prompts in records");
        assert_eq!(write(json!({ "prompt": null })).unwrap(), None);
        let full = json!({ "prompt": { "style": "full", "examples_max": 0 } });
        let expected = PromptForm { style: PromptStyle::Full, examples_max: 0 };
        assert_eq!(write(full).unwrap(), Some(expected));
        let odd = write(json!({ "prompt": { "style": "loud" } })).unwrap_err().to_string();
        assert!(odd.contains("training.json") && odd.contains("loud"), "{odd}");
    }
}
