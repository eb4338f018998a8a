//! Questions about tables: a cell by its row and column, a row as a whole, a term and its meaning.

use std::{collections::BTreeSet, ops::Range};

use ingest::{document::Language, language::detect};

use super::{
    Asked, Qa, Value,
    nouns::{article, is_english_noun, is_feminine},
    phrases::{ended, fill, lower_first, name, pick, plain, quoted, upper_first},
};
use crate::dataset::{
    corpus::{Block, Section, Table},
    row::{MadeBy, id_of},
};

/// Cells asked about in one table at most, so that a long table does not drown all else.
const CELLS_MAX: usize = 24;
/// Rows asked about as a whole in one table at most.
const ROWS_MAX: usize = 6;
/// Characters of a cell at most.
const CELL_CHARS_MAX: usize = 120;
/// Cells that name no row.
const NO_KEYS: [&str; 10] =
    ["other", "others", "autre", "autres", "total", "all", "tous", "none", "divers", "n/a"];

pub(super) fn of(document: &Asked<'_>, section: &Section<'_>) -> Vec<Qa> {
    let mut res = Vec::new();
    for block in &section.blocks {
        let Block::Table(table) = block else { continue };
        let heading = section.heading().map(plain);
        let name = heading.filter(|it| !it.is_empty()).unwrap_or(document.source.title.clone());
        let asked = AskedTable { document, table, language: language(document, table), name };
        if is_glossary(table) {
            res.extend(asked.terms());
        } else {
            res.extend(asked.cells());
            res.extend(asked.rows());
        }
    }
    res
}

/// A table that questions are made of.
struct AskedTable<'a> {
    document: &'a Asked<'a>,
    table: &'a Table<'a>,
    language: Language,
    /// What it is about: its heading, else the document's title.
    name: String,
}

/// The language of a table's words: they may be other than its document's.
fn language(document: &Asked<'_>, table: &Table<'_>) -> Language {
    let header = table.header.join(", ");
    detect(&header).unwrap_or_else(|| document.language_at(&table.span))
}

fn is_glossary(table: &Table<'_>) -> bool {
    let first = table.header[0].to_lowercase();
    let words = ["term", "sigle", "acronym", "abréviation", "abbreviation", "mot"];
    words.iter().any(|word| first.split([' ', '/']).any(|it| it.trim_end_matches('e') == *word))
}

/// A cell that can be asked for or answered with.
fn is_value(cell: &str) -> bool {
    cell.chars().any(char::is_alphanumeric) && cell.chars().count() <= CELL_CHARS_MAX
}

impl AskedTable<'_> {
    /// Columns whose cells each name one row: the first one, and one of names beside codes.
    fn key_columns(&self) -> Vec<usize> {
        let is_key = |column: usize| {
            let cells: Vec<&str> = self.table.rows.iter().map(|(_, it)| it[column]).collect();
            let distinct: BTreeSet<&&str> = cells.iter().collect();
            let has_letters = |it: &&str| it.chars().any(char::is_alphabetic);
            distinct.len() == cells.len() && cells.iter().all(has_letters)
        };
        let n = self.table.header.len();
        let mut res: Vec<usize> = (0..n.min(2)).filter(|it| is_key(*it)).collect();
        // The second column names rows only where the first one holds codes or repeats itself.
        let is_code = |it: &str| it.chars().any(|c| c.is_ascii_digit()) && !it.contains(' ');
        let first_is_code = self.table.rows.iter().all(|(_, it)| is_code(it[0]));
        if res.contains(&0) && !first_is_code {
            res.retain(|it| *it == 0);
        }
        res
    }

    fn is_name_of_row(&self, key: &str) -> bool {
        is_value(key) && !NO_KEYS.contains(&key.to_lowercase().as_str())
    }

    fn cells(&self) -> Vec<Qa> {
        let keys = self.key_columns();
        if keys.is_empty() {
            return Vec::new();
        }
        let mut all: Vec<(String, Qa)> = Vec::new();
        for (span, cells) in &self.table.rows {
            for (column, cell) in cells.iter().enumerate() {
                let of = [&self.document.source.path, &self.name, cells[0], &column.to_string()];
                let order = id_of(&of.map(|it| it as &str));
                let by = keys[usize::from(order.as_bytes()[0].is_multiple_of(2) && keys.len() > 1)];
                let key = plain(cells[by]);
                let header = plain(self.table.header[column]);
                let is_other_key = keys.contains(&column) || column == by || header.is_empty();
                if is_other_key || !is_value(cell) || !self.is_name_of_row(&key) {
                    continue;
                }
                all.push((order, self.cell(span, &key, &header, &plain(cell))));
            }
        }
        if all.len() > CELLS_MAX {
            all.sort_by(|a, b| a.0.cmp(&b.0));
            all.truncate(CELLS_MAX);
            all.sort_by_key(|(_, it)| it.span.start);
        }
        all.into_iter().map(|(_, it)| it).collect()
    }

    fn cell(&self, span: &Range<usize>, key: &str, column: &str, cell: &str) -> Qa {
        let language = self.language;
        let text = &self.document.source.text;
        let bare = column.split(" (").next().unwrap_or(column);
        let low = lower_first(bare, text);
        let of = [&self.document.source.path, self.name.as_str(), key, column];
        let (title, shown_key) =
            (quoted(&self.document.source.title, language), name(key, language));
        let shown_column = quoted(column, language);
        let shown_table = quoted(&self.name, language);
        let article = article(bare).unwrap_or_default();
        let which = if is_feminine(bare) { "Quelle" } else { "Quel" };
        let full = lower_first(column, text);
        let values = [
            ("key", shown_key.as_str()),
            ("low", &low),
            ("full", &full),
            ("column", &shown_column),
            ("Column", &upper_first(column)),
            ("table", &shown_table),
            ("title", &title),
            ("le", article),
            ("Le", &upper_first(article)),
            ("Quel", which),
            ("cell", cell),
        ];
        let (questions, answer): (&[&str], &str) = match language {
            Language::French if !article.is_empty() => (
                &[
                    "{Quel} est {le}{low} pour {key} ?",
                    "{Quel} est {le}{low} pour {key} d’après {title} ?",
                    "Pour {key}, {Quel} est {le}{low} ({table}) ?",
                    "{key} : {Quel} est {le}{low} ?",
                ],
                "{Le}{full} pour {key} : {cell}",
            ),
            Language::French => (
                &[
                    "Dans {title}, qu’indique {table} pour {key} dans la colonne {column} ?",
                    "Que donne le tableau {table} pour {key}, colonne {column} ?",
                    "Je cherche {column} pour {key} dans {title}. Que dit le tableau ?",
                ],
                "Pour {key}, le tableau indique sous {column} : {cell}",
            ),
            Language::English if is_english_noun(bare) => (
                &[
                    "What is the {low} for {key}?",
                    "What is the {low} for {key} according to {title}?",
                    "For {key}, what is the {low} in {table}?",
                    "Could you tell me the {low} for {key}?",
                ],
                "The {full} for {key} is {cell}",
            ),
            Language::English => (
                &[
                    "In {title}, what does the table {table} say for {key} under {column}?",
                    "What is given for {key} under {column} in {table}?",
                    "I am looking up {key} in {table}: what stands under {column}?",
                ],
                "For {key}, the table says under {column}: {cell}",
            ),
        };
        let mut question = fill(pick(questions, &of), &values);
        question = question.replace(", Quel", ", quel").replace(": Quel", ": quel");
        let answer = vec![ended(&fill(answer, &values))];
        // A figure without the unit that its column names would say too little by itself.
        let value = Some(Value { text: cell.to_owned(), is_enough: !column.contains('(') });
        let made_by = MadeBy::TableCell;
        let (span, subject) = (span.clone(), key.to_owned());
        Qa { made_by, language, question, answer, value, span, subject }
    }

    fn rows(&self) -> Vec<Qa> {
        let Some(by) = self.key_columns().first().copied() else { return Vec::new() };
        let language = self.language;
        let phrasings: [&str; 2] = match language {
            Language::French => [
                "Donne toutes les informations du tableau {table} sur {key}.",
                "Que dit le tableau {table} au sujet de {key} ?",
            ],
            Language::English => [
                "Give me everything that the table {table} says about {key}.",
                "What does the table {table} say about {key}?",
            ],
        };
        let (table, (colon, semicolon)) = match language {
            Language::French => (quoted(&self.name, language), (" : ", " ; ")),
            Language::English => (quoted(&self.name, language), (": ", "; ")),
        };
        let mut res = Vec::new();
        for (span, cells) in &self.table.rows {
            let key = plain(cells[by]);
            let parts: Vec<String> = cells
                .iter()
                .zip(&self.table.header)
                .enumerate()
                .filter(|(column, (cell, header))| {
                    *column != by && is_value(cell) && !header.is_empty()
                })
                .map(|(_, (cell, header))| format!("{}{colon}{}", plain(header), plain(cell)))
                .collect();
            if parts.len() < 2 || !self.is_name_of_row(&key) {
                continue;
            }
            let shown = name(&key, language);
            let of = [&self.document.source.path, self.name.as_str(), key.as_str()];
            let values = [("table", table.as_str()), ("key", &shown)];
            res.push(Qa {
                made_by: MadeBy::TableRow,
                language,
                question: fill(pick(&phrasings, &of), &values),
                answer: vec![ended(&format!("{key} – {}", parts.join(semicolon)))],
                value: None,
                span: span.clone(),
                subject: key,
            });
        }
        res.sort_by_cached_key(|it| id_of(&[&it.question]));
        res.truncate(ROWS_MAX);
        res.sort_by_key(|it| it.span.start);
        res
    }

    fn terms(&self) -> Vec<Qa> {
        let mut res = Vec::new();
        for (span, cells) in &self.table.rows {
            let term = plain(cells[0]);
            for (cell, header) in cells.iter().zip(&self.table.header).skip(1) {
                let language = match header.to_lowercase().as_str() {
                    "français" | "french" => Language::French,
                    "english" | "anglais" => Language::English,
                    _ => self.language,
                };
                if !is_value(cell) || !is_value(&term) {
                    continue;
                }
                let (phrasings, colon): ([&str; 3], &str) = match language {
                    Language::French => (
                        [
                            "Que signifie {term} ?",
                            "Que veut dire {term} ?",
                            "{term}, qu’est-ce que c’est ?",
                        ],
                        " : ",
                    ),
                    Language::English => (
                        [
                            "What does {term} mean?",
                            "What is meant by {term}?",
                            "{term}: what is that?",
                        ],
                        ": ",
                    ),
                };
                let shown = name(&term, language);
                let of = [self.document.source.path.as_str(), &term, header];
                res.push(Qa {
                    made_by: MadeBy::Definition,
                    language,
                    question: fill(pick(&phrasings, &of), &[("term", &shown)]),
                    answer: vec![ended(&format!("{term}{colon}{}", plain(cell)))],
                    value: Some(Value { text: plain(cell), is_enough: false }),
                    span: span.clone(),
                    subject: term.clone(),
                });
            }
        }
        res
    }
}
