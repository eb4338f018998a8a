//! Answers on disk, by arm and question: one line each, appended as they come, so that a run that
//! ends early loses at most the answer that was being written.

use std::{
    collections::HashMap,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{answer::Answer, cite::Verdict};

/// The file of a run's folder.
const FILE: &str = "answers.jsonl";

/// What is kept of an answer: all that scores and reports are made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The answer without marks.
    pub text: String,
    /// Whether it says that there is no answer.
    pub refused: bool,
    /// What wrote it; `None` when nothing had to be written.
    pub generator: Option<String>,
    /// Whether it quotes where a model should have written it.
    pub quoted: bool,
    /// Its sentences, checked; none where there was nothing to check them by.
    pub sentences: Vec<KeptSentence>,
    /// Paths of the documents of the passages that it was written from, in their order.
    pub sources: Vec<String>,
    /// Tokens written; 0 where no model wrote, or a server does not say.
    pub n_tokens: usize,
    /// Tokens of the prompt; 0 where no model wrote.
    pub n_prompt_tokens: usize,
    /// Whether it hit the limit of tokens.
    pub truncated: bool,
    /// Microseconds to the first piece of the answer; 0 where nothing was written.
    pub first_us: u64,
    /// Microseconds in all.
    pub total_us: u64,
}

/// A sentence of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptSentence {
    /// Its text, without marks; empty in answers that older programs kept.
    #[serde(default)]
    pub text: String,
    /// Whether the checker found all of it in what it cites.
    pub supported: bool,
    /// Sources that it cites, from 0.
    pub citations: Vec<usize>,
}

impl From<&Answer> for Reply {
    fn from(it: &Answer) -> Self {
        let us = |it: std::time::Duration| u64::try_from(it.as_micros()).unwrap_or(u64::MAX);
        let sentences = it.sentences.iter().map(|it| KeptSentence {
            text: it.text.clone(),
            supported: it.verdict == Verdict::Supported,
            citations: it.citations.clone(),
        });
        Self {
            text: it.text_without_marks(),
            refused: it.refused,
            generator: it.generator.clone(),
            quoted: it.quote_reason.is_some(),
            sentences: sentences.collect(),
            sources: it.passages.iter().map(|it| it.chunk.facets.path.clone()).collect(),
            n_tokens: it.n_tokens,
            n_prompt_tokens: it.context.as_ref().map_or(0, |it| it.n_tokens),
            truncated: it.truncated,
            first_us: us(it.timings.first_token),
            total_us: us(it.timings.total),
        }
    }
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    arm: String,
    question: String,
    #[serde(flatten)]
    reply: Reply,
}

/// Why answers could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The disk failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A line is not what we wrote.
    #[error("`{}`, line {line}: {source}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// Answers of a run so far.
#[derive(Debug)]
pub struct Answers {
    file: fs_err::File,
    kept: HashMap<(String, String), Reply>,
}

impl Answers {
    /// Opens the answers of a run's folder, which is made where it is missing. A last line that
    /// was cut short is dropped.
    ///
    /// # Errors
    /// When the disk fails, or a line in the middle is damaged.
    pub fn open(dir: &Path) -> Result<Self, KeptError> {
        fs_err::create_dir_all(dir)?;
        let path = dir.join(FILE);
        let bytes = if path.exists() { fs_err::read(&path)? } else { Vec::new() };
        let end = bytes.iter().rposition(|it| *it == b'\n').map_or(0, |it| it + 1);
        let mut kept = HashMap::new();
        for (i, line) in bytes[..end].split(|it| *it == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            let line: Line = serde_json::from_slice(line).map_err(|source| KeptError::Line {
                path: path.clone(),
                line: i + 1,
                source,
            })?;
            kept.insert((line.arm, line.question), line.reply);
        }
        let file = fs_err::OpenOptions::new().create(true).append(true).open(&path)?;
        if end < bytes.len() {
            file.set_len(u64::try_from(end).unwrap_or(u64::MAX))?;
        }
        Ok(Self { file, kept })
    }

    /// The answer of an arm to a question, where there is one.
    #[must_use]
    pub fn get(&self, arm: &str, question: &str) -> Option<&Reply> {
        self.kept.get(&(arm.to_owned(), question.to_owned()))
    }

    /// Keeps an answer.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn put(&mut self, arm: &str, question: &str, reply: Reply) -> Result<(), KeptError> {
        let line = Line { arm: arm.to_owned(), question: question.to_owned(), reply };
        let mut bytes = serde_json::to_vec(&line).map_err(io::Error::from)?;
        bytes.push(b'\n');
        // In one piece: a line is there whole, or it is the last one and cut.
        self.file.write_all(&bytes)?;
        self.kept.insert((line.arm, line.question), line.reply);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Reply {
        Reply { text: text.to_owned(), total_us: 12, ..Reply::default() }
    }

    #[test]
    fn a_line_that_was_cut_short_is_dropped_and_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut answers = Answers::open(dir.path()).unwrap();
        answers.put("rag", "A?", reply("été\nb")).unwrap();
        answers.put("rag", "B?", reply("b")).unwrap();
        drop(answers);
        let path = dir.path().join(FILE);
        let whole = fs_err::read(&path).unwrap();
        // Wherever the second line is cut, the first one is left.
        let first = whole.iter().position(|it| *it == b'\n').unwrap() + 1;
        for cut in first..whole.len() {
            fs_err::write(&path, &whole[..cut]).unwrap();
            let mut answers = Answers::open(dir.path()).unwrap();
            assert_eq!(answers.get("rag", "A?"), Some(&reply("été\nb")));
            assert_eq!(answers.get("rag", "B?"), None, "cut at {cut}");
            answers.put("rag", "B?", reply("b")).unwrap();
            drop(answers);
            assert_eq!(fs_err::read(&path).unwrap(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_damaged_line_in_the_middle_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join(FILE), "{\"arm\":1}\n{}\n").unwrap();
        let error = Answers::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("line 1"), "{error}");
    }
}
