//! Prompts: files with typed arguments, in French and English.
//!
//! Every prompt is a file of `prompts/`, compiled in; a folder of the user's can replace any of
//! them. Start-up checks that each file asks for exactly the arguments that it is given.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock},
};

use fs_err as fs;
use include_dir::{Dir, include_dir};
use ingest::document::Language;
use minijinja::{Environment, UndefinedBehavior, Value, context, syntax::SyntaxConfig};
use serde::Deserialize;

use crate::{
    cite::{fold, split},
    config::Style,
};

static BUILT_IN: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/prompts");

/// Prompt files and the arguments of each. Every one exists as `<name>.fr.md` and `<name>.en.md`.
const PROMPTS: [(&str, &[&str]); 9] = [
    ("answer", &[]),
    ("answer_cot", &[]),
    ("answer_user", &["passages", "question"]),
    ("answer_small", &[]),
    ("answer_small_user", &["passages", "question"]),
    ("condense", &["turns", "question"]),
    ("refuse", &[]),
    ("dataset_question", &["title", "passage", "asked"]),
    ("judge", &["question", "accepted", "first", "second"]),
];

/// A passage as a prompt shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassageArg {
    /// Its number in the prompt, from 1.
    pub index: usize,
    /// Title of its document.
    pub title: String,
    /// Headings above it.
    pub heading: String,
    /// Its page, where the format has pages.
    pub page: Option<u32>,
    /// Its text.
    pub text: String,
}

/// A few-shot example: a question, its passages and the answer that we want.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// ISO 639-1 code.
    pub language: String,
    /// The question.
    pub question: String,
    /// The passages shown with it.
    pub passages: Vec<ExamplePassage>,
    /// The answer, with citation marks.
    pub answer: String,
    /// The reasoning before the answer, for [`Style::Cot`].
    pub reasoning: String,
    /// What it teaches; free words for people.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// A passage of an example.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExamplePassage {
    /// Title of its document.
    pub title: String,
    /// Its text.
    pub text: String,
}

/// Why the prompts cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// The user's folder is not there or cannot be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
    /// A file of the user's folder is no prompt of ours.
    #[error("`{}` is no prompt: known are {known}", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The names that there are.
        known: String,
    },
    /// A template does not parse or render.
    #[error("prompt `{name}`: {source}")]
    Template {
        /// The file.
        name: String,
        /// What is wrong with it.
        source: Box<minijinja::Error>,
    },
    /// A template asks for arguments that it is not given, or leaves some out.
    #[error("prompt `{name}` must use exactly the arguments [{expected}], and uses [{found}]")]
    Arguments {
        /// The file.
        name: String,
        /// The arguments that there are.
        expected: String,
        /// The arguments that it uses.
        found: String,
    },
    /// An example is not of the right shape.
    #[error("example `{name}`: {source}")]
    Example {
        /// The file.
        name: String,
        /// What is wrong with it.
        source: Box<toml::de::Error>,
    },
}

/// All prompts and examples.
#[derive(Debug)]
pub struct Prompts {
    environment: Environment<'static>,
    /// By the names of their files.
    examples: Vec<(String, Example)>,
    /// Names of examples that are shown no more.
    withdrawn: RwLock<BTreeSet<String>>,
    hash: String,
}

impl Prompts {
    /// The built-in prompts, and the files of `dir` in place of those of the same name. Examples
    /// of `dir/examples` are added; one of the same name replaces the built-in one.
    ///
    /// # Errors
    /// When a file cannot be read, is no prompt, or does not use its arguments.
    pub fn load(dir: Option<&Path>) -> Result<Self, PromptError> {
        let mut files = built_in();
        if let Some(dir) = dir {
            override_with(dir, &mut files)?;
        }
        let hash = files_hash(&files);
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_syntax(
            SyntaxConfig::builder()
                .trim_blocks(true)
                .lstrip_blocks(true)
                .build()
                .expect("the default delimiters are valid"),
        );
        let mut examples = Vec::new();
        for (name, text) in files {
            if let Some(of_example) = name.strip_prefix("examples/") {
                match toml::from_str(&text) {
                    Ok(it) => examples.push((of_example.to_owned(), it)),
                    Err(source) => {
                        return Err(PromptError::Example { name, source: Box::new(source) });
                    }
                }
            } else {
                add_template(&mut environment, name, text)?;
            }
        }
        Ok(Self { environment, examples, withdrawn: RwLock::default(), hash })
    }

    /// A hash of all files, for run records.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The system prompt of an answer.
    ///
    /// # Errors
    /// When the template does not render.
    pub fn system(&self, language: Language, style: Style) -> Result<String, PromptError> {
        let name = match style {
            Style::Plain => "answer",
            Style::Cot => "answer_cot",
        };
        self.render(name, language, context! {})
    }

    /// The system prompt for a small model, which is given sentences instead of passages.
    ///
    /// # Errors
    /// When the template does not render.
    pub fn small_system(&self, language: Language) -> Result<String, PromptError> {
        self.render("answer_small", language, context! {})
    }

    /// The question with sentences: passage number (from 1) and words.
    ///
    /// # Errors
    /// When the template does not render.
    pub fn small_user(
        &self,
        language: Language,
        sentences: &[(usize, String)],
        question: &str,
    ) -> Result<String, PromptError> {
        let passages: Vec<Value> =
            sentences.iter().map(|(index, text)| context! { index, text }).collect();
        self.render("answer_small_user", language, context! { passages, question })
    }

    /// The question with its passages.
    ///
    /// # Errors
    /// When the template does not render.
    pub fn user(
        &self,
        language: Language,
        passages: &[PassageArg],
        question: &str,
    ) -> Result<String, PromptError> {
        let passages: Vec<Value> = passages
            .iter()
            .map(|it| {
                // A document must not be able to close its own delimiter.
                let text = it.text.replace("</passage>", "</ passage>");
                let (index, title, heading, page) = (it.index, &it.title, &it.heading, it.page);
                context! { index, title, heading, page, text }
            })
            .collect();
        self.render("answer_user", language, context! { passages, question })
    }

    /// What is said when the documents hold no answer.
    ///
    /// # Errors
    /// When the template does not render.
    pub fn refusal(&self, language: Language) -> Result<String, PromptError> {
        self.render("refuse", language, context! {})
    }

    /// Whether an answer says, as the prompts ask for, that the documents hold none: it contains
    /// the first sentence of the refusal.
    #[must_use]
    pub fn is_refusal(&self, language: Language, answer: &str) -> bool {
        let Ok(refusal) = self.refusal(language) else { return false };
        let first = split(&refusal).into_iter().next().unwrap_or_default();
        let first = fold(&refusal[first]);
        !first.is_empty() && fold(answer).contains(first.trim_end_matches('.'))
    }

    /// An example's answer with its reasoning before it, as the prompt for chain of thought asks.
    #[must_use]
    pub fn reasoned(language: Language, reasoning: &str, answer: &str) -> String {
        let (first, second) = markers(language);
        format!("{first} {reasoning}\n{second} {answer}")
    }

    /// Takes a draft apart into reasoning and answer. A draft without the mark of an answer has no
    /// reasoning.
    #[must_use]
    pub fn split_reasoned(language: Language, draft: &str) -> (Option<String>, String) {
        let (first, second) = markers(language);
        let Some((reasoning, answer)) = draft.split_once(second) else {
            return (None, draft.to_owned());
        };
        let reasoning = reasoning.trim().trim_start_matches(first).trim();
        (Some(reasoning.to_owned()), answer.trim().to_owned())
    }

    /// Asks for a follow-up question to be made to stand alone. `turns` are earlier questions and
    /// answers.
    ///
    /// # Errors
    /// When the template does not render.
    pub fn condense(
        &self,
        language: Language,
        turns: &[(String, String)],
        question: &str,
    ) -> Result<String, PromptError> {
        let turns: Vec<_> =
            turns.iter().map(|(question, answer)| context! { question, answer }).collect();
        self.render("condense", language, context! { turns, question })
    }

    /// Asks for a question that a passage answers, with its answer and a quote, for a dataset.
    /// `asked` are those that there are already.
    ///
    /// # Errors
    /// When the template does not render.
    pub fn dataset_question(
        &self,
        language: Language,
        title: &str,
        passage: &str,
        asked: &[&str],
    ) -> Result<String, PromptError> {
        // A document must not be able to close its own delimiter.
        let passage = passage.replace("</passage>", "</ passage>");
        let asked: Vec<String> = asked.iter().map(|it| (*it).to_owned()).collect();
        self.render("dataset_question", language, context! { title, passage, asked })
    }

    /// Asks which of two answers to a question is better. `accepted` is what is known to be right;
    /// empty where nothing is.
    ///
    /// # Errors
    /// When the template does not render.
    pub fn judge(
        &self,
        language: Language,
        question: &str,
        accepted: &str,
        answers: [&str; 2],
    ) -> Result<String, PromptError> {
        // An answer must not be able to close its own delimiter, or open the other's.
        let [first, second] = answers.map(|it| {
            it.replace("</first>", "</ first>")
                .replace("</second>", "</ second>")
                .replace("<second>", "< second>")
        });
        self.render("judge", language, context! { question, accepted, first, second })
    }

    /// The examples in a language, in the order of their names.
    pub fn examples(&self, language: Language) -> impl Iterator<Item = &Example> {
        let withdrawn = self.withdrawn.read().unwrap_or_else(PoisonError::into_inner);
        let shown = move |(name, it): &&(String, Example)| {
            it.language == language.code() && !withdrawn.contains(name)
        };
        self.examples.iter().filter(shown).map(|(_, it)| it)
    }

    /// Shows an example no more, by its file: it was forgotten since it was read.
    pub fn withdraw(&self, file: &Path) {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.withdrawn.write().unwrap_or_else(PoisonError::into_inner).insert(name);
    }

    fn render(
        &self,
        name: &str,
        language: Language,
        arguments: Value,
    ) -> Result<String, PromptError> {
        let name = format!("{name}.{}.md", language.code());
        self.environment
            .get_template(&name)
            .and_then(|it| it.render(arguments))
            .map(|it| it.trim().to_owned())
            .map_err(|source| PromptError::Template { name, source: Box::new(source) })
    }
}

/// What the prompts for chain of thought ask to write before the reasoning and the answer.
fn markers(language: Language) -> (&'static str, &'static str) {
    match language {
        Language::English => ("Reasoning:", "Answer:"),
        Language::French => ("Raisonnement :", "Réponse :"),
    }
}

fn built_in() -> BTreeMap<String, String> {
    let text = |file: &include_dir::File<'_>| file.contents_utf8().unwrap_or_default().to_owned();
    let name = |file: &include_dir::File<'_>| file.path().to_string_lossy().replace('\\', "/");
    let templates = BUILT_IN.files().filter(|it| it.path() != Path::new("README.md"));
    let examples = BUILT_IN.get_dir("examples").into_iter().flat_map(Dir::files);
    templates.chain(examples).map(|it| (name(it), text(it))).collect()
}

fn override_with(dir: &Path, files: &mut BTreeMap<String, String>) -> Result<(), PromptError> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() || name == "README.md" {
            continue;
        }
        if !files.contains_key(&name) {
            let known: Vec<&str> =
                files.keys().filter(|it| !it.contains('/')).map(String::as_str).collect();
            return Err(PromptError::Unknown { path, known: known.join(", ") });
        }
        files.insert(name, fs::read_to_string(path)?);
    }
    let examples = dir.join("examples");
    if examples.is_dir() {
        for entry in fs::read_dir(examples)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.extension().is_some_and(|it| it == "toml") {
                files.insert(format!("examples/{name}"), fs::read_to_string(path)?);
            }
        }
    }
    Ok(())
}

fn add_template(
    environment: &mut Environment<'static>,
    name: String,
    text: String,
) -> Result<(), PromptError> {
    let failed = |source| PromptError::Template { name: name.clone(), source: Box::new(source) };
    environment.add_template_owned(name.clone(), text).map_err(failed)?;
    let template = environment.get_template(&name).map_err(failed)?;
    let found: BTreeSet<String> = template.undeclared_variables(false).into_iter().collect();
    let stem = name.split('.').next().unwrap_or_default();
    let expected: BTreeSet<String> = PROMPTS
        .iter()
        .find(|(it, _)| *it == stem)
        .map(|(_, arguments)| arguments.iter().map(|it| (*it).to_owned()).collect())
        .unwrap_or_default();
    if found != expected {
        let list = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>().join(", ");
        return Err(PromptError::Arguments { name, expected: list(expected), found: list(found) });
    }
    Ok(())
}

fn files_hash(files: &BTreeMap<String, String>) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, text) in files {
        hasher.update(name.as_bytes());
        hasher.update(&[0]);
        hasher.update(text.as_bytes());
        hasher.update(&[0]);
    }
    hasher.finalize().to_hex().chars().take(16).collect()
}

#[cfg(test)]
mod tests;
