//! Words that say nothing about what a text is about, per language: lower case, elisions and
//! possessives already cut.
//!
//! French words stand here with their accents and without, because people type both; words that
//! another word would become without its accents are compared with them (`mais`, not `maïs`).
//! `été` is missing on purpose: summer is asked about more often than the participle disturbs.

use ingest::document::Language;

/// Whether a word in lower case is a stop word of a language; without a language, of either.
pub(super) fn is_stop_word(word: &str, language: Option<Language>) -> bool {
    let french = || FRENCH.binary_search(&word).is_ok();
    let english = || ENGLISH.binary_search(&word).is_ok();
    match language {
        Some(Language::French) => french(),
        Some(Language::English) => english(),
        None => french() || english(),
    }
}

// Question words (comment, combien, pourquoi; how, why) are here for English only, where the
// measured sets gained; French FAQ titles repeat them, and there they helped.
#[rustfmt::skip]
const FRENCH: &[&str] = &[
    "a", "ai", "aie", "aient", "aies", "ait", "alors", "apres", "après", "as", "au", "aucun",
    "aucune", "aura", "aurai", "auraient", "aurais", "aurait", "auras", "aurez", "auriez",
    "aurions", "aurons", "auront", "aussi", "autre", "autres", "aux", "avaient", "avais",
    "avait", "avant", "avec", "avez", "aviez", "avions", "avoir", "avons", "ayant", "ayez",
    "ayons", "bien", "c", "car", "ce", "ceci", "cela", "celle", "celles", "celui", "ces",
    "cet", "cette", "ceux", "chez", "ci", "comme", "d", "dans", "de", "depuis", "des", "donc",
    "dont", "du", "elle", "elles", "en", "encore", "entre", "es", "est", "et", "etaient",
    "etais", "etait", "etant", "etes", "etre", "eu", "eue", "eues", "eumes", "eurent", "eus",
    "eut", "eux", "eûmes", "faire", "fait", "faut", "fus", "fut", "hors", "il", "ils", "j",
    "je", "l", "la", "le", "les", "leur", "leurs", "lors", "lorsque", "lui", "là", "m", "ma",
    "mais", "me", "meme", "memes", "mes", "moi", "mon", "même", "mêmes", "n", "ne", "ni",
    "non", "nos", "notre", "nous", "on", "ont", "ou", "où", "par", "parce", "pas", "pendant",
    "peu", "peut", "peuvent", "plus", "pour", "puis", "puisque", "qu", "quand", "que", "quel",
    "quelle", "quelles", "quels", "qui", "quoi", "s", "sa", "sans", "se", "sera", "serai",
    "seraient", "serais", "serait", "seras", "serez", "seriez", "serions", "serons", "seront",
    "ses", "si", "sien", "soi", "soient", "sois", "soit", "sommes", "son", "sont", "sous",
    "suis", "sur", "t", "ta", "te", "tes", "toi", "ton", "tous", "tout", "toute", "toutes",
    "tres", "très", "tu", "un", "une", "vers", "voici", "voila", "voilà", "vos", "votre",
    "vous", "y", "à", "ça", "étaient", "étais", "était", "étant", "êtes", "être",
];

#[rustfmt::skip]
const ENGLISH: &[&str] = &[
    "a", "about", "above", "after", "again", "against", "ain", "all", "am", "an", "and",
    "any", "are", "aren", "as", "at", "be", "because", "been", "before", "being", "below",
    "between", "both", "but", "by", "can", "could", "couldn", "did", "didn", "do", "does",
    "doesn", "doing", "don", "down", "during", "each", "few", "for", "from", "further", "had",
    "hadn", "has", "hasn", "have", "haven", "having", "he", "her", "here", "hers", "herself",
    "him", "himself", "his", "how", "i", "if", "in", "into", "is", "isn", "it", "its",
    "itself", "just", "me", "more", "most", "my", "myself", "no", "nor", "not", "now", "of",
    "off", "on", "once", "only", "or", "other", "our", "ours", "ourselves", "out", "over",
    "own", "same", "she", "should", "shouldn", "so", "some", "such", "than", "that", "the",
    "their", "theirs", "them", "themselves", "then", "there", "these", "they", "this",
    "those", "through", "to", "too", "under", "until", "up", "very", "was", "wasn", "we",
    "were", "weren", "what", "when", "where", "which", "while", "who", "whom", "why", "will",
    "with", "won", "would", "wouldn", "you", "your", "yours", "yourself", "yourselves",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lists_are_sorted_so_that_binary_search_finds_every_word() {
        for list in [FRENCH, ENGLISH] {
            assert!(list.is_sorted_by(|a, b| a < b));
        }
    }

    #[test]
    fn a_word_is_judged_by_its_own_language() {
        assert!(is_stop_word("dans", Some(Language::French)));
        assert!(!is_stop_word("dans", Some(Language::English)));
        assert!(is_stop_word("dans", None));
        assert!(is_stop_word("the", None));
        assert!(!is_stop_word("comment", Some(Language::French)));
        assert!(is_stop_word("même", Some(Language::French)));
        assert!(is_stop_word("meme", Some(Language::French)));
        assert!(!is_stop_word("maïs", Some(Language::French)));
        assert!(!is_stop_word("sûr", Some(Language::French)));
    }
}
