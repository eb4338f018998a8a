//! Text to search terms.
//!
//! A text is read once into words: Unicode in its compatible form (a ligature from a PDF is two
//! letters), lower case, French elisions and English possessives cut. From the words come two
//! kinds of terms:
//!
//! - *stems*, for one language, by Snowball. In French, accents are folded after stemming, because
//!   its rules read them: `congés` and `conges` both end as `cong`.
//! - *exact terms*: words folded but not stemmed, and compounds kept whole beside their parts:
//!   reference codes (`rh-2024-017`), versions, e-mail addresses, file names.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use frostem::{Algorithm, Stemmer};
use ingest::document::Language;
use unicode_normalization::char::{decompose_canonical, is_combining_mark};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

use super::stop_words::is_stop_word;

/// Words of more bytes are no words but encoded data; the index and questions both skip them.
const WORD_BYTES_MAX: usize = 100;

/// The stems of a text in one language, accents folded, in order. Stop words are left out.
///
/// `L'élève`, `eleves` and `ÉLÈVES` give the same stem.
#[must_use]
pub fn analyse(text: &str, language: Language) -> Vec<String> {
    Words::read(text).stems(language)
}

/// Finds a few stems in many texts. Reading all of a text to look a few words up would take longer
/// than finding the text did: only words with the right first letter are analysed, for a stem begins
/// as its word does, and each of them once.
#[derive(Debug)]
pub struct StemFinder<'a> {
    languages: &'a [Language],
    prefixes: &'a [String],
    /// First letters of the prefixes.
    initials: Vec<char>,
    /// By the word as it is written, what it is.
    known: HashMap<String, Known>,
}

/// A word that was met.
#[derive(Debug)]
struct Known {
    /// An acronym, unless the whole text is in capitals.
    shouts: bool,
    /// Its stems that are looked for, and whether each is that of a stop word.
    stems: Vec<(String, bool)>,
}

impl<'a> StemFinder<'a> {
    /// Looks for stems that begin with one of `prefixes`, in some languages.
    #[must_use]
    pub fn new(languages: &'a [Language], prefixes: &'a [String]) -> Self {
        let mut initials: Vec<char> = prefixes.iter().filter_map(|it| it.chars().next()).collect();
        initials.sort_unstable();
        initials.dedup();
        Self { languages, prefixes, initials, known: HashMap::new() }
    }

    /// Those stems among [`analyse`]'s of a text in each language.
    #[must_use]
    pub fn find(&mut self, text: &str) -> BTreeSet<String> {
        let text = normal(text);
        let mixed_case = is_mixed_case(&text);
        let mut res = BTreeSet::new();
        for part in compounds(&text).into_iter().flat_map(|it| parts(&text[it])) {
            let is_known = self.known.contains_key(part);
            if !is_known {
                // What an apostrophe divides may begin with another word.
                let can_match = part.contains('\'') || self.keeps(part);
                if !can_match {
                    continue;
                }
                let known = self.read(part);
                self.known.insert(part.to_owned(), known);
            }
            let Known { shouts, stems } = &self.known[part];
            let acronym = mixed_case && *shouts;
            let telling = stems.iter().filter(|(_, is_stop)| acronym || !is_stop);
            res.extend(telling.map(|(stem, _)| stem.clone()));
        }
        res
    }

    fn keeps(&self, word: &str) -> bool {
        initial(word).is_none_or(|it| self.initials.contains(&it))
    }

    fn read(&self, part: &str) -> Known {
        let lower = part.to_lowercase();
        let mut stems = Vec::new();
        for word in without_clitics(&lower) {
            if word.len() > WORD_BYTES_MAX || !self.keeps(word) {
                continue;
            }
            for &language in self.languages {
                let stem = stem(word, language);
                if self.prefixes.iter().any(|it| stem.starts_with(it.as_str())) {
                    stems.push((stem, is_stop_word(word, Some(language))));
                }
            }
        }
        Known { shouts: shouts(part), stems }
    }
}

/// A text in lower case without accents and ligatures: `Cœur d'ÉTÉ` becomes `coeur d'ete`.
#[must_use]
pub fn fold(text: &str) -> String {
    let mut res = String::with_capacity(text.len());
    for c in text.chars() {
        // Most are; tables are for the others.
        if c.is_ascii() {
            res.push(c.to_ascii_lowercase());
            continue;
        }
        for lower in c.to_lowercase() {
            decompose_canonical(lower, |c| push_folded(c, &mut res));
        }
    }
    res
}

/// Adds a character of a decomposed text in lower case. Marks go, so their order does not matter.
fn push_folded(c: char, res: &mut String) {
    match c {
        'œ' => res.push_str("oe"),
        'æ' => res.push_str("ae"),
        'ß' => res.push_str("ss"),
        'ø' => res.push('o'),
        'ł' => res.push('l'),
        'đ' => res.push('d'),
        c if c.is_ascii() || !is_combining_mark(c) => res.push(c),
        _ => {}
    }
}

/// A word in lower case, without elision or possessive.
#[derive(Debug, PartialEq, Eq)]
struct Word {
    text: String,
    /// Written in capitals inside a text that is not: `IT`, which is no pronoun then.
    acronym: bool,
}

/// A text, read once.
#[derive(Debug, Default)]
pub(super) struct Words {
    words: Vec<Word>,
    /// Compounds kept whole, folded.
    compounds: Vec<String>,
}

impl Words {
    pub(super) fn read(text: &str) -> Self {
        let text = normal(text);
        let compounds = compounds(&text);
        let whole = |it: &Range<usize>| text[it.clone()].split('\'').filter_map(whole);
        Self {
            words: words(&text, &compounds),
            compounds: compounds.iter().flat_map(whole).collect(),
        }
    }

    /// Stems in one language, without its stop words.
    pub(super) fn stems(&self, language: Language) -> Vec<String> {
        self.placed_stems(language).map(|(_, stem)| stem).collect()
    }

    /// Stems with the numbers of their words: stems of one word in two languages share it.
    pub(super) fn placed_stems(&self, language: Language) -> impl Iterator<Item = (usize, String)> {
        self.telling(Some(language)).map(move |(place, word)| (place, stem(word, language)))
    }

    /// Words without accents but not stemmed, then compounds. Stop words of the language are left
    /// out; without a language, those of both.
    pub(super) fn exact(&self, language: Option<Language>) -> Vec<String> {
        let words = self.telling(language).map(|(_, word)| fold(word));
        words.chain(self.compounds.iter().cloned()).collect()
    }

    /// Words that are no stop words, with their numbers.
    fn telling(&self, language: Option<Language>) -> impl Iterator<Item = (usize, &str)> {
        let words = self.words.iter().enumerate();
        let telling =
            words.filter(move |(_, word)| word.acronym || !is_stop_word(&word.text, language));
        telling.map(|(place, word)| (place, word.text.as_str()))
    }
}

/// The words of the compounds of a text.
fn words(text: &str, compounds: &[Range<usize>]) -> Vec<Word> {
    let mixed_case = is_mixed_case(text);
    let mut res = Vec::new();
    for part in compounds.iter().flat_map(|it| parts(&text[it.clone()])) {
        let acronym = mixed_case && shouts(part);
        let lower = part.to_lowercase();
        let words = without_clitics(&lower).filter(|it| it.len() <= WORD_BYTES_MAX);
        res.extend(words.map(|it| Word { text: it.to_owned(), acronym }));
    }
    res
}

fn is_mixed_case(text: &str) -> bool {
    text.chars().any(char::is_lowercase)
}

/// Whether a word of several letters has no small ones.
fn shouts(word: &str) -> bool {
    word.chars().nth(1).is_some() && !word.chars().any(char::is_lowercase)
}

/// The stem of a word in lower case, folded.
fn stem(word: &str, language: Language) -> String {
    match language {
        Language::French => fold(&Stemmer::new(Algorithm::French).stem(word)),
        // Accents in English are a matter of taste (`résumé`), and its stemmer knows none.
        Language::English => Stemmer::new(Algorithm::English).stem(&fold(word)).into_owned(),
    }
}

/// A word's first letter, folded.
fn initial(word: &str) -> Option<char> {
    let first = word.chars().next()?;
    if first.is_ascii() {
        return Some(first.to_ascii_lowercase());
    }
    fold(word).chars().next()
}

/// A text in its compatible form, and what can be written in several ways written in one.
fn normal(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return text.into();
    }
    match is_nfkc_quick(text.chars()) {
        IsNormalized::Yes => text.chars().filter_map(plain).collect(),
        IsNormalized::No | IsNormalized::Maybe => text.nfkc().filter_map(plain).collect(),
    }
}

/// One way to write what has several: apostrophes and hyphens. Soft hyphens vanish.
fn plain(c: char) -> Option<char> {
    match c {
        '\u{ad}' => None,
        '’' | 'ʼ' | '‘' | '＇' => Some('\''),
        '\u{2010}' | '\u{2011}' => Some('-'),
        c => Some(c),
    }
}

fn is_inner(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_alphanumeric()
    } else {
        c.is_alphanumeric() || is_combining_mark(c)
    }
}

/// Ranges of words that hang together: single joining characters between letters and digits.
fn compounds(text: &str) -> Vec<Range<usize>> {
    let mut res = Vec::new();
    let mut start = None;
    let mut chars = text.char_indices().peekable();
    let mut before = ' ';
    while let Some((at, c)) = chars.next() {
        let after = chars.peek().map_or(' ', |&(_, after)| after);
        let joins = match c {
            '\'' | '-' | '.' | '_' | '/' | '@' | '+' | ':' | '&' => {
                is_inner(before) && is_inner(after)
            }
            ',' => before.is_numeric() && after.is_numeric(),
            _ => false,
        };
        if is_inner(c) || joins {
            start.get_or_insert(at);
        } else if let Some(start) = start.take() {
            res.push(start..at);
        }
        before = c;
    }
    res.extend(start.map(|start| start..text.len()));
    res
}

/// The words of a compound. Apostrophes stay: elisions are cut later.
fn parts(compound: &str) -> impl Iterator<Item = &str> {
    compound.split(|c: char| !is_inner(c) && c != '\'').filter(|it| !it.is_empty())
}

/// The term for a compound as a whole, if it says more than its parts: it holds a digit or a
/// joint that no sentence has (`@`, `_`), or a dot (`config.toml`); or it is a hyphenated word
/// that people also write as one (`e-mail`, but not `est-ce`).
fn whole(compound: &str) -> Option<String> {
    if compound.len() > WORD_BYTES_MAX || parts(compound).nth(1).is_none() {
        return None;
    }
    let folded = fold(compound);
    if folded.contains(|c: char| c.is_numeric() || matches!(c, '@' | '_' | '.')) {
        return Some(code(&folded));
    }
    let hyphens_only = !folded.contains(|c: char| !is_inner(c) && c != '-');
    let telling = parts(compound).all(|part| !is_stop_word(&part.to_lowercase(), None));
    (hyphens_only && telling).then(|| folded.replace('-', ""))
}

/// Codes are written with and without a dot after their letter (`L.1234-5`, `L1234-5`), and
/// decimals with a comma or a dot.
fn code(folded: &str) -> String {
    let mut res = String::with_capacity(folded.len());
    let mut chars = folded.chars().peekable();
    while let Some(c) = chars.next() {
        let after_letter = res.ends_with(char::is_alphabetic);
        match c {
            '.' if after_letter && chars.peek().is_some_and(|it| it.is_numeric()) => {}
            ',' => res.push('.'),
            c => res.push(c),
        }
    }
    res
}

/// Cuts what is glued on by an apostrophe: `l'élève` gives `élève`, `company's` gives `company`.
fn without_clitics(word: &str) -> impl Iterator<Item = &str> {
    const ELIDED: [&str; 14] = [
        "l", "d", "j", "m", "n", "s", "t", "c", "qu", "jusqu", "lorsqu", "puisqu", "quoiqu",
        "presqu",
    ];
    const ENCLITIC: [&str; 7] = ["s", "t", "d", "m", "re", "ve", "ll"];
    // The one common word that an apostrophe does not divide.
    let pieces: Vec<&str> = match word {
        "aujourd'hui" => vec![word],
        _ => word.split('\'').filter(|it| !it.is_empty()).collect(),
    };
    let n_elided = pieces.iter().take_while(|it| ELIDED.contains(it)).count();
    let start = n_elided.min(pieces.len().saturating_sub(1));
    let enclitic = pieces.len() - start > 1 && ENCLITIC.contains(&pieces[pieces.len() - 1]);
    let end = pieces.len() - usize::from(enclitic);
    pieces.into_iter().take(end).skip(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, language: Language, expected: &[&str]) {
        let stems = analyse(text, language);
        assert_eq!(stems, expected, "{text}");
        let decomposed: String = text.nfd().collect();
        assert_eq!(analyse(&decomposed, language), expected, "{text}, decomposed");
    }

    /// All forms must meet in one term, and the last form must not.
    #[track_caller]
    fn check_meet(language: Language, forms: &[&str], other: &str) {
        let stems: Vec<_> = forms.iter().map(|form| analyse(form, language)).collect();
        assert!(stems.iter().all(|it| it == &stems[0] && it.len() == 1), "{forms:?}: {stems:?}");
        assert_ne!(analyse(other, language), stems[0], "{other}");
    }

    #[track_caller]
    fn check_exact(text: &str, language: Option<Language>, expected: &[&str]) {
        assert_eq!(Words::read(text).exact(language), expected, "{text}");
    }

    #[test]
    fn french_forms_of_a_word_meet() {
        for (forms, other) in [
            (&["élève", "eleve", "ÉLÈVE", "l'élève", "L’ÉLÈVES", "élèves"][..], "élan"),
            (&["congé", "congés", "CONGES", "d'un congé"], "congrès"),
            (&["téléphone", "telephones", "Téléphoner"], "télécopie"),
            (&["salarié", "salariés", "salariée", "salariées"], "salade"),
            (&["nationale", "nationales", "nationaux"], "nation"),
            (&["rembourser", "remboursé", "remboursement", "remboursements"], "embouteillage"),
            (&["travailler", "travaillé"], "trajet"),
            (&["cœur", "coeurs", "CŒUR"], "corps"),
            (&["aujourd'hui", "aujourd’hui", "Aujourd'hui"], "demain"),
        ] {
            check_meet(Language::French, forms, other);
        }
    }

    #[test]
    fn english_forms_of_a_word_meet() {
        for (forms, other) in [
            (&["policy", "policies", "Policy's", "POLICIES’"][..], "police"),
            (&["reimburse", "reimbursed", "reimbursing", "reimbursement"], "burst"),
            (&["connect", "connection", "connected"], "consign"),
            (&["résumé", "resume", "resumes"], "result"),
        ] {
            check_meet(Language::English, forms, other);
        }
    }

    #[test]
    fn elisions_and_stop_words_go_and_order_stays() {
        check(
            "Qu'est-ce que l'élève a dit lorsqu'il s'est plaint d'un retard ?",
            Language::French,
            &["elev", "dit", "plaint", "retard"],
        );
        check(
            "What doesn't the employee's card open?",
            Language::English,
            &["employe", "card", "open"],
        );
    }

    #[test]
    fn acronyms_are_no_stop_words_unless_the_text_shouts() {
        check("Who leads IT in the US?", Language::English, &["lead", "it", "us"]);
        check("WHO LEADS IT?", Language::English, &["lead"]);
    }

    #[test]
    fn a_word_that_only_loses_its_accent_to_a_stop_word_is_kept() {
        check("du maïs sûr", Language::French, &["mai", "sur"]);
    }

    #[test]
    fn codes_are_kept_whole_beside_their_parts() {
        let french = Some(Language::French);
        check_exact("voir RH-2024-017.", french, &["voir", "rh", "2024", "017", "rh-2024-017"]);
        check_exact("art. L.1234-5", french, &["art", "1234", "5", "l1234-5"]);
        check_exact("article L1234-5", french, &["article", "l1234", "5", "l1234-5"]);
        check_exact("v2.3.1", french, &["v2", "3", "1", "v2.3.1"]);
        check_exact("14,5 %", french, &["14", "5", "14.5"]);
        check_exact("l'ISO-9001", french, &["iso", "9001", "iso-9001"]);
        check_exact(
            "Zoé.Noël@exemple.fr",
            None,
            &["zoe", "noel", "exemple", "fr", "zoe.noel@exemple.fr"],
        );
        check_exact("souffleur.toml", None, &["souffleur", "toml", "souffleur.toml"]);
        check_exact("dans le code", None, &["code"]);
    }

    #[test]
    fn hyphenated_words_meet_their_closed_spelling_but_inversions_do_not_count() {
        check_exact("e‑mail", None, &["e", "mail", "email"]);
        check_exact("week-end", None, &["week", "end", "weekend"]);
        check_exact("peut-elle", Some(Language::French), &[]);
    }

    #[test]
    fn a_text_of_two_languages_is_analysed_in_either() {
        let text = "The policies: les congés payés";
        assert!(analyse(text, Language::English).contains(&"polici".to_owned()));
        assert_eq!(
            analyse(text, Language::French).last(),
            analyse("payés", Language::French).last()
        );
    }

    #[test]
    fn ligatures_of_a_pdf_are_letters() {
        check("oﬃce", Language::English, &["offic"]);
    }

    #[test]
    fn hostile_texts_are_read_in_linear_time() {
        for text in [
            "l'".repeat(50_000),
            "a-".repeat(50_000),
            "x".repeat(100_000),
            "é\u{301}".repeat(50_000),
            "'".repeat(100_000),
            "\u{0}\u{ad}\u{202e}\u{feff}🎭".repeat(10_000),
        ] {
            for language in [Language::French, Language::English] {
                assert!(analyse(&text, language).len() <= text.len());
            }
        }
        check_exact("", None, &[]);
        check_exact(&"x".repeat(WORD_BYTES_MAX + 1), None, &[]);
    }

    proptest::proptest! {
        #[test]
        fn stems_that_are_found_are_those_of_the_text(
            texts in proptest::collection::vec("([a-zA-ZéÈœßï' -]|l'|d’|IT |it ){0,60}", 1..4),
            prefixes in proptest::collection::vec("[a-eio]{1,2}", 0..4),
        ) {
            let languages = [Language::English, Language::French];
            let mut finder = StemFinder::new(&languages, &prefixes);
            // Later texts meet words of the former ones.
            for text in &texts {
                let all = languages.map(|it| analyse(text, it)).concat().into_iter();
                let is_wanted = |it: &String| prefixes.iter().any(|prefix| it.starts_with(prefix));
                let expected: BTreeSet<String> = all.filter(is_wanted).collect();
                proptest::prop_assert_eq!(finder.find(text), expected);
            }
        }

        #[test]
        fn folding_is_that_of_the_whole_text(text in "\\PC{0,20}") {
            let mut expected = String::new();
            text.chars()
                .flat_map(char::to_lowercase)
                .nfd()
                .for_each(|c| push_folded(c, &mut expected));
            proptest::prop_assert_eq!(fold(&text), expected);
        }
    }
}
