//! Training, validation and test files that share no document, no near duplicate of one, and no
//! question: a row goes where its documents go, never by itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    near::{Groups, Seen, words_of},
    row::Row,
};

/// A part of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// To learn from.
    Train,
    /// To stop in time.
    Valid,
    /// To measure with.
    Test,
}

impl Split {
    /// All parts.
    pub const ALL: [Self; 3] = [Self::Train, Self::Valid, Self::Test];

    /// The word that names its file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Valid => "valid",
            Self::Test => "test",
        }
    }
}

/// How large the parts are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Shares {
    /// Share of validation, from 0 to 1.
    pub valid: f64,
    /// Share of test, from 0 to 1.
    pub test: f64,
    /// Other seeds give other parts.
    pub seed: u64,
}

/// Parts for things with weights: shuffled by the seed, the test part filled first, then
/// validation, each to its share of the whole weight. A part with a share above 0 gets at least one
/// thing where there are three or more.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "rows are far fewer than 2^52")]
pub fn assign(weights: &BTreeMap<String, usize>, shares: Shares) -> BTreeMap<String, Split> {
    let mut order: Vec<(&String, usize)> = weights.iter().map(|(it, n)| (it, *n)).collect();
    order.sort_by_cached_key(|(it, _)| {
        let text = format!("{}\0{it}", shares.seed);
        (*blake3::hash(text.as_bytes()).as_bytes(), (*it).clone())
    });
    let total = weights.values().sum::<usize>() as f64;
    let mut res = BTreeMap::new();
    let mut rest = order.into_iter().peekable();
    let mut left = weights.len();
    for (split, share) in [(Split::Test, shares.test), (Split::Valid, shares.valid)] {
        let wanted = share * total;
        let mut got = 0.0;
        while let Some((_, weight)) = rest.peek() {
            // Half of a thing too much is nearer to the share than all of it too little.
            let is_first = got == 0.0 && share > 0.0 && weights.len() >= 3;
            let fits = got + *weight as f64 / 2.0 <= wanted;
            if share <= 0.0 || left <= 1 || !(fits || is_first) {
                break;
            }
            let Some((key, weight)) = rest.next() else { break };
            res.insert(key.clone(), split);
            got += weight as f64;
            left -= 1;
        }
    }
    res.extend(rest.map(|(key, _)| (key.clone(), Split::Train)));
    res
}

/// What a row must not share with another part: its document's cluster, else itself.
fn key_of(at: usize, row: &Row) -> String {
    match (row.meta.cluster.or(row.meta.document), &row.meta.content_hash) {
        (Some(cluster), _) => format!("document {cluster}"),
        (None, Some(hash)) => format!("file {hash}"),
        (None, None) => format!("row {at}"),
    }
}

/// Rows in their parts.
#[derive(Debug, Default)]
pub struct Parts {
    /// The part of each row, in the order of the rows; `None` where it touches two.
    pub of_rows: Vec<Option<Split>>,
    /// Groups of documents and of rows that stand alone.
    pub n_groups: usize,
}

/// Puts rows into parts. Rows that were made for a part keep it, where every one was and `keep` is
/// set. Otherwise rows whose prompts show documents of another part than their own are in none.
#[must_use]
pub fn split(rows: &[Row], shares: Shares, keep: bool) -> Parts {
    if keep && !rows.is_empty() && rows.iter().all(|it| it.meta.split.is_some()) {
        let of_rows = rows.iter().map(|it| it.meta.split).collect();
        let keys: BTreeSet<String> =
            rows.iter().enumerate().map(|(at, it)| key_of(at, it)).collect();
        return Parts { of_rows, n_groups: keys.len() };
    }
    let keys: Vec<String> = rows.iter().enumerate().map(|(at, it)| key_of(at, it)).collect();
    let distinct: Vec<&String> = keys.iter().collect::<BTreeSet<_>>().into_iter().collect();
    let at: BTreeMap<&String, usize> =
        distinct.iter().enumerate().map(|(i, it)| (*it, i)).collect();
    let mut groups = Groups::new(distinct.len());
    let mut seen = Seen::default();
    for (i, row) in rows.iter().enumerate() {
        let words = words_of(row.question().unwrap_or_default());
        if !words.is_empty() {
            for other in seen.all_near(&words) {
                groups.join(at[&keys[i]], at[&keys[other]]);
            }
        }
        seen.push(words);
    }
    let group = |key: &String| format!("{}", groups.of(at[key]));
    let mut weights: BTreeMap<String, usize> = BTreeMap::new();
    for key in &keys {
        *weights.entry(group(key)).or_default() += 1;
    }
    let parts = assign(&weights, shares);
    let part = |key: &String| parts.get(&group(key)).copied().unwrap_or(Split::Train);
    let of_shown = |row: &Row, own: Split| {
        let shown = row.meta.context.iter().filter_map(|it| it.cluster.or(it.document));
        let mut keys = shown.map(|it| format!("document {it}"));
        keys.all(|it| !at.contains_key(&it) || part(&it) == own)
    };
    let of_rows = rows.iter().zip(&keys).map(|(row, key)| {
        let own = part(key);
        of_shown(row, own).then_some(own)
    });
    Parts { of_rows: of_rows.collect(), n_groups: weights.len() }
}

/// Something that two parts share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Leak {
    /// Rows of a document, or of near duplicates of one, in both; or a prompt of one part shows a
    /// document of the other.
    Document {
        /// Its path, or its number where there is none.
        path: String,
        /// The two parts.
        parts: (Split, Split),
    },
    /// Questions that are nearly the same.
    Question {
        /// In one part.
        question: String,
        /// In the other.
        near: String,
        /// The two parts.
        parts: (Split, Split),
    },
}

impl std::fmt::Display for Leak {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Document { path, parts: (a, b) } => {
                write!(f, "`{path}` is in {} and in {}", a.as_str(), b.as_str())
            }
            Self::Question { question, near, parts: (a, b) } => {
                write!(f, "`{question}` ({}) is nearly `{near}` ({})", b.as_str(), a.as_str())
            }
        }
    }
}

/// What parts share that must share nothing: documents, near duplicates of them, questions.
#[must_use]
pub fn leaks(parts: &[(Split, &[Row])]) -> Vec<Leak> {
    let mut res = Vec::new();
    let mut documents: BTreeMap<String, (Split, String)> = BTreeMap::new();
    let mut seen = Seen::default();
    let mut asked: Vec<(Split, String)> = Vec::new();
    let mut told: BTreeSet<(String, Split, Split)> = BTreeSet::new();
    for (split, rows) in parts {
        for row in *rows {
            for (key, path) in touched(row) {
                match documents.get(&key) {
                    Some((other, _)) if other == split => {}
                    Some((other, _)) => {
                        if told.insert((key, *other, *split)) {
                            res.push(Leak::Document { path, parts: (*other, *split) });
                        }
                    }
                    None => {
                        documents.insert(key, (*split, path));
                    }
                }
            }
            let Some(question) = row.question() else { continue };
            let words = words_of(question);
            let near = seen.all_near(&words).into_iter().find(|it| asked[*it].0 != *split);
            if let Some(near) = near {
                res.push(Leak::Question {
                    question: question.to_owned(),
                    near: asked[near].1.clone(),
                    parts: (asked[near].0, *split),
                });
            }
            seen.push(words);
            asked.push((*split, question.to_owned()));
        }
    }
    res
}

/// The documents that a row is made of or shows: what they are known by, and their names.
fn touched(row: &Row) -> BTreeMap<String, String> {
    let meta = &row.meta;
    let mut res = BTreeMap::new();
    let mut add = |cluster: Option<i64>, document: Option<i64>, path: &str| {
        if let Some(id) = cluster.or(document) {
            let path = if path.is_empty() { format!("document {id}") } else { path.to_owned() };
            res.insert(format!("document {id}"), path);
        }
    };
    add(meta.cluster, meta.document, meta.path.as_deref().unwrap_or_default());
    for shown in &meta.context {
        add(shown.cluster, shown.document, &shown.path);
    }
    if meta.cluster.or(meta.document).is_none()
        && let Some(hash) = &meta.content_hash
    {
        res.insert(format!("file {hash}"), meta.path.clone().unwrap_or_else(|| hash.clone()));
    }
    res
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dataset::row::{Body, Message, Meta, Role, Shown};

    const SHARES: Shares = Shares { valid: 0.1, test: 0.2, seed: 7 };

    fn row(question: &str, cluster: i64) -> Row {
        let messages =
            vec![Message::new(Role::User, question), Message::new(Role::Assistant, "yes")];
        let meta = Meta { cluster: Some(cluster), ..Meta::default() };
        Row::new(&[question], Body::Messages(messages), meta)
    }

    #[test]
    fn a_document_is_in_one_part_and_near_questions_too() {
        let mut rows: Vec<Row> =
            (0..40).map(|i| row(&format!("Question number {i}?"), i / 2)).collect();
        rows.push(row("question NUMBER 3", 99));
        let parts = split(&rows, SHARES, false);
        for i in 0..20 {
            assert_eq!(parts.of_rows[2 * i], parts.of_rows[2 * i + 1], "document {i}");
        }
        assert_eq!(parts.of_rows[40], parts.of_rows[3], "the same question");
        assert!(parts.of_rows.contains(&Some(Split::Test)));
        assert!(parts.of_rows.contains(&Some(Split::Valid)));
    }

    #[test]
    fn a_row_that_shows_a_document_of_another_part_is_in_none() {
        let mut rows: Vec<Row> = (0..10).map(|i| row(&format!("Which thing {i}?"), i)).collect();
        let plain = split(&rows, SHARES, false);
        let test = plain.of_rows.iter().position(|it| *it == Some(Split::Test)).unwrap();
        let train = plain.of_rows.iter().position(|it| *it == Some(Split::Train)).unwrap();
        let shown = Shown {
            document: None,
            path: "t.md".to_owned(),
            cluster: rows[test].meta.cluster,
            text: String::new(),
            gold: false,
        };
        rows[train].meta.context.push(shown);
        assert_eq!(split(&rows, SHARES, false).of_rows[train], None);
        let leaks =
            leaks(&[(Split::Train, &rows[train..=train]), (Split::Test, &rows[test..=test])]);
        assert!(matches!(&leaks[..], [Leak::Document { .. }]), "{leaks:?}");
    }

    #[test]
    fn near_questions_of_two_parts_are_a_leak() {
        let (a, b) = (
            row("Who pays for the taxi home at night?", 1),
            row("who pays for the taxi home at night", 2),
        );
        let found = leaks(&[(Split::Train, &[a]), (Split::Test, &[b])]);
        assert!(matches!(&found[..], [Leak::Question { .. }]), "{found:?}");
    }

    proptest! {
        #[test]
        fn parts_never_touch(clusters in prop::collection::vec(0_i64..12, 1..60), seed in 0_u64..5) {
            let shares = Shares { seed, ..SHARES };
            let rows: Vec<Row> = clusters
                .iter()
                .enumerate()
                .map(|(i, it)| row(&format!("Question {i} on {it}?"), *it))
                .collect();
            let parts = split(&rows, shares, false);
            let of = |split: Split| -> Vec<Row> {
                let its = rows.iter().zip(&parts.of_rows).filter(|(_, it)| **it == Some(split));
                its.map(|(row, _)| row.clone()).collect()
            };
            let (train, valid, test) = (of(Split::Train), of(Split::Valid), of(Split::Test));
            prop_assert_eq!(train.len() + valid.len() + test.len(), rows.len());
            prop_assert!(!train.is_empty());
            let all = [(Split::Train, &train[..]), (Split::Valid, &valid[..]), (Split::Test, &test[..])];
            prop_assert_eq!(leaks(&all), vec![]);
        }
    }
}
