//! Where questions come from: a file, what people judged, or the held-out part of a dataset.

use std::{collections::BTreeSet, convert::Infallible, path::PathBuf, str::FromStr};

use tune::dataset::{
    jsonl::{BadLines, RowsError},
    review,
    row::{BodyKind, MadeBy, Row},
    split::Split,
};

use crate::{
    cite::Case,
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
    #[error("`{}` holds no question in its test part", dir.display())]
    NothingHeldOut {
        /// The dataset.
        dir: PathBuf,
    },
}

impl QuestionSource {
    /// Reads the questions.
    ///
    /// # Errors
    /// [`SourceError`]
    pub fn read(&self, data_dir: &std::path::Path) -> Result<Vec<KnownQuestion>, SourceError> {
        match self {
            Self::File(path) => Ok(read_questions(path)?.questions),
            Self::Feedback => {
                let found = feedback::questions::questions(&Records::open(data_dir)?.feedback()?);
                let n_without_answer = found.n_without_answer;
                match found.questions.is_empty() {
                    true => Err(SourceError::NoFeedback { n_without_answer }),
                    false => Ok(found.questions),
                }
            }
            Self::HeldOut(dir) => {
                let rows = Folder::file(dir, BodyKind::Supervised);
                let rows = review::read(&rows, BadLines::Stop)?.rows;
                let questions = held_out(&rows);
                match questions.is_empty() {
                    true => Err(SourceError::NothingHeldOut { dir: dir.clone() }),
                    false => Ok(questions),
                }
            }
        }
    }
}

/// The questions of rows that no training has seen, each once.
fn held_out(rows: &[Row]) -> Vec<KnownQuestion> {
    let mut seen = BTreeSet::new();
    let of_test = rows.iter().filter(|it| it.meta.split == Some(Split::Test));
    of_test.filter_map(question_of).filter(|it| seen.insert(it.question.clone())).collect()
}

fn question_of(row: &Row) -> Option<KnownQuestion> {
    let meta = &row.meta;
    let answer = || {
        let text = *row.body.targets().last()?;
        Some(Case::new(text, &[]).sentences().join(" "))
    };
    let answers: Vec<String> = match meta.made_by? {
        // Retrieval finds the passage that the row was made without; a form or a tone is no fact.
        MadeBy::GoldRemoved | MadeBy::Instruction => return None,
        MadeBy::Unanswerable => Vec::new(),
        _ => vec![answer()?],
    };
    Some(KnownQuestion {
        question: meta.question.as_ref()?.trim().to_owned(),
        answers,
        document: meta.path.clone(),
        page: meta.page,
        language: meta.language.clone(),
        kind: meta.made_by.map(|it| it.as_str().to_owned()),
        generated: meta.made_by == Some(MadeBy::Model),
        ..KnownQuestion::default()
    })
}

#[cfg(test)]
mod tests {
    use tune::dataset::row::{Body, Message, Meta, Role};

    use super::*;

    fn row(made_by: MadeBy, question: &str, split: Split) -> Row {
        let all = vec![
            Message::new(Role::User, "[1] … ?"),
            Message::new(Role::Assistant, "Three days [1]."),
        ];
        let meta = Meta {
            made_by: Some(made_by),
            question: Some(question.to_owned()),
            path: Some("a.md".to_owned()),
            split: Some(split),
            ..Meta::default()
        };
        Row::new(&[question], Body::Messages(all), meta)
    }

    #[test]
    fn what_was_held_out_is_asked_once_and_marked_where_a_model_wrote_it() {
        let found = held_out(&[
            row(MadeBy::Section, "How many?", Split::Test),
            row(MadeBy::GoldRemoved, "How many?", Split::Test),
            row(MadeBy::Section, "How many?", Split::Test),
            row(MadeBy::Section, "Learnt?", Split::Train),
            row(MadeBy::Unanswerable, "Who won?", Split::Test),
            row(MadeBy::Model, "Written?", Split::Test),
        ]);
        let asked: Vec<&str> = found.iter().map(|it| it.question.as_str()).collect();
        assert_eq!(asked, ["How many?", "Who won?", "Written?"]);
        assert_eq!(found[0].answers, ["Three days."]);
        assert_eq!(found[0].document.as_deref(), Some("a.md"));
        assert_eq!(found[1].answers, Vec::<String>::new());
        assert_eq!(found.iter().map(|it| it.generated).collect::<Vec<_>>(), [false, false, true]);
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
