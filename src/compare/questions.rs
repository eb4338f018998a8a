//! Where questions come from: a file, what people judged, or the held-out part of a dataset.

use std::{collections::BTreeSet, convert::Infallible, path::PathBuf, str::FromStr};

use tune::dataset::{
    jsonl::{BadLines, RowsError},
    known::known,
    review,
    row::{BodyKind, MadeBy, Row},
    split::Split,
};

use crate::{
    dataset::folder::Folder,
    eval::answers::{KnownQuestion, QuestionsError, read_questions},
    feedback,
    records::{Records, RecordsError},
};

/// Where questions come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuestionSource {
    /// SQuAD's JSON, or JSONL.
    File(PathBuf),
    /// What people judged: `feedback`.
    Feedback,
    /// The test part of a dataset: `dataset:DIR`.
    HeldOut(PathBuf),
}

impl FromStr for QuestionSource {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.strip_prefix("dataset:") {
            Some(dir) => Self::HeldOut(PathBuf::from(dir)),
            None if text == "feedback" => Self::Feedback,
            None => Self::File(PathBuf::from(text)),
        })
    }
}

impl std::fmt::Display for QuestionSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Feedback => write!(f, "feedback"),
            Self::HeldOut(dir) => write!(f, "dataset:{}", dir.display()),
        }
    }
}

/// Why there are no questions.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] QuestionsError),
    /// The records cannot be read.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// The dataset cannot be read.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// Nobody has judged an answer in a way that says what is right.
    #[error(
        "no feedback says what is right: {n_without_answer} questions are judged wrong without a \
         correction"
    )]
    NoFeedback {
        /// Questions that were judged wrong.
        n_without_answer: usize,
    },
    /// The dataset holds nothing back.
    #[error(
        "`{}` holds no question in its test part{}", dir.display(), unasked(*n_left_out)
    )]
    NothingHeldOut {
        /// The dataset.
        dir: PathBuf,
        /// Questions whose answers words alone cannot tell.
        n_left_out: usize,
    },
}

fn unasked(n_left_out: usize) -> String {
    match n_left_out {
        0 => String::new(),
        n => format!(" whose answer is a value: those of {n} are none"),
    }
}

/// The questions of a source.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Questions {
    /// Those that are asked.
    pub asked: Vec<KnownQuestion>,
    /// Those that are not, because words alone do not tell whether an answer to them is right.
    pub n_left_out: usize,
}

impl QuestionSource {
    /// Reads the questions, and counts those that are not asked.
    ///
    /// # Errors
    /// [`SourceError`]
    pub fn read(&self, data_dir: &std::path::Path) -> Result<Questions, SourceError> {
        match self {
            Self::File(path) => {
                Ok(Questions { asked: read_questions(path)?.questions, n_left_out: 0 })
            }
            Self::Feedback => {
                let found = feedback::questions::questions(&Records::open(data_dir)?.feedback()?);
                let n_without_answer = found.n_without_answer;
                match found.questions.is_empty() {
                    true => Err(SourceError::NoFeedback { n_without_answer }),
                    false => Ok(Questions { asked: judged(found.questions), n_left_out: 0 }),
                }
            }
            Self::HeldOut(dir) => {
                let rows = Folder::file(dir, BodyKind::Supervised);
                let rows = review::read(&rows, BadLines::Stop)?.rows;
                let found = held_out(&rows);
                let (dir, n_left_out) = (dir.clone(), found.n_left_out);
                match found.asked.is_empty() {
                    true => Err(SourceError::NothingHeldOut { dir, n_left_out }),
                    false => Ok(found),
                }
            }
        }
    }
}

/// Questions of feedback, of which those whose answer was called good are marked: some variant wrote
/// that answer, and finds its own words in it.
fn judged(mut questions: Vec<KnownQuestion>) -> Vec<KnownQuestion> {
    for it in &mut questions {
        it.approved = it.kind.as_deref() == Some(feedback::questions::APPROVED);
    }
    questions
}

/// The questions of rows that no training has seen, each once.
fn held_out(rows: &[Row]) -> Questions {
    let of_test = rows.iter().filter(|it| it.meta.split == Some(Split::Test));
    // The same questions, asked in another form or of other passages.
    let again = [Some(MadeBy::GoldRemoved), Some(MadeBy::Instruction)];
    let of_test: Vec<&Row> = of_test.filter(|it| !again.contains(&it.meta.made_by)).collect();
    let asks = |row: &&Row| row.meta.question.as_deref().map(|it| it.trim().to_owned());
    let all: BTreeSet<String> = of_test.iter().filter_map(asks).collect();
    let mut seen = BTreeSet::new();
    let asked: Vec<KnownQuestion> = of_test
        .into_iter()
        .filter_map(question_of)
        .filter(|it| seen.insert(it.question.clone()))
        .collect();
    Questions { n_left_out: all.len() - asked.len(), asked }
}

fn question_of(row: &Row) -> Option<KnownQuestion> {
    let known: KnownQuestion =
        serde_json::from_value(known(row)?).expect("a question of a row reads as one");
    if known.wordless().next().is_some() {
        return None;
    }
    let question = known.question.trim().to_owned();
    Some(KnownQuestion { question, ..known })
}

#[cfg(test)]
mod tests {
    use tune::dataset::row::{Body, Message, Meta, Role};

    use super::*;
    use crate::eval::answers::Maker;

    fn row(made_by: MadeBy, question: &str, value: Option<&str>, split: Split) -> Row {
        let all = vec![
            Message::new(Role::User, "[1] … ?"),
            Message::new(Role::Assistant, "They are lent for as long as somebody works [1]."),
        ];
        let meta = Meta {
            made_by: Some(made_by),
            question: Some(question.to_owned()),
            path: Some("a.md".to_owned()),
            value: value.map(str::to_owned),
            split: Some(split),
            ..Meta::default()
        };
        Row::new(&[question], Body::Messages(all), meta)
    }

    #[test]
    fn what_was_held_out_is_asked_once_where_words_tell_what_is_right() {
        let found = held_out(&[
            row(MadeBy::TableCell, "How many? ", Some("three"), Split::Test),
            row(MadeBy::GoldRemoved, "How many?", None, Split::Test),
            row(MadeBy::TableCell, "How many?", Some("three"), Split::Test),
            row(MadeBy::TableCell, "Learnt?", Some("three"), Split::Train),
            row(MadeBy::Unanswerable, "Who won?", None, Split::Test),
            row(MadeBy::Section, "For how long?", None, Split::Test),
            row(MadeBy::Section, "For how long?", None, Split::Test),
            row(MadeBy::Model, "Written, at length?", None, Split::Test),
        ]);
        let asked: Vec<&str> = found.asked.iter().map(|it| it.question.as_str()).collect();
        assert_eq!(asked, ["How many?", "Who won?"]);
        assert_eq!(found.n_left_out, 2, "their answers are sentences");
        assert_eq!(found.asked[0].answers, ["three"]);
        assert_eq!(found.asked[0].document.as_deref(), Some("a.md"));
        assert_eq!(found.asked[0].generated, Some(Maker::Rules));
        assert_eq!(found.asked[1].answers, Vec::<String>::new());
    }

    #[test]
    fn answers_that_a_variant_gave_are_marked() {
        let of =
            |kind: &str| KnownQuestion { kind: Some(kind.to_owned()), ..KnownQuestion::default() };
        let found = judged(vec![of("approved"), of("corrected"), of("refused")]);
        let approved: Vec<bool> = found.iter().map(|it| it.approved).collect();
        assert_eq!(approved, [true, false, false]);
    }

    #[test]
    fn a_word_names_where_questions_come_from() {
        let of = |text: &str| text.parse::<QuestionSource>().unwrap();
        assert_eq!(of("feedback"), QuestionSource::Feedback);
        assert_eq!(of("./feedback"), QuestionSource::File("./feedback".into()));
        assert_eq!(of("dataset:d/x"), QuestionSource::HeldOut("d/x".into()));
        assert_eq!(of("dataset:d/x").to_string(), "dataset:d/x");
    }
}
