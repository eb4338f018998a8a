//! Two answers to one question, side by side, and which of them somebody chose: votes of the arena,
//! and the best of several answers.

use rusqlite::{OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Records, RecordsError, new_id, now};

/// Which of two answers is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// The left one.
    Left,
    /// The right one.
    Right,
    /// Both are good.
    Both,
    /// Neither is.
    Neither,
}

impl Choice {
    /// The word in files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
            Self::Both => "both",
            Self::Neither => "neither",
        }
    }

    fn named(word: &str) -> Option<Self> {
        [Self::Left, Self::Right, Self::Both, Self::Neither]
            .into_iter()
            .find(|it| it.as_str() == word)
    }
}

/// An answer of a match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// The answer's id.
    pub answer: String,
    /// Which variant wrote it; `None` where somebody compared answers that they were given.
    pub arm: Option<String>,
}

/// A match that nobody has decided yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Its id, `m_…`.
    pub id: String,
    /// Who asked, and alone may choose.
    pub owner: String,
    /// The question.
    pub question: String,
    /// The answer on the left.
    pub left: Side,
    /// The answer on the right.
    pub right: Side,
}

/// A side of a vote, with what was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Voted {
    /// The answer and its variant.
    pub side: Side,
    /// The answer's text.
    pub text: String,
    /// The answer as `POST /v1/ask` gives it.
    pub json: Value,
    /// The prompt, and what was cut.
    pub why: Value,
}

/// A match that somebody has decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Vote {
    /// The match's id.
    pub id: String,
    /// Who chose.
    pub given_by: String,
    /// The question.
    pub question: String,
    /// The answer on the left.
    pub left: Voted,
    /// The answer on the right.
    pub right: Voted,
    /// Which is better.
    pub choice: Choice,
    /// Why, in words.
    pub reason: Option<String>,
    /// When, in seconds since 1970 (UTC).
    pub at: i64,
}

/// What came of an attempt to vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VoteOutcome {
    /// The owner has no such match.
    Unknown,
    /// It was decided before.
    Decided,
    /// It is decided now.
    Recorded(Match),
}

impl Records {
    /// Opens a match over two answers that are recorded. Until it is decided nobody can look them
    /// up: they would tell which variant wrote them.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn open_match(&self, it: &Match) -> Result<(), RecordsError> {
        let sql = "INSERT INTO matches VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL, NULL, ?8, NULL)";
        let (left, right) = (&it.left, &it.right);
        self.lock().execute(
            sql,
            params![
                it.id,
                it.owner,
                it.question,
                left.answer,
                right.answer,
                left.arm,
                right.arm,
                now()
            ],
        )?;
        Ok(())
    }

    /// Decides a match of an owner, once.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn vote(
        &self,
        id: &str,
        owner: &str,
        choice: Choice,
        reason: Option<&str>,
    ) -> Result<VoteOutcome, RecordsError> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        let sql = "SELECT id, owner, question, left_answer, left_arm, right_answer, right_arm,
                          choice IS NOT NULL
                   FROM matches WHERE id = ?1 AND owner = ?2";
        let found = transaction
            .query_row(sql, [id, owner], |row| Ok((read_match(row)?, row.get::<_, bool>(7)?)))
            .optional()?;
        let outcome = match found {
            None => VoteOutcome::Unknown,
            Some((_, true)) => VoteOutcome::Decided,
            Some((it, false)) => {
                transaction.execute(
                    "UPDATE matches SET choice = ?2, reason = ?3, chosen = ?4 WHERE id = ?1",
                    params![id, choice.as_str(), reason, now()],
                )?;
                VoteOutcome::Recorded(it)
            }
        };
        transaction.commit()?;
        Ok(outcome)
    }

    /// Records that one answer is better than each of others to the same question. False where one
    /// of them is not recorded, or not the owner's: then nothing is.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn prefer(
        &self,
        owner: &str,
        best: &str,
        others: &[String],
        reason: Option<&str>,
    ) -> Result<bool, RecordsError> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        let question = |id: &str| {
            let sql = "SELECT coalesce(understood_as, question) FROM answers
                       WHERE id = ?1 AND owner = ?2 AND NOT EXISTS (SELECT 1 FROM matches
                       WHERE choice IS NULL AND (left_answer = ?1 OR right_answer = ?1))";
            transaction.query_row(sql, [id, owner], |row| row.get::<_, String>(0)).optional()
        };
        let Some(asked) = question(best)? else { return Ok(false) };
        for other in others {
            if question(other)?.is_none() {
                return Ok(false);
            }
            // What was chosen last counts.
            transaction.execute(
                "DELETE FROM matches WHERE left_arm IS NULL
                 AND ((left_answer = ?1 AND right_answer = ?2)
                   OR (left_answer = ?2 AND right_answer = ?1))",
                [best, other],
            )?;
            transaction.execute(
                "INSERT INTO matches
                 VALUES (?1, ?2, ?3, ?4, ?5, NULL, NULL, 'left', ?6, ?7, ?7)",
                params![new_id("m_")?, owner, asked, best, other, reason, now()],
            )?;
        }
        transaction.commit()?;
        Ok(true)
    }

    /// All votes with their answers, oldest first.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn votes(&self) -> Result<Vec<Vote>, RecordsError> {
        let connection = self.lock();
        let sql = "SELECT matches.id, matches.owner, matches.question,
                          left_answer, left_arm, right_answer, right_arm, choice, reason, chosen,
                          one.text, one.json, one.why, two.text, two.json, two.why
                   FROM matches JOIN answers AS one ON one.id = left_answer
                   JOIN answers AS two ON two.id = right_answer
                   WHERE choice IS NOT NULL ORDER BY chosen, matches.rowid";
        let mut statement = connection.prepare_cached(sql)?;
        let found = statement.query_map([], |row| {
            let it = read_match(row)?;
            let choice: String = row.get(7)?;
            let json = |at: usize| super::answers::json::<Value>(row, at);
            Ok(Vote {
                id: it.id,
                given_by: it.owner,
                question: it.question,
                left: Voted { side: it.left, text: row.get(10)?, json: json(11)?, why: json(12)? },
                right: Voted {
                    side: it.right,
                    text: row.get(13)?,
                    json: json(14)?,
                    why: json(15)?,
                },
                choice: Choice::named(&choice).ok_or_else(|| no_choice(&choice))?,
                reason: row.get(8)?,
                at: row.get(9)?,
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Which variants met, oldest first, and what was chosen: left and right.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn arena(&self) -> Result<Vec<(String, String, Choice)>, RecordsError> {
        let connection = self.lock();
        let sql = "SELECT left_arm, right_arm, choice FROM matches
                   WHERE choice IS NOT NULL AND left_arm IS NOT NULL AND right_arm IS NOT NULL
                   ORDER BY chosen, rowid";
        let mut statement = connection.prepare_cached(sql)?;
        let found = statement.query_map([], |row| {
            let choice: String = row.get(2)?;
            let choice = Choice::named(&choice).ok_or_else(|| no_choice(&choice))?;
            Ok((row.get(0)?, row.get(1)?, choice))
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }
}

fn read_match(row: &Row<'_>) -> rusqlite::Result<Match> {
    Ok(Match {
        id: row.get(0)?,
        owner: row.get(1)?,
        question: row.get(2)?,
        left: Side { answer: row.get(3)?, arm: row.get(4)? },
        right: Side { answer: row.get(5)?, arm: row.get(6)? },
    })
}

fn no_choice(word: &str) -> rusqlite::Error {
    let kind = rusqlite::types::Type::Text;
    rusqlite::Error::FromSqlConversionFailure(7, kind, format!("no choice `{word}`").into())
}
