//! A file of rows, looked at: what is in it, how long its rows are, in which languages, and what is
//! wrong with it.

use std::collections::{BTreeMap, BTreeSet};

use ingest::language::detect;
use serde::Serialize;

use super::{
    jsonl::Rows,
    near::{Seen, words_of},
    personal,
    row::Body,
};

/// Columns of a histogram of lengths at most.
const BARS: usize = 12;

/// Counts a text's tokens.
pub type Count<'a> = &'a dyn Fn(&str) -> usize;

/// What is in a file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Checked {
    /// Rows that can be read.
    pub rows: usize,
    /// How many are in each format.
    pub formats: BTreeMap<&'static str, usize>,
    /// How many are good for what.
    pub kinds: BTreeMap<&'static str, usize>,
    /// How many were made in which way.
    pub made_by: BTreeMap<&'static str, usize>,
    /// ISO 639-1 codes of what is learnt; `?` where it cannot be told.
    pub languages: BTreeMap<String, usize>,
    /// Lengths of whole rows, in tokens.
    pub lengths: Lengths,
    /// What may be wrong.
    pub issues: Vec<Issue>,
}

/// Lengths, as a histogram.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Lengths {
    /// The shortest.
    pub min: usize,
    /// The middle one.
    pub median: usize,
    /// 95 of 100 are no longer.
    pub p95: usize,
    /// The longest.
    pub max: usize,
    /// All of them.
    pub sum: usize,
    /// Lengths below which each bar counts, and how many there are.
    pub bars: Vec<(usize, usize)>,
}

/// Something that may be wrong with rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Issue {
    /// What.
    pub what: &'static str,
    /// Whether training on such rows makes no sense.
    pub is_error: bool,
    /// How many rows.
    pub rows: usize,
    /// The first lines, from 1.
    pub lines: Vec<usize>,
}

/// Lines named for one issue at most.
const LINES_MAX: usize = 5;

/// Looks at rows. `tokens_max` is what the model to be trained reads of one row; `None`: any.
#[must_use]
pub fn check(read: &Rows, count: Count<'_>, tokens_max: Option<usize>) -> Checked {
    let mut issues: BTreeMap<(bool, &'static str), Vec<usize>> = BTreeMap::new();
    let mut seen_ids: BTreeSet<&str> = BTreeSet::new();
    let mut seen = Seen::default();
    let mut targets: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut res = Checked {
        rows: read.rows.len(),
        formats: read.formats.iter().map(|(it, n)| (it.as_str(), *n)).collect(),
        kinds: BTreeMap::new(),
        made_by: BTreeMap::new(),
        languages: BTreeMap::new(),
        lengths: Lengths::default(),
        issues: Vec::new(),
    };
    let mut lengths = Vec::new();
    for (row, &line) in read.rows.iter().zip(&read.lines) {
        let mut note =
            |is_error: bool, what| issues.entry((!is_error, what)).or_default().push(line);
        *res.kinds.entry(row.body.kind().as_str()).or_default() += 1;
        if let Some(made_by) = row.meta.made_by {
            *res.made_by.entry(made_by.as_str()).or_default() += 1;
        }
        let learnt = row.body.targets().join("\n");
        let language = detect(&learnt).map_or("?", ingest::document::Language::code);
        *res.languages.entry(language.to_owned()).or_default() += 1;
        let texts: Vec<&str> =
            row.body.prompt().iter().map(|it| it.content.as_str()).chain([&*learnt]).collect();
        let n_tokens = count(&texts.join("\n"));
        lengths.push(n_tokens);
        if tokens_max.is_some_and(|max| n_tokens > max) {
            note(true, "longer than the model reads");
        }
        if !row.id.is_empty() && !seen_ids.insert(&row.id) {
            note(true, "an id twice");
        }
        if texts.iter().any(|it| !personal::find(it).is_empty()) {
            note(false, "personal data");
        }
        if let Body::Preference { chosen, rejected, .. } = &row.body
            && chosen.trim() == rejected.trim()
        {
            note(true, "chosen and rejected are the same");
        }
        let key = (texts.join("\n"), learnt);
        if *targets.entry(key).and_modify(|n| *n += 1).or_insert(1) > 1 {
            note(false, "an exact repetition");
        } else if let Some(question) = row.question() {
            let words = words_of(question);
            if !words.is_empty() && seen.near(&words).is_some() {
                note(false, "a question that nearly repeats another one");
            }
            seen.push(words);
        }
    }
    res.lengths = Lengths::of(lengths);
    res.issues = issues
        .into_iter()
        .map(|((is_no_error, what), lines)| Issue {
            what,
            is_error: !is_no_error,
            rows: lines.len(),
            lines: lines.into_iter().take(LINES_MAX).collect(),
        })
        .collect();
    res
}

impl Lengths {
    /// The histogram of lengths: bars of equal width, a round number.
    #[must_use]
    pub fn of(mut lengths: Vec<usize>) -> Self {
        lengths.sort_unstable();
        let (Some(&min), Some(&max)) = (lengths.first(), lengths.last()) else {
            return Self::default();
        };
        let width = round_up((max + 1).div_ceil(BARS));
        let n_bars = max / width + 1;
        let mut bars: Vec<(usize, usize)> = (1..=n_bars).map(|it| (it * width, 0)).collect();
        for it in &lengths {
            bars[it / width].1 += 1;
        }
        let at = |share: usize| lengths[(lengths.len() - 1) * share / 100];
        Self { min, median: at(50), p95: at(95), max, sum: lengths.iter().sum(), bars }
    }
}

/// The next of 1, 2, 5, 10, 20, 50, …
fn round_up(n: usize) -> usize {
    let mut unit = 1;
    loop {
        for factor in [1, 2, 5] {
            if unit * factor >= n {
                return unit * factor;
            }
        }
        unit *= 10;
    }
}

/// A histogram in lines of text: a label, a bar, a count.
#[must_use]
pub fn bars<'a>(counts: impl IntoIterator<Item = (String, usize)> + 'a) -> Vec<String> {
    const WIDTH: usize = 32;
    let counts: Vec<(String, usize)> = counts.into_iter().collect();
    let most = counts.iter().map(|(_, n)| *n).max().unwrap_or(0).max(1);
    let label = counts.iter().map(|(it, _)| it.chars().count()).max().unwrap_or(0);
    let line = |(name, n): (String, usize)| {
        let length = if n == 0 { 0 } else { (n * WIDTH).div_ceil(most) };
        format!("{name:>label$} {:<WIDTH$} {n}", "█".repeat(length))
    };
    counts.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::jsonl::{BadLines, read};

    #[test]
    fn a_histogram_counts_every_row_once() {
        let lengths = Lengths::of(vec![3, 120, 40, 41, 119]);
        assert_eq!(lengths.bars.iter().map(|(_, n)| n).sum::<usize>(), 5);
        assert_eq!((lengths.min, lengths.median, lengths.max, lengths.sum), (3, 41, 120, 323));
        let drawn = bars([("a".to_owned(), 4), ("bb".to_owned(), 0)]);
        assert_eq!(drawn[1].trim_end(), format!("bb {} 0", " ".repeat(32)).trim_end());
        assert!(drawn[0].starts_with(" a ████"));
    }

    #[test]
    fn what_is_wrong_is_counted_with_its_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.jsonl");
        let long = "mot ".repeat(50);
        let lines = [
            r#"{"prompt": "Qui paie le repas de midi ?", "chosen": "moi", "rejected": "moi "}"#
                .to_owned(),
            r#"{"prompt": "qui paie le repas de midi", "chosen": "moi", "rejected": "toi"}"#
                .to_owned(),
            format!(r#"{{"prompt": "Où ?", "chosen": "{long}", "rejected": "a@b.example"}}"#),
        ];
        fs_err::write(&path, lines.join("\n")).unwrap();
        let rows = read(&path, BadLines::Stop).unwrap();
        let count = |it: &str| it.split_whitespace().count();
        let checked = check(&rows, &count, Some(40));
        let found: Vec<(&str, &[usize])> =
            checked.issues.iter().map(|it| (it.what, &it.lines[..])).collect();
        assert_eq!(
            found,
            [
                ("chosen and rejected are the same", &[1][..]),
                ("longer than the model reads", &[3]),
                ("a question that nearly repeats another one", &[2]),
                ("personal data", &[3]),
            ]
        );
        assert_eq!(checked.kinds, BTreeMap::from([("preference", 3)]));
    }
}
