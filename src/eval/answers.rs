//! Answers against known ones: exact match, F1, citation precision, refusals.
//!
//! Exact match and F1 follow SQuAD's evaluation (Rajpurkar et al. 2016) with French articles
//! beside the English ones. An answer of whole sentences rarely matches exactly: whether it
//! *contains* an accepted answer is given too.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::cite::fold;

/// A question with its accepted answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct KnownQuestion {
    /// The question.
    pub question: String,
    /// Accepted answers; none when the documents do not hold one and the engine must refuse.
    pub answers: Vec<String>,
    /// Path of the document that holds the answer, below its root.
    #[serde(default)]
    pub document: Option<String>,
    /// Its page.
    #[serde(default)]
    pub page: Option<u32>,
    /// Its language (ISO 639-1).
    #[serde(default)]
    pub language: Option<String>,
    /// What kind of question it is, as whoever wrote it sorts them.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// What was right before: an answer that says it rests on an older version of the documents.
    #[serde(default)]
    pub outdated: Vec<String>,
    /// Who made the question, where nobody asked it.
    #[serde(default, deserialize_with = "maker")]
    pub generated: Option<Maker>,
    /// Whether the accepted answer is one that a variant gave and somebody called good.
    #[serde(default)]
    pub approved: bool,
}

/// Who makes questions that nobody asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Maker {
    /// A language model.
    Model,
    /// Rules, from headings, tables and what documents say of themselves.
    Rules,
}

/// `model`, `rules` or nothing; `true`, as older files have it, is for a model.
fn maker<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Maker>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Said {
        Flag(bool),
        Maker(Option<Maker>),
    }
    Ok(match Said::deserialize(deserializer)? {
        Said::Flag(flag) => flag.then_some(Maker::Model),
        Said::Maker(maker) => maker,
    })
}

impl KnownQuestion {
    /// Accepted answers that no answer can match: they have no word beside articles.
    pub fn wordless(&self) -> impl Iterator<Item = &String> {
        self.answers.iter().filter(|it| normalised(it).is_empty())
    }
}

/// Why a file of questions cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum QuestionsError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
    /// A line is not a question.
    #[error("`{}`, line {line}: {source}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// An accepted answer has no word.
    #[error(
        "`{}`, line {line}: no answer can be compared with the accepted one \u{201c}{answer}\u{201d}, \
         which has no word beside articles; leave `answers` empty where the documents hold none",
        path.display()
    )]
    Wordless {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// The answer.
        answer: String,
    },
    /// It is SQuAD's JSON, but for something.
    #[error("`{}` is not SQuAD's JSON: {source}", path.display())]
    Squad {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// It holds no question.
    #[error(
        "`{}` holds no question: expected SQuAD's JSON, or one object a line with `question` and \
         `answers`", path.display()
    )]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// A SQuAD file: data → paragraphs → questions.
#[derive(Debug, Deserialize)]
struct Squad {
    data: Vec<SquadArticle>,
}

#[derive(Debug, Deserialize)]
struct SquadArticle {
    #[serde(default)]
    title: Option<String>,
    paragraphs: Vec<SquadParagraph>,
}

#[derive(Debug, Deserialize)]
struct SquadParagraph {
    context: String,
    qas: Vec<SquadQuestion>,
}

#[derive(Debug, Deserialize)]
struct SquadQuestion {
    question: String,
    #[serde(default)]
    answers: Vec<SquadAnswer>,
}

#[derive(Debug, Deserialize)]
struct SquadAnswer {
    text: String,
}

/// Questions, and the paragraphs that they are asked over where the file brings its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuestionSet {
    /// The questions.
    pub questions: Vec<KnownQuestion>,
    /// Title and text of each paragraph of a SQuAD file; empty for JSONL.
    pub paragraphs: Vec<(String, String)>,
}

impl QuestionSet {
    /// Path, title and text of the documents that the file brings.
    pub fn documents(&self) -> impl Iterator<Item = (String, &str, &str)> {
        let paragraphs = self.paragraphs.iter().enumerate();
        paragraphs.map(|(i, (title, text))| (paragraph_path(i), title.as_str(), text.as_str()))
    }
}

fn paragraph_path(i: usize) -> String {
    format!("paragraph-{i:05}.md")
}

/// Reads questions from SQuAD's JSON or from JSONL.
///
/// # Errors
/// [`QuestionsError`]
pub fn read_questions(path: &Path) -> Result<QuestionSet, QuestionsError> {
    let text = fs_err::read_to_string(path)?;
    // One value that has `data` is SQuAD's, also where something else is missing.
    let is_squad = serde_json::from_str::<Value>(&text).is_ok_and(|it| it.get("data").is_some());
    let res = if is_squad {
        let squad = serde_json::from_str::<Squad>(&text);
        of_squad(squad.map_err(|source| QuestionsError::Squad { path: path.to_owned(), source })?)
    } else {
        QuestionSet { questions: of_lines(path, &text)?, ..QuestionSet::default() }
    };
    if res.questions.is_empty() {
        return Err(QuestionsError::Empty { path: path.to_owned() });
    }
    Ok(res)
}

fn of_lines(path: &Path, text: &str) -> Result<Vec<KnownQuestion>, QuestionsError> {
    let mut res = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let (path, at) = (path.to_owned(), i + 1);
        let known: KnownQuestion = match serde_json::from_str(line) {
            Ok(known) => known,
            Err(source) => return Err(QuestionsError::Line { path, line: at, source }),
        };
        if let Some(answer) = known.wordless().next().cloned() {
            return Err(QuestionsError::Wordless { path, line: at, answer });
        }
        res.push(known);
    }
    Ok(res)
}

fn of_squad(squad: Squad) -> QuestionSet {
    let mut res = QuestionSet::default();
    for article in squad.data {
        let title = article.title.unwrap_or_default();
        for paragraph in article.paragraphs {
            let document = paragraph_path(res.paragraphs.len());
            for it in paragraph.qas {
                res.questions.push(KnownQuestion {
                    question: it.question,
                    answers: it.answers.into_iter().map(|it| it.text).collect(),
                    document: Some(document.clone()),
                    ..KnownQuestion::default()
                });
            }
            res.paragraphs.push((title.clone(), paragraph.context));
        }
    }
    res
}

/// What one answer was worth.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AnswerScore {
    /// 1 when the answer is an accepted one, word for word.
    pub exact_match: f64,
    /// Token F1 with the nearest accepted answer.
    pub f1: f64,
    /// 1 when the answer contains an accepted one.
    pub contains: f64,
}

/// Compares an answer with the accepted ones.
#[must_use]
pub fn score(answer: &str, accepted: &[String]) -> AnswerScore {
    let own = normalised(answer);
    let mut res = AnswerScore::default();
    for it in accepted {
        let theirs = normalised(it);
        res.exact_match = res.exact_match.max(f64::from(u8::from(own == theirs)));
        res.f1 = res.f1.max(f1(&own, &theirs));
        res.contains = res.contains.max(f64::from(u8::from(contains(&own, &theirs))));
    }
    res
}

/// Words without case, accents, punctuation and articles.
pub(crate) fn normalised(text: &str) -> Vec<String> {
    const ARTICLES: [&str; 10] = ["a", "an", "the", "le", "la", "les", "l", "un", "une", "des"];
    // `1 250` and `1,250` and `1250` are one word.
    let folded = fold(text);
    let chars: Vec<char> = folded.chars().collect();
    let digit = |i: Option<usize>| i.and_then(|i| chars.get(i)).is_some_and(char::is_ascii_digit);
    let mut joined = String::new();
    for (i, c) in chars.iter().enumerate() {
        let between = matches!(c, ' ' | ',' | '.') && digit(i.checked_sub(1)) && digit(Some(i + 1));
        let thousands = between && (1..=3).all(|j| digit(Some(i + j))) && !digit(Some(i + 4));
        match c {
            _ if thousands => {}
            ',' | '.' if between => joined.push('.'),
            c if c.is_alphanumeric() => joined.push(*c),
            _ => joined.push(' '),
        }
    }
    let words = joined.split_whitespace().filter(|it| !ARTICLES.contains(it));
    words.map(str::to_owned).collect()
}

#[expect(clippy::cast_precision_loss, reason = "words of an answer are few")]
fn f1(own: &[String], theirs: &[String]) -> f64 {
    let mut rest: Vec<&String> = theirs.iter().collect();
    let mut shared = 0_usize;
    for word in own {
        if let Some(i) = rest.iter().position(|it| *it == word) {
            rest.swap_remove(i);
            shared += 1;
        }
    }
    if shared == 0 {
        return 0.0;
    }
    let precision = shared as f64 / own.len() as f64;
    let recall = shared as f64 / theirs.len() as f64;
    2.0 * precision * recall / (precision + recall)
}

fn contains(own: &[String], theirs: &[String]) -> bool {
    !theirs.is_empty() && own.windows(theirs.len()).any(|it| it == theirs)
}

/// Whether two paths name the same document: one may be longer at the front.
#[must_use]
pub fn same_document(a: &str, b: &str) -> bool {
    let parts = |it: &str| it.split('/').rev().map(str::to_owned).collect::<Vec<_>>();
    parts(a).iter().zip(parts(b)).all(|(a, b)| *a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(answer: &str, accepted: &[&str], exact_match: f64, f1: f64, contains: f64) {
        let accepted: Vec<String> = accepted.iter().map(|it| (*it).to_owned()).collect();
        let found = score(answer, &accepted);
        assert!((found.f1 - f1).abs() < 1e-9, "{found:?}");
        assert_eq!((found.exact_match, found.contains), (exact_match, contains));
    }

    #[test]
    fn scores_follow_squad_with_french_articles() {
        check("Le trois mars.", &["trois mars"], 1.0, 1.0, 1.0);
        check("It is three days a week", &["three days"], 0.0, 4.0 / 7.0, 1.0);
        check("Nothing", &["three days"], 0.0, 0.0, 0.0);
        check("1\u{202f}250,50 €", &["1,250.50"], 1.0, 1.0, 1.0);
    }

    #[test]
    fn reads_squad_and_lines() {
        let dir = tempfile::tempdir().unwrap();
        let squad = dir.path().join("squad.json");
        fs_err::write(
            &squad,
            r#"{"data":[{"title":"T","paragraphs":[{"context":"C","qas":[{"question":"Q?","answers":[{"text":"A","answer_start":0}]}]}]}]}"#,
        )
        .unwrap();
        let set = read_questions(&squad).unwrap();
        assert_eq!(set.questions[0].answers, ["A"]);
        assert_eq!(set.paragraphs, [("T".to_owned(), "C".to_owned())]);
        let lines = dir.path().join("questions.jsonl");
        fs_err::write(&lines, "{\"question\":\"Q?\",\"answers\":[]}\n\n{\"question\":1}\n")
            .unwrap();
        let error = read_questions(&lines).unwrap_err().to_string();
        assert!(error.contains("line 3"), "{error}");
    }

    #[test]
    fn files_that_ask_nothing_say_where() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("questions");
        let fails = |text: &str, words: &[&str]| {
            fs_err::write(&path, text).unwrap();
            let error = read_questions(&path).unwrap_err().to_string();
            for word in words {
                assert!(error.contains(word), "must say `{word}`: {error}");
            }
        };
        let right = "{\"question\":\"Q?\",\"answers\":[\"three\"]}\n";
        fails("", &["holds no question"]);
        fails("\n \n", &["holds no question"]);
        fails(&format!("{right}{{\"answers\":[]}}\n"), &["line 2", "missing field `question`"]);
        fails(&format!("{right}{{\"question\":\"Q?\"}}\n"), &["line 2", "missing field `answers`"]);
        for answer in ["", "The", " – "] {
            let line = format!("{{\"question\":\"Q?\",\"answers\":[\"three\",\"{answer}\"]}}\n");
            fails(&format!("{right}\n{line}"), &["line 3", "no word"]);
        }
        fails(
            "{\"data\":[{\"title\":\"T\"}]}",
            &["not SQuAD's JSON", "missing field `paragraphs`"],
        );
        fails("{\n\"data\": [{\"paragraphs\": [{\"qas\": []}]}]\n}", &["missing field `context`"]);
        fails("{\"data\":[]}", &["holds no question"]);
    }

    #[test]
    fn questions_say_who_made_them() {
        let of = |generated: &str| {
            let line = format!("{{\"question\":\"Q?\",\"answers\":[]{generated}}}");
            serde_json::from_str::<KnownQuestion>(&line).map(|it| it.generated)
        };
        assert_eq!(of("").unwrap(), None);
        assert_eq!(of(",\"generated\":null").unwrap(), None);
        assert_eq!(of(",\"generated\":false").unwrap(), None);
        assert_eq!(of(",\"generated\":true").unwrap(), Some(Maker::Model));
        assert_eq!(of(",\"generated\":\"rules\"").unwrap(), Some(Maker::Rules));
        assert!(of(",\"generated\":\"people\"").is_err());
    }

    #[test]
    fn documents_are_compared_from_the_end() {
        assert!(same_document("rh/a.md", "handbook/rh/a.md"));
        assert!(!same_document("rh/a.md", "it/a.md"));
    }
}
