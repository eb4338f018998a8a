//! What a reader is told of a file: what was found in it, or why it was left aside.
//!
//! The words of a parser about one file (`what`, `detail`) are English in both languages.

use ingest::{
    document::{Finding, Hidden, Language},
    parse::ParseError,
};

/// A finding in words.
#[must_use]
pub fn finding_text(finding: &Finding, language: Language) -> String {
    match language {
        Language::English => finding_in_english(finding),
        Language::French => finding_in_french(finding),
    }
}

/// Findings in words, one text each.
#[must_use]
pub fn told(findings: &[Finding], language: Language) -> Vec<String> {
    findings.iter().map(|it| finding_text(it, language)).collect()
}

/// Why a file was left aside, in words.
#[must_use]
pub fn skip_text(reason: &ParseError, language: Language) -> String {
    match language {
        Language::English => reason.to_string(),
        Language::French => skip_in_french(reason),
    }
}

fn finding_in_english(finding: &Finding) -> String {
    match finding {
        Finding::InvisibleText { kind, n_chars } => {
            let kind = match kind {
                Hidden::ZeroWidth => "zero-width characters",
                Hidden::Bidi => "bidirectional control characters",
                Hidden::Tag => "Unicode tag characters",
                Hidden::Html => "hidden HTML",
                Hidden::Pdf => "text drawn invisible",
                Hidden::Office => "hidden office text",
            };
            format!("invisible text removed: {n_chars} characters ({kind})")
        }
        Finding::Instruction { quote } => {
            format!("speaks to a language model, kept as data: “{quote}”")
        }
        Finding::NoTextLayer { pages } => {
            format!("no text layer on pages {} (scans need OCR first)", list(pages))
        }
        Finding::PageFurniture { n_lines, n_pages } => {
            format!("headers, footers and page numbers removed: {n_lines} lines on {n_pages} pages")
        }
        Finding::Damaged { what } => format!("damaged: {what}"),
        Finding::LeftOut { what } => format!("left out: {what}"),
    }
}

fn finding_in_french(finding: &Finding) -> String {
    match finding {
        Finding::InvisibleText { kind, n_chars } => {
            let kind = match kind {
                Hidden::ZeroWidth => "caractères sans largeur",
                Hidden::Bidi => "caractères de direction",
                Hidden::Tag => "étiquettes Unicode",
                Hidden::Html => "HTML caché",
                Hidden::Pdf => "texte dessiné invisible",
                Hidden::Office => "texte masqué",
            };
            format!("texte invisible retiré : {n_chars} caractères ({kind})")
        }
        Finding::Instruction { quote } => {
            format!("s’adresse à un modèle de langue, gardé comme donnée : « {quote} »")
        }
        Finding::NoTextLayer { pages } => format!(
            "pas de couche de texte, pages {} (un scan doit d’abord passer par un OCR)",
            list(pages)
        ),
        Finding::PageFurniture { n_lines, n_pages } => format!(
            "en-têtes, pieds de page et numéros retirés : {n_lines} lignes sur {n_pages} pages"
        ),
        Finding::Damaged { what } => format!("endommagé : {what}"),
        Finding::LeftOut { what } => format!("laissé de côté : {what}"),
    }
}

fn skip_in_french(reason: &ParseError) -> String {
    match reason {
        ParseError::Read(error) => format!("illisible : {error}"),
        ParseError::Unsupported { extension } => format!("format non pris en charge : {extension}"),
        ParseError::Empty => "le fichier est vide".to_owned(),
        ParseError::OverLimit { what, limit } => {
            format!("dépasse une limite : {what}, pour {limit}")
        }
        ParseError::TimedOut { seconds } => format!("la lecture a pris plus de {seconds} s"),
        ParseError::Encrypted => {
            "chiffré : indiquez `password = \"…\"` dans un `souffleur.toml` à côté".to_owned()
        }
        ParseError::WrongPassword => {
            "chiffré, et aucun mot de passe de `souffleur.toml` ne l’ouvre".to_owned()
        }
        ParseError::Scan => {
            "pas de couche de texte : sans doute un scan, qui doit d’abord passer par un OCR"
                .to_owned()
        }
        ParseError::Drawings => {
            "pas de couche de texte : ses pages ne contiennent que des dessins".to_owned()
        }
        ParseError::Corrupt { detail } => format!("endommagé : {detail}"),
        ParseError::Panicked { detail } => format!("la lecture a échoué : {detail}"),
        ParseError::NoCommonGroup { own, allowed } => format!(
            "aucun de ses groupes ({}) n’est de ceux que `souffleur.toml` permet ({})",
            own.join(", "),
            allowed.join(", ")
        ),
    }
}

fn list(pages: &[u32]) -> String {
    pages.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_told_in_their_language() {
        let scans = Finding::NoTextLayer { pages: vec![2, 3] };
        assert!(finding_text(&scans, Language::English).contains("no text layer on pages 2, 3"));
        assert!(finding_text(&scans, Language::French).contains("texte, pages 2, 3"));
        assert_eq!(skip_text(&ParseError::Empty, Language::English), "the file is empty");
        assert_eq!(skip_text(&ParseError::Empty, Language::French), "le fichier est vide");
    }
}
