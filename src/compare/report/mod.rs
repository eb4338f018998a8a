//! A comparison for people: words, Markdown, and a page with plots.

mod cautions;
pub mod html;
pub mod json;
mod judged;
pub mod markdown;
mod plots;
pub mod words;
