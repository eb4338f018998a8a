//! Souffleur
