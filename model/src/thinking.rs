//! The thoughts that some models write before they answer, between `<think>` and `</think>`.

/// What begins thoughts.
pub const OPEN: &str = "<think>";
/// What ends them.
pub const CLOSE: &str = "</think>";

/// A draft as it is written, split into thoughts and answer.
///
/// Thoughts stand at the beginning, if at all; a tag later in an answer is part of it.
#[derive(Debug)]
pub struct Splitter {
    state: State,
    /// Text that may be the beginning of a tag, or blanks that may belong to one.
    held: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but blanks so far.
    Start,
    Thoughts,
    /// Behind the thoughts, where blanks are left out.
    Between,
    Answer,
}

/// New text of a draft.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Split {
    /// Continues the thoughts.
    pub thoughts: String,
    /// Continues the answer.
    pub answer: String,
}

impl Splitter {
    /// Splits a draft that begins inside thoughts, where the prompt has opened them, or not.
    #[must_use]
    pub fn new(is_thinking: bool) -> Self {
        let state = if is_thinking { State::Thoughts } else { State::Start };
        Self { state, held: String::new() }
    }

    /// Takes the next piece of the draft.
    pub fn push(&mut self, text: &str) -> Split {
        self.held.push_str(text);
        let mut split = Split::default();
        self.advance(&mut split, false);
        split
    }

    /// Ends the draft: gives what was held back.
    pub fn finish(&mut self) -> Split {
        let mut split = Split::default();
        self.advance(&mut split, true);
        split
    }

    fn advance(&mut self, split: &mut Split, is_end: bool) {
        loop {
            match self.state {
                State::Start => {
                    let text = self.held.trim_start();
                    if let Some(rest) = text.strip_prefix(OPEN) {
                        self.held = rest.to_owned();
                        self.state = State::Thoughts;
                    } else if OPEN.starts_with(text) && !is_end {
                        return;
                    } else {
                        self.state = State::Answer;
                    }
                }
                State::Thoughts => {
                    if let Some(at) = self.held.find(CLOSE) {
                        split.thoughts.push_str(&self.held[..at]);
                        self.held.drain(..at + CLOSE.len());
                        self.state = State::Between;
                        continue;
                    }
                    let keep = if is_end { 0 } else { begun(&self.held) };
                    split.thoughts.push_str(&take(&mut self.held, keep));
                    return;
                }
                State::Between => {
                    self.held = self.held.trim_start().to_owned();
                    if self.held.is_empty() {
                        return;
                    }
                    self.state = State::Answer;
                }
                State::Answer => {
                    split.answer.push_str(&take(&mut self.held, 0));
                    return;
                }
            }
        }
    }
}

/// All but the last `keep` bytes.
fn take(held: &mut String, keep: usize) -> String {
    let rest = held.split_off(held.len() - keep);
    std::mem::replace(held, rest)
}

/// Bytes at the end that are the beginning of the closing tag.
fn begun(text: &str) -> usize {
    (1..CLOSE.len()).rev().find(|&n| text.ends_with(&CLOSE[..n])).unwrap_or(0)
}

/// Splits a whole draft into thoughts, without blanks around them, and answer.
#[must_use]
pub fn split(draft: &str, is_thinking: bool) -> (Option<String>, String) {
    let mut splitter = Splitter::new(is_thinking);
    let mut all = splitter.push(draft);
    let rest = splitter.finish();
    all.thoughts.push_str(&rest.thoughts);
    all.answer.push_str(&rest.answer);
    let thoughts = all.thoughts.trim();
    ((!thoughts.is_empty()).then(|| thoughts.to_owned()), all.answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(draft: &str, is_thinking: bool, expected: (Option<&str>, &str)) {
        let (thoughts, answer) = split(draft, is_thinking);
        assert_eq!((thoughts.as_deref(), answer.as_str()), expected);
        // In pieces of one character it is the same.
        let mut splitter = Splitter::new(is_thinking);
        let mut all = Split::default();
        let mut add = |split: Split| {
            all.thoughts.push_str(&split.thoughts);
            all.answer.push_str(&split.answer);
        };
        for c in draft.chars() {
            add(splitter.push(&c.to_string()));
        }
        add(splitter.finish());
        assert_eq!((all.thoughts.trim(), all.answer), (expected.0.unwrap_or(""), answer));
    }

    #[test]
    fn a_prompt_that_opens_thoughts_is_told_by_its_end() {
        let generator = crate::testing::tiny_generator(1); // One token per byte.
        let ends_inside = |prompt: &str| {
            let ids: Vec<u32> = prompt.bytes().map(u32::from).collect();
            generator.is_thinking(&ids)
        };
        assert!(ends_inside("assistant\n<think>\n") && ends_inside("<think>"));
        assert!(!ends_inside("<think>\n\n</think>\n\n") && !ends_inside("assistant\n"));
    }

    #[test]
    fn thoughts_are_split_off() {
        check("<think>\nHm, é.\n</think>\n\nTwo days.", false, (Some("Hm, é."), "Two days."));
        check("\n<think></think>\nTwo.", false, (None, "Two."));
        check("Hm.\n</think>\n\nTwo.", true, (Some("Hm."), "Two."));
    }

    #[test]
    fn thoughts_that_never_end_are_no_answer() {
        check("<think>\nHm, wait", false, (Some("Hm, wait"), ""));
        check("Hm </thi", true, (Some("Hm </thi"), ""));
    }

    #[test]
    fn an_answer_without_thoughts_stays_as_it_is() {
        check(" Two <think> days </think>.", false, (None, " Two <think> days </think>."));
        check("<thin ice", false, (None, "<thin ice"));
        check("", false, (None, ""));
    }
}
