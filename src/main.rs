//! Souffleur
fn main() {}
