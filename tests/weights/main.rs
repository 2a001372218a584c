//! Weights in and out: files that mean harm, damaged ones, and the way through every format and back.

mod archives;
mod craft;
mod formats;
mod misfits;
mod multiplied;
mod pickles;
mod safetensors;
mod settings;
mod storages;
