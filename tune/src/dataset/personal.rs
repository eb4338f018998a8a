//! Personal data in a text: found, with checksums where there are some, and masked.
//!
//! Checksums: IBAN as in ISO 13616 (ISO 7064, mod 97-10); the key of the French social-security
//! number (NIR), 97 minus the number modulo 97; the Luhn formula for SIRET, with the exception of
//! La Poste, whose digits sum to a multiple of 5.

use std::{ops::Range, sync::LazyLock};

use regex::Regex;
use serde::{Deserialize, Serialize};

/// What kind of personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Personal {
    /// An e-mail address.
    Email,
    /// A telephone number.
    Phone,
    /// A bank account.
    Iban,
    /// A French social-security number.
    Nir,
    /// A French establishment; that of a sole trader is a person's.
    Siret,
}

impl Personal {
    /// What stands in its place once masked.
    #[must_use]
    pub fn mask(self) -> &'static str {
        match self {
            Self::Email => "[e-mail]",
            Self::Phone => "[phone]",
            Self::Iban => "[IBAN]",
            Self::Nir => "[NIR]",
            Self::Siret => "[SIRET]",
        }
    }

    /// The word used in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Iban => "iban",
            Self::Nir => "nir",
            Self::Siret => "siret",
        }
    }
}

/// What is done about personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PersonalPolicy {
    /// Masked in what is shown; a row that would teach it is refused.
    Mask,
    /// A row that holds any is refused.
    Refuse,
    /// Left as it is.
    Keep,
}

/// Blanks as they stand between digits: no-break and thin ones, ends of lines.
const BLANK: &str = r"[ \n\u{a0}\u{202f}\u{2009}]";

/// A mark `@`, or what is written instead so that programs do not find it.
static EMAIL: LazyLock<Regex> = LazyLock::new(|| {
    let at = r"(?:@|\s?[\[(]\s?(?:at|arobase)\s?[\])]\s?)";
    let name = r"[\p{L}0-9][\p{L}0-9._%+'’-]*";
    regex(&format!(r"(?i)\b{name}{at}[\p{{L}}0-9-]+(?:\.[\p{{L}}0-9-]+)*\.\p{{L}}{{2,}}\b"))
});
static IBAN: LazyLock<Regex> = LazyLock::new(|| {
    regex(&format!(r"(?i)\b[a-z]{{2}}[0-9]{{2}}(?:(?:{BLANK}|-)?[a-z0-9]{{1,4}}){{3,8}}\b"))
});
static NIR: LazyLock<Regex> = LazyLock::new(|| {
    let gap = format!("(?:{BLANK}|[.-])?");
    let parts = ["[1-478]", "[0-9]{2}", "[0-9]{2}", "(?:[0-9]{2}|2[ab])", "[0-9]{3}", "[0-9]{3}"];
    regex(&format!(r"(?i)\b{}{gap}[0-9]{{2}}\b", parts.join(&gap)))
});
static SIRET: LazyLock<Regex> = LazyLock::new(|| {
    let gap = format!("(?:{BLANK}|[.])?");
    regex(&format!(r"\b[0-9]{{3}}{gap}[0-9]{{3}}{gap}[0-9]{{3}}{gap}[0-9]{{5}}\b"))
});
// International numbers: a plus or two zeros, then 8 to 15 digits with single separators. French
// ones: five pairs. British ones: a zero, then three groups. American ones: 3, 3 and 4 digits.
static PHONE: LazyLock<Regex> = LazyLock::new(|| {
    let forms = [
        format!(r"(?:\+|\b00)[1-9](?:(?:{BLANK}|[.()-]){{0,2}}[0-9]){{7,14}}"),
        format!(r"\b0[1-9](?:(?:{BLANK}|[.-])?[0-9]{{2}}){{4}}"),
        r"\(?\b0[0-9]{2,4}\)?[ -][0-9]{3,4}[ -][0-9]{3,4}".to_owned(),
        r"(?:\([0-9]{3}\) ?|\b[0-9]{3}[-.])[0-9]{3}[-.][0-9]{4}".to_owned(),
    ];
    regex(&format!(r"(?:{})\b", forms.join("|")))
});

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a literal pattern is valid")
}

/// The personal data of a text, in order, without overlaps.
#[must_use]
pub fn find(text: &str) -> Vec<(Range<usize>, Personal)> {
    /// Whether what a pattern found is what it looks like.
    type Check = fn(&str) -> bool;
    // The surer ones first: where two overlap, the first one counts.
    let patterns: [(&Regex, Personal, Check); 5] = [
        (&EMAIL, Personal::Email, |_| true),
        (&IBAN, Personal::Iban, is_iban),
        (&NIR, Personal::Nir, is_nir),
        (&SIRET, Personal::Siret, is_siret),
        (&PHONE, Personal::Phone, is_phone),
    ];
    let mut res: Vec<(Range<usize>, Personal)> = Vec::new();
    for (pattern, kind, is_valid) in patterns {
        let mut from = 0;
        while let Some(found) = pattern.find_at(text, from) {
            let Some(range) = valid_part(text, found.range(), kind, is_valid) else {
                // What begins wrongly may hide what begins inside it.
                from = next_char(text, found.start());
                continue;
            };
            from = range.end;
            if res.iter().all(|(it, _)| it.end <= range.start || range.end <= it.start) {
                res.push((range, kind));
            }
        }
    }
    res.sort_by_key(|(it, _)| it.start);
    res
}

fn next_char(text: &str, at: usize) -> usize {
    at + text[at..].chars().next().map_or(1, char::len_utf8)
}

/// The match, or for an IBAN the longest beginning of it that is one: words may follow it.
fn valid_part(
    text: &str,
    range: Range<usize>,
    kind: Personal,
    is_valid: fn(&str) -> bool,
) -> Option<Range<usize>> {
    if is_valid(&text[range.clone()]) {
        return Some(range);
    }
    if kind != Personal::Iban {
        return None;
    }
    let spaces = text[range.clone()].char_indices().rev().filter(|(_, it)| it.is_whitespace());
    let ends = spaces.map(|(at, _)| range.start + at);
    ends.map(|end| range.start..end).find(|it| is_valid(&text[it.clone()]))
}

/// The text with masks in place of personal data; `None` when it has none.
#[must_use]
pub fn masked(text: &str) -> Option<String> {
    let found = find(text);
    if found.is_empty() {
        return None;
    }
    let mut res = String::with_capacity(text.len());
    let mut from = 0;
    for (range, kind) in found {
        res.push_str(&text[from..range.start]);
        res.push_str(kind.mask());
        from = range.end;
    }
    res.push_str(&text[from..]);
    Some(res)
}

/// Whether a text is an IBAN: 15 to 34 characters whose number is 1 modulo 97.
#[must_use]
pub fn is_iban(text: &str) -> bool {
    let is_mark = |it: &char| it.is_whitespace() || *it == '-';
    let compact: Vec<char> =
        text.chars().filter(|it| !is_mark(it)).map(|it| it.to_ascii_uppercase()).collect();
    if !(15..=34).contains(&compact.len()) || !compact.iter().all(char::is_ascii_alphanumeric) {
        return false;
    }
    let rotated = compact[4..].iter().chain(&compact[..4]);
    let remainder = rotated.fold(0_u32, |sum, it| match it.to_digit(36) {
        Some(digit) if digit < 10 => (sum * 10 + digit) % 97,
        Some(letter) => (sum * 100 + letter) % 97,
        None => sum,
    });
    remainder == 1
}

/// Whether a text is a French social-security number with its key.
#[must_use]
pub fn is_nir(text: &str) -> bool {
    let compact: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    if compact.len() != 15 {
        return false;
    }
    let compact = compact.to_ascii_uppercase();
    let (number, key) = compact.split_at(13);
    // Corsica: 2A counts as 19, 2B as 18.
    let number = number.replace("2A", "19").replace("2B", "18");
    let (Ok(number), Ok(key)) = (number.parse::<u64>(), key.parse::<u64>()) else { return false };
    97 - number % 97 == key
}

/// Whether a text is a SIRET.
#[must_use]
pub fn is_siret(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|it| it.to_digit(10)).collect();
    if digits.len() != 14 {
        return false;
    }
    let luhn: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, &it)| match i % 2 {
            0 => it,
            _ if it > 4 => 2 * it - 9,
            _ => 2 * it,
        })
        .sum();
    let is_la_poste = digits[..9] == [3, 5, 6, 0, 0, 0, 0, 0, 0];
    luhn.is_multiple_of(10) || is_la_poste && digits.iter().sum::<u32>().is_multiple_of(5)
}

/// Whether what looks like a telephone number is one. A French one has the same between all its
/// pairs: `01.12.2026 10` is a day and an hour.
#[must_use]
pub fn is_phone(text: &str) -> bool {
    if text.starts_with('+') || text.starts_with("00") {
        return true;
    }
    let groups = text.split(|it: char| !it.is_ascii_digit()).filter(|it| !it.is_empty());
    let groups: Vec<usize> = groups.map(str::len).collect();
    let mut gaps = text.split(|it: char| it.is_ascii_digit()).filter(|it| !it.is_empty());
    let first = gaps.next().map(str::trim);
    let is_even = gaps.all(|it| Some(it.trim()) == first);
    match groups[..] {
        [10] => true,
        [2, 2, 2, 2, 2] | [4, 2, 2, 2] => is_even,
        [_, _, _] => (10..=11).contains(&groups.iter().sum::<usize>()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(masked(text).as_deref().unwrap_or(text), expected);
    }

    #[test]
    fn addresses_and_numbers_are_masked() {
        check("Écrivez à zoe.lenoir@ormelune.example.", "Écrivez à [e-mail].");
        check("Appelez le 02 61 91 35 35 avant midi.", "Appelez le [phone] avant midi.");
        check("Call +33 1 99 00 52 80, then wait.", "Call [phone], then wait.");
        check("Tel. 0261913535", "Tel. [phone]");
    }

    #[test]
    fn account_numbers_need_their_checksum() {
        // Made for the test: the keys are computed, the numbers are nobody's.
        check("IBAN FR76 3000 6000 0112 3456 7890 189 merci", "IBAN [IBAN] merci");
        check("IBAN FR76 3000 6000 0112 3456 7890 188", "IBAN FR76 3000 6000 0112 3456 7890 188");
        check("DE89370400440532013000", "[IBAN]");
    }

    #[test]
    fn social_security_numbers_need_their_key() {
        check("NIR 2 55 08 14 168 025 38.", "NIR [NIR].");
        check("NIR 2 55 08 14 168 025 39.", "NIR 2 55 08 14 168 025 39.");
        let key = 97 - 1_850_119_033_004_u64 % 97;
        let corsican = format!("1 85 01 2A 033 004 {key:02}");
        check(&format!("NIR {corsican} !"), "NIR [NIR] !");
    }

    #[test]
    fn establishments_need_their_checksum() {
        check("SIRET 732 829 320 00074", "SIRET [SIRET]");
        check("SIRET 732 829 320 00075", "SIRET 732 829 320 00075");
        check("35600000000048", "[SIRET]");
    }

    #[test]
    fn what_is_written_to_be_missed_is_found() {
        for (text, expected) in [
            ("Tél. 01 99\n00 52 80 le matin", "Tél. [phone] le matin"),
            ("06.12.34.56.78 ou 06-12-34-56-79", "[phone] ou [phone]"),
            ("|0612345678|0612 34 56 79|", "|[phone]|[phone]|"),
            ("0033 6 12 34 56 78 / +33 (0)6 12 34 56 78", "[phone] / [phone]"),
            ("+44\u{a0}20\u{202f}7946 0958, 020 7946 0958", "[phone], [phone]"),
            ("(555) 012-3456, 555-012-3456", "[phone], [phone]"),
            ("zoe.lenoir [at] ormelune.example", "[e-mail]"),
            ("Zoé.Lenoir@ormelune.example; o’neil@x.example", "[e-mail]; [e-mail]"),
            ("<mailto:a_b+c@mail.x-y.example>", "<mailto:[e-mail]>"),
            ("fr7630006000011234567890189", "[IBAN]"),
            ("FR76-3000-6000-0112-3456-7890-189", "[IBAN]"),
            ("Réf. AB12 FR76 3000 6000 0112 3456 7890 189", "Réf. AB12 [IBAN]"),
            ("FR76 3000 6000\n0112 3456 7890 189 merci", "[IBAN] merci"),
            ("2-55-08-14-168-025-38, 255081416802538", "[NIR], [NIR]"),
            ("732.829.320.00074, 73282932000074", "[SIRET], [SIRET]"),
            ("n° 111 732 829 320 00074", "n° 111 [SIRET]"),
        ] {
            check(text, expected);
            assert_eq!(masked(expected), None, "a mask is nobody's");
        }
    }

    #[test]
    fn amounts_dates_and_codes_are_nobodys() {
        for text in [
            "1 500 000 € par sinistre",
            "contract 7 741 205",
            "le 1er janvier 2026, référence RH-2026-003",
            "poste 4111, de 8 h à 18 h 30",
            "OR-GVR-100 at 59.00 EUR",
            "le 01.12.2026 10:30, du 01-12-2026 10 h",
            "2026-01-12 10:30:45",
            "colis 0 123 45",
            "ISO 27001 et 9001, version 10.2.0.14",
            "at 9:30 [at the desk]",
        ] {
            check(text, text);
        }
    }
}
