//! `dinoflow stages`.
