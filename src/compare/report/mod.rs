//! A comparison for people: words, Markdown, and a page with plots.

pub mod html;
pub mod markdown;
mod plots;
pub mod words;
