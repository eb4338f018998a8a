//! A comparison for people: words, Markdown, and a page with plots.

mod cautions;
mod costs;
pub mod html;
pub mod json;
mod judged;
pub mod markdown;
mod plots;
pub mod words;
