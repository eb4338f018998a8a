//! A comparison for people: words, Markdown, and a page with plots.

mod cautions;
pub mod html;
mod judged;
pub mod markdown;
mod plots;
pub mod words;
