//! What the three Office formats share: the package, its XML, charts, equations.

pub(crate) mod archive;
pub(crate) mod chart;
pub(crate) mod drawing;
pub(crate) mod math;
pub(crate) mod number_format;
pub(crate) mod package;
pub(crate) mod text;
pub(crate) mod xml;

#[cfg(test)]
pub(crate) mod fixture;
