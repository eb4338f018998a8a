//! Folding: the form in which words are compared regardless of case and accents.

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// Lowercase, without accents; ligatures, typographic apostrophes and spaces made plain.
#[must_use]
pub fn fold(text: &str) -> String {
    let mut res = String::with_capacity(text.len());
    for c in text.nfkd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase) {
        match c {
            'œ' => res.push_str("oe"),
            'æ' => res.push_str("ae"),
            '’' => res.push('\''),
            '\u{2010}'..='\u{2015}' => res.push('-'),
            c if c.is_whitespace() => res.push(' '),
            c => res.push(c),
        }
    }
    res
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn folds_case_accents_and_ligatures() {
        assert_eq!(fold("ÉLÈVE, Œuvre d’art — 1\u{202f}250"), "eleve, oeuvre d'art - 1 250");
    }
}
