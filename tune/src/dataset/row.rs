//! One row of a dataset: what is trained on, and where it comes from.

use ingest::{document::Language, language::detect};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::split::Split;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions for the model.
    System,
    /// Who asks.
    User,
    /// Who answers: what is learnt.
    Assistant,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A turn.
    #[must_use]
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into() }
    }
}

/// What is trained on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A conversation; what its assistant says is learnt.
    Messages(Vec<Message>),
    /// One prompt, a better and a worse answer (DPO).
    Preference {
        /// The conversation up to the answer.
        prompt: Vec<Message>,
        /// The better answer.
        chosen: String,
        /// The worse one.
        rejected: String,
    },
    /// One prompt, an answer, and whether it was good (KTO).
    Unpaired {
        /// The conversation up to the answer.
        prompt: Vec<Message>,
        /// The answer.
        completion: String,
        /// Whether it was good.
        label: bool,
    },
    /// Plain text, for continued pre-training.
    Text(String),
}

/// What a row is good for, which decides its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BodyKind {
    /// [`Body::Messages`]
    Supervised,
    /// [`Body::Preference`]
    Preference,
    /// [`Body::Unpaired`]
    Unpaired,
    /// [`Body::Text`]
    Text,
}

impl BodyKind {
    /// All kinds, in the order in which they are listed.
    pub const ALL: [Self; 4] = [Self::Supervised, Self::Preference, Self::Unpaired, Self::Text];

    /// The word that names its files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Supervised => "supervised",
            Self::Preference => "preference",
            Self::Unpaired => "unpaired",
            Self::Text => "text",
        }
    }
}

impl Body {
    /// What it is good for.
    #[must_use]
    pub fn kind(&self) -> BodyKind {
        match self {
            Self::Messages(_) => BodyKind::Supervised,
            Self::Preference { .. } => BodyKind::Preference,
            Self::Unpaired { .. } => BodyKind::Unpaired,
            Self::Text(_) => BodyKind::Text,
        }
    }

    /// The conversation before the answer: for messages, all but the last turn.
    #[must_use]
    pub fn prompt(&self) -> &[Message] {
        match self {
            Self::Messages(all) => &all[..all.len().saturating_sub(1)],
            Self::Preference { prompt, .. } | Self::Unpaired { prompt, .. } => prompt,
            Self::Text(_) => &[],
        }
    }

    /// The texts that are learnt, or learnt to be avoided.
    #[must_use]
    pub fn targets(&self) -> Vec<&str> {
        match self {
            Self::Messages(all) => {
                let assistant = all.iter().filter(|it| it.role == Role::Assistant);
                assistant.map(|it| it.content.as_str()).collect()
            }
            Self::Preference { chosen, rejected, .. } => vec![chosen, rejected],
            Self::Unpaired { completion, .. } => vec![completion],
            Self::Text(text) => vec![text],
        }
    }

    /// Every text, to be rewritten.
    pub fn texts_mut(&mut self) -> Vec<&mut String> {
        match self {
            Self::Messages(all) => all.iter_mut().map(|it| &mut it.content).collect(),
            Self::Preference { prompt, chosen, rejected } => {
                let prompt = prompt.iter_mut().map(|it| &mut it.content);
                prompt.chain([chosen, rejected]).collect()
            }
            Self::Unpaired { prompt, completion, .. } => {
                prompt.iter_mut().map(|it| &mut it.content).chain([completion]).collect()
            }
            Self::Text(text) => vec![text],
        }
    }
}

/// How a row was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MadeBy {
    /// From a section and its heading.
    Section,
    /// From a term and what it means.
    Definition,
    /// From a question that a document asks and answers.
    Faq,
    /// From a cell of a table.
    TableCell,
    /// From a row of a table.
    TableRow,
    /// From what a document says of itself: reference, owner, date.
    Record,
    /// From a numbered rule.
    Rule,
    /// A question whose answer is not among the passages shown.
    GoldRemoved,
    /// A question about something that no document mentions.
    Unanswerable,
    /// A known question, to be answered in a given form or tone.
    Instruction,
    /// Written by a language model from a passage.
    Model,
    /// From what somebody thought of an answer.
    Feedback,
    /// Text of a document as it is.
    Text,
    /// Read from a file of somebody else.
    Imported,
}

impl MadeBy {
    /// The word used in files and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Section => "section",
            Self::Definition => "definition",
            Self::Faq => "faq",
            Self::TableCell => "table_cell",
            Self::TableRow => "table_row",
            Self::Record => "record",
            Self::Rule => "rule",
            Self::GoldRemoved => "gold_removed",
            Self::Unanswerable => "unanswerable",
            Self::Instruction => "instruction",
            Self::Model => "model",
            Self::Feedback => "feedback",
            Self::Text => "text",
            Self::Imported => "imported",
        }
    }
}

/// What is of our form; nothing where it is of another.
fn ours<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PromptForm>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(from)?).ok())
}

/// A passage that a row's prompt shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Its document, in the catalog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<i64>,
    /// Its document's path below the folder ingested.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Documents that say nearly the same share a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<i64>,
    /// Its text.
    pub text: String,
    /// Whether the answer rests on it.
    pub gold: bool,
}

/// What a prompt shows of the passages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptStyle {
    /// Single sentences, for small models.
    Small,
    /// Whole passages.
    Full,
}

impl PromptStyle {
    /// The word used in files and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Full => "full",
        }
    }
}

/// How prompts were made: an adapter answers best to those that it was taught with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptForm {
    /// What they show of the passages.
    pub style: PromptStyle,
    /// Few-shot examples in one at most.
    pub examples_max: usize,
}

/// Where a row comes from. Empty for what nobody has said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Meta {
    /// The document's number in the catalog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<i64>,
    /// Its path below the folder ingested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// BLAKE3 of its file's bytes, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_hash: Option<String>,
    /// Documents that say nearly the same share a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<i64>,
    /// The chunk's number in the catalog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<i64>,
    /// First byte and one past the last, in the document's text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span: Option<[usize; 2]>,
    /// The page, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// How the row was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_by: Option<MadeBy>,
    /// How its prompt was made. What other programs keep under that name is none of ours.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "ours")]
    pub prompt: Option<PromptForm>,
    /// A hash of the prompts that it was made with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_hash: Option<String>,
    /// The model that wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator: Option<String>,
    /// What it passed, and what people said of it: `rated_down`, `reason_wrong_source`,
    /// `label_helpful_no`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
    /// What somebody said of it in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Licence of the document, as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// ISO 639-1 code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The question alone, where the prompt holds passages too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// The words of the document that the answer rests on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
    /// The answer in as few words as can be, where it is a value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The passages that the prompt shows, in its order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub context: Vec<Shown>,
    /// The part of the dataset that its documents belong to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
}

/// A row with its identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The same for the same content made in the same way. Empty where a file names none.
    pub id: String,
    /// What is trained on.
    pub body: Body,
    /// Where it comes from.
    pub meta: Meta,
}

impl Row {
    /// A row whose identity is that of `parts`: what must differ for two rows to differ.
    #[must_use]
    pub fn new(parts: &[&str], body: Body, meta: Meta) -> Self {
        Self { id: id_of(parts), body, meta }
    }

    /// The question that it asks: that of its provenance, else the last turn of its user.
    #[must_use]
    pub fn question(&self) -> Option<&str> {
        let of_meta = self.meta.question.as_deref();
        let mut prompt = self.body.prompt().iter().rev();
        of_meta.or_else(|| Some(prompt.find(|it| it.role == Role::User)?.content.as_str()))
    }

    /// The language of what is learnt: that of its provenance, else as far as words tell.
    #[must_use]
    pub fn language(&self) -> Option<Language> {
        match &self.meta.language {
            Some(code) => Language::from_code(code),
            None => detect(&self.body.targets().join("\n")),
        }
    }
}

/// A short identity of some texts: 64 bits of BLAKE3, in hexadecimal.
#[must_use]
pub fn id_of(parts: &[&str]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&part.len().to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_hex()[..16].to_owned()
}
