//! Words that columns of tables and headings begin with, and what can be asked about them.

/// Masculine nouns of French column names, singular.
const MASCULINE: [&str; 45] = [
    "bail",
    "budget",
    "code",
    "coût",
    "débit",
    "délai",
    "effectif",
    "forfait",
    "horaire",
    "jour",
    "lieu",
    "loyer",
    "maximum",
    "minimum",
    "montant",
    "motif",
    "nom",
    "nombre",
    "numéro",
    "objectif",
    "organisme",
    "pays",
    "plafond",
    "poids",
    "poste",
    "pourcentage",
    "prix",
    "préavis",
    "remboursement",
    "responsable",
    "rôle",
    "salaire",
    "secteur",
    "service",
    "seuil",
    "site",
    "statut",
    "tarif",
    "taux",
    "temps",
    "titre",
    "total",
    "type",
    "virement",
    "volume",
];

/// Feminine nouns of French column names, singular.
const FEMININE: [&str; 34] = [
    "adresse",
    "assiette",
    "base",
    "capacité",
    "catégorie",
    "clôture",
    "condition",
    "cotisation",
    "date",
    "destination",
    "distance",
    "durée",
    "fonction",
    "formule",
    "fréquence",
    "finalité",
    "heure",
    "indemnité",
    "langue",
    "largeur",
    "limite",
    "longueur",
    "participation",
    "part",
    "particularité",
    "pénalité",
    "période",
    "prime",
    "quantité",
    "référence",
    "salle",
    "taille",
    "température",
    "valeur",
];

/// Nouns of English column names, singular, at the end of what comes before a parenthesis or a
/// preposition.
const ENGLISH: [&str; 47] = [
    "accuracy",
    "address",
    "allowance",
    "amount",
    "approval",
    "budget",
    "capacity",
    "category",
    "ceiling",
    "city",
    "class",
    "code",
    "compensation",
    "cost",
    "country",
    "date",
    "deadline",
    "delay",
    "delivery",
    "department",
    "duration",
    "extension",
    "family",
    "fee",
    "frequency",
    "host",
    "leave",
    "length",
    "level",
    "life",
    "limit",
    "location",
    "maximum",
    "meaning",
    "minimum",
    "name",
    "notice",
    "number",
    "owner",
    "period",
    "price",
    "range",
    "rate",
    "status",
    "time",
    "type",
    "weight",
];

/// Endings of French verbs in the infinitive that nouns share.
const NOUNS_IN_ER: [&str; 16] = [
    "atelier",
    "cahier",
    "calendrier",
    "chantier",
    "courrier",
    "danger",
    "dossier",
    "foyer",
    "hiver",
    "loyer",
    "métier",
    "papier",
    "premier",
    "quartier",
    "dernier",
    "particulier",
];

/// French infinitives that do not end in `-er`.
const INFINITIVES: [&str; 16] = [
    "choisir",
    "connaître",
    "faire",
    "mettre",
    "obtenir",
    "ouvrir",
    "partir",
    "prendre",
    "prévenir",
    "remplir",
    "rendre",
    "résoudre",
    "soumettre",
    "suivre",
    "tenir",
    "transmettre",
];

/// The article of a French column name, where its first word is a noun known to us.
pub(super) fn article(column: &str) -> Option<&'static str> {
    let first = first_word(column);
    let begins_with_vowel = first.starts_with(|it: char| "aeiouyâéèêîôûh".contains(it));
    match () {
        () if MASCULINE.contains(&first.as_str()) && begins_with_vowel => Some("l’"),
        () if FEMININE.contains(&first.as_str()) && begins_with_vowel => Some("l’"),
        () if MASCULINE.contains(&first.as_str()) => Some("le "),
        () if FEMININE.contains(&first.as_str()) => Some("la "),
        () => None,
    }
}

/// Whether a French column name is feminine; only where [`article`] gives one.
pub(super) fn is_feminine(column: &str) -> bool {
    FEMININE.contains(&first_word(column).as_str())
}

/// Whether an English column name is a singular noun: `Lead time (days)`, `Hotel ceiling a night`.
pub(super) fn is_english_noun(column: &str) -> bool {
    let bare = column.split(" (").next().unwrap_or(column).to_lowercase();
    let head = [" per ", " of ", " in ", " for ", " excl", " incl"]
        .iter()
        .filter_map(|it| bare.find(it))
        .min()
        .map_or(bare.as_str(), |at| &bare[..at]);
    head.split_whitespace().last().is_some_and(|it| ENGLISH.contains(&it))
}

/// Whether a French heading begins with a verb in the infinitive: `Poser ses congés`.
pub(super) fn begins_with_infinitive(heading: &str) -> bool {
    let first = first_word(heading);
    let first = first.strip_prefix("s’").or(first.strip_prefix("s'")).unwrap_or(&first);
    let second = || heading.split_whitespace().nth(1).unwrap_or_default().to_lowercase();
    if first == "se" {
        return second().ends_with("er") || INFINITIVES.contains(&second().as_str());
    }
    let in_er = first.len() > 4 && first.ends_with("er") && !first.ends_with("ier");
    in_er && !NOUNS_IN_ER.contains(&first) || INFINITIVES.contains(&first)
}

fn first_word(text: &str) -> String {
    text.split([' ', ',', '(']).next().unwrap_or_default().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_and_headings_are_told_apart() {
        assert_eq!(article("Durée de conservation"), Some("la "));
        assert_eq!(article("Effectif"), Some("l’"));
        assert_eq!(article("Destinataires"), None);
        assert!(
            is_english_noun("Hotel ceiling per night (EUR)") && is_english_noun("Lead time (days)")
        );
        assert!(!is_english_noun("Kept for") && !is_english_noun("Replaced after (months)"));
        for heading in ["Poser ses congés", "Se connecter", "Prévenir", "Transmettre l’avis"] {
            assert!(begins_with_infinitive(heading), "{heading}");
        }
        for heading in ["Calendrier", "Hiver", "Papier à en-tête", "Report", "Atelier"] {
            assert!(!begins_with_infinitive(heading), "{heading}");
        }
    }
}
