//! Reasoning taken off an answer that is being written: what stands between `<think>` and
//! `</think>` before the answer itself.

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// Takes a text apart as it arrives.
#[derive(Debug, Default)]
pub struct Splitter {
    state: State,
    /// Text that may be the beginning of a mark.
    held: String,
    /// Reasoning so far.
    reasoning: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but white space so far.
    #[default]
    Start,
    /// Between the marks.
    Reasoning,
    /// Just after the closing mark: white space before the answer is dropped.
    Between,
    /// In the answer.
    Answer,
}

impl Splitter {
    /// Whether anything was taken in.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.state != State::Start || !self.held.is_empty()
    }

    /// Takes in a piece, and gives what of it certainly belongs to the answer.
    pub fn push(&mut self, piece: &str) -> String {
        self.held.push_str(piece);
        let mut answer = String::new();
        loop {
            match self.state {
                State::Start => {
                    let text = self.held.trim_start();
                    if let Some(rest) = text.strip_prefix(OPEN) {
                        self.held = rest.to_owned();
                        self.state = State::Reasoning;
                    } else if OPEN.starts_with(text) {
                        return answer;
                    } else {
                        self.state = State::Answer;
                    }
                }
                State::Reasoning => {
                    if let Some((reasoning, rest)) = self.held.split_once(CLOSE) {
                        self.reasoning.push_str(reasoning);
                        self.held = rest.to_owned();
                        self.state = State::Between;
                    } else {
                        let n_kept = beginning_at_end(&self.held);
                        let rest = self.held.split_off(self.held.len() - n_kept);
                        self.reasoning.push_str(&std::mem::replace(&mut self.held, rest));
                        return answer;
                    }
                }
                State::Between => {
                    self.held = self.held.trim_start().to_owned();
                    if self.held.is_empty() {
                        return answer;
                    }
                    self.state = State::Answer;
                }
                State::Answer => {
                    answer.push_str(&std::mem::take(&mut self.held));
                    return answer;
                }
            }
        }
    }

    /// At the end: the rest of the answer, and the reasoning.
    #[must_use]
    pub fn finish(mut self) -> (String, String) {
        let rest = match self.state {
            State::Reasoning => {
                self.reasoning.push_str(&self.held);
                String::new()
            }
            State::Start | State::Between | State::Answer => std::mem::take(&mut self.held),
        };
        (rest, self.reasoning.trim().to_owned())
    }
}

/// Bytes at the end of a text that may be the beginning of the closing mark.
fn beginning_at_end(text: &str) -> usize {
    (1..CLOSE.len()).rev().find(|&n| text.ends_with(&CLOSE[..n])).unwrap_or(0)
}

/// A whole draft whose chat template opened the reasoning in the prompt, so that only the closing
/// mark stands in it: reasoning and answer.
#[must_use]
pub fn split_at_close(draft: &str) -> Option<(&str, &str)> {
    draft.split_once(CLOSE).map(|(reasoning, answer)| (reasoning.trim(), answer.trim_start()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(text: &str, size: usize) -> (String, String) {
        let mut splitter = Splitter::default();
        let mut answer = String::new();
        let chars: Vec<char> = text.chars().collect();
        for piece in chars.chunks(size) {
            answer.push_str(&splitter.push(&piece.iter().collect::<String>()));
        }
        let (rest, reasoning) = splitter.finish();
        (answer + &rest, reasoning)
    }

    #[track_caller]
    fn check(text: &str, answer: &str, reasoning: &str) {
        for size in [1, 2, 3, 5, 100] {
            assert_eq!(split(text, size), (answer.to_owned(), reasoning.to_owned()), "{size}");
        }
    }

    #[test]
    fn reasoning_before_the_answer_is_taken_off() {
        check("<think>\nA < B.\n</think>\n\nThree [1].", "Three [1].", "A < B.");
        check(" \n<think></think>Three.", "Three.", "");
    }

    #[test]
    fn an_answer_without_reasoning_is_as_it_was() {
        check("Three <think> [1].", "Three <think> [1].", "");
        check("<thin ice>", "<thin ice>", "");
        check("<thin", "<thin", "");
    }

    #[test]
    fn reasoning_that_does_not_end_leaves_no_answer() {
        check("<think>So and </th", "", "So and </th");
    }

    #[test]
    fn a_closing_mark_alone_splits_a_whole_draft() {
        assert_eq!(split_at_close("So.\n</think>\n\nThree."), Some(("So.", "Three.")));
        assert_eq!(split_at_close("Three."), None);
    }

    proptest! {
        #[test]
        fn where_the_pieces_are_cut_does_not_matter(
            reasoning in "[a-z<>/ ]{0,20}",
            answer in "[a-z<>/]{0,20}",
            size in 1_usize..9,
        ) {
            let text = format!("<think>{reasoning}</think>\n{answer}");
            prop_assert_eq!(split(&text, size), split(&text, 1000));
        }
    }
}
