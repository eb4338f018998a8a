//! The variants that are compared: what writes, with which adapter, with or without the documents.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use clap::ValueEnum;

use crate::{
    best_of::DRAFTS_MAX,
    config::Style,
    engine::{AnswerSettings, Engine},
    writer::Writer,
};

/// How arms are written.
pub const KNOWN: &str =
    "base, rag, extract, ft:NAME=PATH, rag+ft:NAME=PATH, each with settings in brackets or without";

/// Settings that an arm may have of its own.
const SETTINGS: &str = "passages, candidates, relevance, rerank, style, shots, best-of, model";

/// Where an arm's answers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The model alone.
    Alone,
    /// The model with passages of the documents.
    Documents,
    /// Quotations, without a model.
    Quotes,
}

impl Way {
    /// The word in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Documents => "documents",
            Self::Quotes => "quotes",
        }
    }
}

/// An adapter that an arm's model writes with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArmAdapter {
    /// What it is called.
    pub name: String,
    /// A PEFT folder or a GGUF file; `None` for the folder of that name among the adapters of the
    /// data folder.
    pub path: Option<PathBuf>,
}

impl ArmAdapter {
    /// Where it is.
    #[must_use]
    pub fn place(&self, data_dir: &Path) -> PathBuf {
        self.path.clone().unwrap_or_else(|| data_dir.join("adapters").join(&self.name))
    }
}

/// What an arm sets otherwise than the others; `None` leaves the setting as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ArmSettings {
    /// Passages shown to the model at most.
    pub passages: Option<NonZeroUsize>,
    /// Candidates that each leg brings.
    pub candidates: Option<NonZeroUsize>,
    /// Relevance under which a passage does not bear on the question, from 0 to 1.
    pub relevance: Option<f32>,
    /// Whether candidates stay in the order of the search although there is a reranker.
    pub without_reranker: bool,
    /// Whether reasoning comes first.
    pub style: Option<Style>,
    /// Few-shot examples at most.
    pub shots: Option<usize>,
    /// Drafts of which the best is taken.
    pub best_of: Option<NonZeroUsize>,
    /// Another generator.
    pub model: Option<String>,
}

/// One variant.
#[derive(Debug, Clone, PartialEq)]
pub struct Arm {
    /// What reports call it: as written, without paths. No two arms of a comparison share one.
    pub label: String,
    /// Where answers come from.
    pub way: Way,
    /// The adapter.
    pub adapter: Option<ArmAdapter>,
    /// What it sets otherwise.
    pub settings: ArmSettings,
}

/// Why a text names no arms.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArmError {
    /// There are none.
    #[error("no arm to compare: known are {KNOWN}")]
    None,
    /// There is no such arm.
    #[error("no arm `{arm}`: known are {KNOWN}")]
    Unknown {
        /// As written.
        arm: String,
    },
    /// The adapter has no name.
    #[error("`{arm}` names no adapter: write it as ft:NAME=PATH")]
    Unnamed {
        /// As written.
        arm: String,
    },
    /// One name stands for two adapters.
    #[error("two adapters are called `{name}`: give them different names")]
    TwoAdapters {
        /// The name.
        name: String,
    },
    /// Brackets do not match.
    #[error("`{arm}`: settings stand in one pair of brackets at the end, such as rag[passages=8]")]
    Brackets {
        /// As written.
        arm: String,
    },
    /// There is no such setting.
    #[error(
        "`{arm}` has no setting `{key}` of its own: known are {SETTINGS}; what is not among them \
         (seed, temperature, limits) is the same for all arms"
    )]
    Setting {
        /// As written.
        arm: String,
        /// The setting.
        key: String,
    },
    /// The setting changes nothing there.
    #[error("`{arm}`: `{key}` has no meaning for an arm that {why}")]
    Meaningless {
        /// As written.
        arm: String,
        /// The setting.
        key: String,
        /// What the arm does not do.
        why: &'static str,
    },
    /// A value is not of its kind.
    #[error("`{arm}`: `{key}` is `{value}`, and must be {expected}")]
    Value {
        /// As written.
        arm: String,
        /// The setting.
        key: String,
        /// Its value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
}

/// Reads arms, separated by commas. One that is written twice is numbered: `rag`, `rag#2`.
///
/// # Errors
/// [`ArmError`]
pub fn parse_arms(text: &str) -> Result<Vec<Arm>, ArmError> {
    let mut res: Vec<Arm> = Vec::new();
    for part in split(text) {
        let mut arm: Arm = part.parse()?;
        let n_before = res.iter().filter(|it| it.is_like(&arm)).count();
        if n_before > 0 {
            arm.label = format!("{}#{}", arm.label, n_before + 1);
        }
        res.push(arm);
    }
    if res.is_empty() {
        return Err(ArmError::None);
    }
    share_adapters(&mut res)?;
    Ok(res)
}

/// One name is one adapter: an arm that gives no path has that of the others.
fn share_adapters(arms: &mut [Arm]) -> Result<(), ArmError> {
    let mut paths: BTreeMap<String, PathBuf> = BTreeMap::new();
    for adapter in arms.iter().filter_map(|it| it.adapter.as_ref()) {
        let Some(path) = &adapter.path else { continue };
        let known = paths.entry(adapter.name.clone()).or_insert_with(|| path.clone());
        if known != path {
            return Err(ArmError::TwoAdapters { name: adapter.name.clone() });
        }
    }
    for adapter in arms.iter_mut().filter_map(|it| it.adapter.as_mut()) {
        adapter.path = paths.get(&adapter.name).cloned();
    }
    Ok(())
}

/// The parts between commas that stand outside brackets.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let parts = text.split(|c| {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.map(str::trim).filter(|it| !it.is_empty()).collect()
}

impl FromStr for Arm {
    type Err = ArmError;

    fn from_str(text: &str) -> Result<Self, ArmError> {
        let arm = || text.to_owned();
        let (name, inside) = match text.split_once('[') {
            None if text.contains(']') => return Err(ArmError::Brackets { arm: arm() }),
            None => (text, None),
            Some((name, rest)) => match rest.strip_suffix(']') {
                Some(inside) if !inside.contains(['[', ']']) => (name, Some(inside)),
                _ => return Err(ArmError::Brackets { arm: arm() }),
            },
        };
        let (way, adapter) = match name {
            "base" => (Way::Alone, None),
            "rag" => (Way::Documents, None),
            "extract" => (Way::Quotes, None),
            _ => {
                let (way, adapter) = match (name.strip_prefix("ft:"), name.strip_prefix("rag+ft:"))
                {
                    (Some(adapter), _) => (Way::Alone, adapter),
                    (_, Some(adapter)) => (Way::Documents, adapter),
                    _ => return Err(ArmError::Unknown { arm: arm() }),
                };
                (way, Some(adapter_of(adapter).ok_or_else(|| ArmError::Unnamed { arm: arm() })?))
            }
        };
        let mut label = name.split('=').next().unwrap_or(name).to_owned();
        if let Some(inside) = inside {
            label = format!("{label}[{inside}]");
        }
        let mut res = Self { label, way, adapter, settings: ArmSettings::default() };
        for pair in inside.unwrap_or_default().split(',').filter(|it| !it.trim().is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            res.set(text, key.trim(), value.trim())?;
        }
        Ok(res)
    }
}

fn adapter_of(text: &str) -> Option<ArmAdapter> {
    let (name, path) = match text.split_once('=') {
        Some((_, "")) => return None,
        Some((name, path)) => (name, Some(PathBuf::from(path))),
        None => (text, None),
    };
    (!name.is_empty()).then(|| ArmAdapter { name: name.to_owned(), path })
}

impl Arm {
    fn set(&mut self, arm: &str, key: &str, value: &str) -> Result<(), ArmError> {
        let wrong = |expected| ArmError::Value {
            arm: arm.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
            expected,
        };
        let meaningless =
            |why| ArmError::Meaningless { arm: arm.to_owned(), key: key.to_owned(), why };
        // A model alone is asked the bare question: there are no passages to go through in steps.
        let of_documents =
            ["passages", "candidates", "relevance", "rerank", "style", "shots", "best-of"];
        let of_model = ["style", "shots", "best-of", "model"];
        if self.way == Way::Alone && of_documents.contains(&key) {
            return Err(meaningless("reads no documents"));
        }
        if self.way == Way::Quotes && of_model.contains(&key) {
            return Err(meaningless("has no model"));
        }
        let count = || value.parse::<NonZeroUsize>().map_err(|_| wrong("a number from 1"));
        let own = &mut self.settings;
        match key {
            "passages" => own.passages = Some(count()?),
            "candidates" => own.candidates = Some(count()?),
            "best-of" => {
                let count = count()?;
                if count.get() > DRAFTS_MAX {
                    return Err(wrong("a number from 1 to 16"));
                }
                own.best_of = Some(count);
            }
            "relevance" => {
                let share = value.parse::<f32>().ok().filter(|it| (0.0..=1.0).contains(it));
                own.relevance = Some(share.ok_or_else(|| wrong("from 0 to 1"))?);
            }
            "rerank" if value == "off" => own.without_reranker = true,
            "rerank" => return Err(wrong("off; --rerank sets the model of all other arms")),
            "style" => {
                let style = Style::from_str(value, false).map_err(|_| wrong("plain or cot"))?;
                own.style = Some(style);
            }
            "shots" => {
                own.shots = Some(value.parse().map_err(|_| wrong("a number from 0"))?);
            }
            "model" if !value.is_empty() => own.model = Some(value.to_owned()),
            "model" => return Err(wrong("an id, a .gguf file or a folder")),
            _ => {
                return Err(ArmError::Setting { arm: arm.to_owned(), key: key.to_owned() });
            }
        }
        Ok(())
    }

    /// Whether another arm does the same, but for where its adapter is.
    fn is_like(&self, other: &Self) -> bool {
        let name = |it: &Self| it.adapter.as_ref().map(|it| it.name.clone());
        (self.way, &self.settings, name(self)) == (other.way, &other.settings, name(other))
    }

    /// Whether it asks the model for passages of the documents, or quotes them.
    #[must_use]
    pub fn reads_documents(&self) -> bool {
        self.way != Way::Alone
    }

    /// What it does, written out: with what all arms share, this decides its answers.
    #[must_use]
    pub fn description(&self) -> String {
        format!("{} {:?}", self.way.as_str(), self.settings)
    }

    /// A copy of the engine that answers as this arm does, with `writer` where it has a model.
    #[must_use]
    pub fn engine(&self, shared: &Engine, writer: &Arc<Writer>) -> Engine {
        let mut res = shared.clone();
        res.writer = match self.way {
            Way::Quotes => Arc::new(Writer::Extract { reason: None }),
            Way::Alone | Way::Documents => Arc::clone(writer),
        };
        res.choose_adapter(self.adapter.as_ref().map(|it| it.name.clone()));
        res.settings = self.answer_settings(&res.settings);
        if self.settings.without_reranker {
            res.reranker = None;
        }
        res
    }

    /// The settings that arms share, with what this one sets otherwise.
    #[must_use]
    fn answer_settings(&self, shared: &AnswerSettings) -> AnswerSettings {
        let mut res = shared.clone();
        let own = &self.settings;
        let retrieval = &mut res.retrieval;
        retrieval.passages_max = own.passages.unwrap_or(retrieval.passages_max);
        retrieval.candidates_max = own.candidates.unwrap_or(retrieval.candidates_max);
        retrieval.relevance_min = own.relevance.unwrap_or(retrieval.relevance_min);
        let generation = &mut res.generation;
        generation.best_of = own.best_of.unwrap_or(generation.best_of);
        let prompts = &mut res.prompts;
        prompts.style = own.style.unwrap_or(prompts.style);
        prompts.examples_max = own.shots.unwrap_or(prompts.examples_max);
        res
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, GenerationConfig, Overrides, PromptsConfig, RetrievalConfig};

    #[track_caller]
    fn fails(text: &str, words: &[&str]) {
        let error = parse_arms(text).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "must say `{word}`: {error}");
        }
    }

    #[test]
    fn arms_are_read_with_their_settings() {
        let arms =
            parse_arms("base, rag[passages=8,style=cot],ft:rh=adapters/a=b,rag+ft:rh,extract")
                .unwrap();
        let labels: Vec<&str> = arms.iter().map(|it| it.label.as_str()).collect();
        assert_eq!(labels, ["base", "rag[passages=8,style=cot]", "ft:rh", "rag+ft:rh", "extract"]);
        assert_eq!(arms[1].settings.passages, NonZeroUsize::new(8));
        assert_eq!(arms[1].settings.style, Some(Style::Cot));
        let place = |i: usize| arms[i].adapter.as_ref().unwrap().place(Path::new("data"));
        assert_eq!(place(2), Path::new("adapters/a=b"));
        assert_eq!(place(3), Path::new("adapters/a=b"), "one name, one adapter");
        assert_eq!((arms[2].way, arms[3].way), (Way::Alone, Way::Documents));
    }

    #[test]
    fn an_adapter_without_a_path_is_in_the_data_folder() {
        let arms = parse_arms("rag+ft:rh").unwrap();
        let place = arms[0].adapter.as_ref().unwrap().place(Path::new("data"));
        assert_eq!(place, Path::new("data/adapters/rh"));
    }

    #[test]
    fn an_arm_that_is_written_twice_is_numbered() {
        let arms = parse_arms("rag,rag,rag[passages=2]").unwrap();
        let labels: Vec<&str> = arms.iter().map(|it| it.label.as_str()).collect();
        assert_eq!(labels, ["rag", "rag#2", "rag[passages=2]"]);
    }

    #[test]
    fn what_is_no_arm_is_told() {
        fails(" , ", &["no arm to compare"]);
        fails("base,raag", &["no arm `raag`", "known are base, rag"]);
        fails("ft:=x", &["names no adapter"]);
        fails("ft:rh=", &["names no adapter"]);
        fails("rag[passages=8", &["brackets"]);
        fails("rag]", &["brackets"]);
        fails("rag[seed=3]", &["no setting `seed`", "same for all arms"]);
        fails("rag[best-of=17]", &["`best-of` is `17`", "from 1 to 16"]);
        fails("rag[passages=0]", &["`passages` is `0`", "a number from 1"]);
        fails("rag[style=poem]", &["plain or cot"]);
        fails("base[passages=3]", &["no meaning", "reads no documents"]);
        fails("base[style=cot]", &["`base[style=cot]`: `style`", "reads no documents"]);
        fails("ft:rh=a[style=cot]", &["`style`", "reads no documents"]);
        fails("extract[style=cot]", &["has no model"]);
        fails("ft:rh=a,rag+ft:rh=b", &["two adapters are called `rh`"]);
    }
    /// The settings of an arm among others.
    fn settings(arm: &str) -> (AnswerSettings, AnswerSettings) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("souffleur.toml");
        fs_err::write(&file, "models_dir = \"m\"\n").unwrap();
        let config = Config::resolve(&Overrides::default(), Some(&file)).unwrap();
        let shared = AnswerSettings {
            retrieval: config.retrieval,
            generation: config.generation,
            prompts: config.prompts,
            prompt_style: None,
            adapter: None,
        };
        (parse_arms(arm).unwrap()[0].answer_settings(&shared), shared)
    }

    #[test]
    fn an_arm_answers_with_its_own_settings_and_the_rest_of_those_of_all() {
        let (own, shared) = settings(
            "rag+ft:rh=x[passages=3,candidates=7,relevance=0.25,style=cot,shots=1,best-of=2,model=m]",
        );
        let expected = AnswerSettings {
            retrieval: RetrievalConfig {
                passages_max: NonZeroUsize::new(3).unwrap(),
                candidates_max: NonZeroUsize::new(7).unwrap(),
                relevance_min: 0.25,
                ..shared.retrieval.clone()
            },
            generation: GenerationConfig {
                best_of: NonZeroUsize::new(2).unwrap(),
                ..shared.generation.clone()
            },
            prompts: PromptsConfig { style: Style::Cot, examples_max: 1, ..shared.prompts.clone() },
            ..shared.clone()
        };
        assert_eq!(own, expected);
        let (own, shared) = settings("rag");
        assert_eq!(own, shared, "nothing is set otherwise");
        let (own, shared) = settings("rag[shots=0]");
        assert_eq!(own.prompts, PromptsConfig { examples_max: 0, ..shared.prompts });
        assert_eq!((own.retrieval, own.generation), (shared.retrieval, shared.generation));
        let model = parse_arms("rag[model=m.gguf]").unwrap()[0].settings.model.clone();
        assert_eq!(model.as_deref(), Some("m.gguf"));
    }
}
