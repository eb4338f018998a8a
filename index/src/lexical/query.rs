//! Questions and filters as queries.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use ingest::document::Language;
use tantivy::query::{
    Bm25StatisticsProvider, BooleanQuery, BoostQuery, ConstScoreQuery, DisjunctionMaxQuery,
    EnableScoring, Occur, Query, RangeQuery, TermQuery,
};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocAddress, DocSet, Searcher, Term};

use super::analyse::Words;
use super::schema::{Fields, analysed_languages};
use crate::filter::Filter;

/// How much an exact term counts beside a stem. Measured: docs/log.md, 2026-11-23.
const EXACT_WEIGHT: f32 = 0.3;

/// A question of more distinct terms keeps the rarest, which decide the ranking; this bounds the
/// work that one question can ask for.
const N_TERMS_MAX: usize = 64;

/// In which form a term of the question was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TermKind {
    /// As a stem of a language.
    Stem(Language),
    /// As written, but for case and accents.
    Exact,
}

/// What a term of a question adds to a chunk's score.
#[derive(Debug, Clone, PartialEq)]
pub struct TermScore {
    /// The term, in the form in which it is indexed.
    pub term: String,
    /// Which form that is.
    pub kind: TermKind,
    /// Its share of the score.
    pub score: f32,
}

/// A term to look for.
struct Wanted {
    term: Term,
    text: String,
    kind: TermKind,
    weight: f32,
}

impl Wanted {
    fn query(&self) -> Box<dyn Query> {
        let query = Box::new(TermQuery::new(self.term.clone(), IndexRecordOption::WithFreqs));
        Box::new(BoostQuery::new(query, self.weight))
    }
}

/// What a question asks for: stems in one language or in each, and exact terms.
pub(super) struct Plan {
    stems: Vec<Vec<Wanted>>,
    exact: Vec<Wanted>,
    /// How many chunks count as holding a stem, where that is not what its field says.
    doc_freqs: HashMap<Term, u64>,
}

impl Plan {
    pub(super) fn new(
        question: &str,
        language: Option<Language>,
        fields: &Fields,
        searcher: &Searcher,
    ) -> tantivy::Result<Self> {
        let words = Words::read(question);
        let languages = analysed_languages(&language);
        let mut stems = Vec::new();
        for &language in languages {
            let field = fields.stems(language);
            let kind = TermKind::Stem(language);
            stems.push(wanted(words.stems(language), field, kind, searcher)?);
        }
        let exact = wanted(words.exact(language), fields.exact, TermKind::Exact, searcher)?;
        let doc_freqs = match languages {
            [_] => HashMap::new(),
            languages => shared_doc_freqs(&words, languages, fields, searcher)?,
        };
        Ok(Self { stems, exact, doc_freqs })
    }

    pub(super) fn statistics<'a>(
        &'a self,
        fields: &'a Fields,
        searcher: &'a Searcher,
    ) -> Statistics<'a> {
        Statistics { searcher, fields, doc_freqs: &self.doc_freqs }
    }

    /// `None` when the question holds nothing to look for.
    pub(super) fn query(&self, filter: &Filter, fields: &Fields) -> Option<Box<dyn Query>> {
        let should = |wanted: &Wanted| (Occur::Should, wanted.query());
        let mut clauses: Vec<_> = self.exact.iter().map(should).collect();
        match self.stems.as_slice() {
            // Side by side with the exact terms, so that tantivy may skip what cannot win.
            [stems] => clauses.extend(stems.iter().map(should)),
            // A chunk of no known language is indexed in each and must not count twice.
            languages => {
                let each = languages.iter().filter(|it| !it.is_empty());
                let each =
                    each.map(|it| BooleanQuery::from(it.iter().map(should).collect::<Vec<_>>()));
                let each: Vec<Box<dyn Query>> = each.map(|it| Box::new(it) as _).collect();
                if !each.is_empty() {
                    clauses.push((Occur::Should, Box::new(DisjunctionMaxQuery::new(each))));
                }
            }
        }
        if clauses.is_empty() {
            return None;
        }
        clauses.extend(conditions(filter, fields).into_iter().map(|condition| {
            (Occur::Must, Box::new(ConstScoreQuery::new(condition, 0.0)) as Box<dyn Query>)
        }));
        Some(Box::new(BooleanQuery::with_minimum_required_clauses(clauses, 1)))
    }

    /// What each term adds to the score of the chunk with an id, most first.
    pub(super) fn explain(
        &self,
        id: &Term,
        fields: &Fields,
        searcher: &Searcher,
    ) -> tantivy::Result<Vec<TermScore>> {
        let Some(at) = find(id, searcher)? else { return Ok(Vec::new()) };
        let statistics = self.statistics(fields, searcher);
        let score = |wanted: &[Wanted]| scores(wanted, at, &statistics);
        let mut best = Vec::new();
        for stems in &self.stems {
            let scores = score(stems)?;
            if total(&scores) > total(&best) {
                best = scores;
            }
        }
        best.extend(score(&self.exact)?);
        best.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.term.cmp(&b.term)));
        Ok(best)
    }
}

/// The inverse document frequency of each distinct stem of a question: ln(1 + (N - n + ½) / (n + ½))
/// for a stem that n of N chunks hold.
pub(super) fn term_weights(
    question: &str,
    language: Option<Language>,
    fields: &Fields,
    searcher: &Searcher,
) -> tantivy::Result<BTreeMap<String, f32>> {
    let words = Words::read(question);
    let n_chunks = searcher.num_docs() as f32;
    let mut res = BTreeMap::new();
    for &language in analysed_languages(&language) {
        for stem in words.stems(language) {
            let term = Term::from_field_text(fields.stems(language), &stem);
            // Deleted chunks count until their segment is merged: never more than there are.
            let n_holding = (searcher.doc_freq(&term)? as f32).min(n_chunks);
            let weight = (1.0 + (n_chunks - n_holding + 0.5) / (n_holding + 0.5)).ln();
            res.insert(stem, weight);
        }
    }
    Ok(res)
}

fn total(scores: &[TermScore]) -> f32 {
    scores.iter().map(|it| it.score).sum()
}

fn find(id: &Term, searcher: &Searcher) -> tantivy::Result<Option<DocAddress>> {
    let query = TermQuery::new(id.clone(), IndexRecordOption::Basic);
    let found = searcher.search(&query, &tantivy::collector::DocSetCollector)?;
    Ok(found.into_iter().min())
}

fn scores(
    wanted: &[Wanted],
    at: DocAddress,
    statistics: &Statistics<'_>,
) -> tantivy::Result<Vec<TermScore>> {
    let searcher = statistics.searcher;
    let scoring = EnableScoring::enabled_from_statistics_provider(statistics, searcher);
    let segment = searcher.segment_reader(at.segment_ord);
    let mut res = Vec::new();
    for wanted in wanted {
        let mut scorer = wanted.query().weight(scoring)?.scorer(segment, 1.0)?;
        if scorer.doc() <= at.doc_id && scorer.seek(at.doc_id) == at.doc_id {
            let (term, kind) = (wanted.text.clone(), wanted.kind);
            res.push(TermScore { term, kind, score: scorer.score() });
        }
    }
    Ok(res)
}

/// What a question looks for: each distinct term with its weight, which counts how often the
/// question repeats it.
#[derive(Debug)]
pub(crate) struct QuestionTerms {
    /// Stems in each language that it may be in.
    pub(crate) stems: Vec<(Language, BTreeMap<String, f32>)>,
    /// Exact terms.
    pub(crate) exact: BTreeMap<String, f32>,
}

pub(crate) fn question_terms(question: &str, language: Option<Language>) -> QuestionTerms {
    let words = Words::read(question);
    let languages = analysed_languages(&language).iter();
    QuestionTerms {
        stems: languages.map(|&it| (it, weights(words.stems(it), 1.0))).collect(),
        exact: weights(words.exact(language), EXACT_WEIGHT),
    }
}

fn weights(terms: Vec<String>, unit: f32) -> BTreeMap<String, f32> {
    let mut res = BTreeMap::new();
    for term in terms {
        *res.entry(term).or_default() += unit;
    }
    res
}

/// Terms with the number of times that the question repeats them, at most [`N_TERMS_MAX`].
fn wanted(
    terms: Vec<String>,
    field: Field,
    kind: TermKind,
    searcher: &Searcher,
) -> tantivy::Result<Vec<Wanted>> {
    let unit = if kind == TermKind::Exact { EXACT_WEIGHT } else { 1.0 };
    let wanted = |(text, weight): (String, f32)| {
        let term = Term::from_field_text(field, &text);
        Wanted { term, text, kind, weight }
    };
    let mut res: Vec<_> = weights(terms, unit).into_iter().map(wanted).collect();
    if res.len() > N_TERMS_MAX {
        let mut by_rarity = Vec::with_capacity(res.len());
        for it in res {
            by_rarity.push((searcher.doc_freq(&it.term)?, it));
        }
        // Terms that no chunk holds would take the place of those that find something.
        by_rarity.retain(|(doc_freq, _)| *doc_freq > 0);
        // Stable: equally rare terms stay in the order of the alphabet.
        by_rarity.sort_by_key(|(doc_freq, _)| *doc_freq);
        res = by_rarity.into_iter().take(N_TERMS_MAX).map(|(_, it)| it).collect();
    }
    Ok(res)
}

/// A word is as rare as in the language where it is most frequent. Without this, the French words
/// of a chunk of no known language, being rare among English stems, would outweigh those of a
/// chunk that is known to be French.
fn shared_doc_freqs(
    words: &Words,
    languages: &[Language],
    fields: &Fields,
    searcher: &Searcher,
) -> tantivy::Result<HashMap<Term, u64>> {
    let mut terms = Vec::new();
    for &language in languages {
        let field = fields.stems(language);
        let placed = words.placed_stems(language);
        terms.extend(placed.map(|(place, stem)| (place, Term::from_field_text(field, &stem))));
    }
    let mut by_term = HashMap::new();
    for (_, term) in &terms {
        if !by_term.contains_key(term) {
            by_term.insert(term.clone(), searcher.doc_freq(term)?);
        }
    }
    let mut by_place = HashMap::<usize, u64>::new();
    for (place, term) in &terms {
        let most = by_place.entry(*place).or_default();
        *most = by_term[term].max(*most);
    }
    for (place, term) in terms {
        let most = by_term.entry(term).or_default();
        *most = by_place[&place].max(*most);
    }
    Ok(by_term)
}

/// The filter as conditions that must all hold; none for the default filter.
fn conditions(filter: &Filter, fields: &Fields) -> Vec<Box<dyn Query>> {
    let keyword = |field, text: &str| Term::from_field_text(field, text);
    let any = |terms: Vec<Term>| -> Box<dyn Query> {
        let term =
            |term| Box::new(TermQuery::new(term, IndexRecordOption::Basic)) as Box<dyn Query>;
        Box::new(BooleanQuery::union(terms.into_iter().map(term).collect()))
    };
    let mut res = Vec::new();
    if !filter.collections.is_empty() {
        res.push(any(filter.collections.iter().map(|it| keyword(fields.collection, it)).collect()));
    }
    if !filter.languages.is_empty() {
        let languages = filter.languages.iter();
        res.push(any(languages.map(|it| keyword(fields.language, it.code())).collect()));
    }
    if let Some(path) = filter.path_keyword() {
        res.push(any(vec![keyword(fields.path, path)]));
    }
    if filter.modified_from.is_some() || filter.modified_to.is_some() {
        let bound = |seconds: Option<i64>| {
            seconds.map_or(Bound::Unbounded, |seconds| {
                Bound::Included(Term::from_field_i64(fields.modified, seconds))
            })
        };
        res.push(Box::new(RangeQuery::new(bound(filter.modified_from), bound(filter.modified_to))));
    }
    if let Some(groups) = &filter.groups {
        let open = Term::from_field_u64(fields.open, 1);
        let groups = groups.iter().map(|it| keyword(fields.group, it));
        res.push(any(std::iter::once(open).chain(groups).collect()));
    }
    res
}

/// tantivy's statistics, but the average length of a field counts only the chunks that it holds:
/// in a corpus of two languages, a chunk has stems in one of them.
pub(super) struct Statistics<'a> {
    searcher: &'a Searcher,
    fields: &'a Fields,
    doc_freqs: &'a HashMap<Term, u64>,
}

impl Bm25StatisticsProvider for Statistics<'_> {
    fn total_num_tokens(&self, field: Field) -> tantivy::Result<u64> {
        let n_tokens = self.searcher.total_num_tokens(field)?;
        let language = [Language::French, Language::English]
            .into_iter()
            .find(|&language| self.fields.stems(language) == field);
        let Some(language) = language else { return Ok(n_tokens) };
        // tantivy divides by the number of all chunks to get the average.
        let here = Term::from_field_text(self.fields.analysed, language.code());
        let n_here = u128::from(self.searcher.doc_freq(&here)?.max(1));
        let scaled = u128::from(n_tokens) * u128::from(self.total_num_docs()?) / n_here;
        Ok(u64::try_from(scaled).unwrap_or(u64::MAX))
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        self.searcher.total_num_docs()
    }

    fn doc_freq(&self, term: &Term) -> tantivy::Result<u64> {
        self.doc_freqs.get(term).map_or_else(|| self.searcher.doc_freq(term), |&it| Ok(it))
    }
}
