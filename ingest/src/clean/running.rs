//! Running headers, footers and page numbers: lines that repeat at the edges of pages.

use std::collections::{BTreeSet, HashMap};

use crate::lines::{atx_level, is_table_row};

/// Lines looked at from each edge of a long page.
const EDGE_LINES: usize = 3;

/// Lines that must lie between the edges of a page: on a shorter one, what looks like an edge is
/// the middle of its text.
const BETWEEN_LINES_MIN: usize = 6;

/// A line that repeats on fewer pages is not running.
const PAGES_MIN: usize = 3;

/// Running lines are short.
const LINE_BYTES_MAX: usize = 240;

/// Numbers of one line that may follow the page's; a date has three.
const NUMBERS_MAX: usize = 4;

/// A place at the edge of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    /// Lines from the top, from 0.
    Top(usize),
    /// Lines from the bottom, from 0.
    Bottom(usize),
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stripped {
    pub(super) n_lines: usize,
    /// Pages that lost a line.
    pub(super) n_pages: usize,
}

/// Removes lines that stand at one place at the edge of at least three pages and most pages (or
/// most of the left or of the right pages), the page's number aside.
///
/// A number in a line repeats when it is the same on each page, or when it grows with the pages:
/// so `Page 3 / 12` and `- iv -` go, and `Article 3` on page 7 stays. Only such a page number goes
/// from a page of a few lines, where the first and the last ones are as likely text.
pub(super) fn strip(pages: &mut [String]) -> Stripped {
    let mut res = Stripped::default();
    if pages.len() < PAGES_MIN {
        return res;
    }
    let mut seen: HashMap<(Place, String), BTreeSet<usize>> = HashMap::new();
    for (page_idx, page) in pages.iter().enumerate() {
        for (place, (start, end)) in edge_lines(page) {
            for key in keys(&page[start..end], page_idx) {
                seen.entry((place, key)).or_default().insert(page_idx);
            }
        }
    }
    let n_pages = pages.len();
    seen.retain(|_, on| is_running(on, n_pages));
    if seen.is_empty() {
        return res;
    }
    for (page_idx, page) in pages.iter_mut().enumerate() {
        let running: BTreeSet<_> = edge_lines(page)
            .filter(|&(place, (start, end))| {
                let mut keys = keys(&page[start..end], page_idx).into_iter();
                keys.any(|key| seen.contains_key(&(place, key)))
            })
            .map(|(_, line)| line)
            .collect();
        res.n_lines += running.len();
        res.n_pages += usize::from(!running.is_empty());
        for (start, end) in running.into_iter().rev() {
            page.replace_range(start..end, "");
        }
    }
    res
}

fn is_running(on: &BTreeSet<usize>, n_pages: usize) -> bool {
    let n_odd = on.iter().filter(|&&page_idx| page_idx % 2 == 1).count();
    let most = |n: usize, of: usize| n >= PAGES_MIN && 2 * n > of;
    most(on.len(), n_pages)
        || most(n_odd, n_pages / 2)
        || most(on.len() - n_odd, n_pages.div_ceil(2))
}

/// The outermost lines that are not blank, as byte ranges.
fn edge_lines(page: &str) -> impl Iterator<Item = (Place, (usize, usize))> {
    let mut start = 0;
    let lines: Vec<_> = page
        .split_inclusive('\n')
        .map(|line| {
            start += line.len();
            (start - line.len(), start - line.len() + line.trim_end().len())
        })
        .filter(|&(start, end)| start < end)
        .collect();
    let n_edge = (lines.len().saturating_sub(BETWEEN_LINES_MIN) / 2).min(EDGE_LINES);
    // On a short page, the outermost line may still be a page number.
    let is_edge = |n: usize, line: (usize, usize)| {
        n < n_edge || (n == 0 && lines.len() > 1 && is_page_number(&page[line.0..line.1]))
    };
    let outermost = |n: usize| n < EDGE_LINES;
    let top = lines.iter().enumerate().take_while(|&(n, _)| outermost(n));
    let top = top.filter(|&(n, &line)| is_edge(n, line)).map(|(n, &line)| (Place::Top(n), line));
    let bottom = lines.iter().rev().enumerate().take_while(|&(n, _)| outermost(n));
    let bottom = bottom.filter(|&(n, &line)| is_edge(n, line));
    let bottom = bottom.map(|(n, &line)| (Place::Bottom(n), line));
    top.chain(bottom).collect::<Vec<_>>().into_iter()
}

/// Whether a line holds a number and nothing else but what stands beside page numbers.
fn is_page_number(line: &str) -> bool {
    let shown = line.to_lowercase();
    let mut words = shown.split(|c: char| !c.is_alphanumeric()).filter(|it| !it.is_empty());
    let is_number = |it: &str| it.bytes().all(|b| b.is_ascii_digit()) || roman(it).is_some();
    let beside = ["page", "p", "sur", "of", "de"];
    line.len() <= 24
        && atx_level(line).is_none()
        && shown.split(|c: char| !c.is_alphanumeric()).any(|it| !it.is_empty() && is_number(it))
        && words.all(|it| is_number(it) || beside.contains(&it))
}

/// The forms under which a line can repeat: each number in it as it is, or as its distance from
/// the page's index.
fn keys(line: &str, page_idx: usize) -> Vec<String> {
    if line.len() > LINE_BYTES_MAX || is_table_row(line) {
        return Vec::new();
    }
    let shown = line.trim_matches(['#', '*', '_', ' ', '\t']).to_lowercase();
    if shown.is_empty() {
        return Vec::new();
    }
    // Numbered headings grow with the pages of a document that has one section a page.
    let n_following = if atx_level(line).is_some() { 0 } else { NUMBERS_MAX };
    let mut res = vec![String::new()];
    let mut n_numbers = 0;
    for part in parts(&shown) {
        match part {
            Part::Number { text, value } if n_numbers < n_following => {
                n_numbers += 1;
                let distance = value - i64::try_from(page_idx).unwrap_or(i64::MAX);
                let mut following = res.clone();
                res.iter_mut().for_each(|key| key.push_str(text));
                following.iter_mut().for_each(|key| key.push_str(&format!("\0{distance}\0")));
                res.append(&mut following);
            }
            Part::Number { text, .. } | Part::Text(text) => {
                res.iter_mut().for_each(|key| key.push_str(text));
            }
        }
    }
    res
}

#[derive(Debug, Clone, Copy)]
enum Part<'a> {
    Text(&'a str),
    Number { text: &'a str, value: i64 },
}

/// Splits a line into numbers and what is between them. Roman numbers count where nothing else
/// stands on the line but the word `page`.
fn parts(line: &str) -> Vec<Part<'_>> {
    let bare = line.trim_start_matches("page").trim_matches(|c: char| !c.is_alphanumeric());
    if let Some(value) = roman(bare) {
        return vec![Part::Number { text: bare, value }];
    }
    let mut res = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let n_text = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        if n_text > 0 {
            res.push(Part::Text(&rest[..n_text]));
            rest = &rest[n_text..];
        }
        let n_digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        match rest[..n_digits].parse() {
            Ok(value) if n_digits <= 9 => {
                res.push(Part::Number { text: &rest[..n_digits], value });
            }
            _ => res.push(Part::Text(&rest[..n_digits])),
        }
        rest = &rest[n_digits..];
    }
    res
}

/// The value of a Roman number in lower case, up to 89: longer front matter has other troubles.
fn roman(text: &str) -> Option<i64> {
    if text.is_empty() || text.len() > 9 {
        return None;
    }
    let mut digits = text.chars().map(|c| match c {
        'i' => Some(1),
        'v' => Some(5),
        'x' => Some(10),
        'l' => Some(50),
        _ => None,
    });
    let digits: Vec<i64> = digits.by_ref().collect::<Option<_>>()?;
    let signed = digits.iter().enumerate().map(|(i, &digit)| {
        if digits.get(i + 1).is_some_and(|&next| next > digit) { -digit } else { digit }
    });
    Some(signed.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pages: &[&str], expected: &[&str]) {
        let mut pages: Vec<_> = pages.iter().map(|&page| page.to_owned()).collect();
        strip(&mut pages);
        let trimmed: Vec<_> = pages.iter().map(|page| page.trim()).collect();
        assert_eq!(trimmed, expected);
    }

    /// A page of eight lines of its own between others.
    fn long(name: &str, top: &str, bottom: &str) -> String {
        let body: Vec<_> = (1..=8).map(|line| format!("{name}{line}")).collect();
        format!("{top}\n{}\n{bottom}", body.join("\n"))
    }

    #[track_caller]
    fn check_long(edges: &[(&str, &str)], expected: &[(&str, &str)]) {
        let page = |(i, it): (usize, &(&str, &str))| {
            long(["a", "b", "c", "d", "e", "f", "g"][i], it.0, it.1)
        };
        let pages: Vec<_> = edges.iter().enumerate().map(page).collect();
        let expected: Vec<_> = expected.iter().enumerate().map(page).collect();
        let pages: Vec<_> = pages.iter().map(String::as_str).collect();
        let expected: Vec<_> = expected.iter().map(|it| it.trim()).collect();
        check(&pages, &expected);
    }

    #[test]
    fn repeated_headers_and_page_numbers_go() {
        check_long(
            &[
                ("Guide du salarié\n", "\nPage 1 / 3"),
                ("Guide du salarié\n", "\nPage 2 / 3"),
                ("Guide du salarié\n", "\nPage 3 / 3"),
            ],
            &[("", ""), ("", ""), ("", "")],
        );
        check(&["Un.\n- 4 -", "Deux.\n- 5 -", "Trois.\n- 6 -"], &["Un.", "Deux.", "Trois."]);
        check(&["Un.\n9", "Deux.\n10", "Trois.\n11"], &["Un.", "Deux.", "Trois."]);
    }

    /// Twelve pages of six lines lost the one line that was the same on all of them.
    #[test]
    fn a_line_of_the_body_of_short_pages_stays_wherever_it_stands() {
        for at in 0..6 {
            let page = |page: usize| {
                let line = |line: usize| match line == at {
                    true => "Le montant est fixé par le barème.".to_owned(),
                    false => format!("Ligne {line} de la fiche {page}, propre à elle."),
                };
                (0..6).map(line).collect::<Vec<_>>().join("\n")
            };
            let pages: Vec<_> = (0..12).map(page).collect();
            let pages: Vec<_> = pages.iter().map(String::as_str).collect();
            check(&pages, &pages);
        }
    }

    #[test]
    fn the_same_line_at_other_places_stays() {
        let top = ["Note\na", "b\nNote", "Note\nc", "d\nNote"];
        let edges = top.map(|it| (it, "fin"));
        check_long(&edges, &top.map(|it| (it, "")));
    }

    #[test]
    fn what_is_removed_is_counted() {
        let pages = ["a", "b", "c", "d"].map(|it| long(it, "Guide", "fin propre"));
        let mut pages = Vec::from(pages);
        pages[3] = "Page blanche".to_owned();
        assert_eq!(strip(&mut pages), Stripped { n_lines: 6, n_pages: 3 });
    }

    #[test]
    fn roman_page_numbers_go() {
        check(&["Un.\nviii", "Deux.\nix", "Trois.\nx"], &["Un.", "Deux.", "Trois."]);
        check(&["Page II\nUn.", "Page III\nDeux.", "Page IV\nTrois."], &["Un.", "Deux.", "Trois."]);
    }

    #[test]
    fn left_and_right_pages_may_differ() {
        let top = ["Gauche", "Droite", "Gauche", "Droite", "Gauche", "Droite", "Seule"];
        let edges: Vec<_> = top.iter().map(|it| (*it, "")).collect();
        check_long(
            &edges,
            &[("", ""), ("", ""), ("", ""), ("", ""), ("", ""), ("", ""), ("Seule", "")],
        );
    }

    #[test]
    fn a_number_that_does_not_follow_the_pages_stays() {
        let pages = ["Article 1\na", "Article 4\nb", "Article 5\nc"];
        check(&pages, &pages);
    }

    #[test]
    fn numbered_headings_stay_even_one_a_page() {
        let pages = ["## Étape 1\na", "## Étape 2\nb", "## Étape 3\nc"];
        check(&pages, &pages);
    }

    #[test]
    fn a_repeated_row_of_a_table_stays() {
        let pages = ["| a | b |\nx", "| a | b |\ny", "| a | b |\nz"];
        check(&pages, &pages);
    }

    #[test]
    fn two_pages_are_too_few_to_tell() {
        check(&["Titre\na", "Titre\nb"], &["Titre\na", "Titre\nb"]);
    }

    #[test]
    fn lines_in_the_middle_of_pages_stay() {
        let pages = ["a", "b", "c"].map(|it| long(it, it, &long(it, "Nota bene", it)));
        let pages: Vec<_> = pages.iter().map(String::as_str).collect();
        check(&pages, &pages);
    }
}
