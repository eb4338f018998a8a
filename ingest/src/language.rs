//! Which language a text is in: French, English, or neither.
//!
//! Function words decide: `les`, `pour` and `quel` are French, `the`, `for` and `which` are
//! English, and a sentence of four words rarely has none. German, Spanish, Italian, Portuguese and
//! Dutch have their words here too, only to be told apart. Accents are not needed, since people do
//! not type them in questions. Where function words are silent, letters and endings of words
//! speak, and at last the trigrams of `whatlang`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use foldhash::fast::FixedState;
use unicode_normalization::UnicodeNormalization;
use whatlang::{Detector, Lang};

use crate::document::Language;

/// Words looked at. More do not change the answer.
const WORDS_MAX: usize = 1_500;

/// A text of this many words has function words, or is not running text: code, a list of names.
const WORDS_OF_PROSE: usize = 60;

/// Below it, what trigrams say of a few words is as good as chance.
const TRIGRAM_CONFIDENCE_MIN: f64 = 0.1;

/// Weight of words of each language: French, English, others.
type Weights = [f32; 3];

const FRENCH: usize = 0;
const ENGLISH: usize = 1;
const OTHER: usize = 2;

/// Function words of French, accents folded; a word here counts 1 unless others share it.
const FRENCH_WORDS: &str = "\
    a le la les un une des du de au aux et ou mais donc car ni que qui quoi dont quel quelle \
    quels quelles lequel laquelle lesquels est sont etre etait etaient sera seront ete suis es \
    sommes etes serait ai as avons avez ont avoir avait aura auront aurait je tu il elle nous \
    vous ils elles on me te se lui leur leurs mon ma mes ton ta tes son sa ses notre nos votre \
    vos ce cet cette ces cela ca ceci celui celle ceux dans sur sous avec sans pour par chez \
    vers entre depuis pendant avant apres contre selon lors jusqu afin ainsi alors aussi tres \
    plus moins bien pas ne jamais rien tout tous toute toutes autre autres meme comment combien \
    pourquoi quand ou si comme peut peux peuvent pouvez doit dois doivent faut faire fait faites \
    faisons puis-je puis dois-je y en quelqu qu lorsque parce puisque quelque quelques chaque \
    aucun aucune plusieurs deja encore toujours ici voici voila etes-vous est-ce existe combien \
    faudrait puis savoir veux veut voudrais mois fois";

const ENGLISH_WORDS: &str = "\
    the a an and or but nor so of to in on at by for with without from into onto about above \
    below after before between during through against until while is are was were be been being \
    am has have had having do does did doing done can could will would shall should may might \
    must i you he she it we they me him her us them my your his its our their mine yours this \
    that these those what which who whom whose when where why how there here not no yes if then \
    than too very any some each every all both few more most other such only own same just also \
    because as don't doesn't didn't isn't aren't can't won't what's who's how's i'm i'd let's \
    many much get gets need needs per off out up over under again once want wants make makes use \
    used";

const OTHER_WORDS: &str = "\
    der die das den dem ein eine einen einem eines und oder aber nicht ist sind war waren wird \
    werden wie wer wo warum wann welche welcher welches ich du er sie wir ihr mich dich sich \
    mein dein sein fur mit von zu zum zur auf aus bei nach uber unter vor durch gegen ohne um \
    kann muss soll hat haben gibt viele im am auch noch nur sehr wenn dass als el los las unos \
    unas del al y o pero porque que como cuando donde quien cual cuales cuanto cuantos cuantas \
    es son era esta estan este estos esa ese eso por para con sin sobre hasta desde entre muy \
    mas hay tiene tienen puede pueden puedo debo hacer mi tu su sus lo yo ella ellos nosotros \
    usted il lo gli uno una de di da del della dello dei delle degli nel nella nei al alla ai \
    alle dal dalla sul sulla per tra fra che chi cosa come quando dove perche quale quali quanto \
    quanti quante sono sei siamo ha hanno ho mio mia suo sua questo questa questi queste anche \
    non piu posso deve devo puo fare nella si e o os um uma uns umas do da dos das no na nos nas \
    ao aos pelo pela com sem para por mas quando onde quem qual quais quanto quantos porque como \
    sao esta estao foi tem eu ele ela eles voce nao sim muito meu minha seu sua isso este esta \
    het een en van op te dat niet zijn waar wat wie waarom hoe welke ik jij hij zij wij mijn \
    jouw uw voor met naar uit bij door tegen zonder kan moet heeft hebben wordt worden er ook \
    maar";

/// Words of companies' documents, for questions that are mere keywords. Words that both languages
/// write alike (`document`, `budget`) are left out.
const FRENCH_CONTENT: &str = "\
    jour jours mois an ans annee annees semaine heure heures delai delais conge conges paye \
    payes prime primes salaire salaires salarie salaries contrat contrats embauche preavis essai \
    periode travail teletravail repas frais remboursement deplacement deplacements procedure \
    politique charte reglement regle regles securite mot passe donnees dossier demande demandes \
    validation achat achats fournisseur fournisseurs client clients facture factures paiement \
    devis commande entreprise societe equipe reunion bureau bureaux materiel ordinateur badge \
    acces compte maladie arret accident formation entretien objectif objectifs horaire horaires \
    liste montant duree nombre droit droits";

const ENGLISH_CONTENT: &str = "\
    day days month months year years week weeks hour hours deadline leave paid pay payment \
    salary employee employees contract contracts hire hired notice trial work remote meal \
    expense expenses refund reimbursement travel trip process policy policies rule rules \
    security password data file request requests approval purchase supplier suppliers vendor \
    customer customers invoice invoices quote order company team meeting desk laptop computer \
    access account sick illness training review goal goals target schedule list amount length \
    number rights holiday holidays bonus allowance sales";

/// Weights by word. Asked for each word of each text: the hash must cost next to nothing.
type Lexicon = HashMap<&'static str, Weights, FixedState>;

/// Each word's weight in each language that has it, shared among them.
static FUNCTION_WORDS: LazyLock<Lexicon> = LazyLock::new(|| {
    let mut res = shared(&[FRENCH_WORDS, ENGLISH_WORDS, OTHER_WORDS]);
    // `à` without its accent is rarer than the English article.
    res.insert("a", [0.3, 0.5, 0.0]);
    res
});

static CONTENT_WORDS: LazyLock<Lexicon> =
    LazyLock::new(|| shared(&[FRENCH_CONTENT, ENGLISH_CONTENT]));

fn shared(lists: &[&'static str]) -> Lexicon {
    let mut res = Lexicon::default();
    for (language, words) in lists.iter().enumerate() {
        for word in words.split_whitespace() {
            res.entry(word).or_default()[language] = 1.0;
        }
    }
    for weights in res.values_mut() {
        let n_languages: f32 = weights.iter().sum();
        // A word that two languages share tells little; one that all share tells nothing.
        weights.iter_mut().for_each(|weight| *weight /= n_languages * n_languages);
    }
    res
}

/// What the words of a text speak for.
#[derive(Debug, Clone, Copy, Default)]
struct Evidence {
    function_words: Weights,
    /// Weaker: letters, elisions and endings.
    looks: Weights,
    n_words: usize,
}

/// Tells the language of a question, a chunk or a document; `None` when it is neither French nor
/// English, or when there is too little to tell.
#[must_use]
pub fn detect(text: &str) -> Option<Language> {
    let mut evidence = Evidence::default();
    let has_lower_case = text.contains(char::is_lowercase);
    for word in text.split(|c: char| !(c.is_alphanumeric() || is_inside_word(c))) {
        if word.is_empty() || word.starts_with(|c: char| c.is_numeric()) {
            continue;
        }
        // Among others, a word in capitals is an acronym: `CE`, `IT`, `SI`.
        let is_acronym = has_lower_case && word.len() > 1 && !word.contains(char::is_lowercase);
        if !is_acronym {
            weigh(word, &mut evidence);
        }
        evidence.n_words += 1;
        if evidence.n_words == WORDS_MAX {
            break;
        }
    }
    decide(text, &evidence)
}

fn is_inside_word(c: char) -> bool {
    matches!(c, '\'' | '’' | '-')
}

fn weigh(word: &str, evidence: &mut Evidence) {
    let word = fold(word, evidence);
    let word = word.trim_matches(|c| c == '\'' || c == '-');
    let mut add = |weights: &Weights| {
        evidence.function_words.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight);
    };
    if let Some(weights) = FUNCTION_WORDS.get(word) {
        add(weights);
        return;
    }
    // French elides before a vowel (`l'accord`, `qu'il`); English contracts after a word.
    let mut rest = word;
    if let Some((before, after)) = word.split_once('\'') {
        match before {
            "l" | "d" => {
                // Italian does so with these two.
                add(&[0.7, 0.0, 0.2]);
                rest = after;
            }
            "qu" | "j" | "n" | "s" | "c" | "m" | "t" | "jusqu" | "lorsqu" | "puisqu"
            | "aujourd" => {
                add(&[1.0, 0.0, 0.0]);
                rest = after;
            }
            _ if matches!(after, "s" | "re" | "ve" | "ll" | "t" | "d" | "m") => {
                add(&[0.0, 0.7, 0.0]);
                rest = before;
            }
            _ => {}
        }
    }
    // Compounds and inversions: `est-ce`, `peut-on`, `a-t-il`.
    let mut weighed = rest.contains("-t-");
    if weighed {
        add(&[1.0, 0.0, 0.0]);
    }
    // A whole word was looked up above.
    let parts = rest.split('-').filter(|part| part.len() < word.len());
    for part in parts {
        if let Some(weights) = FUNCTION_WORDS.get(part) {
            add(weights);
            weighed = true;
        }
    }
    if !weighed {
        weigh_looks(rest, &mut evidence.looks);
    }
}

/// Lower case without accents; letters that only one language has speak on the way.
fn fold<'a>(word: &'a str, evidence: &mut Evidence) -> Cow<'a, str> {
    if word.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return Cow::Borrowed(word);
    }
    if word.is_ascii() {
        return Cow::Owned(word.to_ascii_lowercase());
    }
    let lower = word.to_lowercase().replace('’', "'").replace('œ', "oe").replace('æ', "ae");
    for c in lower.chars() {
        match c {
            'ê' | 'î' | 'û' | 'ë' | 'ï' => evidence.looks[FRENCH] += 0.7,
            'é' | 'è' | 'à' | 'ç' | 'ô' | 'â' | 'ù' => evidence.looks[FRENCH] += 0.4,
            'ä' | 'ö' | 'ü' | 'ß' | 'ñ' | 'ã' | 'õ' | 'ì' | 'ò' | 'í' | 'ó' | 'ú' | 'á' =>
            {
                evidence.looks[OTHER] += 0.7;
            }
            // Another script altogether.
            c if c.is_alphabetic() && c > '\u{24f}' && c != '\'' => evidence.looks[OTHER] += 0.5,
            _ => {}
        }
    }
    Cow::Owned(lower.nfd().filter(|c| !('\u{300}'..='\u{36f}').contains(c)).collect())
}

/// Endings that content words of one language take, and the other's rarely.
fn weigh_looks(word: &str, looks: &mut Weights) {
    const FRENCH_ENDINGS: [&str; 19] = [
        "eur", "eurs", "euse", "eux", "aux", "ement", "ements", "ite", "ites", "ique", "iques",
        "aire", "aires", "ee", "ees", "ait", "ier", "oir", "ez",
    ];
    const ENGLISH_ENDINGS: [&str; 15] = [
        "ing", "ings", "ed", "ly", "ness", "ship", "ty", "ight", "ould", "ck", "ies", "ful", "ity",
        "ay", "ow",
    ];
    const OTHER_ENDINGS: [&str; 12] = [
        "ung", "keit", "cion", "ciones", "zione", "zioni", "dad", "cao", "coes", "lich", "ieren",
        "isch",
    ];
    if let Some(weights) = CONTENT_WORDS.get(word) {
        looks.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += 0.5 * weight);
        return;
    }
    if word.len() < 4 {
        return;
    }
    // Most words end in a letter that most endings do not end in.
    let last = word.as_bytes().last();
    let ends = |endings: &[&str]| {
        endings.iter().any(|it| it.as_bytes().last() == last && word.ends_with(it))
    };
    if ends(&FRENCH_ENDINGS) {
        looks[FRENCH] += 0.3;
    }
    let is_h_pair = |pair: &[u8]| matches!(pair, b"wh" | b"sh");
    if ends(&ENGLISH_ENDINGS) || word.as_bytes().windows(2).any(is_h_pair) {
        looks[ENGLISH] += 0.3;
    }
    if ends(&OTHER_ENDINGS) {
        looks[OTHER] += 0.5;
    }
}

fn decide(text: &str, evidence: &Evidence) -> Option<Language> {
    if evidence.n_words == 0 {
        return None;
    }
    // Prose is a third function words; what has hardly any is not prose of these languages.
    let n_function: f32 = evidence.function_words.iter().sum();
    if evidence.n_words >= WORDS_OF_PROSE && n_function < 0.05 * evidence.n_words as f32 {
        return None;
    }
    let mut sums = evidence.function_words;
    sums.iter_mut().zip(evidence.looks).for_each(|(sum, look)| *sum += look);
    let winner = if sums[FRENCH] >= sums[ENGLISH] { FRENCH } else { ENGLISH };
    let second = sums.iter().enumerate().filter(|&(i, _)| i != winner);
    let second = second.fold(0.0_f32, |most, (_, &sum)| most.max(sum));
    if sums[winner] > 0.5 && sums[winner] > 1.2 * second {
        return Some(if winner == FRENCH { Language::French } else { Language::English });
    }
    if sums[OTHER] > sums[winner] || evidence.n_words < 3 {
        return None;
    }
    let languages = [Lang::Fra, Lang::Eng, Lang::Deu, Lang::Spa, Lang::Ita, Lang::Por, Lang::Nld];
    let info = Detector::with_allowlist(languages.to_vec()).detect(text)?;
    if info.confidence() < TRIGRAM_CONFIDENCE_MIN {
        return None;
    }
    match info.lang() {
        Lang::Fra if sums[ENGLISH] <= sums[FRENCH] => Some(Language::French),
        Lang::Eng if sums[FRENCH] <= sums[ENGLISH] => Some(Language::English),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRENCH_QUESTIONS: [&str; 45] = [
        "Combien de jours de télétravail par semaine ?",
        "combien de jours de teletravail par semaine",
        "Quel est le délai de préavis ?",
        "Qui valide les notes de frais ?",
        "comment poser un congé parental",
        "Où trouver le règlement intérieur ?",
        "ou se trouve le reglement interieur",
        "Quand commence la période d'essai ?",
        "Quelle prime pour l'ancienneté ?",
        "Puis-je travailler depuis l'étranger ?",
        "procédure de remboursement des frais kilométriques",
        "procedure remboursement frais kilometriques",
        "Est-ce que le badge est obligatoire ?",
        "Que faire en cas d'accident ?",
        "Montant du ticket restaurant en 2024",
        "durée maximale d'un CDD",
        "liste des jours fériés chômés",
        "Ai-je droit à un congé sabbatique ?",
        "j'ai perdu mon badge",
        "mot de passe oublié, que faire",
        "Qu'est-ce qu'un CSE ?",
        "A-t-il droit aux RTT ?",
        "contact du service informatique",
        "congés payés pendant un arrêt maladie",
        "Peut-on cumuler RTT et congés payés ?",
        "Comment déclarer un sinistre automobile ?",
        "Qui contacter pour le VPN ?",
        "Quel budget formation par salarié ?",
        "remboursement transports en commun",
        "Le onboarding dure combien de temps ?",
        "Comment configurer le VPN sur un laptop ?",
        "Quelles sont les étapes du onboarding ?",
        "objectif commercial du premier trimestre",
        "politique de sécurité des mots de passe",
        "prime de fin d'année cadres",
        "nombre de jours d'enfant malade",
        "horaires d'ouverture du standard",
        "Faut-il un visa pour Londres ?",
        "signature électronique des contrats fournisseurs",
        "délai de paiement fournisseurs",
        "entretien annuel d'évaluation objectifs",
        "Qui est responsable du traitement des données ?",
        "L'entreprise rembourse-t-elle les lunettes ?",
        "conditions d'éligibilité au plan d'épargne",
        "quels documents fournir à l'embauche",
    ];

    const ENGLISH_QUESTIONS: [&str; 44] = [
        "How many days of remote work are allowed per week?",
        "How many vacation days do I get?",
        "who approves travel expenses",
        "What is the notice period?",
        "where can I find the handbook",
        "When does the trial period start?",
        "Can I work from abroad?",
        "travel expense reimbursement process",
        "parental leave policy details",
        "Is a badge required at night?",
        "what to do after an accident",
        "lunch voucher amount in 2024",
        "maximum length of a contract",
        "list of public holidays",
        "I lost my badge",
        "forgot my password, now what",
        "Who's on call this week?",
        "Does the company pay for glasses?",
        "How do I set up the VPN?",
        "training budget per employee",
        "public transport reimbursement rules",
        "What are the steps of onboarding?",
        "sales target for the first quarter",
        "password security policy requirements",
        "year-end bonus for managers",
        "sick child leave days",
        "opening hours of the front desk",
        "Do I need a visa for Paris?",
        "electronic signature of supplier contracts",
        "supplier payment terms",
        "annual performance review goals",
        "Who is responsible for data processing?",
        "savings plan eligibility conditions",
        "which documents are needed when hired",
        "What's the escalation path?",
        "Are pets allowed in the office?",
        "laptop refresh cycle length",
        "how to request a new laptop",
        "explain the on-call rotation",
        "Is overtime paid?",
        "What does RTT mean?",
        "deploy to production on Friday",
        "Why was the meeting moved?",
        "customer data retention period",
    ];

    const OTHER_QUESTIONS: [&str; 16] = [
        "Wie viele Urlaubstage habe ich im Jahr?",
        "Wer genehmigt die Reisekosten?",
        "Was ist die Kündigungsfrist?",
        "Wo finde ich das Handbuch?",
        "¿Cuántos días de vacaciones tengo?",
        "¿Quién aprueba los gastos de viaje?",
        "cuantos dias de teletrabajo hay por semana",
        "¿Dónde está el manual del empleado?",
        "Quanti giorni di ferie ho?",
        "Chi approva le spese di viaggio?",
        "Dove posso trovare il regolamento interno?",
        "Quantos dias de férias eu tenho?",
        "Quem aprova as despesas de viagem?",
        "Hoeveel vakantiedagen heb ik per jaar?",
        "Сколько дней отпуска мне положено?",
        "有給休暇は何日ありますか",
    ];

    /// Checks every line, and says which ones fail.
    #[track_caller]
    fn check(texts: &[&str], expected: Option<Language>) {
        let wrong: Vec<_> = texts.iter().filter(|text| detect(text) != expected).collect();
        assert!(wrong.is_empty(), "{} of {} wrong: {wrong:#?}", wrong.len(), texts.len());
    }

    #[test]
    fn tells_french_questions() {
        check(&FRENCH_QUESTIONS, Some(Language::French));
    }

    #[test]
    fn tells_english_questions() {
        check(&ENGLISH_QUESTIONS, Some(Language::English));
    }

    #[test]
    fn other_languages_are_neither() {
        check(&OTHER_QUESTIONS, None);
    }

    #[test]
    fn accents_are_not_needed() {
        for question in FRENCH_QUESTIONS {
            let bare: String =
                question.nfd().filter(|c| !('\u{300}'..='\u{36f}').contains(c)).collect();
            check(&[&bare], Some(Language::French));
        }
    }

    #[test]
    fn too_little_is_neither() {
        check(&["", "   ", "42", "VPN", "§ 12", "x = y + z", "1 200 €"], None);
    }

    #[test]
    fn code_and_names_are_neither() {
        let code = "fn main() { let vec: Vec<u32> = Vec::new(); println!(\"{vec:?}\"); }\n";
        check(&[&code.repeat(20)], None);
        let names = "Dupont Martin Bernard Durand Leroy Moreau Simon Laurent Lefebvre Michel ";
        check(&[&names.repeat(20)], None);
    }
}
