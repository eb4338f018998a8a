//! Facets of chunks, and filters over them. Both legs apply a filter inside the index, before the
//! top k is cut.

use ingest::document::Language;

/// What a filter can ask of a chunk. All but the language belong to its document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facets {
    /// The collection that the document belongs to.
    pub collection: Option<String>,
    /// The chunk's own language where it can be told, else its document's.
    pub language: Option<Language>,
    /// The document's path below its root, with `/` between parts.
    pub path: String,
    /// Last change of the document, in seconds since 1970 (UTC).
    pub modified: Option<i64>,
    /// Groups whose members may read the document. Empty: everyone may.
    pub groups: Vec<String>,
}

impl Facets {
    /// Every folder above the document, outermost first, and the document itself: for
    /// `hr/leave/paid.md` these are `hr`, `hr/leave` and `hr/leave/paid.md`.
    ///
    /// Both legs index these as keywords, which makes a path filter one exact match.
    pub fn path_prefixes(&self) -> impl Iterator<Item = &str> {
        let folders = self.path.match_indices('/').map(|(at, _)| &self.path[..at]);
        folders.chain([self.path.as_str()]).filter(|prefix| !prefix.is_empty())
    }
}

/// Which chunks a search may return. The default lets everything through. Conditions on
/// different facets must all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// One of these collections. Empty: any, or none.
    pub collections: Vec<String>,
    /// One of these languages. Empty: any, or none.
    pub languages: Vec<Language>,
    /// This document, or any below this folder: `hr` holds `hr/leave.md`, not `hr-2019/leave.md`.
    /// A `/` at either end does not matter.
    pub path_prefix: Option<String>,
    /// Changed at this second or later. A document without a date does not match.
    pub modified_from: Option<i64>,
    /// Changed at this second or earlier. A document without a date does not match.
    pub modified_to: Option<i64>,
    /// Groups of the reader. `None`: no restriction. `Some`: documents that are open to everyone
    /// or to one of these groups; so `Some(vec![])` leaves only what everyone may read.
    pub groups: Option<Vec<String>>,
}

impl Filter {
    /// The path filter as the keyword to look up among [`Facets::path_prefixes`]; `None` when
    /// every path matches.
    #[must_use]
    pub fn path_keyword(&self) -> Option<&str> {
        let prefix = self.path_prefix.as_deref()?.trim_matches('/');
        (!prefix.is_empty()).then_some(prefix)
    }

    /// Whether the filter lets a chunk through. This is the meaning of a filter; the legs must
    /// agree with it, and their tests compare them with it.
    #[must_use]
    pub fn matches(&self, facets: &Facets) -> bool {
        let collection = facets.collection.as_ref();
        let of_collection = self.collections.is_empty()
            || collection.is_some_and(|it| self.collections.contains(it));
        let of_language = self.languages.is_empty()
            || facets.language.is_some_and(|it| self.languages.contains(&it));
        let of_path =
            self.path_keyword().is_none_or(|it| facets.path_prefixes().any(|prefix| prefix == it));
        let from = self.modified_from.is_none_or(|from| facets.modified >= Some(from));
        let to = self
            .modified_to
            .is_none_or(|to| facets.modified.is_some_and(|modified| modified <= to));
        let of_groups = self.groups.as_ref().is_none_or(|groups| {
            facets.groups.is_empty() || facets.groups.iter().any(|it| groups.contains(it))
        });
        of_collection && of_language && of_path && from && to && of_groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facets() -> Facets {
        Facets {
            collection: Some("hr".to_owned()),
            language: Some(Language::French),
            path: "hr/leave/paid.md".to_owned(),
            modified: Some(100),
            groups: vec!["staff".to_owned()],
        }
    }

    #[track_caller]
    fn check(filter: &Filter, expected: bool) {
        assert_eq!(filter.matches(&facets()), expected, "{filter:?}");
    }

    #[test]
    fn the_default_filter_lets_everything_through() {
        check(&Filter::default(), true);
        assert!(Filter::default().matches(&Facets::default()));
    }

    #[test]
    fn a_path_filter_matches_whole_parts() {
        for (prefix, expected) in [
            ("hr", true),
            ("hr/", true),
            ("/hr/leave", true),
            ("hr/leave/paid.md", true),
            ("", true),
            ("h", false),
            ("hr/lea", false),
            ("leave", false),
        ] {
            check(&Filter { path_prefix: Some(prefix.to_owned()), ..Filter::default() }, expected);
        }
    }

    #[test]
    fn dates_are_inclusive_and_a_missing_date_does_not_match() {
        let from = |from| Filter { modified_from: Some(from), ..Filter::default() };
        let to = |to| Filter { modified_to: Some(to), ..Filter::default() };
        check(&from(100), true);
        check(&from(101), false);
        check(&to(100), true);
        check(&to(99), false);
        let undated = Facets { modified: None, ..facets() };
        assert!(!from(i64::MIN).matches(&undated));
        assert!(!to(i64::MAX).matches(&undated));
    }

    #[test]
    fn groups_open_what_they_share_and_what_is_open_to_all() {
        let reader = |groups: &[&str]| Filter {
            groups: Some(groups.iter().map(|&it| it.to_owned()).collect()),
            ..Filter::default()
        };
        check(&reader(&["staff", "board"]), true);
        check(&reader(&["board"]), false);
        check(&reader(&[]), false);
        assert!(reader(&[]).matches(&Facets { groups: Vec::new(), ..facets() }));
    }

    #[test]
    fn collections_and_languages_are_alternatives() {
        let collections = |names: &[&str]| Filter {
            collections: names.iter().map(|&it| it.to_owned()).collect(),
            ..Filter::default()
        };
        check(&collections(&["it", "hr"]), true);
        check(&collections(&["it"]), false);
        check(&Filter { languages: vec![Language::English], ..Filter::default() }, false);
        check(&Filter { languages: vec![Language::French], ..Filter::default() }, true);
    }
}
