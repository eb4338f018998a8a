//! An answer: what it says, what it rests on, and what went on while it was made.

use std::time::{Duration, Instant};

use ingest::document::Language;

use crate::{
    cite::{CheckedSentence, Verdict},
    compose::Context,
    retrieve::{Passage, RetrievalReport},
};

/// Why an answer quotes instead of being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuoteReason {
    /// No generator is installed.
    NotInstalled {
        /// The generator of the settings.
        id: String,
    },
    /// The generator does not write the question's language.
    WrongLanguage {
        /// The generator.
        id: String,
        /// The question's language.
        language: Language,
    },
}

/// What goes on while an answer is made.
#[derive(Debug)]
pub enum AskEvent<'a> {
    /// Passages are found.
    Retrieved {
        /// All of them, best first.
        passages: &'a [Passage],
        /// What went on.
        report: &'a RetrievalReport,
    },
    /// The answer quotes, and why.
    Quoting {
        /// Why.
        reason: &'a QuoteReason,
    },
    /// The model reads the prompt.
    Reading {
        /// Tokens read.
        n_tokens: usize,
        /// Tokens of the prompt.
        n_prompt_tokens: usize,
    },
    /// A server has been asked and has not answered yet.
    Waiting,
    /// A server found the prompt too long: it is asked again with less.
    Shortened {
        /// The server.
        host: &'a str,
        /// Passages that are left.
        n_passages: usize,
    },
    /// Several drafts are written, of which the best will be the answer.
    Drafts {
        /// Drafts that are complete.
        done: usize,
        /// All of them.
        total: usize,
    },
    /// A piece of the answer.
    Text(&'a str),
}

/// An answer, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Its text, with marks such as `[1]` for its sources.
    pub text: String,
    /// Reasoning before the answer: the steps that `Style::Cot` asks for, and thoughts of models
    /// that think aloud.
    pub reasoning: Option<String>,
    /// The language that it was asked for in.
    pub language: Language,
    /// Whether it says that the documents do not hold the answer.
    pub refused: bool,
    /// What wrote it; `None` when nothing had to be written.
    pub generator: Option<String>,
    /// Why it quotes, if it does against the settings.
    pub quote_reason: Option<QuoteReason>,
    /// Its sentences, checked.
    pub sentences: Vec<CheckedSentence>,
    /// Passages that were in the prompt, in its order.
    pub passages: Vec<Passage>,
    /// Passages that were found and are not in the prompt, with the reason.
    pub cut: Vec<(Passage, Cut)>,
    /// What went on while passages were sought.
    pub retrieval: RetrievalReport,
    /// The prompt.
    pub context: Option<Context>,
    /// Tokens that the model wrote; 0 where none wrote, or a server does not say.
    pub n_tokens: usize,
    /// Whether the answer hit its limit of tokens.
    pub truncated: bool,
    /// What it was chosen from, where several drafts were written.
    pub best_of: Option<BestOf>,
    /// Where the time went.
    pub timings: Timings,
}

/// How an answer was chosen from several drafts.
#[derive(Debug, Clone, PartialEq)]
pub struct BestOf {
    /// The reward that chose it; `None` for the citation check.
    pub by: Option<String>,
    /// The drafts, in the order of their seeds.
    pub drafts: Vec<String>,
    /// The reward of each.
    pub rewards: Vec<f64>,
    /// Which of them it is.
    pub chosen: usize,
}

/// Why a passage is not in the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// It does not seem to bear on the question.
    NotRelevant,
    /// It does not fit.
    NoRoom,
    /// A newer version of its document says otherwise.
    Outdated,
}

/// Where the time of an answer went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Finding passages.
    pub retrieve: Duration,
    /// Making the prompt.
    pub prompt: Duration,
    /// From the question to the first piece of the answer.
    pub first_token: Duration,
    /// All of it.
    pub total: Duration,
}

impl Answer {
    /// An answer that says nothing yet.
    pub(crate) fn empty(language: Language) -> Self {
        Self {
            text: String::new(),
            reasoning: None,
            language,
            refused: false,
            generator: None,
            quote_reason: None,
            sentences: Vec::new(),
            passages: Vec::new(),
            cut: Vec::new(),
            retrieval: RetrievalReport::default(),
            context: None,
            n_tokens: 0,
            truncated: false,
            best_of: None,
            timings: Timings::default(),
        }
    }

    /// The sentences with their citation marks.
    pub(crate) fn text_with_marks(&self) -> String {
        let marked = self.sentences.iter().map(|it| {
            let marks: String = it.citations.iter().map(|it| format!(" [{}]", it + 1)).collect();
            format!("{}{marks}", it.text)
        });
        marked.collect::<Vec<_>>().join(" ")
    }

    /// The answer without citation marks.
    #[must_use]
    pub fn text_without_marks(&self) -> String {
        if self.sentences.is_empty() {
            return self.text.clone();
        }
        self.sentences.iter().map(|it| it.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// The least that is said of any sentence; `None` without sentences.
    #[must_use]
    pub fn worst_verdict(&self) -> Option<Verdict> {
        self.sentences.iter().map(|it| it.verdict).min()
    }
}

/// Measures an answer as it is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) start: Instant,
    pub(crate) timings: Timings,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now(), timings: Timings::default() }
    }

    pub(crate) fn prompt_is_ready(&mut self) {
        self.timings.prompt = self.start.elapsed().saturating_sub(self.timings.retrieve);
    }

    pub(crate) fn first_piece(&mut self) {
        if self.timings.first_token.is_zero() {
            self.timings.first_token = self.start.elapsed();
        }
    }

    pub(crate) fn stop(mut self) -> Timings {
        self.timings.total = self.start.elapsed();
        self.timings
    }
}
