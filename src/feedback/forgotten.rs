//! Few-shot examples go with the answers that they were made of: when these are forgotten, the files
//! are removed. What people wrote themselves is left to them, and named.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::{
    prompts::Example,
    records::{NewEntry, Records, RecordsError},
};

/// Characters of a passage from which it is known again in another file: less stands anywhere.
const KNOWN_CHARS_MIN: usize = 12;

/// What became of examples whose answers are gone.
#[derive(Debug, Default)]
pub struct ForgottenExamples {
    /// Their files, as they were recorded.
    pub removed: Vec<PathBuf>,
    /// Files that hold, or may hold, words of them still.
    pub unreached: Vec<Unreached>,
}

/// A file that holds, or may hold, words that were to be forgotten.
#[derive(Debug, thiserror::Error)]
pub enum Unreached {
    /// Somebody put the words there.
    #[error(
        "`{}` holds words of an example that was removed: it was written by hand, so edit or remove \
         it yourself", path.display()
    )]
    Copy {
        /// The file.
        path: PathBuf,
    },
    /// Somebody moved it, or removed it already.
    #[error("the example `{}` was not there: if it was moved, remove it where it is", path.display())]
    Moved {
        /// Where it was.
        path: PathBuf,
    },
    /// It could not be removed; the next call tries again.
    #[error("the example `{}` could not be removed: remove it yourself", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl Unreached {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Copy { path } | Self::Moved { path } | Self::Failed { path, .. } => path,
        }
    }
}

/// Removes the examples whose answers are gone; to be called after whatever deletes answers. What a
/// crash leaves, the next call finds. Copies are sought in the folders of the examples, and in
/// `prompts_dir`, that of the settings.
///
/// # Errors
/// [`RecordsError`]
pub fn forget_examples(
    records: &Records,
    prompts_dir: &Path,
) -> Result<ForgottenExamples, RecordsError> {
    let mut res = ForgottenExamples::default();
    let (mut known, mut folders) = (Vec::new(), BTreeSet::new());
    for (path, answer) in records.orphaned_examples()? {
        let example = fs_err::read_to_string(&path).ok();
        let example = example.and_then(|it| toml::from_str::<Example>(&it).ok());
        known.extend(example.iter().flat_map(known_by));
        known.push(answer.clone());
        folders.extend(path.ancestors().skip(1).take(2).map(Path::to_owned));
        match fs_err::remove_file(&path) {
            Ok(()) => {
                let (detail, object) = (path.to_string_lossy(), Some(answer.as_str()));
                let (action, detail) = ("example.forget", Some(&*detail));
                records.audit(&NewEntry { action, object, detail, ..NewEntry::default() })?;
                res.removed.push(path.clone());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                res.unreached.push(Unreached::Moved { path: path.clone() });
            }
            Err(source) => {
                res.unreached.push(Unreached::Failed { path, source });
                continue;
            }
        }
        records.settle_example(&path)?;
    }
    if !known.is_empty() {
        // Where no folder is set, or it is gone, nothing is read from it.
        if let Ok(of_settings) = fs_err::canonicalize(prompts_dir) {
            folders.extend([of_settings.join("examples"), of_settings]);
        }
        let is_told = |path: &Path| res.unreached.iter().any(|it| it.path() == path);
        let copies: Vec<PathBuf> =
            folders.iter().flat_map(|it| holding(it, &known)).filter(|it| !is_told(it)).collect();
        res.unreached.extend(copies.into_iter().map(|path| Unreached::Copy { path }));
    }
    Ok(res)
}

/// What tells a copy of an example: its question as TOML has it, and its passages.
fn known_by(example: &Example) -> Vec<String> {
    let quoted = |it: &str| json!(it).to_string();
    let mut res = vec![quoted(&example.question)];
    let long = |it: &&str| it.chars().count() >= KNOWN_CHARS_MIN;
    for text in example.passages.iter().map(|it| it.text.trim()).filter(long) {
        let quoted = quoted(text);
        res.extend([quoted[1..quoted.len() - 1].to_owned(), text.to_owned()]);
    }
    res
}

/// The prompts and examples of a folder that hold one of these texts. What cannot be read holds none:
/// no prompt is made of it either.
fn holding(folder: &Path, known: &[String]) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(folder).into_iter().flatten().flatten();
    let is_prompt = |it: &PathBuf| it.extension().is_some_and(|it| it == "toml" || it == "md");
    let holds = |it: &PathBuf| {
        let text = fs_err::read_to_string(it).unwrap_or_default();
        known.iter().any(|known| text.contains(known))
    };
    let mut res: Vec<PathBuf> =
        entries.map(|it| it.path()).filter(is_prompt).filter(holds).collect();
    res.sort();
    res
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{feedback::example::to_toml, prompts::ExamplePassage, records::AnswerRecord};
    use index::hit::DocumentId;
    use serde_json::Value;

    /// Records of one answer in a conversation, and a folder of prompts.
    struct Place {
        dir: tempfile::TempDir,
        records: Records,
    }

    const ANSWER: &str = "a_0123456789abcdef0123";

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let records = Records::open(&dir.path().join("data")).unwrap();
            records.open_conversation("c_1", "", "Who?").unwrap();
            records
                .record_answer(&AnswerRecord {
                    id: ANSWER.to_owned(),
                    owner: String::new(),
                    conversation: Some("c_1".to_owned()),
                    question: "Who is \"Ada\"?".to_owned(),
                    understood_as: None,
                    text: "The head of it.".to_owned(),
                    json: Value::Null,
                    why: Value::Null,
                    documents: vec![DocumentId(7)],
                })
                .unwrap();
            fs_err::create_dir_all(dir.path().join("prompts/examples")).unwrap();
            Self { dir, records }
        }

        fn path(&self, name: &str) -> PathBuf {
            fs_err::canonicalize(self.dir.path()).unwrap().join("prompts").join(name)
        }

        /// As `feedback promote --approve` writes it.
        fn promoted(&self) -> PathBuf {
            let path = self.path("examples/promoted.toml");
            self.records.remember_example(&path, ANSWER).unwrap();
            fs_err::write(&path, text(&format!("From answer {ANSWER}"))).unwrap();
            path
        }

        fn forget(&self) -> ForgottenExamples {
            // The folder of the settings is another one, or none.
            forget_examples(&self.records, Path::new("")).unwrap()
        }

        fn unreached(&self) -> Vec<PathBuf> {
            self.forget().unreached.iter().map(|it| it.path().to_owned()).collect()
        }
    }

    fn text(comment: &str) -> String {
        let example = Example {
            language: "en".to_owned(),
            question: "Who is \"Ada\"?".to_owned(),
            passages: vec![ExamplePassage {
                title: "Staff".to_owned(),
                text: "Ada is the head of \"it\".".to_owned(),
            }],
            answer: "The head of it [1].".to_owned(),
            reasoning: String::new(),
            tags: Vec::new(),
        };
        to_toml(&example, &[comment.to_owned()])
    }

    #[test]
    fn an_example_goes_with_its_answer_however_that_goes() {
        let ways: [fn(&Records); 3] = [
            |it| assert_eq!(it.forget_documents(&[DocumentId(7)]).unwrap(), 1),
            |it| assert!(it.delete_conversation("c_1", "").unwrap()),
            |it| it.forget_before(crate::records::now() + 60).unwrap(),
        ];
        for delete in ways {
            let place = Place::new();
            let path = place.promoted();
            fs_err::write(&path, text("Changed by hand")).unwrap();
            assert!(place.forget().removed.is_empty() && path.exists(), "its answer is there");
            delete(&place.records);
            let found = place.forget();
            assert_eq!((found.removed, found.unreached.len()), (vec![path.clone()], 0));
            assert!(!path.exists());
            let entry = place.records.audit_after(0, 9).unwrap().remove(0);
            assert_eq!((&*entry.action, entry.object.as_deref()), ("example.forget", Some(ANSWER)));
            assert!(place.unreached().is_empty(), "it is told once");
        }
    }

    #[test]
    fn copies_are_named_and_others_are_not() {
        let place = Place::new();
        place.promoted();
        let of_passage = "Say: Ada is the head of \"it\". Now answer.";
        let copies = [
            ("examples/copy.toml", text("Mine")),
            ("answer.en.md", of_passage.to_owned()),
            ("examples/edited.toml", format!("# From answer {ANSWER}\n")),
        ];
        for (name, text) in &copies {
            fs_err::write(place.path(name), text).unwrap();
        }
        fs_err::write(place.path("examples/other.toml"), "question = \"Who else?\"").unwrap();
        place.records.forget_documents(&[DocumentId(7)]).unwrap();
        let expected: Vec<PathBuf> = ["answer.en.md", "examples/copy.toml", "examples/edited.toml"]
            .map(|it| place.path(it))
            .into();
        assert_eq!(place.unreached(), expected);
        assert!(expected.iter().all(|it| it.exists()), "they are left to whoever wrote them");
    }

    #[test]
    fn one_that_was_moved_is_told_and_found_by_its_answer() {
        let place = Place::new();
        let (path, to) = (place.promoted(), place.path("examples/mine.toml"));
        fs_err::rename(&path, &to).unwrap();
        place.records.forget_documents(&[DocumentId(7)]).unwrap();
        assert_eq!(place.unreached(), [path, to]);
    }

    #[test]
    fn one_that_cannot_be_removed_is_tried_again() {
        let place = Place::new();
        let path = place.promoted();
        // What is a folder cannot be removed as a file.
        fs_err::remove_file(&path).unwrap();
        fs_err::create_dir(&path).unwrap();
        place.records.forget_documents(&[DocumentId(7)]).unwrap();
        for _ in 0..2 {
            let found = place.forget();
            assert!(matches!(&found.unreached[..], [Unreached::Failed { .. }]), "{found:?}");
        }
        fs_err::remove_dir(&path).unwrap();
        fs_err::write(&path, "").unwrap();
        assert_eq!(place.forget().removed, [path]);
    }
}
