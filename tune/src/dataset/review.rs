//! What people decided about single rows: kept beside the rows, which stay as they were made.
//!
//! `review.jsonl` in the dataset's folder holds one decision a line; the last one about a row counts.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use fs_err as fs;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    jsonl::{self, BadLines, Rows, RowsError},
    row::{Body, Row},
};

/// The file beside the rows.
pub const FILE: &str = "review.jsonl";

/// What somebody decided about a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It is good.
    Approved,
    /// It must not be trained on.
    Rejected,
    /// Nobody has decided, or not any more.
    Open,
}

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// The row.
    pub id: String,
    /// What is to become of it.
    pub decision: Decision,
    /// Its texts in place of those that were made: see [`texts`]. Empty where nothing was changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<String>,
    /// Who decided.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// When, in seconds since 1970 (UTC).
    #[serde(default)]
    pub at: i64,
}

/// The decisions about the rows of a dataset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reviews(BTreeMap<String, Review>);

impl Reviews {
    /// Reads the decisions beside a file of rows, or of the folder above where its parts were split
    /// off; none where there are none. A last line that was cut short is none yet.
    ///
    /// # Errors
    /// When the file cannot be read, or a line of it is no decision.
    pub fn beside(rows: &Path) -> Result<Self, RowsError> {
        match file_for(rows) {
            Some(path) => Self::read(&path),
            None => Ok(Self::default()),
        }
    }

    /// Reads a file of decisions.
    ///
    /// # Errors
    /// When it cannot be read, or a line of it is no decision.
    pub fn read(path: &Path) -> Result<Self, RowsError> {
        let text = fs::read_to_string(path)?;
        let whole = text.rfind('\n').map_or(0, |it| it + 1);
        let mut res = BTreeMap::new();
        for line in text[..whole].lines().filter(|it| !it.trim().is_empty()) {
            let review: Review = serde_json::from_str(line)
                .map_err(|error| io::Error::other(format!("`{}`: {error}", path.display())))?;
            res.insert(review.id.clone(), review);
        }
        Ok(Self(res))
    }

    /// What was decided about a row.
    #[must_use]
    pub fn of(&self, id: &str) -> Option<&Review> {
        self.0.get(id)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a row must not be trained on.
    #[must_use]
    pub fn is_rejected(&self, id: &str) -> bool {
        self.of(id).is_some_and(|it| it.decision == Decision::Rejected)
    }

    /// A row as people changed it; `None` where they rejected it.
    #[must_use]
    pub fn apply(&self, mut row: Row) -> Option<Row> {
        let Some(review) = self.of(&row.id) else { return Some(row) };
        if review.decision == Decision::Rejected {
            return None;
        }
        set_texts(&mut row.body, &review.texts);
        Some(row)
    }

    /// The same for a row as JSON, in a format of ours. What is in another format, and so has no
    /// identity of ours, is left as it is.
    #[must_use]
    pub fn apply_json(&self, row: Value) -> Option<Value> {
        let id = row["id"].as_str().unwrap_or_default();
        let Some(review) = self.of(id) else { return Some(row) };
        if review.decision == Decision::Rejected {
            return None;
        }
        if review.texts.is_empty() {
            return Some(row);
        }
        let Ok((format, read)) = super::format::read(&row) else { return Some(row) };
        let changed = self.apply(read)?;
        Some(super::format::write(&changed, format).unwrap_or(row))
    }
}

/// Where the decisions about a file of rows are: beside it, or beside the dataset that it was split
/// off from (`DATASET/split/supervised/train.jsonl`).
fn file_for(rows: &Path) -> Option<PathBuf> {
    let folders = rows.ancestors().skip(1).take(3);
    folders.map(|it| it.join(FILE)).find(|it| it.is_file())
}

/// Reads a file of rows as people left them: without those that they rejected, and with their
/// changes.
///
/// # Errors
/// As [`jsonl::read`].
pub fn read(path: &Path, bad_lines: BadLines) -> Result<Rows, RowsError> {
    let mut res = jsonl::read(path, bad_lines)?;
    let reviews = Reviews::beside(path)?;
    if reviews.is_empty() {
        return Ok(res);
    }
    let (rows, lines) = (std::mem::take(&mut res.rows), std::mem::take(&mut res.lines));
    for (row, line) in rows.into_iter().zip(lines) {
        if let Some(row) = reviews.apply(row) {
            res.rows.push(row);
            res.lines.push(line);
        }
    }
    Ok(res)
}

/// Adds a decision to those of a dataset's folder.
///
/// # Errors
/// When the file cannot be written.
pub fn add(dir: &Path, review: &Review) -> io::Result<()> {
    let mut line = serde_json::to_vec(review).map_err(io::Error::from)?;
    line.push(b'\n');
    let path = dir.join(FILE);
    let mut file = fs::OpenOptions::new().append(true).create(true).open(&path)?;
    // A kill may have cut the last line: what comes after it must not become a part of it.
    let before = fs::read(&path)?;
    let whole = before.iter().rposition(|it| *it == b'\n').map_or(0, |it| it + 1);
    if whole < before.len() {
        file.set_len(u64::try_from(whole).unwrap_or(u64::MAX))?;
    }
    // In one piece: a line is there whole, or it is the last one and cut.
    file.write_all(&line)
}

/// The texts of a row that people may change: what is learnt, or learnt to be avoided. The prompt
/// stays: it is what answering makes.
#[must_use]
pub fn texts(body: &Body) -> Vec<String> {
    match body {
        Body::Messages(all) => all.last().map(|it| it.content.clone()).into_iter().collect(),
        _ => body.targets().into_iter().map(str::to_owned).collect(),
    }
}

fn set_texts(body: &mut Body, changed: &[String]) {
    match (body, changed) {
        (Body::Messages(all), [text]) => {
            if let Some(last) = all.last_mut() {
                last.content.clone_from(text);
            }
        }
        (Body::Preference { chosen, rejected, .. }, [first, second]) => {
            chosen.clone_from(first);
            rejected.clone_from(second);
        }
        (Body::Unpaired { completion: text, .. } | Body::Text(text), [changed]) => {
            text.clone_from(changed);
        }
        // As many texts as the body has, or none: see `fits`.
        (
            Body::Messages(_) | Body::Preference { .. } | Body::Unpaired { .. } | Body::Text(_),
            _,
        ) => {}
    }
}

/// Whether texts can take the place of a row's own.
#[must_use]
pub fn fits(body: &Body, changed: &[String]) -> bool {
    changed.is_empty()
        || (changed.len() == texts(body).len() && changed.iter().all(|it| !it.trim().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{
        format::Format,
        jsonl::RowWriter,
        row::{Message, Meta, Role},
    };

    fn row(id: &str, answer: &str) -> Row {
        let all = vec![Message::new(Role::User, "?"), Message::new(Role::Assistant, answer)];
        Row { id: id.to_owned(), body: Body::Messages(all), meta: Meta::default() }
    }

    fn review(id: &str, decision: Decision, texts: &[&str]) -> Review {
        let texts = texts.iter().map(|it| (*it).to_owned()).collect();
        Review { id: id.to_owned(), decision, texts, by: String::new(), at: 7 }
    }

    #[test]
    fn rejected_rows_are_gone_and_changed_ones_changed_also_in_parts_split_off() {
        let dir = tempfile::tempdir().unwrap();
        let part = dir.path().join("split/supervised/train.jsonl");
        fs::create_dir_all(part.parent().unwrap()).unwrap();
        for path in [dir.path().join("supervised.jsonl"), part] {
            let mut writer = RowWriter::create(&path, Format::Messages).unwrap();
            for (id, answer) in [("a", "1"), ("b", "2"), ("c", "3")] {
                writer.write(&row(id, answer)).unwrap();
            }
            writer.flush().unwrap();
            drop(writer);
            if !dir.path().join(FILE).exists() {
                add(dir.path(), &review("a", Decision::Rejected, &[])).unwrap();
                add(dir.path(), &review("b", Decision::Rejected, &[])).unwrap();
                add(dir.path(), &review("b", Decision::Approved, &["zwei"])).unwrap();
                // As a kill leaves it.
                let mut torn = fs::read(dir.path().join(FILE)).unwrap();
                torn.extend_from_slice(b"{\"id\":\"c");
                fs::write(dir.path().join(FILE), torn).unwrap();
            }
            let found = read(&path, BadLines::Stop).unwrap();
            let answers: Vec<&str> = found.rows.iter().map(|it| it.body.targets()[0]).collect();
            assert_eq!(answers, ["zwei", "3"]);
            assert_eq!(found.lines, [2, 3]);
        }
    }

    #[test]
    fn a_decision_after_a_cut_line_stands_on_a_line_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        fs::write(&path, "{\"id\":\"c").unwrap();
        add(dir.path(), &review("a", Decision::Rejected, &[])).unwrap();
        add(dir.path(), &review("b", Decision::Approved, &[])).unwrap();
        let found = Reviews::read(&path).unwrap();
        assert!(found.is_rejected("a") && !found.is_rejected("b") && found.of("c").is_none());
        fs::write(&path, "{\"id\":1}\n{}\n").unwrap();
        let error = Reviews::read(&path).unwrap_err().to_string();
        assert!(error.contains(FILE), "a damaged line in the middle is told: {error}");
    }

    #[test]
    fn json_rows_follow_the_same_decisions() {
        let reviews = Reviews(
            [review("a", Decision::Rejected, &[]), review("b", Decision::Open, &["zwei"])]
                .into_iter()
                .map(|it| (it.id.clone(), it))
                .collect(),
        );
        let json =
            |id: &str| crate::dataset::format::write(&row(id, "1"), Format::Messages).unwrap();
        assert_eq!(reviews.apply_json(json("a")), None);
        let changed = reviews.apply_json(json("b")).unwrap();
        assert_eq!(changed["messages"][1]["content"], "zwei");
        assert_eq!(reviews.apply_json(json("c")), Some(json("c")));
        let other = serde_json::json!({"instruction": "?", "output": "!"});
        assert_eq!(reviews.apply_json(other.clone()), Some(other));
    }

    #[test]
    fn texts_fit_where_there_are_as_many() {
        let body = row("a", "1").body;
        assert_eq!(texts(&body), ["1"]);
        assert!(fits(&body, &[]) && fits(&body, &["x".to_owned()]));
        assert!(!fits(&body, &[" ".to_owned()]) && !fits(&body, &["x".to_owned(), "y".to_owned()]));
    }
}
