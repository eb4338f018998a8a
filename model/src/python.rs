//! Values as Python writes them, which chat templates are made for: `json.dumps`, `str` and `repr`.

use std::fmt::Write;

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// How deep values may be nested.
const DEPTH_MAX: usize = 100;

/// Arguments of `json.dumps`.
#[derive(Debug, Clone, Default)]
pub(crate) struct JsonOptions {
    /// Blanks per level; everything on one line if none.
    pub(crate) indent: Option<usize>,
    /// Whether characters beyond ASCII are escaped.
    pub(crate) ensure_ascii: bool,
    pub(crate) sort_keys: bool,
    /// Between items, and between key and value.
    pub(crate) separators: Option<(String, String)>,
    /// A character that is never escaped.
    pub(crate) raw: Option<char>,
}

/// `json.dumps(value, …)`
pub(crate) fn to_json(value: &Value, options: &JsonOptions) -> Result<String, Error> {
    let mut out = String::new();
    write_json(&mut out, value, options, 0)?;
    Ok(out)
}

fn write_json(
    out: &mut String,
    value: &Value,
    options: &JsonOptions,
    depth: usize,
) -> Result<(), Error> {
    if depth > DEPTH_MAX {
        return Err(Error::new(ErrorKind::BadSerialization, "nested too deep"));
    }
    match value.kind() {
        ValueKind::None | ValueKind::Undefined => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&match float(value) {
            Some(it) if it.is_nan() => "NaN".to_owned(),
            Some(it) if it.is_infinite() => {
                if it > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
            }
            Some(it) => float_text(it),
            None => value.to_string(),
        }),
        ValueKind::Seq | ValueKind::Iterable => {
            let mut items = Items::new(out, ('[', ']'), options, depth);
            for item in value.try_iter()? {
                items.next();
                write_json(items.out, &item, options, depth + 1)?;
            }
            items.end();
        }
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if options.sort_keys {
                keys.sort_by_key(ToString::to_string);
            }
            let colon = options.separators.as_ref().map_or(": ", |(_, it)| it);
            let mut items = Items::new(out, ('{', '}'), options, depth);
            for key in keys {
                items.next();
                write_json_text(items.out, &key.to_string(), options);
                items.out.push_str(colon);
                write_json(items.out, &value.get_item(&key)?, options, depth + 1)?;
            }
            items.end();
        }
        _ => match value.as_str() {
            Some(text) => write_json_text(out, text, options),
            None => {
                let message = format!("a {} is no JSON", value.kind());
                return Err(Error::new(ErrorKind::BadSerialization, message));
            }
        },
    }
    Ok(())
}

/// The brackets, separators and line breaks of a list or object.
struct Items<'a> {
    out: &'a mut String,
    close: char,
    options: &'a JsonOptions,
    depth: usize,
    is_empty: bool,
}

impl<'a> Items<'a> {
    fn new(
        out: &'a mut String,
        (open, close): (char, char),
        options: &'a JsonOptions,
        depth: usize,
    ) -> Self {
        out.push(open);
        Self { out, close, options, depth, is_empty: true }
    }

    fn next(&mut self) {
        if !self.is_empty {
            self.out.push_str(match (&self.options.separators, self.options.indent) {
                (Some((it, _)), _) => it,
                (None, Some(_)) => ",",
                (None, None) => ", ",
            });
        }
        self.is_empty = false;
        self.break_line(self.depth + 1);
    }

    fn end(mut self) {
        if !self.is_empty {
            self.break_line(self.depth);
        }
        self.out.push(self.close);
    }

    fn break_line(&mut self, depth: usize) {
        if let Some(indent) = self.options.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }
}

fn write_json_text(out: &mut String, text: &str, options: &JsonOptions) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if options.raw == Some(c) => out.push(c),
            c if c < ' ' || (options.ensure_ascii && !c.is_ascii()) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// `str(value)`
pub(crate) fn text(value: &Value) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None if value.is_undefined() => String::new(),
        None => repr(value, 0),
    }
}

/// `repr(value)`
fn repr(value: &Value, depth: usize) -> String {
    let items = |value: &Value| -> Vec<Value> {
        let within = depth < DEPTH_MAX;
        value.try_iter().ok().filter(|_| within).map(Iterator::collect).unwrap_or_default()
    };
    match value.kind() {
        ValueKind::None => "None".to_owned(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.to_owned(),
        ValueKind::Number => match float(value) {
            Some(it) if it.is_nan() => "nan".to_owned(),
            Some(it) if it.is_infinite() => if it > 0.0 { "inf" } else { "-inf" }.to_owned(),
            Some(it) => float_text(it),
            None => value.to_string(),
        },
        ValueKind::Seq => {
            let items: Vec<String> = items(value).iter().map(|it| repr(it, depth + 1)).collect();
            match (value.is_tuple(), items.len()) {
                (true, 1) => format!("({},)", items[0]),
                (true, _) => format!("({})", items.join(", ")),
                (false, _) => format!("[{}]", items.join(", ")),
            }
        }
        ValueKind::Map => {
            let pair = |key: &Value| {
                let value = value.get_item(key).unwrap_or_default();
                format!("{}: {}", repr(key, depth + 1), repr(&value, depth + 1))
            };
            let pairs: Vec<String> = items(value).iter().map(pair).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        _ => value.as_str().map_or_else(|| value.to_string(), repr_text),
    }
}

fn repr_text(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c < ' ' || c == '\u{7f}' => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// The number, if it is no whole one.
fn float(value: &Value) -> Option<f64> {
    if value.is_integer() { None } else { f64::try_from(value.clone()).ok() }
}

/// `repr` of a float: the shortest digits that give it back, with an exponent where it is below
/// 1e-4 or from 1e16 on.
fn float_text(value: f64) -> String {
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        return format!("{value:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_python_writes_them() {
        let check = |value: f64, expected: &str| assert_eq!(float_text(value), expected);
        check(1.0, "1.0");
        check(0.1, "0.1");
        check(-2.5, "-2.5");
        check(0.0001, "0.0001");
        check(0.00001, "1e-05");
        check(1.5e-7, "1.5e-07");
        check(1e15, "1000000000000000.0");
        check(1e16, "1e+16");
        check(1.25e120, "1.25e+120");
    }

    #[test]
    fn texts_are_quoted_as_python_quotes_them() {
        let check = |text: &str, expected: &str| assert_eq!(repr_text(text), expected);
        check("it's", "\"it's\"");
        check("both ' and \"", "'both \\' and \"'");
        check("a\n\u{1}\\é", "'a\\n\\x01\\\\é'");
    }
}
