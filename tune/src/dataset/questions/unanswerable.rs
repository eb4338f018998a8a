//! Questions that documents do not answer: about matters that companies' documents rarely treat,
//! and about codes and keys that are made to look like those of the documents. Whoever uses them
//! checks that retrieval finds nothing, or that no text holds the key.

use std::collections::BTreeSet;

use ingest::document::Language;

use super::Qa;
use crate::dataset::row::MadeBy;

/// Questions in French.
pub const FRENCH: [&str; 44] = [
    "Quelle est la hauteur du plafond de la salle de réception ?",
    "Qui a dessiné la fontaine de l’entrée principale ?",
    "Combien de pots de fleurs y a-t-il sur la terrasse ?",
    "Quel est le menu de la cafétéria vendredi prochain ?",
    "Quelle est la pointure du directeur général ?",
    "Comment inscrire mon chien à la garderie canine ?",
    "Quel temps fera-t-il demain à Marseille ?",
    "Qui a gagné le tournoi de pétanque de l’an dernier ?",
    "Quel est le chiffre d’affaires prévu pour 2035 ?",
    "Combien coûte une licence pour le logiciel de montage vidéo ?",
    "Quelle marque de café est servie au quatrième étage ?",
    "À quelle heure passe la navette vers l’aéroport ?",
    "Quel est le code du coffre-fort de la comptabilité ?",
    "Combien d’actions gratuites reçoit un nouveau salarié ?",
    "Quelle est la politique sur les tatouages visibles ?",
    "Comment réserver le terrain de tennis ?",
    "Quel est le taux de change du yen utilisé pour les factures ?",
    "Quelle musique est jouée pendant l’attente au téléphone ?",
    "Quelle est la capitale de l’Australie ?",
    "Combien de litres contient l’aquarium du hall ?",
    "Qui est le parrain de la promotion 1998 ?",
    "Quelle est la date de naissance du médecin du travail ?",
    "Comment obtenir un visa de travail pour le Brésil ?",
    "Quel est le prix du mètre carré des bureaux de Lille ?",
    "Combien d’arbres l’entreprise a-t-elle plantés au Sénégal ?",
    "Quelle est la règle sur les drones au-dessus du site ?",
    "Quelle est la vitesse maximale des chariots élévateurs ?",
    "Quel syndicat a signé l’accord sur l’égalité en 2019 ?",
    "Où acheter un parapluie aux couleurs de l’entreprise ?",
    "Quel est le nom du chat de l’accueil ?",
    "Combien de jours de congé sont donnés pour un examen de conduite ?",
    "Comment demander un prêt immobilier à l’employeur ?",
    "Quelle est la procédure pour importer des marchandises du Pérou ?",
    "Combien d’épreuves compte le concours interne de dessin ?",
    "Quel est le montant de la prime de parrainage d’un voisin ?",
    "Qui a écrit la chanson de l’entreprise ?",
    "Quelle est la recette du gâteau d’anniversaire de la cantine ?",
    "Combien pèse la statue du jardin ?",
    "Quels sont les horaires de la piscine de l’entreprise ?",
    "Comment faire réparer ma montre personnelle ?",
    "Quel est le numéro de la place de parking du président ?",
    "Combien de fenêtres compte le bâtiment B ?",
    "Quelle est la distance entre la Terre et la Lune ?",
    "Quel est le budget du festival de théâtre ?",
];

/// Questions in English.
pub const ENGLISH: [&str; 44] = [
    "How high is the ceiling of the reception hall?",
    "Who designed the fountain at the main entrance?",
    "How many plants are there on the roof terrace?",
    "What is on the canteen menu next Friday?",
    "What shoe size does the managing director wear?",
    "How do I register my dog for the dog day care?",
    "What will the weather be like in Lisbon tomorrow?",
    "Who won last year's bowling tournament?",
    "What revenue is forecast for 2035?",
    "How much does a licence for the video editing software cost?",
    "Which brand of coffee is served on the fourth floor?",
    "What time does the shuttle to the airport leave?",
    "What is the combination of the accounting safe?",
    "How many free shares does a new employee receive?",
    "What is the policy on visible tattoos?",
    "How do I book the tennis court?",
    "Which exchange rate is used for invoices in yen?",
    "What music is played while callers wait?",
    "What is the capital of Australia?",
    "How many litres does the aquarium in the lobby hold?",
    "Who was the guest speaker at the gala of 1998?",
    "What is the birthday of the company doctor?",
    "How do I get a work visa for Brazil?",
    "What is the rent per square metre of the Glasgow office?",
    "How many trees has the company planted in Senegal?",
    "What is the rule on drones above the site?",
    "What is the speed limit for forklift trucks?",
    "Which union signed the equality agreement in 2019?",
    "Where can I buy an umbrella with the company logo?",
    "What is the name of the reception cat?",
    "How many days off do I get for a driving test?",
    "How do I apply for a mortgage from my employer?",
    "What is the procedure for importing goods from Peru?",
    "How many rounds does the drawing contest have?",
    "How large is the bonus for recommending a neighbour?",
    "Who wrote the company song?",
    "What is the recipe of the birthday cake in the canteen?",
    "How heavy is the statue in the garden?",
    "What are the opening hours of the swimming pool?",
    "How do I have my own watch repaired?",
    "What is the number of the chairman's parking space?",
    "How many windows does building B have?",
    "How far is the Moon from the Earth?",
    "What is the budget of the theatre festival?",
];

/// A question about a code that no text holds, made from one about a code that some text holds:
/// its digits are changed. `None` where the subject is no code.
#[must_use]
pub fn with_other_code(qa: &Qa, corpus: &str) -> Option<Qa> {
    let code = &qa.subject;
    let is_code = code.contains('-')
        && code.chars().all(|it| it.is_ascii_uppercase() || it.is_ascii_digit() || it == '-');
    let start = code.trim_end_matches(|it: char| it.is_ascii_digit()).len();
    let digits = &code[start..];
    if !is_code || digits.is_empty() || !qa.question.contains(code.as_str()) {
        return None;
    }
    let n: u32 = digits.parse().ok()?;
    let limit = 10_u32.checked_pow(u32::try_from(digits.len()).ok()?)?;
    // Far enough from the real one that it is no slip of the pen.
    let other = (1..limit).find_map(|step| {
        let n = (n + 37 * step) % limit;
        let other = format!("{}{n:0width$}", &code[..start], width = digits.len());
        (n > 0 && !corpus.contains(&other)).then_some(other)
    })?;
    Some(Qa {
        made_by: MadeBy::Unanswerable,
        question: qa.question.replace(code.as_str(), &other),
        answer: Vec::new(),
        value: None,
        subject: other,
        ..qa.clone()
    })
}

/// The questions about matters that documents rarely treat.
#[must_use]
pub fn general() -> Vec<(Language, &'static str)> {
    let french = FRENCH.iter().map(|it| (Language::French, *it));
    let english = ENGLISH.iter().map(|it| (Language::English, *it));
    let all: Vec<(Language, &str)> = french.chain(english).collect();
    debug_assert_eq!(all.iter().map(|(_, it)| it).collect::<BTreeSet<_>>().len(), all.len());
    all
}
