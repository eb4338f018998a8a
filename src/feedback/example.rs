//! A judged answer as a few-shot example: the question, the sentences that it rests on, the answer.

use ingest::document::Language;
use serde_json::{Value, json};

use crate::{
    cite::{Case, CheckedSentence, Source, Verdict},
    prompts::{Example, ExamplePassage},
    records::{FeedbackRecord, Rating},
};

/// Why an answer makes no example.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExampleError {
    /// It was called wrong, and nobody said what is right.
    #[error("the answer was called wrong and has no correction: nothing is known to be right")]
    Wrong,
    /// It declines.
    #[error("the answer is a refusal, which rests on no passage")]
    Refusal,
    /// It has no language of ours.
    #[error("the answer is in no language that prompts are written in")]
    Language,
    /// The passages do not say it.
    #[error("the passages that were shown do not support \u{201c}{sentence}\u{201d}: {why}")]
    Unsupported {
        /// A sentence of the answer.
        sentence: String,
        /// What the check says.
        why: String,
    },
}

/// A passage that was shown: title, headings, text, language.
struct Shown {
    title: String,
    heading: String,
    text: String,
    language: Option<Language>,
}

impl Shown {
    fn of(it: &Value) -> Self {
        let text = |key: &str| it[key].as_str().unwrap_or_default().to_owned();
        let language = it["language"].as_str().and_then(Language::from_code);
        Self { title: text("title"), heading: text("heading"), text: text("text"), language }
    }

    fn source(&self) -> Source<'_> {
        let heading = format!("{}\n{}", self.title, self.heading.replace(" > ", "\n"));
        Source { heading, text: &self.text, language: self.language }
    }
}

/// Makes an example of what is right: the correction, else the answer that was called good. Its
/// passages hold only the sentences that speak for it, so that it is short. Words alone decide
/// whether they do: what a model is to imitate must be plain.
///
/// # Errors
/// [`ExampleError`]
pub fn example(record: &FeedbackRecord) -> Result<Example, ExampleError> {
    let correction = record.feedback.correction.as_deref().map(str::trim);
    let correction = correction.filter(|it| !it.is_empty());
    let is_refusal = record.json["refused"].as_bool() == Some(true);
    let draft = match correction {
        Some(it) => it,
        None if is_refusal => return Err(ExampleError::Refusal),
        None if record.feedback.rating == Rating::Up => record.text.trim(),
        None => return Err(ExampleError::Wrong),
    };
    let language = record.json["language"].as_str().and_then(Language::from_code);
    let language = language.ok_or(ExampleError::Language)?;
    let shown: Vec<Shown> =
        record.json["sources"].as_array().into_iter().flatten().map(Shown::of).collect();
    let sentences = supported(draft, &shown, language)?;
    let cut = cut_to_evidence(&shown, &sentences);
    // What two sentences of a passage say together, one of them may not: then all of it stays.
    let (passages, sentences) = match supported(draft, &cut, language) {
        Ok(again) => (cut, again),
        Err(_) => (shown, sentences),
    };
    Ok(written(&record.question, language, &passages, &sentences))
}

fn supported(
    draft: &str,
    shown: &[Shown],
    language: Language,
) -> Result<Vec<CheckedSentence>, ExampleError> {
    let sources: Vec<Source<'_>> = shown.iter().map(Shown::source).collect();
    let checked = Case::new(draft, &sources).check(Some(language), None);
    if let Some(it) = checked.iter().find(|it| it.verdict != Verdict::Supported) {
        let why = match it.missing.as_slice() {
            [] => "its words are not theirs".to_owned(),
            missing => format!("they do not hold {}", missing.join(", ")),
        };
        return Err(ExampleError::Unsupported { sentence: it.text.clone(), why });
    }
    if checked.is_empty() {
        return Err(ExampleError::Wrong);
    }
    Ok(checked)
}

/// The passages, each with nothing but the sentences that speak for the answer.
fn cut_to_evidence(shown: &[Shown], sentences: &[CheckedSentence]) -> Vec<Shown> {
    let cut = |(i, it): (usize, &Shown)| {
        let mut spans: Vec<_> = sentences
            .iter()
            .filter_map(|it| it.evidence.as_ref())
            .filter(|it| it.source == i)
            .map(|it| (it.span.start, it.span.end))
            .collect();
        spans.sort_unstable();
        spans.dedup();
        let texts: Vec<&str> =
            spans.into_iter().map(|(start, end)| it.text[start..end].trim()).collect();
        Shown {
            title: it.title.clone(),
            heading: it.heading.clone(),
            text: texts.join(" "),
            language: it.language,
        }
    };
    shown.iter().enumerate().map(cut).collect()
}

/// The example, its passages those that are cited, numbered anew.
fn written(
    question: &str,
    language: Language,
    shown: &[Shown],
    sentences: &[CheckedSentence],
) -> Example {
    let mut cited: Vec<usize> = Vec::new();
    let mut number = |source: usize| match cited.iter().position(|it| *it == source) {
        Some(at) => at + 1,
        None => {
            cited.push(source);
            cited.len()
        }
    };
    let (mut answer, mut reasons) = (Vec::new(), Vec::new());
    for it in sentences {
        let numbers: Vec<usize> = it.citations.iter().map(|it| number(*it)).collect();
        answer.push(with_marks(&it.text, &numbers));
        if let (Some(evidence), Some(first)) = (&it.evidence, numbers.first()) {
            let words = shown[evidence.source].text[evidence.span.clone()].trim();
            reasons.push(match language {
                Language::English => format!("Passage {first} says: \u{201c}{words}\u{201d}"),
                Language::French => format!("Le passage {first} dit : « {words} »"),
            });
        }
    }
    let passages = cited
        .iter()
        .map(|i| ExamplePassage { title: shown[*i].title.clone(), text: shown[*i].text.clone() });
    Example {
        language: language.code().to_owned(),
        question: question.trim().to_owned(),
        passages: passages.collect(),
        answer: answer.join(" "),
        reasoning: reasons.join(" "),
        tags: vec!["feedback".to_owned()],
    }
}

/// `Three days [1].`: the marks before the full stop, as our own examples have them.
fn with_marks(sentence: &str, numbers: &[usize]) -> String {
    let marks: String = numbers.iter().map(|it| format!(" [{it}]")).collect();
    match sentence.strip_suffix(['.', '!']) {
        Some(words) => format!("{words}{marks}{}", &sentence[words.len()..]),
        None => format!("{sentence}{marks}"),
    }
}

/// The example as a file of `examples/`, with lines before it that say where it comes from.
#[must_use]
pub fn to_toml(it: &Example, comment: &[String]) -> String {
    // Strings of JSON are strings of TOML; control characters never come out of documents.
    let quoted = |text: &str| json!(text.replace('\u{7f}', "")).to_string();
    let comment: String =
        comment.iter().map(|it| format!("# {}\n", it.replace(char::is_control, " "))).collect();
    let tags: Vec<String> = it.tags.iter().map(|it| quoted(it)).collect();
    let passages: String = it
        .passages
        .iter()
        .map(|it| {
            let (title, text) = (quoted(&it.title), quoted(&it.text));
            format!("\n[[passages]]\ntitle = {title}\ntext = {text}\n")
        })
        .collect();
    format!(
        "{comment}language = {}\ntags = [{}]\nquestion = {}\nreasoning = {}\nanswer = {}\n{passages}",
        quoted(&it.language),
        tags.join(", "),
        quoted(&it.question),
        quoted(&it.reasoning),
        quoted(&it.answer),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feedback::questions::tests::record;

    fn judged(rating: Rating, text: &str, correction: Option<&str>) -> FeedbackRecord {
        let mut res = record("How many days of remote work?", rating, correction);
        text.clone_into(&mut res.text);
        res.json["sources"] = json!([
            {"index": 1, "title": "Parking", "heading": "", "text": "The car park opens at 7:00.", "language": "en"},
            {"index": 2, "title": "Remote \"work\"", "heading": "Days", "language": "en",
             "text": "Staff may be tired. Employees may work remotely up to three days per week. Ask HR."},
        ]);
        res
    }

    #[test]
    fn an_example_holds_what_speaks_for_it_and_is_read_back() {
        let text = "Employees may work remotely up to three days per week [2].";
        let found = example(&judged(Rating::Up, text, None)).unwrap();
        assert_eq!(found.answer, "Employees may work remotely up to three days per week [1].");
        assert_eq!(found.passages.len(), 1, "only what is cited");
        assert_eq!(
            found.passages[0].text, "Employees may work remotely up to three days per week.",
            "only what speaks for it"
        );
        assert!(found.reasoning.starts_with("Passage 1 says: \u{201c}Employees"), "{found:?}");
        let file = to_toml(&found, &["From a_1\nof b.md".to_owned()]);
        assert!(file.starts_with("# From a_1 of b.md\nlanguage = \"en\"\n"), "{file}");
        assert_eq!(toml::from_str::<Example>(&file).unwrap(), found);
    }

    #[test]
    fn what_is_not_known_to_be_right_is_no_example() {
        let wrong = judged(Rating::Down, "Four days [2].", None);
        assert_eq!(example(&wrong), Err(ExampleError::Wrong));
        let error = example(&judged(Rating::Up, "Employees may work four days [2].", None));
        assert!(error.unwrap_err().to_string().contains("four"), "the figure is not theirs");
        let corrected = "Employees may work remotely up to three days per week.";
        let found = example(&judged(Rating::Down, "Four days [2].", Some(corrected))).unwrap();
        assert!(found.answer.ends_with("per week [1]."), "the check finds its passage: {found:?}");
        let mut refused = judged(Rating::Up, "The documents do not say.", None);
        refused.json["refused"] = json!(true);
        assert_eq!(example(&refused), Err(ExampleError::Refusal));
    }
}
