//! What kind of answer a question asks for, and whether a sentence has one of that kind.

use std::sync::LazyLock;

use regex::Regex;

use crate::cite::{EURO, POUND, fold, plain};

/// What the answer must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// An amount of money.
    Money,
    /// A figure: a number, a duration, a limit.
    Figure,
    /// A date or a time.
    Moment,
    /// A name or a role.
    Person,
}

/// A pattern for folded texts in their plain form. `{money}` stands for signs of currency.
fn regex(pattern: &str) -> Regex {
    let pattern = pattern.replace("{money}", &format!("${EURO}{POUND}"));
    Regex::new(&pattern).expect("a literal pattern is valid")
}

static ASKS_FIGURE: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r"\b(combien|how (much|many|long|often|high|large|big|far|old|fast|quickly)|",
        r"montant|plafond|quel(le)?s? (est |etait |sont )?(le |la |les |l')?",
        r"(prix|taux|delai|duree|tarif|cout|loyer|budget|seuil|nombre|superficie|population|",
        r"age|pourcentage)|(what|which) (is|are) the (\w+ )?(amount|limit|price|rate|fee|cost|",
        r"ceiling|cap|rent|budget|number))\b",
    ))
});

static ASKS_MONEY: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r"\b(combien (me |te |nous |vous )?(coute|touche|gagne|paie|paye|vaut|rembourse)|",
        r"(quels?|quelles?|a quels?) (est |etait |sont )?(le |la |les |l')?(prix|tarif|cout|",
        r"montant|loyer|salaire)|how much (is|does|do|are)|(what|which) (is|are) the (\w+ )?",
        r"(price|fee|cost|rent|salary))",
    ))
});

static ASKS_MOMENT: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r"\b(quand|a quelles? (heures?|dates?|epoque|periode)|quelle (date|annee|heure)|",
        r"quel jour|en quelle annee|quelle est la date|when|what (date|time|year)|",
        r"(which|what) (date|year|day))\b",
    ))
});

static ASKS_PERSON: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^(a |de |par |avec |to |by |from )?(qui|who|whom|whose)\b"));

static FIGURE: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r"\d|\b(deux|trois|quatre|cinq|six|sept|huit|neuf|dix|onze|douze|treize|quatorze|",
        r"quinze|seize|vingt|trente|quarante|cinquante|soixante|cents?|mille|millions?|one|two|",
        r"three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty|forty|",
        r"fifty|hundred|thousand|once|twice|half|moitie|demi|tiers|double|plusieurs|",
        r"unlimited|sans limite)\b",
    ))
});

static MONEY: LazyLock<Regex> =
    LazyLock::new(|| regex(r"[{money}%]|\b(euros?|eur|dollars?|pounds?|gratuit\w*|free)\b"));

static MOMENT: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r"\d|\b(janvier|fevrier|mars|avril|mai|juin|juillet|aout|septembre|octobre|novembre|",
        r"decembre|january|february|march|april|may|june|july|august|september|october|november|",
        r"december|(mon|tues|wednes|thurs|fri|satur|sun)days?|lundis?|mardis?|mercredis?|jeudis?|",
        r"vendredis?|samedis?|dimanches?|midi|minuit|noon|midnight|matin|soir|morning|evening|",
        r"siecle|century)\b",
    ))
});

static ROLE: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r"\b(manager|team|officer|service|direct(eur|rice|or)|direction|responsable|comite|",
        r"committee|president|salarie|employe|equipe|employee|everyone|supplier|customer)",
    ))
});

static NAME: LazyLock<Regex> = LazyLock::new(|| regex(r"[\p{L}\d,;:|] ?\s*\p{Lu}[\p{L}’'-]+"));

impl Expected {
    /// What a question asks for; `None` where its form does not tell.
    #[must_use]
    pub fn of(question: &str) -> Option<Self> {
        let folded = plain(&fold(question.trim()));
        if ASKS_PERSON.is_match(&folded) {
            Some(Self::Person)
        } else if ASKS_MOMENT.is_match(&folded) {
            Some(Self::Moment)
        } else if ASKS_MONEY.is_match(&folded) {
            Some(Self::Money)
        } else if ASKS_FIGURE.is_match(&folded) {
            Some(Self::Figure)
        } else {
            None
        }
    }

    /// Whether a sentence or table row (with the header of its table) holds something of the kind.
    #[must_use]
    pub fn is_in(self, sentence: &str, header: Option<&str>) -> bool {
        let folded = plain(&fold(sentence));
        match self {
            Self::Money if header.is_some_and(|it| MONEY.is_match(&plain(&fold(it)))) => {
                FIGURE.is_match(&folded)
            }
            Self::Money => MONEY.is_match(&folded),
            Self::Figure => FIGURE.is_match(&folded),
            Self::Moment => MOMENT.is_match(&folded),
            Self::Person => NAME.is_match(sentence) || ROLE.is_match(&folded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(question: &str, expected: Option<Expected>) {
        assert_eq!(Expected::of(question), expected, "{question}");
    }

    #[test]
    fn questions_tell_what_they_ask_for() {
        check("Quel est le plafond du taxi ?", Some(Expected::Figure));
        check("Combien de jours ?", Some(Expected::Figure));
        check("How much is the standard laptop?", Some(Expected::Money));
        check("Combien touche-t-on par semaine ?", Some(Expected::Money));
        check("Combien de jours touche-t-on ?", Some(Expected::Figure));
        check("À quelle heure commence l'astreinte ?", Some(Expected::Moment));
        check("Jusqu'à quand puis-je déposer ma note ?", Some(Expected::Moment));
        check("À qui parler ?", Some(Expected::Person));
        check("Who signs?", Some(Expected::Person));
        check("Peut-on sous-louer les locaux ?", None);
    }

    #[test]
    fn sentences_hold_figures_moments_and_people() {
        assert!(Expected::Figure.is_in("Trois jours par semaine.", None));
        assert!(!Expected::Figure.is_in("Le taxi est remboursé.", None));
        assert!(Expected::Money.is_in("Il coûte 12 €.", None));
        assert!(Expected::Money.is_in("| Stylo | 12 |", Some("| Nom | Prix (€) |")));
        assert!(!Expected::Money.is_in("De 19 h 30 à 7 h.", None));
        assert!(Expected::Moment.is_in("Au plus tard en mars.", None));
        assert!(!Expected::Moment.is_in("Le bail est consenti.", None));
        assert!(Expected::Person.is_in("La demande va à Nadia Keller.", None));
        assert!(Expected::Person.is_in("Le comité de direction valide.", None));
        assert!(!Expected::Person.is_in("La dépense est validée.", None));
    }
}
