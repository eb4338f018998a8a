//! Conversations to token ids, through the chat template that the model's file carries.
//!
//! Templates are rendered as transformers renders them. What the turns contain is data: text in
//! them that spells a control token is encoded as text.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind, context};
use serde::Serialize;
use thiserror::Error;

use crate::tokenizer::TextTokenizer;

const TEMPLATE: &str = "chat";

/// Who says a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The instructions that stand over the conversation.
    System,
    /// The person who asks.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The name that templates know it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl Turn {
    /// A system turn.
    pub fn system(content: impl Into<String>) -> Self {
        Self { role: Role::System, content: content.into() }
    }

    /// A user turn.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: Role::User, content: content.into() }
    }

    /// An assistant turn.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self { role: Role::Assistant, content: content.into() }
    }
}

/// A conversation could not be turned into tokens.
#[derive(Debug, Error)]
pub enum ChatError {
    /// The model is a plain language model.
    #[error("the model's file has no chat template: choose a model that is tuned for conversation")]
    NoTemplate,
    /// The template does not parse, or refuses this sequence of turns.
    #[error("the model's chat template refuses the conversation: {source}")]
    Template {
        /// The template engine's reason.
        source: minijinja::Error,
    },
    /// The tokenizer failed.
    #[error("could not cut the prompt into tokens: {source}")]
    Tokenize {
        /// The tokenizer's reason.
        source: tokenizers::Error,
    },
}

/// A parsed chat template.
pub(crate) struct ChatTemplate {
    env: Environment<'static>,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// Parses a template; `bos` and `eos` are the texts of the tokens that it may ask for.
    pub(crate) fn new(source: String, bos: &str, eos: &str) -> Result<Self, ChatError> {
        let mut env = Environment::new();
        // As transformers sets up its environment.
        env.set_syntax(
            SyntaxConfig::builder()
                .trim_blocks(true)
                .lstrip_blocks(true)
                .build()
                .expect("the default delimiters are valid"),
        );
        env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        env.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        env.add_function("strftime_now", |format: String| -> Result<String, Error> {
            jiff::fmt::strtime::format(format, &jiff::Zoned::now())
                .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
        });
        env.add_filter("tojson", to_json);
        env.add_template_owned(TEMPLATE, source)
            .map_err(|source| ChatError::Template { source })?;
        Ok(Self { env, bos: bos.to_owned(), eos: eos.to_owned() })
    }

    /// The conversation as text, ending where the assistant is to speak.
    pub(crate) fn render(&self, turns: &[Turn]) -> Result<String, ChatError> {
        let messages: Vec<Value> = turns
            .iter()
            .map(|turn| context! { role => turn.role.name(), content => &turn.content })
            .collect();
        self.env
            .get_template(TEMPLATE)
            .and_then(|template| {
                template.render(context! {
                    messages,
                    add_generation_prompt => true,
                    bos_token => &self.bos,
                    eos_token => &self.eos,
                })
            })
            .map_err(|source| ChatError::Template { source })
    }

    /// The conversation as token ids, ending where the assistant is to speak.
    pub(crate) fn encode(
        &self,
        turns: &[Turn],
        tokenizer: &TextTokenizer,
    ) -> Result<Vec<u32>, ChatError> {
        let guard = unused_char(turns);
        let guarded: Vec<Turn> = turns
            .iter()
            .map(|turn| Turn { role: turn.role, content: tokenizer.guard(&turn.content, guard) })
            .collect();
        let text = self.render(&guarded)?;
        tokenizer.encode_guarded(&text, guard).map_err(|source| ChatError::Tokenize { source })
    }
}

/// A character that stands in none of the turns. Unicode reserves 32 code points that no text may
/// contain; private-use characters follow, should a text contain all of those.
fn unused_char(turns: &[Turn]) -> char {
    ('\u{fdd0}'..='\u{fdef}')
        .chain('\u{f0000}'..='\u{ffffd}')
        .find(|&c| turns.iter().all(|turn| !turn.content.contains(c)))
        .expect("no prompt holds each of 65,000 private characters")
}

/// `json.dumps(value, ensure_ascii=False, indent=indent)` of Python, as templates expect it.
fn to_json(value: Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    options.assert_all_used()?;
    let mut out = Vec::new();
    let written = match indent {
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Spaced)),
        Some(indent) => {
            let indent = vec![b' '; indent];
            let formatter = serde_json::ser::PrettyFormatter::with_indent(&indent);
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter))
        }
    };
    let text = written.map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()));
    text?;
    let text = String::from_utf8(out).expect("JSON is UTF-8");
    Ok(Value::from_safe_string(text))
}

/// Python puts a space after each comma and colon.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
    ) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, turns: &[Turn], expected: &str) {
        let template = ChatTemplate::new(template.to_owned(), "<s>", "</s>").unwrap();
        assert_eq!(template.render(turns).unwrap(), expected);
    }

    #[test]
    fn blocks_are_trimmed_as_transformers_trims_them() {
        let template = "{{ bos_token }}\n    {% for m in messages %}\n{{ m.role }}: {{ m['content'] | trim }}\n    {% endfor %}\n{% if add_generation_prompt %}assistant:{% endif %}";
        let turns = [Turn::user(" hi "), Turn::assistant("yes")];
        check(template, &turns, "<s>\nuser: hi\nassistant: yes\nassistant:");
    }

    #[test]
    fn python_methods_and_filters_work() {
        check(
            "{{ messages[0]['content'].strip().split('|')[-1].upper() }} {{ messages | tojson }}",
            &[Turn::user(" a|b<é> ")],
            "B<É> [{\"role\": \"user\", \"content\": \" a|b<é> \"}]",
        );
    }

    #[test]
    fn a_template_can_refuse() {
        let template = "{{ raise_exception('roles must alternate') }}".to_owned();
        let template = ChatTemplate::new(template, "", "").unwrap();
        let error = template.render(&[]).unwrap_err().to_string();
        assert!(error.contains("roles must alternate"), "{error}");
    }

    #[test]
    fn a_broken_template_is_an_error() {
        let error = ChatTemplate::new("{% for %}".to_owned(), "", "").err().unwrap();
        assert!(matches!(error, ChatError::Template { .. }));
    }

    #[test]
    fn the_guard_is_absent_from_the_turns() {
        let all: String = ('\u{fdd0}'..='\u{fdef}').collect();
        assert_eq!(unused_char(&[Turn::user("a")]), '\u{fdd0}');
        assert_eq!(unused_char(&[Turn::user(all)]), '\u{f0000}');
    }
}
