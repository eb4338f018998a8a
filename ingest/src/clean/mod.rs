//! Pages of Markdown become one document.

use crate::document::{Document, Finding, MediaType, Metadata, PageStart};
use crate::lines::Fence;
use crate::parse::Parsed;
use crate::{injection, language};

mod characters;
mod headings;
mod reflow;
mod running;

use characters::{Removed, normalize};
pub(crate) use headings::headings;
use reflow::{Vocabulary, goes_on, join, reflow};

/// Cleans what a parser made. `name` is the file's name, the title of last resort; `metadata` is
/// what the administrator and the document say, already merged.
///
/// The text comes out in NFC, with plain spaces, without invisible and control characters, without
/// trailing spaces, with one blank line at most between two others (code aside). Of formats with
/// pages, running headers and footers are gone; of PDF, the lines of paragraphs are joined.
#[must_use]
pub fn clean(parsed: Parsed, media_type: MediaType, name: &str, metadata: Metadata) -> Document {
    let mut removed = Removed::default();
    let mut numbers = Vec::with_capacity(parsed.pages.len());
    let mut pages = Vec::with_capacity(parsed.pages.len());
    for page in parsed.pages {
        numbers.push(page.number);
        pages.push(normalize(page.text, &mut removed));
    }
    let mut furniture = running::Stripped::default();
    if numbers.iter().all(Option::is_some) {
        furniture = running::strip(&mut pages);
    }
    let laid_out = media_type == MediaType::Pdf;
    let vocabulary = if laid_out { Vocabulary::of(&pages) } else { Vocabulary::default() };
    let mut joined = Joined::default();
    for (number, page) in numbers.into_iter().zip(pages) {
        if laid_out {
            let page = reflow(&page, &vocabulary);
            joined.push_page(number, &page, Some(&vocabulary));
        } else {
            joined.push_page(number, &page, None);
        }
    }
    let Joined { mut text, pages, .. } = joined;
    text.truncate(text.trim_end().len());

    let headings = headings(&text);
    let title = metadata
        .title
        .clone()
        .or_else(|| parsed.title.as_deref().and_then(own_title))
        .or_else(|| headings.first().map(|heading| heading.title.clone()))
        .unwrap_or_else(|| name_as_title(name));
    let mut findings = parsed.findings;
    findings.extend(removed.findings());
    if furniture.n_lines > 0 {
        let (n_lines, n_pages) = (furniture.n_lines, furniture.n_pages);
        findings.push(Finding::PageFurniture { n_lines, n_pages });
    }
    findings.extend(injection::find(&text));
    Document {
        title,
        language: metadata.language.or_else(|| language::detect(&text)),
        media_type,
        pages,
        headings,
        metadata,
        findings,
        text,
    }
}

/// The text so far.
#[derive(Debug, Default)]
struct Joined {
    text: String,
    pages: Vec<PageStart>,
    fence: Fence,
}

impl Joined {
    /// Adds a page. With a vocabulary, a paragraph may go on over the page's edge.
    fn push_page(&mut self, number: Option<u32>, page: &str, vocabulary: Option<&Vocabulary>) {
        let page = page.trim_start_matches(['\n', ' ']).trim_end();
        if page.is_empty() {
            return;
        }
        let start = match vocabulary {
            Some(vocabulary) if goes_on(&self.text, page) => {
                let (first, rest) = page.split_once('\n').unwrap_or((page, ""));
                join(&mut self.text, first, vocabulary);
                let start = self.text.len() - first.len();
                self.text.push('\n');
                self.push_lines(rest);
                start
            }
            _ => {
                if !self.text.is_empty() {
                    self.text.truncate(self.text.trim_end().len());
                    self.text.push_str("\n\n");
                }
                let start = self.text.len();
                self.push_lines(page);
                start
            }
        };
        self.text.truncate(self.text.trim_end().len());
        self.pages.extend(number.map(|page| PageStart { page, offset: start }));
    }

    /// Adds lines without trailing spaces and without repeated blank lines.
    fn push_lines(&mut self, lines: &str) {
        self.text.reserve(lines.len() + 1);
        for line in lines.split_inclusive('\n') {
            let line = line.trim_end();
            let fenced = self.fence.holds(line);
            if line.is_empty() && !fenced && self.text.ends_with("\n\n") {
                continue;
            }
            self.text.push_str(line);
            self.text.push('\n');
        }
    }
}

/// The title that a file gives itself, unless it is only what some program wrote there.
fn own_title(title: &str) -> Option<String> {
    let title: String = title.split_whitespace().collect::<Vec<_>>().join(" ");
    let title = title.strip_prefix("Microsoft Word - ").unwrap_or(&title);
    let title = title.strip_prefix("Microsoft PowerPoint - ").unwrap_or(title);
    let lower = title.to_lowercase();
    let placeholder = ["", "untitled", "sans titre", "document", "title", "titre", "presentation"];
    let numbered = lower.trim_end_matches(|c: char| c.is_ascii_digit() || c == ' ');
    let extensions = [".doc", ".docx", ".pdf", ".ppt", ".pptx", ".xls", ".xlsx", ".odt", ".indd"];
    if placeholder.contains(&numbered) || extensions.iter().any(|it| lower.ends_with(it)) {
        return None;
    }
    Some(title.to_owned())
}

/// `rh_conges-2024.pdf` → `rh conges 2024`.
fn name_as_title(name: &str) -> String {
    let stem = match name.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => name,
    };
    let spaced = stem.replace(['-', '_'], " ");
    let title = spaced.split_whitespace().collect::<Vec<_>>().join(" ");
    if title.is_empty() { name.to_owned() } else { title }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Hidden;
    use crate::parse::Page;

    fn document(pages: &[&str], media_type: MediaType) -> Document {
        let numbered = media_type == MediaType::Pdf || media_type == MediaType::Pptx;
        let pages = (1..).zip(pages).map(|(number, text)| Page {
            number: numbered.then_some(number),
            text: (*text).to_owned(),
        });
        let parsed = Parsed { pages: pages.collect(), ..Parsed::default() };
        let document = clean(parsed, media_type, "le_fichier-1.pdf", Metadata::default());
        for start in &document.pages {
            assert!(document.text.is_char_boundary(start.offset));
        }
        assert!(document.pages.is_sorted_by_key(|start| start.offset));
        document
    }

    #[track_caller]
    fn check(pages: &[&str], media_type: MediaType, expected: &str) -> Document {
        let document = document(pages, media_type);
        assert_eq!(document.text, expected);
        document
    }

    #[test]
    fn blank_lines_and_trailing_spaces_collapse_outside_code() {
        check(
            &["\n\n# A  \n\n\n\nb\t\n```\nx  \n\n\n\ny\n```\n\n\n"],
            MediaType::Markdown,
            "# A\n\nb\n```\nx\n\n\n\ny\n```",
        );
    }

    #[test]
    fn pages_begin_where_their_first_character_is() {
        let document = check(&["Un.", "", "Trois."], MediaType::Pdf, "Un.\n\nTrois.");
        assert_eq!(document.page_at(0), Some(1));
        assert_eq!(document.page_at(4), Some(1));
        assert_eq!(document.page_at(5), Some(3));
    }

    #[test]
    fn a_sentence_goes_on_over_the_page() {
        let document = check(
            &["Le délai est de trois mo-", "tifs. Ces motifs\n\nFin."],
            MediaType::Pdf,
            "Le délai est de trois motifs. Ces motifs\n\nFin.",
        );
        assert_eq!(document.page_at(document.text.find("tifs.").unwrap()), Some(2));
    }

    #[test]
    fn slides_are_never_joined() {
        check(&["des mots", "encore des mots"], MediaType::Pptx, "des mots\n\nencore des mots");
    }

    #[test]
    fn running_lines_are_gone_before_paragraphs_are_joined() {
        check(
            &[
                "Guide\nle texte\nde la page\nva sur\nplus de\nlignes\nqui se\nsuivent\nPage 1",
                "Guide\net puis\nil tient\nsur une\nautre de\nces mille\npages du\nlivre\nPage 2",
                "Guide\nou bien\nsur cette\nseule page\nqui est\nenfin la\ntoute der-\nnière.\nPage 3",
            ],
            MediaType::Pdf,
            "le texte de la page va sur plus de lignes qui se suivent et puis il tient sur une \
             autre de ces mille pages du livre ou bien sur cette seule page qui est enfin la toute \
             dernière.",
        );
    }

    #[test]
    fn what_was_taken_from_the_edges_of_pages_is_reported() {
        let pages =
            ["a", "b", "c"].map(|it| format!("Guide\n{}fin {it}", format!("{it}\n\n").repeat(7)));
        let pages: Vec<_> = pages.iter().map(String::as_str).collect();
        let document = document(&pages, MediaType::Pdf);
        assert_eq!(document.findings, [Finding::PageFurniture { n_lines: 3, n_pages: 3 }]);
    }

    #[test]
    fn what_was_hidden_is_reported() {
        let document = check(&["a\u{200b}b"], MediaType::Text, "ab");
        let hidden = Finding::InvisibleText { kind: Hidden::ZeroWidth, n_chars: 1 };
        assert_eq!(document.findings, [hidden]);
    }

    #[track_caller]
    fn check_title(metadata: Option<&str>, own: Option<&str>, text: &str, expected: &str) {
        let page = Page { number: None, text: text.to_owned() };
        let parsed =
            Parsed { title: own.map(str::to_owned), pages: vec![page], ..Parsed::default() };
        let metadata = Metadata { title: metadata.map(str::to_owned), ..Metadata::default() };
        let document = clean(parsed, MediaType::Markdown, "le_fichier-1.md", metadata);
        assert_eq!(document.title, expected);
    }

    #[test]
    fn the_title_is_the_best_that_there_is() {
        check_title(Some("Stated"), Some("Own"), "# Heading", "Stated");
        check_title(None, Some("Own"), "# Heading", "Own");
        check_title(None, Some("Microsoft Word - note.docx"), "# Heading", "Heading");
        check_title(None, Some("Untitled 1"), "texte\n## Sous-titre", "Sous-titre");
        check_title(None, None, "texte", "le fichier 1");
    }
}
