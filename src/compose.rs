//! Passages and examples to a prompt that fits. Pure.
//!
//! Tokens are counted by the model's own tokenizer on the whole rendered prompt. What does not
//! fit is dropped whole, examples before passages, and recorded.

use index::catalog::StoredChunk;
use ingest::document::Language;
use model::chat::Turn;

use crate::{
    config::Style,
    engine::AnswerSettings,
    prompts::{Example, PassageArg, PromptError, Prompts},
    retrieve::Passage,
};

/// What a prompt is made of.
#[derive(Debug, Clone, Copy)]
pub struct Draftable<'a> {
    /// The question.
    pub question: &'a str,
    /// The language of the prompt.
    pub language: Language,
    /// Whether reasoning comes first.
    pub style: Style,
    /// Passages, best first.
    pub passages: &'a [Passage],
    /// Examples, most similar first.
    pub examples: &'a [&'a Example],
}

/// Limits of a prompt, in the generator's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptLimits {
    /// Tokens of the whole prompt at most.
    pub prompt_tokens_max: usize,
    /// Tokens of all examples at most.
    pub examples_tokens_max: usize,
}

impl PromptLimits {
    /// The limits of the settings for a model that attends to `context_length` tokens.
    #[must_use]
    pub fn new(settings: &AnswerSettings, context_length: usize) -> Self {
        let context = settings.generation.context_tokens_max.get().min(context_length);
        let answer = settings.generation.answer_tokens_max.get();
        Self {
            prompt_tokens_max: context.saturating_sub(answer),
            examples_tokens_max: settings.prompts.examples_tokens_max,
        }
    }
}

/// A prompt that fits, and what had to go.
#[derive(Debug, Clone, PartialEq)]
pub struct Context {
    /// The conversation to show the model.
    pub turns: Vec<Turn>,
    /// Its tokens.
    pub n_tokens: usize,
    /// Whether that is an estimate: the tokenizer is a server's.
    pub is_estimate: bool,
    /// Passages in it: the first ones given.
    pub n_passages: usize,
    /// Examples in it: the first ones given.
    pub n_examples: usize,
}

/// Why no prompt can be made.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// Even one passage alone does not fit.
    #[error("the question with its best passage takes {n_tokens} tokens, and the limit is {limit}")]
    TooLong {
        /// Tokens needed.
        n_tokens: usize,
        /// Tokens allowed.
        limit: usize,
    },
    /// A prompt does not render.
    #[error(transparent)]
    Prompt(#[from] PromptError),
}

/// Makes the largest prompt within `limits`. `count` gives the tokens of a conversation.
///
/// # Errors
/// When not even the best passage fits, or a prompt does not render.
pub fn compose(
    parts: &Draftable<'_>,
    prompts: &Prompts,
    limits: &PromptLimits,
    count: &dyn Fn(&[Turn]) -> usize,
) -> Result<Context, ComposeError> {
    let mut n_examples = parts.examples.len();
    let bare = count(&render(parts, prompts, 0, parts.passages.len())?);
    while n_examples > 0 {
        let with = count(&render(parts, prompts, n_examples, parts.passages.len())?);
        let fits = with <= limits.prompt_tokens_max;
        if fits && with - bare <= limits.examples_tokens_max {
            break;
        }
        n_examples -= 1;
    }
    let mut n_passages = parts.passages.len();
    loop {
        let turns = render(parts, prompts, n_examples, n_passages)?;
        let n_tokens = count(&turns);
        if n_tokens <= limits.prompt_tokens_max {
            return Ok(Context { turns, n_tokens, is_estimate: false, n_passages, n_examples });
        }
        if n_passages <= 1 {
            return Err(ComposeError::TooLong { n_tokens, limit: limits.prompt_tokens_max });
        }
        n_passages -= 1;
    }
}

fn render(
    parts: &Draftable<'_>,
    prompts: &Prompts,
    n_examples: usize,
    n_passages: usize,
) -> Result<Vec<Turn>, PromptError> {
    let mut turns = vec![Turn::system(prompts.system(parts.language, parts.style)?)];
    // The most similar example stands last, nearest to the question.
    for example in parts.examples[..n_examples].iter().rev() {
        let passages: Vec<PassageArg> = example.passages.iter().enumerate().map(shown).collect();
        turns.push(Turn::user(prompts.user(parts.language, &passages, &example.question)?));
        turns.push(Turn::assistant(match parts.style {
            Style::Plain => example.answer.clone(),
            Style::Cot => Prompts::reasoned(parts.language, &example.reasoning, &example.answer),
        }));
    }
    let passages: Vec<PassageArg> = parts.passages[..n_passages]
        .iter()
        .enumerate()
        .map(|(i, it)| passage_arg(i + 1, &it.chunk))
        .collect();
    turns.push(Turn::user(prompts.user(parts.language, &passages, parts.question)?));
    Ok(turns)
}

fn shown((i, passage): (usize, &crate::prompts::ExamplePassage)) -> PassageArg {
    PassageArg {
        index: i + 1,
        title: passage.title.clone(),
        heading: String::new(),
        page: None,
        text: passage.text.clone(),
    }
}

fn passage_arg(index: usize, chunk: &StoredChunk) -> PassageArg {
    PassageArg {
        index,
        title: chunk.title.clone(),
        heading: chunk.heading_path.join(" > "),
        page: chunk.page,
        text: passage_text(chunk),
    }
}

/// A passage as it is shown and checked: the header of the table that it continues, and its text.
#[must_use]
pub fn passage_text(chunk: &StoredChunk) -> String {
    match &chunk.table_header {
        Some(header) => format!("{}\n{}", header.trim_end(), chunk.text.trim()),
        None => chunk.text.trim().to_owned(),
    }
}
