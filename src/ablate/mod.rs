//! Ablations: variants of one graph, each with several seeds, side by side.
//!
//! ```text
//! spec       what an ablation file says
//! variant    its variants as checked graphs
//! work       runs them, each with every seed in a folder of its own
//! result     what a run came to, read from its folder
//! end        how a run ended
//! outcome    what a variant came to, over its seeds
//! spread     a figure over several seeds
//! html, markdown   the report
//! ```
//! Every variant starts from the weights and sees the crops that its seed gives, so what differs is what the variant changes.

pub mod end;
pub mod html;
pub mod markdown;
pub mod outcome;
pub mod result;
pub mod spec;
pub mod spread;
pub mod variant;
pub mod work;

use std::path::Path;

use crate::checkpoint::atomic;
use crate::error::Error;
use crate::stages::Registry;

pub use spec::{AblationSpec, Expect};
pub use variant::{Ablation, Variant};

/// Writes `report.md` and `report.html` into the ablation's folder, from what its runs have left there so far.
///
/// # Errors
/// When a run's record can't be read, or the folder can't be written.
pub fn report(ablation: &Ablation, out: &Path, registry: &Registry) -> Result<Vec<outcome::Outcome>, Error> {
    let outcomes: Vec<outcome::Outcome> = ablation
        .variants
        .iter()
        .map(|variant| outcome::read(variant, out, registry))
        .collect::<Result<_, _>>()?;
    for (name, text) in
        [("report.md", markdown::page(ablation, &outcomes)), ("report.html", html::page(ablation, &outcomes))]
    {
        let path = out.join(name);
        atomic::write(&path, |file| file.write_all(text.as_bytes())).map_err(|cause| Error::File {
            doing: "write",
            path,
            cause,
        })?;
    }
    Ok(outcomes)
}
