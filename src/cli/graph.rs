//! `dinoflow graph`.
