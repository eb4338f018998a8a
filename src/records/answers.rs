//! Conversations, their answers, and what people thought of them.

use std::path::PathBuf;

use index::hit::DocumentId;
use ingest::{discover::Skipped, document::Language};
use rusqlite::{OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Records, RecordsError, now};
use crate::reasons::skip_text;

/// Characters of a conversation's title at most.
const TITLE_CHARS: usize = 80;

/// An answer that was given.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerRecord {
    /// Its id, `a_…`.
    pub id: String,
    /// The key that asked; empty where none was needed.
    pub owner: String,
    /// The conversation, `c_…`, that it belongs to.
    pub conversation: Option<String>,
    /// As it was put.
    pub question: String,
    /// What a follow-up was understood as.
    pub understood_as: Option<String>,
    /// The answer's text.
    pub text: String,
    /// The answer as `POST /v1/ask` gave it.
    pub json: Value,
    /// The prompt, and what was cut.
    pub why: Value,
    /// Documents whose passages it holds.
    pub documents: Vec<DocumentId>,
}

/// A conversation, without its answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConversationRecord {
    /// Its id, `c_…`.
    pub id: String,
    /// The beginning of its first question.
    pub title: String,
    /// Seconds since 1970 (UTC).
    pub created: i64,
    /// When its last answer was given.
    pub updated: i64,
}

/// Whether an answer was good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Rating {
    /// It was.
    Up,
    /// It was not.
    Down,
}

/// What was wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It cites the wrong passage.
    WrongSource,
    /// It says the wrong thing.
    WrongAnswer,
    /// Something is missing.
    Incomplete,
    /// Something else.
    Other,
}

/// What an answer was, as annotators of preferences say it (Askell et al. 2021, arXiv 2112.00861).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Labels {
    /// It helps with what was asked.
    pub helpful: Option<bool>,
    /// It does not claim more than it knows.
    pub honest: Option<bool>,
    /// It does no harm.
    pub harmless: Option<bool>,
}

/// What somebody thought of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Feedback {
    /// The answer's id.
    pub answer: String,
    /// Whether it was good.
    pub rating: Rating,
    /// What was wrong.
    #[serde(default)]
    pub reason: Option<Reason>,
    /// What it should have said.
    #[serde(default)]
    pub correction: Option<String>,
    /// More about it.
    #[serde(default)]
    pub labels: Labels,
    /// In words.
    #[serde(default)]
    pub comment: Option<String>,
}

/// Feedback with the answer that it is about: what training data is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedbackRecord {
    /// The feedback.
    pub feedback: Feedback,
    /// The question, made to stand alone.
    pub question: String,
    /// The answer's text.
    pub text: String,
    /// The answer as it was given.
    pub json: Value,
    /// The prompt that it was written from, and what was cut.
    pub why: Value,
    /// Who gave it: a key's id, or a user of a chat tool.
    pub given_by: String,
    /// When, in seconds since 1970 (UTC).
    pub at: i64,
}

/// A file that an ingestion left aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedFile {
    /// Where it is.
    pub path: String,
    /// Why, in English.
    pub reason: String,
    /// Why, in French.
    pub reason_fr: String,
    /// When, in seconds since 1970.
    pub at: i64,
}

impl Records {
    /// Opens a conversation.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn open_conversation(
        &self,
        id: &str,
        owner: &str,
        question: &str,
    ) -> Result<(), RecordsError> {
        let title: String = question.chars().take(TITLE_CHARS).collect();
        let sql = "INSERT INTO conversations VALUES (?1, ?2, ?3, ?4, ?4)";
        self.lock().execute(sql, params![id, owner, title, now()])?;
        Ok(())
    }

    /// A conversation of an owner.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn conversation(
        &self,
        id: &str,
        owner: &str,
    ) -> Result<Option<ConversationRecord>, RecordsError> {
        let connection = self.lock();
        let sql = "SELECT id, title, created, updated FROM conversations
                   WHERE id = ?1 AND owner = ?2";
        let mut statement = connection.prepare_cached(sql)?;
        Ok(statement.query_row([id, owner], read_conversation).optional()?)
    }

    /// The conversations of an owner, the last one first.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn conversations(
        &self,
        owner: &str,
        limit: usize,
    ) -> Result<Vec<ConversationRecord>, RecordsError> {
        let connection = self.lock();
        let sql = "SELECT id, title, created, updated FROM conversations WHERE owner = ?1
                   ORDER BY updated DESC, id LIMIT ?2";
        let mut statement = connection.prepare_cached(sql)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let found = statement.query_map(params![owner, limit], read_conversation)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Deletes a conversation with its answers and their feedback. False where the owner has none
    /// of that id.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn delete_conversation(&self, id: &str, owner: &str) -> Result<bool, RecordsError> {
        let sql = "DELETE FROM conversations WHERE id = ?1 AND owner = ?2";
        Ok(self.lock().execute(sql, [id, owner])? > 0)
    }

    /// Records an answer.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn record_answer(&self, answer: &AnswerRecord) -> Result<(), RecordsError> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        let at = now();
        transaction.execute(
            "INSERT INTO answers VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                answer.id,
                answer.owner,
                answer.conversation,
                answer.question,
                answer.understood_as,
                answer.text,
                answer.json.to_string(),
                answer.why.to_string(),
                at
            ],
        )?;
        for document in &answer.documents {
            let sql = "INSERT OR IGNORE INTO answer_documents VALUES (?1, ?2)";
            transaction.execute(sql, params![answer.id, document.0])?;
        }
        let sql = "UPDATE conversations SET updated = ?2 WHERE id = ?1";
        transaction.execute(sql, params![answer.conversation, at])?;
        Ok(transaction.commit()?)
    }

    /// An answer, whoever asked. One of a match that is open is none yet: it would tell which
    /// variant wrote it.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn answer(&self, id: &str) -> Result<Option<AnswerRecord>, RecordsError> {
        let connection = self.lock();
        let sql = format!(
            "{ANSWER} WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM matches
             WHERE choice IS NULL AND (left_answer = ?1 OR right_answer = ?1))"
        );
        let mut statement = connection.prepare_cached(&sql)?;
        Ok(statement.query_row([id], read_answer).optional()?)
    }

    /// The answers of a conversation, oldest first, with their feedback.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn turns(
        &self,
        conversation: &str,
    ) -> Result<Vec<(AnswerRecord, Option<Feedback>)>, RecordsError> {
        let connection = self.lock();
        let sql = format!("{ANSWER} WHERE conversation = ?1 ORDER BY created, rowid");
        let mut statement = connection.prepare_cached(&sql)?;
        let answers: Vec<AnswerRecord> =
            statement.query_map([conversation], read_answer)?.collect::<Result<_, _>>()?;
        let with_feedback = answers.into_iter().map(|answer| {
            let feedback = feedback_of(&connection, &answer.id)?;
            Ok((answer, feedback))
        });
        with_feedback.collect()
    }

    /// Records what somebody thought of an answer, instead of what was thought before. False where
    /// there is no such answer.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn give_feedback(&self, feedback: &Feedback, by: &str) -> Result<bool, RecordsError> {
        let connection = self.lock();
        let known = "SELECT EXISTS (SELECT 1 FROM answers WHERE id = ?1)";
        if !connection.query_row(known, [&feedback.answer], |row| row.get::<_, bool>(0))? {
            return Ok(false);
        }
        let text = |it: &Value| it.as_str().map(str::to_owned);
        connection.execute(
            "INSERT OR REPLACE INTO feedback VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                feedback.answer,
                text(&serde_json::to_value(feedback.rating)?),
                feedback.reason.map(serde_json::to_value).transpose()?.as_ref().and_then(text),
                feedback.correction,
                serde_json::to_string(&feedback.labels)?,
                feedback.comment,
                by,
                now()
            ],
        )?;
        Ok(true)
    }

    /// What somebody thought of an answer; `None` where nobody has said it.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn feedback_on(&self, answer: &str) -> Result<Option<Feedback>, RecordsError> {
        feedback_of(&self.lock(), answer)
    }

    /// All feedback with its answers, oldest first.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn feedback(&self) -> Result<Vec<FeedbackRecord>, RecordsError> {
        let connection = self.lock();
        let sql = "SELECT answer, rating, reason, correction, labels, comment,
                          coalesce(understood_as, question), text, json, why, given_by, at
                   FROM feedback JOIN answers ON answers.id = feedback.answer ORDER BY at, answer";
        let mut statement = connection.prepare_cached(sql)?;
        let found = statement.query_map([], |row| {
            Ok(FeedbackRecord {
                feedback: read_feedback(row)?,
                question: row.get(6)?,
                text: row.get(7)?,
                json: json(row, 8)?,
                why: json(row, 9)?,
                given_by: row.get(10)?,
                at: row.get(11)?,
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Forgets answers that hold passages of documents, and the conversations that they stand in.
    /// Returns how many answers those were.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn forget_documents(&self, documents: &[DocumentId]) -> Result<usize, RecordsError> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        let count = |it: &rusqlite::Transaction<'_>| {
            it.query_row("SELECT count(*) FROM answers", [], |row| row.get::<_, usize>(0))
        };
        let before = count(&transaction)?;
        for document in documents {
            // A conversation's later questions lean on its answers: it goes as a whole.
            transaction.execute(
                "DELETE FROM conversations WHERE id IN (
                    SELECT conversation FROM answers
                    JOIN answer_documents ON answer = answers.id WHERE document = ?1)",
                [document.0],
            )?;
            transaction.execute(
                "DELETE FROM answers WHERE id IN (
                    SELECT answer FROM answer_documents WHERE document = ?1)",
                [document.0],
            )?;
        }
        let n_forgotten = before - count(&transaction)?;
        transaction.commit()?;
        Self::settle(&connection)?;
        Ok(n_forgotten)
    }

    /// Forgets conversations and answers that are older than a moment, in seconds since 1970 (UTC).
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn forget_before(&self, moment: i64) -> Result<(), RecordsError> {
        let connection = self.lock();
        connection.execute("DELETE FROM conversations WHERE updated < ?1", [moment])?;
        // Answers that somebody judged are kept: people took the trouble.
        connection.execute(
            "DELETE FROM answers WHERE conversation IS NULL AND created < ?1
             AND id NOT IN (SELECT answer FROM feedback)
             AND id NOT IN (SELECT left_answer FROM matches WHERE choice IS NOT NULL)
             AND id NOT IN (SELECT right_answer FROM matches WHERE choice IS NOT NULL)",
            [moment],
        )?;
        Ok(())
    }

    /// Replaces what is known of files in these folders that the last ingestion left aside.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn set_skipped(&self, roots: &[PathBuf], skipped: &[Skipped]) -> Result<(), RecordsError> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        for root in roots {
            let root = root.display();
            let sql = "DELETE FROM skipped WHERE path = ?1 OR substr(path, 1, length(?2)) = ?2";
            transaction.execute(sql, params![root.to_string(), format!("{root}/")])?;
        }
        let at = now();
        for Skipped { path, reason } in skipped {
            let path = path.display().to_string();
            let [reason, reason_fr] =
                [Language::English, Language::French].map(|it| skip_text(reason, it));
            let sql = "INSERT OR REPLACE INTO skipped (path, reason, reason_fr, at)
                       VALUES (?1, ?2, ?3, ?4)";
            transaction.execute(sql, params![path, reason, reason_fr, at])?;
        }
        Ok(transaction.commit()?)
    }

    /// Files that the last ingestion left aside, by path.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn skipped(&self) -> Result<Vec<SkippedFile>, RecordsError> {
        let connection = self.lock();
        let sql = "SELECT path, reason, reason_fr, at FROM skipped ORDER BY path";
        let mut statement = connection.prepare_cached(sql)?;
        let found = statement.query_map([], |row| {
            Ok(SkippedFile {
                path: row.get(0)?,
                reason: row.get(1)?,
                reason_fr: row.get(2)?,
                at: row.get(3)?,
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }
}

const ANSWER: &str =
    "SELECT id, owner, conversation, question, understood_as, text, json, why FROM answers";

fn feedback_of(
    connection: &rusqlite::Connection,
    answer: &str,
) -> Result<Option<Feedback>, RecordsError> {
    let sql = "SELECT answer, rating, reason, correction, labels, comment FROM feedback
               WHERE answer = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([answer], read_feedback).optional()?)
}

fn read_conversation(row: &Row<'_>) -> rusqlite::Result<ConversationRecord> {
    Ok(ConversationRecord {
        id: row.get(0)?,
        title: row.get(1)?,
        created: row.get(2)?,
        updated: row.get(3)?,
    })
}

fn read_answer(row: &Row<'_>) -> rusqlite::Result<AnswerRecord> {
    Ok(AnswerRecord {
        id: row.get(0)?,
        owner: row.get(1)?,
        conversation: row.get(2)?,
        question: row.get(3)?,
        understood_as: row.get(4)?,
        text: row.get(5)?,
        json: json(row, 6)?,
        why: json(row, 7)?,
        documents: Vec::new(),
    })
}

fn read_feedback(row: &Row<'_>) -> rusqlite::Result<Feedback> {
    let word = |at: usize, it: String| from_json(at, &Value::String(it).to_string());
    let reason: Option<String> = row.get(2)?;
    Ok(Feedback {
        answer: row.get(0)?,
        rating: from_json(1, &Value::String(row.get(1)?).to_string())?,
        reason: reason.map(|it| word(2, it)).transpose()?,
        correction: row.get(3)?,
        labels: json(row, 4)?,
        comment: row.get(5)?,
    })
}

pub(super) fn json<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    at: usize,
) -> rusqlite::Result<T> {
    from_json(at, &row.get::<_, String>(at)?)
}

fn from_json<T: serde::de::DeserializeOwned>(at: usize, text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|error| {
        let kind = rusqlite::types::Type::Text;
        rusqlite::Error::FromSqlConversionFailure(at, kind, error.into())
    })
}
