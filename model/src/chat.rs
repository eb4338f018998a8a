//! Conversations to token ids, through the chat template that the model's file carries.
//!
//! Templates are rendered as transformers renders them. What the turns contain is data: text in
//! them that spells a control token is encoded as text.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{Environment, Error, ErrorKind, State, context};
use serde_json::{Value as Json, json};
use thiserror::Error;

use crate::python::{self, JsonOptions};
use crate::thinking;
use crate::tokenizer::TextTokenizer;

const TEMPLATE: &str = "chat";
/// Names that templates cannot collide with, for what our functions look up.
const NOW: &str = "_souffleur_now";
const GUARD: &str = "_souffleur_guard";

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

/// Turns as templates know them.
pub fn messages_of(turns: &[Turn]) -> Json {
    turns.iter().map(|it| json!({"role": it.role.name(), "content": it.content})).collect()
}

/// What a template may be told besides the messages.
#[derive(Debug, Clone)]
pub struct ChatOptions {
    /// JSON schemas of functions that the model may call.
    pub tools: Option<Json>,
    /// Objects with `title` and `text`, for templates that place documents.
    pub documents: Option<Json>,
    /// Whether models that can think before they answer shall. If none, the template decides.
    pub thinking: Option<bool>,
    /// Whether the prompt ends where the assistant is to speak.
    pub add_generation_prompt: bool,
    /// The time to state; that of the system if none.
    pub now: Option<jiff::civil::DateTime>,
}

impl Default for ChatOptions {
    /// The assistant speaks next, and does not think aloud.
    fn default() -> Self {
        Self {
            tools: None,
            documents: None,
            thinking: Some(false),
            add_generation_prompt: true,
            now: None,
        }
    }
}

/// Texts of the special tokens that templates may ask for; empty where there is none.
#[derive(Debug, Clone, Default)]
pub(crate) struct SpecialTexts {
    pub(crate) bos: String,
    pub(crate) eos: String,
    pub(crate) unk: String,
    pub(crate) pad: String,
}

/// A parsed chat template.
pub(crate) struct ChatTemplate {
    source: String,
    env: Environment<'static>,
    texts: SpecialTexts,
}

impl ChatTemplate {
    /// Parses a template.
    pub(crate) fn new(source: &str, texts: SpecialTexts) -> Result<Self, ChatError> {
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
        env.set_formatter(|out, _, value| {
            out.write_str(&python::text(value))
                .map_err(|_| Error::new(ErrorKind::WriteFailure, "could not write"))
        });
        env.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        env.add_function("strftime_now", strftime_now);
        env.add_filter("tojson", to_json);
        env.add_filter("string", |value: Value| python::text(&value));
        env.add_template_owned(TEMPLATE, without_generation_tags(source))
            .map_err(|source| ChatError::Template { source })?;
        Ok(Self { source: source.to_owned(), env, texts })
    }

    /// As the model's file has it.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// The conversation as text, without guards.
    #[cfg(test)]
    pub(crate) fn render(
        &self,
        messages: &Json,
        options: &ChatOptions,
    ) -> Result<String, ChatError> {
        self.render_guarded(messages, options, None)
    }

    /// The conversation as text. messages: a list of objects with `role` and `content`
    fn render_guarded(
        &self,
        messages: &Json,
        options: &ChatOptions,
        guard: Option<char>,
    ) -> Result<String, ChatError> {
        let special = |text: &String| match text.as_str() {
            "" => Value::UNDEFINED,
            text => Value::from(text),
        };
        let data =
            |it: Option<&Json>| it.map_or(Value::from(()), |it| Value::from(Serde(it.clone())));
        let context = context! {
            messages => with_reasoning(messages),
            tools => data(options.tools.as_ref()),
            documents => data(options.documents.as_ref()),
            add_generation_prompt => options.add_generation_prompt,
            enable_thinking => options.thinking.map_or(Value::UNDEFINED, Value::from),
            bos_token => special(&self.texts.bos),
            eos_token => special(&self.texts.eos),
            unk_token => special(&self.texts.unk),
            pad_token => special(&self.texts.pad),
            _souffleur_now => options.now.map(|it| it.to_string()),
            _souffleur_guard => guard.map(String::from),
        };
        self.env
            .get_template(TEMPLATE)
            .and_then(|template| template.render(context))
            .map_err(|source| ChatError::Template { source })
    }

    /// The conversation as token ids.
    pub(crate) fn encode(
        &self,
        messages: &Json,
        options: &ChatOptions,
        tokenizer: &TextTokenizer,
    ) -> Result<Vec<u32>, ChatError> {
        let mut data = json!([messages, options.tools, options.documents]);
        if tokenizer.special_id(thinking::CLOSE).is_some() {
            split_thoughts(&mut data[0]);
        }
        let guard = unused_char(&data);
        for_each_text(&mut data, &mut |text| *text = tokenizer.guard(text, guard));
        let [messages, tools, documents] = [0, 1, 2].map(|idx| data[idx].take());
        let options = ChatOptions {
            tools: Some(tools).filter(|it| !it.is_null()),
            documents: Some(documents).filter(|it| !it.is_null()),
            ..options.clone()
        };
        let text = self.render_guarded(&messages, &options, Some(guard))?;
        tokenizer.encode_guarded(&text, guard).map_err(|source| ChatError::Tokenize { source })
    }
}

/// A character that stands nowhere in `data`. Unicode reserves 32 code points that no text may
/// contain; private-use characters follow, should a text contain all of those.
fn unused_char(data: &Json) -> char {
    let text = data.to_string();
    ('\u{fdd0}'..='\u{fdef}')
        .chain('\u{f0000}'..='\u{ffffd}')
        .find(|&c| !text.contains(c))
        .expect("no prompt holds each of 65,000 private characters")
}

/// Changes every text in a value, keys of objects included.
fn for_each_text(value: &mut Json, change: &mut dyn FnMut(&mut String)) {
    match value {
        Json::String(text) => change(text),
        Json::Array(items) => items.iter_mut().for_each(|it| for_each_text(it, change)),
        Json::Object(map) => {
            for (mut key, mut value) in std::mem::take(map) {
                change(&mut key);
                for_each_text(&mut value, change);
                map.insert(key, value);
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// Moves thoughts of earlier answers into a field of their own. Templates look for their tags,
/// which they would not find once these are guarded.
fn split_thoughts(messages: &mut Json) {
    for message in messages.as_array_mut().into_iter().flatten() {
        let content = message["content"].as_str().unwrap_or_default();
        if message["role"] != "assistant"
            || !content.contains(thinking::CLOSE)
            || message.get("reasoning_content").is_some_and(|it| !it.is_null())
        {
            continue;
        }
        let (before, _) = content.split_once(thinking::CLOSE).unwrap_or_default();
        let (_, after) = content.rsplit_once(thinking::CLOSE).unwrap_or_default();
        let before = before.trim_end_matches('\n');
        let thoughts = before.rsplit_once(thinking::OPEN).map_or(before, |(_, it)| it);
        let (thoughts, after) = (thoughts.trim_start_matches('\n'), after.trim_start_matches('\n'));
        let (thoughts, after) = (json!(thoughts), json!(after));
        message["reasoning_content"] = thoughts;
        message["content"] = after;
    }
}

/// The messages, with reasoning under each name that templates look for it.
fn with_reasoning(messages: &Json) -> Value {
    let mut messages = messages.clone();
    for message in messages.as_array_mut().into_iter().flatten().filter_map(Json::as_object_mut) {
        let reasoning = ["reasoning_content", "thinking", "reasoning"]
            .iter()
            .find_map(|it| message.get(*it).filter(|it| !it.is_null()).cloned());
        if let Some(reasoning) = reasoning {
            message.entry("thinking").or_insert_with(|| reasoning.clone());
            message.insert("reasoning_content".to_owned(), reasoning);
        }
    }
    Value::from(Serde(messages))
}

/// transformers marks what the assistant says by tags of its own; here they are blocks that are
/// always rendered.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(len) = rest[start..].find("%}") else { break };
        let (before, tag) = (&rest[..start], &rest[start..start + len + 2]);
        let name = tag[2..tag.len() - 2].trim_matches(['-', '+']).trim();
        out.push_str(before);
        match name {
            "generation" => out.push_str(&tag.replacen("generation", "if true", 1)),
            "endgeneration" => out.push_str(&tag.replacen("endgeneration", "endif", 1)),
            _ => out.push_str(tag),
        }
        rest = &rest[start + tag.len()..];
    }
    out.push_str(rest);
    out
}

/// `datetime.now().strftime(format)`
fn strftime_now(state: &State, format: String) -> Result<String, Error> {
    let failed = |error: jiff::Error| Error::new(ErrorKind::InvalidOperation, error.to_string());
    let fixed = state.lookup(NOW).and_then(|it| it.as_str().map(str::to_owned));
    let now = match fixed {
        Some(text) => text.parse().map_err(failed)?,
        None => jiff::Zoned::now().datetime(),
    };
    jiff::fmt::strtime::format(format, now).map_err(failed)
}

/// `json.dumps(value, ensure_ascii=False, …)`, as transformers defines the filter: nothing is
/// escaped for HTML, and keys keep their order.
fn to_json(state: &State, value: Value, kwargs: Kwargs) -> Result<Value, Error> {
    let separators: Option<Vec<String>> = kwargs.get("separators")?;
    let options = JsonOptions {
        indent: kwargs.get("indent")?,
        ensure_ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort_keys: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        separators: match separators.as_deref() {
            Some([item, key]) => Some((item.clone(), key.clone())),
            _ => None,
        },
        raw: state.lookup(GUARD).and_then(|it| it.as_str()?.chars().next()),
    };
    kwargs.assert_all_used()?;
    python::to_json(&value, &options).map(Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(source: &str) -> ChatTemplate {
        let texts =
            SpecialTexts { bos: "<s>".to_owned(), eos: "</s>".to_owned(), ..Default::default() };
        ChatTemplate::new(source, texts).unwrap()
    }

    #[track_caller]
    fn check(source: &str, turns: &[Turn], expected: &str) {
        let rendered = template(source).render(&messages_of(turns), &ChatOptions::default());
        assert_eq!(rendered.unwrap(), expected);
    }

    #[test]
    fn templates_render_as_transformers_renders_them() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let text = fs_err::read_to_string(dir.join("chat.json")).unwrap();
        let golden: Json = serde_json::from_str(&text).unwrap();
        let mut n_refused = 0;
        for case in golden["cases"].as_array().unwrap() {
            let name = case["template"].as_str().unwrap();
            let source =
                fs_err::read_to_string(dir.join(format!("templates/{name}.jinja"))).unwrap();
            let given = |key: &str| (case[key] == true).then(|| golden[key].clone());
            let options = ChatOptions {
                tools: given("tools"),
                documents: given("documents"),
                thinking: case["enable_thinking"].as_bool(),
                add_generation_prompt: case["add_generation_prompt"] == true,
                now: Some(golden["now"].as_str().unwrap().parse().unwrap()),
            };
            let messages = &golden["conversations"][case["messages"].as_str().unwrap()];
            let rendered = template(&source).render(messages, &options);
            match (rendered, case["text"].as_str()) {
                (Ok(text), Some(expected)) => {
                    assert_eq!(text, expected, "{name} {}", case["messages"]);
                }
                (Err(error), None) => {
                    n_refused += 1;
                    let refusal = case["refusal"].as_str().unwrap();
                    assert!(error.to_string().contains(refusal), "{error}");
                }
                (rendered, _) => panic!("{name} {}: {rendered:?}", case["messages"]),
            }
        }
        assert!(n_refused > 0, "some conversations are refused");
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
        let template = template("{{ raise_exception('roles must alternate') }}");
        let error = template.render(&json!([]), &ChatOptions::default()).unwrap_err().to_string();
        assert!(error.contains("roles must alternate"), "{error}");
    }

    #[test]
    fn a_broken_template_is_an_error() {
        let error = ChatTemplate::new("{% for %}", SpecialTexts::default()).err().unwrap();
        assert!(matches!(error, ChatError::Template { .. }));
    }

    #[test]
    fn the_guard_is_absent_from_the_turns() {
        let all: String = ('\u{fdd0}'..='\u{fdef}').collect();
        assert_eq!(unused_char(&messages_of(&[Turn::user("a")])), '\u{fdd0}');
        assert_eq!(unused_char(&messages_of(&[Turn::user(all)])), '\u{f0000}');
    }

    #[test]
    fn thoughts_of_earlier_answers_are_found_before_they_are_guarded() {
        let answer = "<think>\nHm.\n</think>\n\nYes.";
        let mut messages = messages_of(&[Turn::user(answer), Turn::assistant(answer)]);
        split_thoughts(&mut messages);
        assert_eq!(messages[0]["content"], answer, "what the user says stays");
        assert_eq!(messages[1]["content"], "Yes.");
        assert_eq!(messages[1]["reasoning_content"], "Hm.");
    }
}
