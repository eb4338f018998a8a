//! A dataset on disk: one file for each kind of row, what was dropped and why, and how it was made.
//!
//! ```text
//! DIR/build.json          what it is made from; written first
//! DIR/supervised.jsonl    conversations, with their provenance
//! DIR/text.jsonl, preference.jsonl, unpaired.jsonl
//! DIR/dropped.jsonl       what was not kept, and why
//! DIR/report.json         counts; written last
//! ```
//!
//! Rows are appended as they are made: a build that was stopped goes on from there.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use fs_err as fs;
use index::atomic_file;
use serde_json::{Value, json};
use tune::dataset::{
    filter::Dropped,
    format::Format,
    jsonl::{BadLines, RowWriter, RowsError, read},
    near::{Seen, words_of},
    personal,
    row::{BodyKind, Row},
    split::Split,
};

/// Why a dataset's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file of it cannot be read or written.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// A file of it cannot be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It was made from something else.
    #[error(
        "the dataset in `{}` was made from other documents, models, prompts or settings", path.display()
    )]
    OtherRecipe {
        /// The folder.
        path: PathBuf,
    },
    /// There is something else in the folder.
    #[error("`{}` holds files that are no dataset of ours", path.display())]
    NotOurs {
        /// The folder.
        path: PathBuf,
    },
}

/// A dataset that is being made.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    writers: BTreeMap<BodyKind, RowWriter>,
    dropped: RowWriter,
    /// Identities of rows that are there, and of what was dropped or done before.
    known: BTreeSet<String>,
    /// What was asked in each piece of work that is done.
    asked_by: BTreeMap<String, Vec<String>>,
    /// Questions of the rows that are there, and the part of each.
    asked: Seen,
    asked_in: Vec<Split>,
    /// What is there: how many rows of each kind and way of making, and how many were dropped why.
    pub counts: Counts,
}

/// What is in a dataset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows by kind and by how they were made.
    pub rows: BTreeMap<(BodyKind, &'static str), usize>,
    /// What was dropped: how it was made, why, how often.
    pub dropped: BTreeMap<(String, Dropped), usize>,
    /// Rows that an earlier run had made.
    pub n_resumed: usize,
}

impl Counts {
    /// All rows.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.rows.values().sum()
    }

    fn add(&mut self, row: &Row) {
        let made_by = row.meta.made_by.map_or("other", |it| it.as_str());
        *self.rows.entry((row.body.kind(), made_by)).or_default() += 1;
    }
}

impl Folder {
    /// The file of rows of a kind.
    #[must_use]
    pub fn file(dir: &Path, kind: BodyKind) -> PathBuf {
        dir.join(format!("{}.jsonl", kind.as_str()))
    }

    /// Opens a dataset to go on with it, or begins one. `recipe` says what it is made from: another
    /// one is an error, unless the dataset is to be made anew.
    ///
    /// # Errors
    /// [`FolderError`]
    pub fn open(dir: &Path, recipe: &Value, anew: bool) -> Result<Self, FolderError> {
        fs::create_dir_all(dir)?;
        let recipe_path = dir.join("build.json");
        if anew && recipe_path.exists() {
            for name in ["report.json", "dropped.jsonl"] {
                remove(&dir.join(name))?;
            }
            for kind in BodyKind::ALL {
                remove(&Self::file(dir, kind))?;
            }
            remove(&recipe_path)?;
        }
        if recipe_path.exists() {
            // As text: numbers need not come back from it as they went into it.
            if fs::read_to_string(&recipe_path)? != text_of(recipe) {
                return Err(FolderError::OtherRecipe { path: dir.to_owned() });
            }
        } else {
            let has_rows = BodyKind::ALL.iter().any(|it| Self::file(dir, *it).exists());
            if has_rows {
                return Err(FolderError::NotOurs { path: dir.to_owned() });
            }
            atomic_file::write(&recipe_path, text_of(recipe).as_bytes())?;
        }
        let dropped_path = dir.join("dropped.jsonl");
        let dropped = RowWriter::append(&dropped_path, Format::Text)?;
        let mut res = Self {
            dir: dir.to_owned(),
            writers: BTreeMap::new(),
            dropped,
            known: BTreeSet::new(),
            asked_by: BTreeMap::new(),
            asked: Seen::default(),
            asked_in: Vec::new(),
            counts: Counts::default(),
        };
        res.remember(&dropped_path)?;
        Ok(res)
    }

    /// Reads what an earlier run left.
    fn remember(&mut self, dropped_path: &Path) -> Result<(), FolderError> {
        for kind in BodyKind::ALL {
            let path = Self::file(&self.dir, kind);
            if !path.exists() {
                continue;
            }
            self.writers.insert(kind, RowWriter::append(&path, Format::own(kind))?);
            for row in read(&path, BadLines::Stop)?.rows {
                self.counts.n_resumed += 1;
                self.count(&row);
            }
        }
        for line in fs::read_to_string(dropped_path)?.lines() {
            let Ok(value) = serde_json::from_str::<Value>(line) else { continue };
            let Some(id) = value["id"].as_str() else { continue };
            self.known.insert(id.to_owned());
            if let Ok(asked) = serde_json::from_value(value["asked"].clone()) {
                self.asked_by.insert(id.to_owned(), asked);
            }
            let why = serde_json::from_value(value["reason"].clone());
            if let (Ok(why), Some(made_by)) = (why, value["made_by"].as_str()) {
                *self.counts.dropped.entry((made_by.to_owned(), why)).or_default() += 1;
            }
        }
        Ok(())
    }

    /// Whether something of this identity was kept, dropped or done before.
    #[must_use]
    pub fn knows(&self, id: &str) -> bool {
        self.known.contains(id)
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn keep(&mut self, row: &Row) -> Result<(), FolderError> {
        let kind = row.body.kind();
        let writer = match self.writers.entry(kind) {
            std::collections::btree_map::Entry::Occupied(it) => it.into_mut(),
            std::collections::btree_map::Entry::Vacant(it) => {
                it.insert(RowWriter::append(&Self::file(&self.dir, kind), Format::own(kind))?)
            }
        };
        writer.write(row)?;
        writer.flush()?;
        self.count(row);
        Ok(())
    }

    fn count(&mut self, row: &Row) {
        self.counts.add(row);
        self.known.insert(row.id.clone());
        if let (Some(question), Some(part)) = (row.question(), row.meta.split) {
            self.asked.push(words_of(question));
            self.asked_in.push(part);
        }
    }

    /// Whether a row asks nearly what a row of another part asks: then it must not be kept.
    #[must_use]
    pub fn asked_elsewhere(&self, row: &Row) -> bool {
        let (Some(question), Some(part)) = (row.question(), row.meta.split) else { return false };
        let near = self.asked.all_near(&words_of(question));
        near.into_iter().any(|it| self.asked_in[it] != part)
    }

    /// Records that something was dropped, so that it is not tried again.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn drop_row(
        &mut self,
        id: &str,
        made_by: &str,
        question: &str,
        why: Dropped,
    ) -> Result<(), FolderError> {
        // What was dropped because it would teach personal data is not to be found here either.
        let question = personal::masked(question).unwrap_or_else(|| question.to_owned());
        let line = json!({"id": id, "made_by": made_by, "reason": why, "question": question});
        self.dropped.write_value(&line)?;
        self.dropped.flush()?;
        *self.counts.dropped.entry((made_by.to_owned(), why)).or_default() += 1;
        self.known.insert(id.to_owned());
        Ok(())
    }

    /// Records that a piece of work is done, so that it is not done again, and the questions that
    /// held in it: later ones must not repeat them, after a stop either.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn done(&mut self, id: &str, asked: Vec<String>) -> Result<(), FolderError> {
        // What may be a row with its personal data masked is remembered so, too.
        let masked = |it: String| personal::masked(&it).unwrap_or(it);
        let asked: Vec<String> = asked.into_iter().map(masked).collect();
        self.dropped.write_value(&json!({"id": id, "done": true, "asked": asked}))?;
        self.dropped.flush()?;
        self.known.insert(id.to_owned());
        self.asked_by.insert(id.to_owned(), asked);
        Ok(())
    }

    /// The questions that held in a piece of work; `None` where it is not done.
    #[must_use]
    pub fn asked_by(&self, id: &str) -> Option<&[String]> {
        self.asked_by.get(id).map(Vec::as_slice)
    }

    /// Writes the report.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(&self, report: &Value) -> Result<(), FolderError> {
        Ok(atomic_file::write(&self.dir.join("report.json"), text_of(report).as_bytes())?)
    }
}

fn remove(path: &Path) -> std::io::Result<()> {
    if path.exists() { fs::remove_file(path) } else { Ok(()) }
}

fn text_of(value: &Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tune::dataset::row::{Body, MadeBy, Meta};

    fn row(text: &str) -> Row {
        let meta = Meta { made_by: Some(MadeBy::Text), ..Meta::default() };
        Row::new(&[text], Body::Text(text.to_owned()), meta)
    }

    #[test]
    fn parts_do_not_ask_the_same_after_a_stop_either() {
        let of = |question: &str, split: Split| {
            let question = Some(question.to_owned());
            Row { meta: Meta { question, split: Some(split), ..row("").meta }, ..row("a") }
        };
        let dir = tempfile::tempdir().unwrap();
        let recipe = json!({"seed": 1});
        let mut folder = Folder::open(dir.path(), &recipe, false).unwrap();
        folder.keep(&of("Who pays for the taxi home?", Split::Test)).unwrap();
        drop(folder);
        let mut folder = Folder::open(dir.path(), &recipe, false).unwrap();
        let near = "who pays for the taxi home";
        assert!(folder.asked_elsewhere(&of(near, Split::Train)));
        assert!(!folder.asked_elsewhere(&of(near, Split::Test)));
        assert!(!folder.asked_elsewhere(&of("Who pays for the train?", Split::Train)));
        folder.drop_row("x", "feedback", "Call 02 61 91 35 35?", Dropped::PersonalData).unwrap();
        let dropped = fs::read_to_string(dir.path().join("dropped.jsonl")).unwrap();
        assert!(dropped.contains("Call [phone]?"), "{dropped}");
    }

    #[test]
    fn a_stopped_build_goes_on_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let recipe = json!({"seed": 1});
        let mut folder = Folder::open(dir.path(), &recipe, false).unwrap();
        folder.keep(&row("a")).unwrap();
        folder.drop_row("x1", "section", "Q?", Dropped::NotFound).unwrap();
        let asked = ["Who?", "Is it a.b@c.example?"].map(str::to_owned);
        folder.done("c1", asked.to_vec()).unwrap();
        let counts = folder.counts.clone();
        drop(folder);
        let path = Folder::file(dir.path(), BodyKind::Text);
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str("{\"text\": \"half");
        fs::write(&path, text).unwrap();
        let folder = Folder::open(dir.path(), &recipe, false).unwrap();
        assert!(["x1", "c1", &row("a").id].iter().all(|it| folder.knows(it)));
        assert!(!folder.knows(&row("b").id));
        let asked = ["Who?", "Is it [e-mail]?"].map(str::to_owned);
        assert_eq!((folder.asked_by("c1"), folder.asked_by("c2")), (Some(&asked[..]), None));
        assert_eq!(folder.counts, Counts { n_resumed: 1, ..counts });
        let other = Folder::open(dir.path(), &json!({"seed": 2}), false);
        assert!(matches!(other, Err(FolderError::OtherRecipe { .. })));
        let anew = Folder::open(dir.path(), &json!({"seed": 2}), true).unwrap();
        assert_eq!(anew.counts, Counts::default());
    }
}
