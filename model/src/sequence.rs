//! One draft in the making: what was read, what was chosen, and the text that came of it.

use std::sync::Arc;

use crate::generate::{Draft, FinishReason, GenerateError, TokenScore, TopToken};
use crate::kv_cache::KvCache;
use crate::lora::PackedAdapter;
use crate::sample::{Choice, ChooseError, Sampler};
use crate::tokenizer::{TextStream, TextTokenizer};

/// A request on its way through the model.
pub(crate) struct Sequence {
    /// The prompt and what was written.
    pub(crate) ids: Vec<u32>,
    /// Of the first of `ids`.
    pub(crate) cache: KvCache,
    pub(crate) adapter: Option<Arc<PackedAdapter>>,
    /// Requests that came before it.
    pub(crate) arrival: usize,
    sampler: Sampler,
    stream: TextStream,
    pending: Pending,
    draft: Draft,
    tokens_max: usize,
    outputs: Vec<Output>,
    outcome: Option<Result<(), GenerateError>>,
}

/// News of a sequence.
#[derive(Debug)]
pub(crate) enum Output {
    /// A piece of the prompt has been read; how many tokens of it are known now.
    Read(usize),
    /// A token was chosen, where log-probabilities are wanted.
    Score(TokenScore),
    /// The draft continues.
    Text(String),
}

impl Sequence {
    /// `room` is how many tokens may follow the prompt in the model's context.
    pub(crate) fn new(
        prompt: &[u32],
        sampler: Sampler,
        (cache, adapter): (KvCache, Option<Arc<PackedAdapter>>),
        room: usize,
    ) -> Self {
        let options = sampler.options();
        Self {
            ids: prompt.to_vec(),
            cache,
            adapter,
            arrival: 0,
            stream: TextStream::default(),
            pending: Pending::new(options.stop.clone()),
            draft: Draft {
                text: String::new(),
                finish: FinishReason::Cancelled,
                n_prompt_tokens: prompt.len(),
                n_tokens: 0,
                n_cached_tokens: 0,
                scores: Vec::new(),
            },
            tokens_max: options.tokens_max.min(room),
            sampler,
            outputs: Vec::new(),
            outcome: None,
        }
    }

    pub(crate) fn prompt(&self) -> &[u32] {
        &self.ids[..self.draft.n_prompt_tokens]
    }

    /// Tells apart what the base and each adapter compute.
    pub(crate) fn adapter_id(&self) -> Option<u64> {
        self.adapter.as_ref().map(|it| it.id)
    }

    /// Whether the prompt is still being read.
    pub(crate) fn is_reading(&self) -> bool {
        self.cache.len() < self.draft.n_prompt_tokens
    }

    /// Tokens of the prompt that are still to be read.
    pub(crate) fn n_unread(&self) -> usize {
        self.draft.n_prompt_tokens.saturating_sub(self.cache.len())
    }

    pub(crate) fn is_done(&self) -> bool {
        self.outcome.is_some()
    }

    /// Continues from a cache that holds more of the prompt.
    pub(crate) fn take_over(&mut self, cache: KvCache) {
        self.draft.n_cached_tokens += cache.len() - self.cache.len();
        self.cache = cache;
    }

    /// What happened since the last call.
    pub(crate) fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// Ends it as it is; what was finished before stays so.
    pub(crate) fn cancel(&mut self) {
        self.outcome.get_or_insert(Ok(()));
    }

    pub(crate) fn fail(&mut self, error: GenerateError) {
        self.outcome.get_or_insert(Err(error));
    }

    /// The draft, once it is done.
    pub(crate) fn into_draft(self) -> Result<Draft, GenerateError> {
        self.outcome.expect("a sequence that is done").map(|()| self.draft)
    }

    /// Notes that a piece of the prompt was read.
    pub(crate) fn has_read(&mut self) {
        self.outputs.push(Output::Read(self.cache.len()));
    }

    /// Takes the logits after the last of its tokens and chooses the next one.
    pub(crate) fn choose(&mut self, logits: &mut [f32], tokenizer: &TextTokenizer, ends: &[u32]) {
        if self.draft.n_tokens == self.tokens_max {
            return self.finish(FinishReason::Length);
        }
        let choice = match self.sampler.choose(logits) {
            Ok(choice) => choice,
            Err(ChooseError::NotFinite) => return self.fail(GenerateError::NotFinite),
            Err(ChooseError::Constraint(problem)) => {
                return self.fail(GenerateError::Constraint { problem });
            }
        };
        self.draft.n_tokens += 1;
        self.score(&choice, tokenizer);
        if ends.contains(&choice.id) {
            return self.finish(FinishReason::Stop);
        }
        self.ids.push(choice.id);
        self.stream.push(tokenizer.bytes(choice.id), &mut self.pending.text);
        let (text, stopped) = self.pending.take(false);
        self.emit(text);
        if stopped {
            self.draft.finish = FinishReason::Stop;
            self.outcome = Some(Ok(()));
        } else if choice.is_complete {
            self.finish(FinishReason::Stop);
        } else if self.draft.n_tokens == self.tokens_max {
            self.finish(FinishReason::Length);
        }
    }

    fn score(&mut self, choice: &Choice, tokenizer: &TextTokenizer) {
        let Some(logprobs) = &choice.logprobs else { return };
        let bytes = |id: u32| tokenizer.bytes(id).to_vec();
        let top = |&(id, logprob): &(u32, f32)| TopToken { id, bytes: bytes(id), logprob };
        let score = TokenScore {
            id: choice.id,
            bytes: bytes(choice.id),
            logprob: logprobs.chosen,
            top: logprobs.top.iter().map(top).collect(),
        };
        self.outputs.push(Output::Score(score.clone()));
        self.draft.scores.push(score);
    }

    fn finish(&mut self, reason: FinishReason) {
        self.stream.finish(&mut self.pending.text);
        let (text, stopped) = self.pending.take(true);
        self.emit(text);
        self.draft.finish = if stopped { FinishReason::Stop } else { reason };
        self.outcome = Some(Ok(()));
    }

    fn emit(&mut self, text: String) {
        if !text.is_empty() {
            self.draft.text.push_str(&text);
            self.outputs.push(Output::Text(text));
        }
    }
}

/// Text held back because a stop text may begin in it.
struct Pending {
    text: String,
    stop: Vec<String>,
}

impl Pending {
    fn new(stop: Vec<String>) -> Self {
        Self { text: String::new(), stop }
    }

    /// The text that is certainly part of the draft, and whether a stop text follows it.
    fn take(&mut self, is_end: bool) -> (String, bool) {
        let found = self.stop.iter().filter_map(|stop| self.text.find(stop.as_str())).min();
        if let Some(at) = found {
            self.text.truncate(at);
            return (std::mem::take(&mut self.text), true);
        }
        let held = if is_end { 0 } else { self.held() };
        let rest = self.text.split_off(self.text.len() - held);
        (std::mem::replace(&mut self.text, rest), false)
    }

    /// Bytes at the end that are the beginning of a stop text.
    fn held(&self) -> usize {
        let starts = |stop: &String| {
            (1..stop.len())
                .rev()
                .find(|&n| stop.is_char_boundary(n) && self.text.ends_with(&stop[..n]))
        };
        self.stop.iter().filter_map(starts).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_stop(pieces: &[&str], stop: &[&str], expected: (&str, bool)) {
        let stop: Vec<String> = stop.iter().map(|it| (*it).to_owned()).collect();
        let mut pending = Pending::new(stop);
        let mut text = String::new();
        let mut stopped = false;
        for (idx, piece) in pieces.iter().enumerate() {
            pending.text.push_str(piece);
            let (ready, found) = pending.take(idx + 1 == pieces.len());
            text.push_str(&ready);
            if found {
                stopped = true;
                break;
            }
        }
        assert_eq!((text.as_str(), stopped), expected);
    }

    #[test]
    fn stop_texts_are_found_across_tokens_and_left_out() {
        check_stop(&["one EN", "D two"], &["END"], ("one ", true));
        check_stop(&["one EN", "GINE"], &["END"], ("one ENGINE", false));
        check_stop(&["a\n", "\nb"], &["\n\n", "b"], ("a", true));
        check_stop(&["fin é", "té"], &["été"], ("fin ", true));
        check_stop(&["ends with EN"], &["END"], ("ends with EN", false));
    }
}
