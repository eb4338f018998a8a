//! Whether a sentence says the opposite of another one.

use super::fold::fold;

/// Words that deny.
const DENYING: [&str; 20] = [
    "not",
    "no",
    "never",
    "none",
    "cannot",
    "nor",
    "neither",
    "pas",
    "jamais",
    "aucun",
    "aucune",
    "ni",
    "nul",
    "nulle",
    "forbidden",
    "prohibited",
    "interdit",
    "interdite",
    "interdits",
    "interdites",
];

/// Phrases that hold a word that denies and deny nothing, or only set a bound.
const BOUNDS: [&str; 14] = [
    "no later than",
    "not later than",
    "no more than",
    "not more than",
    "no less than",
    "not less than",
    "not exceed",
    "not only",
    "pas plus de",
    "pas plus tard",
    "n'excede pas",
    "ne depasse pas",
    "ne peut exceder",
    "non seulement",
];

/// Words of which one says the opposite of the other, by the beginning of each.
const OPPOSITES: [(&str, &str); 22] = [
    ("increas", "decreas"),
    ("hausse", "baisse"),
    ("augment", "diminu"),
    ("minimum", "maximum"),
    ("at least", "at most"),
    ("au moins", "au plus"),
    ("more than", "less than"),
    ("plus de", "moins de"),
    ("superieur", "inferieur"),
    ("unlimited", "limited"),
    ("unlimited", "exceed"),
    ("illimite", "limite"),
    ("included", "excluded"),
    ("inclus", "exclu"),
    ("mandatory", "optional"),
    ("obligatoire", "facultati"),
    ("receives", "pays"),
    ("recoit", "paie"),
    ("accepted", "refused"),
    ("accepte", "refuse"),
    ("above", "below"),
    ("earliest", "latest"),
];

/// Words that leave out everything else.
const EXCLUSIVE: [&str; 7] =
    ["only", "solely", "exclusively", "seul", "seule", "uniquement", "exclusivement"];

/// A statement, read for what it denies.
#[derive(Debug)]
pub(super) struct Tone {
    folded: String,
    denies: bool,
    exclusive: bool,
}

impl Tone {
    pub(super) fn of(text: &str) -> Self {
        let folded = format!(" {} ", fold(text));
        let mut rest = folded.clone();
        for bound in BOUNDS {
            rest = rest.replace(bound, " ");
        }
        let words = || rest.split(|c: char| !(c.is_alphanumeric() || c == '\''));
        let denies = rest.contains("n't")
            || words().any(|it| DENYING.contains(&it))
            || french_denial(&rest)
            // Beside a restriction too: `n'est plus ouvert et ne vend que du pain`.
            || rest.contains("n'est plus ");
        let exclusive = words().any(|it| EXCLUSIVE.contains(&it)) || restricts(&rest);
        Self { folded, denies, exclusive }
    }

    /// Whether this says the opposite of a statement that speaks of the same.
    pub(super) fn contradicts(&self, other: &Self) -> bool {
        let has = |it: &Self, word: &str| it.folded.contains(&format!(" {word}"));
        let turned =
            |a: &str, b: &str| has(self, a) && !has(self, b) && has(other, b) && !has(other, a);
        self.denies != other.denies || OPPOSITES.iter().any(|(a, b)| turned(a, b) || turned(b, a))
    }

    /// Whether this leaves out what the other statement does not.
    pub(super) fn excludes_more_than(&self, other: &Self) -> bool {
        self.exclusive && !other.exclusive
    }
}

/// Whether there is a `ne`, and nowhere the `que` that makes one `only`.
fn french_denial(folded: &str) -> bool {
    let ne = |it: &str| it == "ne" || it.starts_with("n'");
    folded.split_whitespace().any(|it| ne(it) && it != "n'importe") && !restricts(folded)
}

/// `ne … que`: a restriction.
fn restricts(folded: &str) -> bool {
    let words: Vec<&str> = folded.split_whitespace().collect();
    words.iter().enumerate().any(|(i, it)| {
        (*it == "ne" || it.starts_with("n'"))
            && words[i + 1..].iter().take(5).any(|it| *it == "que" || it.starts_with("qu'"))
            && !words[i + 1..].iter().take(4).any(|it| ["pas", "jamais", "plus"].contains(it))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(a: &str, b: &str, expected: bool) {
        let (a_tone, b_tone) = (Tone::of(a), Tone::of(b));
        assert_eq!(a_tone.contradicts(&b_tone), expected, "{a} / {b}");
        assert_eq!(b_tone.contradicts(&a_tone), expected, "{b} / {a}");
    }

    #[test]
    fn what_one_denies_and_the_other_does_not_is_opposite() {
        check("Il peut être cédé à un tiers.", "Il ne peut être cédé à un tiers.", true);
        check("La note est remboursée.", "La note n’est plus remboursée.", true);
        check("Phones can be bought back.", "Phones cannot be bought back.", true);
        check("Smoking is forbidden.", "Smoking is not allowed.", false);
        check("Les animaux sont interdits.", "Les animaux sont admis.", true);
        // `ne … que` restricts, and `n'est plus` beside it denies all the same.
        check("Il n’est plus ouvert et ne vend que du pain.", "Il est ouvert.", true);
        check("La carte (n’est plus valable).", "La carte (est valable).", true);
    }

    #[test]
    fn bounds_and_restrictions_deny_nothing() {
        check("Apply within 5 days.", "Apply no later than 5 days after.", false);
        check("Le plafond est de 30 €.", "Le montant ne dépasse pas 30 €.", false);
        check("Il n’est ouvert que le lundi.", "Il est ouvert le lundi.", false);
    }

    #[test]
    fn opposite_words_are_opposite() {
        check("Les ventes sont en hausse.", "Les ventes sont en baisse.", true);
        check("Liability is unlimited.", "Liability is limited.", true);
        check("The client receives a fee.", "The client pays a fee.", true);
        check("At least three days.", "At most three days.", true);
    }

    #[test]
    fn what_only_one_restricts_is_noticed() {
        let tone = Tone::of;
        assert!(tone("Only the director signs.").excludes_more_than(&tone("The director signs.")));
        assert!(!tone("Only she signs.").excludes_more_than(&tone("She is the only one.")));
    }
}
