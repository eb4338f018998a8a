//! What is learnt of an answer: the form that is asked for, the marks of its passage, and quotation
//! marks around what the passage says word for word.

use ingest::document::Language;
use tune::dataset::{filter::holds, questions::Qa};

/// Words of a quotation at least: fewer are a value, and no sentence.
const QUOTED_WORDS_MIN: usize = 4;

/// The form that an answer is asked for in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    Value,
    Bullets,
    Email,
}

impl Form {
    /// What is added to the question.
    pub(super) fn request(self, language: Language) -> &'static str {
        match (self, language) {
            (Self::Plain, _) => "",
            (Self::Value, Language::French) => " Réponds par la valeur seule.",
            (Self::Value, Language::English) => " Answer with the value alone.",
            (Self::Bullets, Language::French) => " Réponds sous forme de liste à puces.",
            (Self::Bullets, Language::English) => " Answer as a bulleted list.",
            (Self::Email, Language::French) => " Rédige la réponse comme un courriel poli.",
            (Self::Email, Language::English) => " Write the answer as a polite e-mail.",
        }
    }
}

/// The answer with those of its sentences that stand word for word in a text in the quotation marks
/// of its language; `None` where none does. The citation check looks such words up as they are.
pub(super) fn quoted(answer: &[String], text: &str, language: Language) -> Option<Vec<String>> {
    let is_verbatim = |it: &str| {
        let is_sentence = it.split_whitespace().count() >= QUOTED_WORDS_MIN;
        // A quotation within a quotation would end where the inner one does.
        is_sentence && !it.contains(['«', '»', '“', '”', '"']) && holds(text, it)
    };
    let (open, close) = match language {
        Language::French => ("«\u{a0}", "\u{a0}»"),
        Language::English => ("“", "”"),
    };
    let mut n_quoted = 0;
    let mark = |sentence: &String| match sentence.strip_suffix('.') {
        Some(words) if is_verbatim(words) => {
            n_quoted += 1;
            format!("{open}{words}{close}.")
        }
        _ => sentence.clone(),
    };
    let res = answer.iter().map(mark).collect();
    (n_quoted > 0).then_some(res)
}

/// The answer with the mark of its passage, in a form; `None` where it has no such form.
pub(super) fn target(qa: &Qa, answer: &[String], form: Form, index: usize) -> Option<String> {
    let marked: Vec<String> = answer.iter().map(|it| with_mark(it, index)).collect();
    Some(match form {
        Form::Plain => marked.join(" "),
        Form::Value => format!("{} [{index}]", qa.value.as_ref()?.text),
        Form::Bullets if marked.len() >= 3 => {
            marked.iter().map(|it| format!("- {it}")).collect::<Vec<_>>().join("\n")
        }
        Form::Bullets => return None,
        Form::Email => match qa.language {
            Language::French => {
                format!("Bonjour,\n\n{}\n\nBien cordialement", marked.join(" "))
            }
            Language::English => format!("Hello,\n\n{}\n\nKind regards", marked.join(" ")),
        },
    })
}

/// The mark stands before the full stop, as in the examples of the prompts.
fn with_mark(sentence: &str, index: usize) -> String {
    match sentence.char_indices().next_back() {
        Some((at, end @ ('.' | '!' | '?'))) => format!("{} [{index}]{end}", &sentence[..at]),
        _ => format!("{sentence} [{index}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_before_the_full_stop() {
        assert_eq!(with_mark("Deux jours.", 2), "Deux jours [2].");
        assert_eq!(with_mark("150 €", 1), "150 € [1]");
    }

    #[test]
    fn only_what_a_passage_says_word_for_word_is_quoted() {
        let text = "Book through the agency, 14\ndays ahead. The ceiling is **140 euros** a night.";
        let answer = |it: &[&str]| it.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let two = answer(&[
            "Book through the agency, 14 days ahead.",
            "The ceiling is 140 euros a night.",
        ]);
        let marked = quoted(&two, text, Language::English).unwrap();
        assert_eq!(marked[0], "“Book through the agency, 14 days ahead”.");
        assert_eq!(marked[1], two[1], "the passage has other signs");
        assert_eq!(with_mark(&marked[0], 2), "“Book through the agency, 14 days ahead” [2].",);
        let french = quoted(
            &answer(&["La demande se fait en ligne."]),
            "la demande. La demande se fait en ligne",
            Language::French,
        );
        assert_eq!(french.unwrap()[0], "«\u{a0}La demande se fait en ligne\u{a0}».");
        for odd in [
            "14 days ahead.",
            "He said “book through the agency” and left.",
            "Not in there at all.",
        ] {
            assert_eq!(quoted(&answer(&[odd]), text, Language::English), None, "{odd}");
        }
    }
}
