//! A specification as RON text, with every default written out.

use ron::extensions::Extensions;
use ron::ser::PrettyConfig;
use serde::Serialize;

/// RON as graph files have it: `Some` left out, and a variant's parameters in its own parentheses.
pub fn extensions() -> Extensions {
    Extensions::IMPLICIT_SOME | Extensions::UNWRAP_NEWTYPES | Extensions::UNWRAP_VARIANT_NEWTYPES
}

/// A value as RON text that this program and any other reader of RON accept.
///
/// # Errors
/// When the value can't be written as RON, which no specification is an example of.
pub fn to_ron<T: Serialize>(value: &T) -> Result<String, ron::Error> {
    let config =
        PrettyConfig::new().new_line("\n").indentor("  ").compact_arrays(true).extensions(extensions());
    Ok(ron::Options::default().to_string_pretty(value, config)? + "\n")
}
