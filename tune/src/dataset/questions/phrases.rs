//! Words put together: phrasings, quotation marks, first letters.

use std::sync::LazyLock;

use ingest::document::Language;
use regex::Regex;

static FOOTNOTE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\[\^[^\]]{1,20}\]").expect("a literal pattern is valid"));
static EMPHASIS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\*\*([^*]+)\*\*|\*([^*\s][^*]*)\*|`([^`]+)`").expect("a literal pattern is valid")
});
static LINK: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\[([^\]]+)\]\([^)]+\)").expect("a literal pattern is valid"));

/// A text without Markdown's marks: emphasis, code, links, notes.
pub(super) fn plain(text: &str) -> String {
    let text = FOOTNOTE.replace_all(text, "");
    let text = LINK.replace_all(&text, "$1");
    let text = EMPHASIS.replace_all(&text, "$1$2$3");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// One of several phrasings, always the same one for the same `of`.
pub(super) fn pick<'a>(phrasings: &[&'a str], of: &[&str]) -> &'a str {
    let id = crate::dataset::row::id_of(of);
    let n = u64::from_str_radix(&id, 16).unwrap_or(0);
    let n_all = phrasings.len() as u64;
    phrasings[usize::try_from(n % n_all).unwrap_or(0)]
}

/// Fills `{name}` in a phrasing.
pub(super) fn fill(phrasing: &str, values: &[(&str, &str)]) -> String {
    let mut res = phrasing.to_owned();
    for (name, value) in values {
        res = res.replace(&format!("{{{name}}}"), value);
    }
    res
}

/// A text in the quotation marks of a language. Marks inside it would end them: they go.
pub(super) fn quoted(text: &str, language: Language) -> String {
    // A star at the end points to a note.
    let text = text.trim_end_matches('*');
    let bare: String = text.chars().filter(|it| !"«»“”\"".contains(*it)).collect();
    match language {
        Language::French => format!("« {} »", bare.trim()),
        Language::English => format!("“{}”", bare.trim()),
    }
}

/// A name as it stands in a question: in quotation marks where it would not be seen to end.
pub(super) fn name(text: &str, language: Language) -> String {
    let n_words = text.split_whitespace().count();
    let is_plain =
        n_words <= 2 && text.chars().all(|it| it.is_alphanumeric() || " -’'.".contains(it));
    if is_plain { text.to_owned() } else { quoted(text, language) }
}

/// The first letter in lower case, unless the first word is a name or a code, as far as the text
/// around it shows.
pub(super) fn lower_first(words: &str, text: &str) -> String {
    let first = words.split([' ', '’', '\'']).next().unwrap_or_default();
    let mut chars = first.chars();
    let Some(initial) = chars.next() else { return String::new() };
    let is_code = chars.any(|it| it.is_uppercase() || it.is_ascii_digit());
    let low = first.to_lowercase();
    let is_name = !text.contains(&format!(" {low}")) && inside_a_sentence(text, first);
    if is_code || is_name {
        return words.to_owned();
    }
    format!("{}{}", initial.to_lowercase(), &words[initial.len_utf8()..])
}

/// Whether a word stands, as it is written, after a word in lower case.
fn inside_a_sentence(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].trim_end();
        before.len() < at && before.ends_with(|it: char| it.is_lowercase() || it == ',')
    })
}

/// The first letter in upper case.
pub(super) fn upper_first(words: &str) -> String {
    let mut chars = words.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// A sentence that ends as one.
pub(super) fn ended(text: &str) -> String {
    let text = text.trim();
    if text.ends_with(['.', '!', '?', '…']) { text.to_owned() } else { format!("{text}.") }
}
