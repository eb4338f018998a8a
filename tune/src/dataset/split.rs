//! Training, validation and test files that share no document, no near duplicate of one, and no
//! question: a row goes where its documents go, never by itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    near::{Groups, Seen, words_of},
    row::{Body, Row, Shown, id_of},
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

/// What a row must not share with another part: its document's cluster, else its file, else the
/// passage that answers, else itself.
fn key_of(at: usize, row: &Row, by_number: bool) -> String {
    let meta = &row.meta;
    let number = meta.cluster.or(meta.document).filter(|_| by_number);
    let gold = || meta.context.iter().find(|it| it.gold).map(|it| shown_key(it, by_number));
    match (number, &meta.content_hash) {
        (Some(cluster), _) => format!("document {cluster}"),
        (None, Some(hash)) => format!("file {hash}"),
        (None, None) => gold().unwrap_or_else(|| format!("row {at}")),
    }
}

/// What a passage that is shown is known by: its document's cluster, else its text.
fn shown_key(shown: &Shown, by_number: bool) -> String {
    match shown.cluster.or(shown.document).filter(|_| by_number) {
        Some(id) => format!("document {id}"),
        None => format!("passage {}", id_of(&[&shown.text])),
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

impl Parts {
    /// The rows of each part; those that are in none are left out.
    #[must_use]
    pub fn of(&self, rows: &[Row]) -> Vec<(Split, Vec<Row>)> {
        let of_part = |part: Split| {
            let its = rows.iter().zip(&self.of_rows).filter(|(_, it)| **it == Some(part));
            (part, its.map(|(row, _)| row.clone()).collect())
        };
        Split::ALL.into_iter().map(of_part).collect()
    }

    /// How many rows are in no part.
    #[must_use]
    pub fn n_crossing(&self) -> usize {
        self.of_rows.iter().filter(|it| it.is_none()).count()
    }
}

/// Puts rows into parts. Rows that were made for a part keep it, where every one was and `keep` is
/// set. Otherwise rows whose prompts show documents of another part than their own are in none.
#[must_use]
pub fn split(rows: &[Row], shares: Shares, keep: bool) -> Parts {
    let by_number = of_one_catalog(rows.iter());
    let keys: Vec<String> =
        rows.iter().enumerate().map(|(at, it)| key_of(at, it, by_number)).collect();
    let distinct: BTreeSet<&String> = keys.iter().collect();
    if keep && !rows.is_empty() && rows.iter().all(|it| it.meta.split.is_some()) {
        let of_rows = rows.iter().map(|it| it.meta.split).collect();
        return Parts { of_rows, n_groups: distinct.len() };
    }
    let at: BTreeMap<&String, usize> =
        distinct.into_iter().enumerate().map(|(i, it)| (it, i)).collect();
    let groups = groups(rows, &keys, &at);
    let group = |key: &String| format!("{}", groups.of(at[key]));
    let mut weights: BTreeMap<String, usize> = BTreeMap::new();
    for key in &keys {
        *weights.entry(group(key)).or_default() += 1;
    }
    let parts = assign(&weights, shares);
    let part = |key: &String| parts.get(&group(key)).copied().unwrap_or(Split::Train);
    // Documents that are only ever shown go to the part that shows them first: the small parts come
    // before the large one, which can spare rows.
    let mut claimed: BTreeMap<String, Split> = BTreeMap::new();
    let mut of_rows = vec![None; rows.len()];
    for own in [Split::Test, Split::Valid, Split::Train] {
        let its = rows.iter().zip(&keys).enumerate().filter(|(_, (_, key))| part(key) == own);
        for (i, (row, _)) in its {
            let shown: Vec<String> =
                row.meta.context.iter().map(|it| shown_key(it, by_number)).collect();
            let is_free = |it: &String| match at.contains_key(it) {
                true => part(it) == own,
                false => claimed.get(it).is_none_or(|it| *it == own),
            };
            if shown.iter().all(is_free) {
                claimed.extend(shown.into_iter().map(|it| (it, own)));
                of_rows[i] = Some(own);
            }
        }
    }
    Parts { of_rows, n_groups: weights.len() }
}

/// What must be in one part: rows that ask nearly the same, or were made of one file.
fn groups(rows: &[Row], keys: &[String], at: &BTreeMap<&String, usize>) -> Groups {
    let mut res = Groups::new(at.len());
    let mut seen = Seen::default();
    let mut by_file: BTreeMap<&String, usize> = BTreeMap::new();
    for (i, row) in rows.iter().enumerate() {
        let words = words_of(row.question().unwrap_or_default());
        if !words.is_empty() {
            for other in seen.all_near(&words) {
                res.join(at[&keys[i]], at[&keys[other]]);
            }
        }
        seen.push(words);
        if let Some(hash) = &row.meta.content_hash {
            res.join(*by_file.entry(hash).or_insert(at[&keys[i]]), at[&keys[i]]);
        }
    }
    res
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

/// What parts share that must share nothing: documents, near duplicates of them, passages,
/// questions.
#[must_use]
pub fn leaks(parts: &[(Split, &[Row])]) -> Vec<Leak> {
    let of_one_catalog = of_one_catalog(parts.iter().flat_map(|(_, rows)| rows.iter()));
    let mut res = Vec::new();
    let mut documents: BTreeMap<String, Split> = BTreeMap::new();
    let mut seen = Seen::default();
    let mut asked: Vec<(Split, String)> = Vec::new();
    let mut told: BTreeSet<(String, Split, Split)> = BTreeSet::new();
    for (split, rows) in parts {
        for row in *rows {
            for (key, path) in touched(row, of_one_catalog) {
                match documents.get(&key) {
                    Some(other) if other == split => {}
                    Some(other) => {
                        if told.insert((path.clone(), *other, *split)) {
                            res.push(Leak::Document { path, parts: (*other, *split) });
                        }
                    }
                    None => {
                        documents.insert(key, *split);
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

/// Whether the numbers of documents mean the same in all rows. They do not where one number has two
/// paths: then the rows come from two catalogs, each of which counts for itself.
fn of_one_catalog<'a>(rows: impl Iterator<Item = &'a Row>) -> bool {
    let mut paths: BTreeMap<i64, &str> = BTreeMap::new();
    for row in rows {
        let own = (row.meta.document, row.meta.path.as_deref().unwrap_or_default());
        let shown = row.meta.context.iter().map(|it| (it.document, it.path.as_str()));
        for (document, path) in shown.chain([own]) {
            if let Some(document) = document.filter(|_| !path.is_empty())
                && *paths.entry(document).or_insert(path) != path
            {
                return false;
            }
        }
    }
    true
}

/// The documents that a row is made of or shows: what they are known by, and their names.
fn touched(row: &Row, by_number: bool) -> BTreeMap<String, String> {
    let meta = &row.meta;
    let mut res = BTreeMap::new();
    let mut add = |key: String, path: &str| {
        let name = if path.is_empty() { key.clone() } else { path.to_owned() };
        res.insert(key, name);
    };
    let path = meta.path.as_deref().unwrap_or_default();
    if let Some(id) = meta.cluster.or(meta.document).filter(|_| by_number) {
        add(format!("document {id}"), path);
    }
    if let Some(hash) = &meta.content_hash {
        add(format!("file {hash}"), path);
    }
    for shown in &meta.context {
        add(shown_key(shown, by_number), &shown.path);
    }
    if let Body::Text(text) = &row.body {
        add(format!("text {}", id_of(&[text])), path);
    }
    res
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dataset::row::{Message, Meta, Role};

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
    fn rows_of_two_catalogs_touch_by_their_files_and_passages_alone() {
        let of = |question: &str, path: &str, hash: &str, shown: &str| {
            let mut row = row(question, 1);
            row.meta.document = Some(1);
            row.meta.path = Some(path.to_owned());
            row.meta.content_hash = Some(hash.to_owned());
            row.meta.context.push(Shown {
                document: Some(1),
                path: path.to_owned(),
                cluster: Some(1),
                text: shown.to_owned(),
                gold: true,
            });
            row
        };
        let train = of("Who pays for the taxi?", "a.md", "a1", "The firm pays.");
        let other = of("When does the shop open?", "b.md", "b1", "At nine.");
        let found = |test: &Row| {
            leaks(&[
                (Split::Train, std::slice::from_ref(&train)),
                (Split::Test, std::slice::from_ref(test)),
            ])
        };
        assert_eq!(found(&other), [], "number 1 is another document there");
        let same_file = of("When does it close?", "copy of a.md", "a1", "At six.");
        assert!(matches!(&found(&same_file)[..], [Leak::Document { .. }]));
        let same_passage = of("When does it close?", "c.md", "c1", "The firm pays.");
        assert!(matches!(&found(&same_passage)[..], [Leak::Document { .. }]));
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

    /// What a prompt shows: a document of the catalog or, below 0, a passage of nobody's.
    fn shown(id: i64, gold: bool) -> Shown {
        let known = (id >= 0).then_some(id);
        let text = format!("passage {id}");
        Shown { document: known, path: String::new(), cluster: known, text, gold }
    }

    proptest! {
        #[test]
        fn parts_never_touch(
            rows in prop::collection::vec(
                // Its cluster, its file, the question's number, what is shown.
                (
                    prop::option::of(0_i64..12),
                    prop::option::of(0_u8..9),
                    0_u8..40,
                    prop::collection::vec(-9_i64..15, 0..3),
                ),
                1..60,
            ),
            seed in 0_u64..5,
        ) {
            let shares = Shares { seed, ..SHARES };
            let rows: Vec<Row> = rows
                .into_iter()
                .map(|(cluster, file, asked, context)| {
                    let mut row = row(&format!("Question {asked}?"), 0);
                    row.meta.cluster = cluster;
                    row.meta.content_hash = file.map(|it| it.to_string());
                    let context = context.into_iter().enumerate();
                    row.meta.context = context.map(|(i, it)| shown(it, i == 0)).collect();
                    row
                })
                .collect();
            let parts = split(&rows, shares, false);
            let all = parts.of(&rows);
            let n_kept = all.iter().map(|(_, it)| it.len()).sum::<usize>();
            prop_assert_eq!(n_kept + parts.n_crossing(), rows.len());
            let all: Vec<(Split, &[Row])> = all.iter().map(|(it, rows)| (*it, &rows[..])).collect();
            prop_assert_eq!(leaks(&all), vec![]);
        }
    }
}
