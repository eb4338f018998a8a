//! Rows to token ids, and which of them are learned, through the chat template that serves.

use std::collections::HashMap;
use std::path::Path;

use model::chat::{ChatError, ChatOptions};
use model::prompt::ModelText;
use serde_json::Value;

use super::TuneError;
use super::rows::{Document, Placed, Row, Rows};
use super::settings::Settings;
use crate::dataset::row::PromptForm;

/// A sequence of tokens and which of them are learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Token ids, from the beginning.
    pub ids: Vec<u32>,
    /// Places in `ids` of the tokens that are learned, rising; never the first.
    pub learned: Vec<usize>,
}

/// A row as it is trained on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Its tokens are to become likelier.
    Whole(Example),
    /// One is to become likelier than the other.
    Pair {
        /// The better answer.
        chosen: Example,
        /// The worse one.
        rejected: Example,
    },
    /// It is to become likelier or less likely.
    Labelled {
        /// The answer.
        example: Example,
        /// Whether it is good.
        is_good: bool,
    },
}

/// A file as it is trained on.
#[derive(Debug, Clone)]
pub struct Data {
    /// What is learned, in the order of the file.
    pub items: Vec<Item>,
    /// The line of each, from 1. A long text is several of one line.
    pub lines: Vec<usize>,
    /// Rows that are not usable: the line, and why.
    pub bad: Vec<(usize, String)>,
    /// Lines of rows that are too long.
    pub long: Vec<usize>,
    /// Rows that people rejected.
    pub n_rejected: usize,
    /// What the rows were made of.
    pub documents: Vec<Document>,
    /// Rows that do not say what they were made of.
    pub n_unnamed: usize,
    /// How their prompts were made, where all that say it say the same.
    pub prompt: Option<PromptForm>,
    /// A hash of the file, and of what people decided about its rows.
    pub hash: String,
}

impl Item {
    /// The sequences that it is made of.
    pub fn examples(&self) -> Vec<&Example> {
        match self {
            Self::Whole(example) | Self::Labelled { example, .. } => vec![example],
            Self::Pair { chosen, rejected } => vec![chosen, rejected],
        }
    }

    /// Tokens of all of them.
    pub fn n_tokens(&self) -> usize {
        self.examples().iter().map(|it| it.ids.len()).sum()
    }

    /// Tokens of the longest.
    fn n_tokens_longest(&self) -> usize {
        self.examples().iter().map(|it| it.ids.len()).max().unwrap_or_default()
    }
}

impl Data {
    /// Reads and encodes a file.
    pub fn read(path: &Path, text: &ModelText, settings: &Settings) -> Result<Self, TuneError> {
        let read = Rows::read(path, settings.method, settings.skip_bad)?;
        let Rows { rows, mut bad, n_rejected, documents, n_unnamed, prompt, hash } = read;
        let context = text.encoder.context_length();
        let tokens_max = match settings.tokens_max {
            0 => context,
            n => n.min(context),
        };
        let (mut items, mut lines, mut long) = (Vec::new(), Vec::new(), Vec::new());
        for Placed { line, row } in rows {
            let encoded = match encode(&row, text, tokens_max) {
                Ok(encoded) => encoded,
                Err(error) if settings.skip_bad => {
                    bad.push((line, error.to_string()));
                    continue;
                }
                Err(Unusable::Reason(reason)) => {
                    return Err(TuneError::Row { path: path.to_owned(), line, reason });
                }
                Err(Unusable::Chat(source)) => {
                    return Err(TuneError::Chat {
                        path: path.to_owned(),
                        line,
                        source: Box::new(source),
                    });
                }
            };
            for item in encoded {
                let n_tokens = item.n_tokens_longest();
                if n_tokens <= tokens_max {
                    items.push(item);
                    lines.push(line);
                } else if settings.drop_long {
                    long.push(line);
                } else {
                    let path = path.to_owned();
                    return Err(TuneError::TooLong { path, line, n_tokens, tokens_max });
                }
            }
        }
        if items.is_empty() {
            let (n_bad, n_long) = (bad.len(), long.len());
            return Err(TuneError::Empty { path: path.to_owned(), n_bad, n_long });
        }
        Ok(Self { items, lines, bad, long, n_rejected, documents, n_unnamed, prompt, hash })
    }

    /// Rows of `other` that are rows of this one, too, token by token: the first one's line there
    /// and here, and how many lines there are. Of pairs, one of the two is enough.
    #[must_use]
    pub fn shared_with(&self, other: &Self) -> Option<(usize, usize, usize)> {
        let mut here: HashMap<Vec<u32>, usize> = HashMap::new();
        for (line, ids) in self.sequences() {
            here.entry(ids).or_insert(line);
        }
        let found = other.sequences().into_iter();
        let mut shared: Vec<(usize, usize)> =
            found.filter_map(|(line, ids)| Some((line, *here.get(&ids)?))).collect();
        shared.dedup_by_key(|(line, _)| *line);
        let &(there, here) = shared.first()?;
        Some((there, here, shared.len()))
    }

    /// The sequences with their lines; a long text is one again.
    fn sequences(&self) -> Vec<(usize, Vec<u32>)> {
        let mut res: Vec<(usize, Vec<u32>)> = Vec::new();
        for (item, &line) in self.items.iter().zip(&self.lines) {
            match (item, res.last_mut()) {
                (Item::Whole(example), Some((last, ids))) if *last == line => {
                    ids.extend(&example.ids);
                }
                _ => res.extend(item.examples().iter().map(|it| (line, it.ids.clone()))),
            }
        }
        res
    }
}

/// Why a row does not become tokens.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error(transparent)]
    Chat(#[from] ChatError),
    #[error("{0}")]
    Reason(String),
}

pub(super) fn encode(
    row: &Row,
    text: &ModelText,
    tokens_max: usize,
) -> Result<Vec<Item>, Unusable> {
    Ok(match row {
        Row::Chat(messages) => vec![Item::Whole(conversation(messages, text, Learn::Assistant)?)],
        Row::Preference { chosen, rejected } => vec![Item::Pair {
            chosen: conversation(chosen, text, Learn::LastAnswer)?,
            rejected: conversation(rejected, text, Learn::LastAnswer)?,
        }],
        Row::Labelled { messages, is_good } => vec![Item::Labelled {
            example: conversation(messages, text, Learn::LastAnswer)?,
            is_good: *is_good,
        }],
        Row::Text(content) => {
            let mut ids = text.encoder.encode_text(content)?;
            ids.extend(text.eos);
            // A text that is longer than a row is several: each is learned but for its first token.
            let block = |ids: &[u32]| {
                Item::Whole(Example { ids: ids.to_vec(), learned: (1..ids.len()).collect() })
            };
            ids.chunks(tokens_max).filter(|it| it.len() > 1).map(block).collect()
        }
    })
}

/// What is learned of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Learn {
    /// All that the assistant says.
    Assistant,
    /// What it says last.
    LastAnswer,
}

/// The tokens of a conversation. An answer's are those that the prompt before it lacks: the
/// template renders the conversation up to it, once without it and ready for the assistant, once
/// with it.
///
/// An earlier answer is learned where the whole conversation has it as the model will have said it;
/// templates that change the past, as those that leave out thoughts, teach the last answer only.
pub(super) fn conversation(
    messages: &Value,
    text: &ModelText,
    learn: Learn,
) -> Result<Example, Unusable> {
    let list = messages.as_array().map(Vec::as_slice).unwrap_or_default();
    let with = |n: usize, add_generation_prompt: bool| {
        let options = ChatOptions { add_generation_prompt, ..ChatOptions::default() };
        text.encoder.encode_chat_with(&list[..n].to_vec().into(), &options)
    };
    let ids = with(list.len(), false)?;
    let mut learned = Vec::new();
    for (idx, message) in list.iter().enumerate() {
        let is_last = idx + 1 == list.len();
        if message["role"] != "assistant" || (learn == Learn::LastAnswer && !is_last) {
            continue;
        }
        let prompt = with(idx, true)?;
        let spoken = if is_last { ids.clone() } else { with(idx + 1, false)? };
        if !spoken.starts_with(&prompt) || !ids.starts_with(&spoken) {
            if is_last {
                let reason = "the chat template writes the last answer otherwise than after a \
                              prompt: the answer may begin with a line break or hold thoughts";
                return Err(Unusable::Reason(reason.to_owned()));
            }
            continue;
        }
        // What templates put behind the token that ends a turn is never generated.
        let said = &spoken[prompt.len()..];
        let n_said =
            said.iter().rposition(|it| text.ends.contains(it)).map_or(said.len(), |it| it + 1);
        learned.extend(prompt.len()..prompt.len() + n_said);
    }
    match learned.first() {
        None => Err(Unusable::Reason("the assistant says nothing".to_owned())),
        Some(0) => Err(Unusable::Reason("nothing stands before the assistant".to_owned())),
        Some(_) => Ok(Example { ids, learned }),
    }
}
