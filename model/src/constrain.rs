//! Output that must follow a JSON schema, a regular expression or a grammar.
//!
//! The `llguidance` crate follows the grammar byte by byte and says which tokens may come next; all
//! others are ruled out before anything else is done to the logits, so that a constraint holds at
//! temperature 0, too.

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use crate::tokenizer::TextTokenizer;

/// What a draft must look like.
#[derive(Debug, Clone, PartialEq)]
pub enum Constraint {
    /// JSON that a JSON schema (draft 2020-12, the parts that `llguidance` knows) accepts, on one
    /// line: models that may write white space freely sometimes write nothing else.
    JsonSchema(Value),
    /// Text that a regular expression matches as a whole.
    Regex(String),
    /// Text of a grammar in the notation of the Lark parser, as `llguidance` extends it.
    Lark(String),
}

/// Turns constraints into grammars over one tokenizer's tokens.
pub(crate) struct Compiler(ParserFactory);

/// A constraint on its way through one draft.
pub(crate) struct Grammar(Matcher);

impl Compiler {
    /// `ends` are the tokens that may follow a finished text. None without such a token.
    pub(crate) fn new(tokenizer: &TextTokenizer, ends: &[u32]) -> Result<Self, String> {
        let first = *ends.first().ok_or("the model has no token that ends a text")?;
        let mut words: Vec<Vec<u8>> =
            (0..tokenizer.n_tokens() as u32).map(|id| tokenizer.bytes(id).to_vec()).collect();
        for text in tokenizer.special_texts() {
            // Marked so, a special token is never taken for the text that it looks like.
            let id = tokenizer.special_id(text).expect("listed a moment ago");
            let mut word = vec![TokTrie::SPECIAL_TOKEN_MARKER];
            word.extend_from_slice(text.as_bytes());
            words[id as usize] = word;
        }
        let info = TokRxInfo::new(words.len() as u32, first);
        let trie = TokTrie::from(&info, &words).with_eos_tokens(ends);
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new_simple(&env).map_err(|error| format!("{error:#}"))?;
        factory.quiet();
        Ok(Self(factory))
    }

    /// A constraint's grammar, or what is wrong with it.
    pub(crate) fn compile(&self, constraint: &Constraint) -> Result<Grammar, String> {
        let grammar = match constraint {
            Constraint::JsonSchema(schema) => {
                let mut schema = schema.clone();
                if let Value::Object(fields) = &mut schema {
                    let compact = json!({ "whitespace_flexible": false });
                    fields.entry("x-guidance").or_insert(compact);
                }
                TopLevelGrammar::from_json_schema(schema)
            }
            Constraint::Regex(regex) => TopLevelGrammar::from_regex(regex),
            Constraint::Lark(grammar) => TopLevelGrammar::from_lark(grammar.clone()),
        };
        let matcher = Matcher::new(self.0.create_parser(grammar));
        match matcher.get_error() {
            Some(error) => Err(error),
            None => Ok(Grammar(matcher)),
        }
    }
}

impl Grammar {
    /// Rules out the tokens that may not come next.
    pub(crate) fn mask(&mut self, logits: &mut [f32]) -> Result<(), String> {
        let allowed = self.0.compute_mask_or_eos().map_err(|error| format!("{error:#}"))?;
        for (id, logit) in logits.iter_mut().enumerate() {
            if id >= allowed.len() || !allowed.get(id) {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    /// Takes the token that was chosen; whether the text is now complete.
    pub(crate) fn accept(&mut self, id: u32) -> Result<bool, String> {
        self.0.consume_token(id).map_err(|error| format!("{error:#}"))?;
        Ok(self.0.is_stopped())
    }
}
