//! Judged questions in BEIR's layout, and how well rankings answer them.
//!
//! A folder holds `corpus.jsonl` (`_id`, `title`, `text`), `queries.jsonl` (`_id`, `text`) and
//! the judgements in `qrels.tsv`, or in `qrels/test.tsv` as BEIR's archives have them: question,
//! document and grade, or TREC's four columns, with or without a header line.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::metrics::{Bootstrap, Grades, Mean, ndcg, recall, reciprocal_rank};

/// At which rank the measures stop.
const DEPTH: usize = 10;

/// Why a folder could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BeirError {
    /// A file is missing or unreadable.
    #[error("could not read judged questions in BEIR's layout")]
    Read(#[from] std::io::Error),
    /// A line is not what its file should hold.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// No question has a relevant document.
    #[error("`{}` judges no document as relevant to a question of `queries.jsonl`", path.display())]
    NothingJudged {
        /// The file of judgements.
        path: PathBuf,
    },
}

/// A document to search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeirDocument {
    /// Its id in the judgements.
    pub id: String,
    /// May be empty.
    pub title: String,
    /// Its text.
    pub text: String,
}

/// A question with at least one relevant document.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgedQuestion {
    /// Its id in the judgements.
    pub id: String,
    /// What is asked.
    pub text: String,
    /// Which documents answer it.
    pub grades: Grades,
}

/// Documents and judged questions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Beir {
    /// In the order of the file.
    pub documents: Vec<BeirDocument>,
    /// In the order of the file; questions without a relevant document are left out.
    pub questions: Vec<JudgedQuestion>,
    /// Relevant documents that the corpus lacks: no system can find them.
    pub n_missing: usize,
}

/// Reads a folder.
///
/// # Errors
///
/// When a file is missing, a line is not what it should be (with its number), an id stands twice,
/// or nothing is judged.
pub fn read_beir(folder: &Path) -> Result<Beir, BeirError> {
    let mut documents = Vec::new();
    each_record(&folder.join("corpus.jsonl"), |record| {
        documents.push(BeirDocument { id: record.id, title: record.title, text: record.text });
    })?;
    let flat = folder.join("qrels.tsv");
    let path = if flat.exists() { flat } else { folder.join("qrels").join("test.tsv") };
    let mut judgements = read_judgements(&path)?;

    let mut questions = Vec::new();
    each_record(&folder.join("queries.jsonl"), |record| {
        let grades = judgements.remove(&record.id).unwrap_or_default();
        if grades.values().any(|&grade| grade > 0.0) {
            questions.push(JudgedQuestion { id: record.id, text: record.text, grades });
        }
    })?;
    if questions.is_empty() {
        return Err(BeirError::NothingJudged { path });
    }
    let known: HashSet<&str> = documents.iter().map(|it| it.id.as_str()).collect();
    let relevant = questions.iter().flat_map(|it| &it.grades).filter(|(_, grade)| **grade > 0.0);
    let n_missing = relevant.filter(|(id, _)| !known.contains(id.as_str())).count();
    Ok(Beir { documents, questions, n_missing })
}

/// A line of `corpus.jsonl` or `queries.jsonl`.
#[derive(Deserialize)]
struct Record {
    #[serde(rename = "_id", deserialize_with = "text_or_number")]
    id: String,
    #[serde(default)]
    title: String,
    text: String,
}

/// Some sets write ids as numbers.
fn text_or_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Id {
        Text(String),
        Number(i64),
    }
    Ok(match Id::deserialize(deserializer)? {
        Id::Text(text) => text,
        Id::Number(number) => number.to_string(),
    })
}

fn each_record(path: &Path, mut take: impl FnMut(Record)) -> Result<(), BeirError> {
    let mut seen = HashMap::new();
    each_line(path, |line, text| {
        let record: Record = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if let Some(first) = seen.insert(record.id.clone(), line) {
            return Err(format!("the id `{}` stands on line {first} already", record.id));
        }
        take(record);
        Ok(())
    })
}

fn read_judgements(path: &Path) -> Result<BTreeMap<String, Grades>, BeirError> {
    let mut res = BTreeMap::<String, Grades>::new();
    let mut first = true;
    each_line(path, |_, text| {
        let may_be_header = std::mem::take(&mut first);
        let columns: Vec<&str> = match text.contains('\t') {
            true => text.split('\t').map(str::trim).collect(),
            false => text.split_whitespace().collect(),
        };
        let (question, document, grade) = match columns.as_slice() {
            [question, document, grade] | [question, _, document, grade] => {
                (*question, *document, *grade)
            }
            _ => return Err(format!("expected 3 or 4 columns, found {}", columns.len())),
        };
        match grade.parse::<f64>() {
            // 2^30 is far beyond any scale of grades, and keeps gains finite.
            Ok(grade) if grade.is_finite() && grade <= 30.0 => {
                res.entry(question.to_owned()).or_default().insert(document.to_owned(), grade);
            }
            Err(_) if may_be_header => {}
            _ => return Err(format!("the grade `{grade}` is not a number up to 30")),
        }
        Ok(())
    })?;
    Ok(res)
}

/// Hands over every line that is not blank, with its number.
fn each_line(
    path: &Path,
    mut take: impl FnMut(usize, &str) -> Result<(), String>,
) -> Result<(), BeirError> {
    let mut reader = BufReader::new(fs_err::File::open(path)?);
    let mut line = 0;
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if reader.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(());
        }
        line += 1;
        let read = std::str::from_utf8(&bytes).map_err(|error| error.to_string());
        let taken = read.and_then(|text| {
            let text = text.trim_start_matches('\u{feff}').trim();
            if text.is_empty() { Ok(()) } else { take(line, text) }
        });
        taken.map_err(|reason| BeirError::Line { path: path.to_owned(), line, reason })?;
    }
}

/// Documents by their best chunk, best first: each stands where its first chunk stood.
#[must_use]
pub fn documents_by_best_chunk<'a>(chunks: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = HashSet::new();
    chunks.into_iter().filter(|&document| seen.insert(document)).collect()
}

/// A system's measures, one value per question, in the order of the questions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scores {
    /// nDCG of the first 10.
    pub ndcg_at_10: Vec<f64>,
    /// Recall of the first 10.
    pub recall_at_10: Vec<f64>,
    /// Reciprocal rank within the first 10.
    pub mrr_at_10: Vec<f64>,
}

impl Scores {
    /// Adds one question's ranking of documents, best first.
    pub fn add(&mut self, ranking: &[&str], grades: &Grades) {
        self.ndcg_at_10.push(ndcg(ranking, grades, DEPTH));
        self.recall_at_10.push(recall(ranking, grades, DEPTH));
        self.mrr_at_10.push(reciprocal_rank(ranking, grades, DEPTH));
    }

    /// The means with their intervals; `None` before the first question.
    #[must_use]
    pub fn summary(&self, bootstrap: &Bootstrap) -> Option<Summary> {
        Some(Summary {
            ndcg_at_10: bootstrap.mean(&self.ndcg_at_10)?,
            recall_at_10: bootstrap.mean(&self.recall_at_10)?,
            mrr_at_10: bootstrap.mean(&self.mrr_at_10)?,
        })
    }
}

/// A system's means over all questions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// nDCG of the first 10.
    pub ndcg_at_10: Mean,
    /// Recall of the first 10.
    pub recall_at_10: Mean,
    /// Mean reciprocal rank within the first 10.
    pub mrr_at_10: Mean,
}

#[cfg(test)]
mod tests {
    use super::*;

    const CORPUS: &str = "{\"_id\": \"d1\", \"title\": \"Leave\", \"text\": \"Five weeks.\"}\n\
        {\"_id\": 2, \"text\": \"Two days.\", \"metadata\": {\"url\": \"x\"}}\n";
    const QUERIES: &str = "{\"_id\": \"q1\", \"text\": \"How much leave?\"}\r\n\r\n\
        {\"_id\": \"q2\", \"text\": \"Who?\", \"metadata\": {}}";

    fn folder(corpus: &str, queries: &str, judgements: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("corpus.jsonl"), corpus).unwrap();
        fs_err::write(folder.path().join("queries.jsonl"), queries).unwrap();
        fs_err::write(folder.path().join("qrels.tsv"), judgements).unwrap();
        folder
    }

    #[track_caller]
    fn check_judgements(judgements: &str) {
        let folder = folder(CORPUS, QUERIES, judgements);
        let beir = read_beir(folder.path()).unwrap();
        let ids: Vec<_> = beir.documents.iter().map(|it| it.id.as_str()).collect();
        assert_eq!(ids, ["d1", "2"]);
        assert_eq!(beir.documents[0].title, "Leave");
        let expected = JudgedQuestion {
            id: "q1".to_owned(),
            text: "How much leave?".to_owned(),
            grades: Grades::from([("d1".to_owned(), 1.0), ("gone".to_owned(), 2.0)]),
        };
        assert_eq!(beir.questions, [expected]);
        assert_eq!(beir.n_missing, 1);
    }

    #[test]
    fn reads_three_and_four_columns_with_and_without_a_header() {
        check_judgements("query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\tgone\t2\nq2\td1\t0\n");
        check_judgements("q1\td1\t1\r\nq1\tgone\t2.0\r\n");
        check_judgements("q1\t0\td1\t1\nq1\t0\tgone\t2");
        check_judgements("\u{feff}query\titer\tdoc\trel\nq1\tQ0\td1\t1\n\nq1\tQ0\tgone\t2\n");
        check_judgements("q1 0 d1 1\nq1 0 gone 2\n");
    }

    #[test]
    fn reads_judgements_where_the_archives_of_beir_have_them() {
        let folder = folder(CORPUS, QUERIES, "");
        fs_err::remove_file(folder.path().join("qrels.tsv")).unwrap();
        fs_err::create_dir_all(folder.path().join("qrels")).unwrap();
        fs_err::write(folder.path().join("qrels/test.tsv"), "q1\td1\t1\n").unwrap();
        assert_eq!(read_beir(folder.path()).unwrap().questions.len(), 1);
    }

    #[track_caller]
    fn check_error(corpus: &str, queries: &str, judgements: &str, expected: &str) {
        let folder = folder(corpus, queries, judgements);
        let error = read_beir(folder.path()).unwrap_err();
        let root = format!("{}/", folder.path().display());
        assert_eq!(error.to_string().replace(&root, ""), expected);
    }

    #[test]
    fn errors_name_the_line() {
        let good = "q1\td1\t1\n";
        check_error(
            "{\"_id\": \"a\", \"text\": \"x\"}\n{\"_id\": \"a\", \"text\": \"y\"}",
            QUERIES,
            good,
            "corpus.jsonl:2: the id `a` stands on line 1 already",
        );
        check_error(
            CORPUS,
            "{\"_id\": \"q1\"}",
            good,
            "queries.jsonl:1: missing field `text` at line 1 column 13",
        );
        check_error(
            CORPUS,
            QUERIES,
            "q1\td1\t1\nq1\td1\tone\n",
            "qrels.tsv:2: the grade `one` is not a number up to 30",
        );
        check_error(
            CORPUS,
            QUERIES,
            "q1\td1\t1\nq1\td1\n",
            "qrels.tsv:2: expected 3 or 4 columns, found 2",
        );
        check_error(
            CORPUS,
            QUERIES,
            "q9\td1\t1\n",
            "`qrels.tsv` judges no document as relevant to a question of `queries.jsonl`",
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_an_error_with_their_line() {
        let folder = folder(CORPUS, QUERIES, "");
        fs_err::write(folder.path().join("qrels.tsv"), b"q1\td1\t1\nq\xff\td1\t1\n").unwrap();
        let error = read_beir(folder.path()).unwrap_err();
        assert!(matches!(error, BeirError::Line { line: 2, .. }), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = read_beir(folder.path()).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("corpus.jsonl"), "{source}");
    }

    #[test]
    fn a_document_stands_where_its_best_chunk_stood() {
        assert_eq!(documents_by_best_chunk(["b", "a", "b", "c", "a"]), ["b", "a", "c"]);
    }

    #[test]
    fn scores_are_averaged_over_questions() {
        let grades = Grades::from([("a".to_owned(), 1.0)]);
        let mut scores = Scores::default();
        assert_eq!(scores.summary(&Bootstrap::default()), None);
        scores.add(&["a"], &grades);
        scores.add(&["x", "y", "a"], &grades);
        let summary = scores.summary(&Bootstrap::default()).unwrap();
        assert_eq!(summary.ndcg_at_10.value, 0.75);
        assert_eq!(summary.recall_at_10.value, 1.0);
        assert!((summary.mrr_at_10.value - 2.0 / 3.0).abs() < 1e-12);
    }
}
