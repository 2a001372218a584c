//! A [`Tree`] to typed values by serde, reporting everything that does not fit and not only the first.
//!
//! serde's derived readers stop at their first error. So a value that does not fit is recorded and read again with a
//! stand-in at its place, until the rest is read to the end; what is judged later leaves the stand-ins out.

mod access;
mod fault;
mod stand_in;
mod value;

use std::cell::RefCell;
use std::collections::HashSet;

use serde::de::DeserializeOwned;

use super::tree::{Path, Tree};

pub use fault::{Fault, Kind, name};

/// A typed value with what was wrong in its text.
pub struct Reading<T> {
    /// None when nothing could be made of the text.
    pub value: Option<T>,
    pub faults: Vec<Fault>,
    /// Where stand-ins are in `value`.
    pub stand_ins: HashSet<Path>,
}

/// What the reader carries along.
struct Context {
    stand_ins: HashSet<Path>,
    /// Keys that no field has: they can be left out, so reading goes on.
    unknown: RefCell<Vec<Fault>>,
}

/// More faults than this are not looked for.
const MOST_FAULTS: usize = 200;

/// Reads a tree as a `T`. `unread` are paths that are known to hold nothing readable: stand-ins take their places.
pub fn read<T: DeserializeOwned>(tree: &Tree, unread: HashSet<Path>) -> Reading<T> {
    let mut context = Context { stand_ins: unread, unknown: RefCell::default() };
    let mut faults = Vec::new();
    let mut value = None;
    while faults.len() < MOST_FAULTS {
        context.unknown.borrow_mut().clear();
        match T::deserialize(value::Reader::root(tree, &context)) {
            Ok(read) => {
                value = Some(read);
                break;
            }
            Err(fault) => {
                // a stand-in that is itself refused gives way to one for the value around it
                let mut path = fault.path.clone();
                if let Kind::Missing { key } = fault.kind {
                    path.push(key.into());
                }
                let mut again = false;
                while !context.stand_ins.insert(path.clone()) {
                    again = true;
                    if path.pop().is_none() {
                        faults.extend(context.unknown.take());
                        return Reading { value: None, faults, stand_ins: context.stand_ins };
                    }
                }
                if !again {
                    faults.push(fault);
                }
            }
        }
    }
    faults.extend(context.unknown.take());
    Reading { value, faults, stand_ins: context.stand_ins }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::origin::Origins;
    use crate::graph::parse::parse;
    use crate::graph::spec::{HeadSpec, NetworkSpec};
    use crate::optim::schedule::Span;
    use crate::stages::optimizer::AdamW;

    fn check<T: DeserializeOwned + std::fmt::Debug>(text: &str, faults: &[&str]) -> Option<T> {
        let mut origins = Origins::default();
        let id = origins.add("text", text);
        let tree = parse(text, id).map_err(|d| format!("{d:?}")).unwrap();
        let reading = read::<T>(&tree, HashSet::new());
        let found: Vec<String> = reading
            .faults
            .into_iter()
            .map(|fault| fault.diagnose(&tree, &origins))
            .map(|d| {
                format!(
                    "{} {} | {} | {}",
                    origins.at(&d.place),
                    d.key.unwrap_or_default(),
                    d.what,
                    d.expected
                )
            })
            .collect();
        assert_eq!(found, faults, "{text}");
        reading.value
    }

    #[test]
    fn every_fault_is_found_at_its_place() {
        check::<HeadSpec>(
            "(hidden: -1, botleneck: 3, out_dim: \"many\", batch_norm: 1)",
            &[
                "-1 hidden | `hidden` is of the wrong type | a whole number, 0 or more",
                "\"many\" out_dim | `out_dim` is of the wrong type | a whole number, 0 or more",
                "1 batch_norm | `batch_norm` is of the wrong type | true or false",
                "botleneck botleneck | unknown key `botleneck` | `layers`, `hidden`, `bottleneck`, `out_dim`, \
                 `batch_norm`, `activation`, `l2`, `norm_last_layer` or `prototypes`",
            ],
        );
        check::<NetworkSpec>(
            "(backbone: VitSmal(patch: 16), head: (out_dim: true))",
            &[
                "VitSmal backbone | unknown name `VitSmal` | `VitMicro`, `VitTiny`, `VitSmall`, `VitBase`, \
                 `ResNet18` or `ResNet50`",
                "true head.out_dim | `head.out_dim` is of the wrong type | a whole number, 0 or more",
            ],
        );
        check::<NetworkSpec>(
            "(backbone: VitSmall(patch: 16))",
            &[
                "VitSmall backbone | the key `image` is missing | `image: …`",
                "(  | the key `head` is missing | `head: …`",
            ],
        );
        check::<AdamW>(
            "(lr: (1), betas: (0.9), clip: PerParameter(\"x\"), lr_course: Cosine(warmup: Steps(0.5)))",
            &[
                "(1) lr | `lr` is of the wrong type | a number",
                "(0.9) betas | `betas` is of the wrong type | 2 values in parentheses",
                "\"x\" clip.0 | `clip.0` is of the wrong type | a number",
                "0.5 lr_course.warmup.0 | `lr_course.warmup.0` is of the wrong type | a whole number, 0 or more",
            ],
        );
        check::<Span>(
            "100",
            &[
                "100  | the value is of the wrong type | `Epochs`, `Steps` or `Fraction`, each with its parameters",
            ],
        );
    }

    #[test]
    fn rons_freedoms_are_kept() {
        let head = HeadSpec::default();
        for text in ["()", "HeadSpec()", "(hidden: 0x800)", "(hidden: 2_048,)"] {
            assert_eq!(check::<HeadSpec>(text, &[]), Some(head.clone()), "{text}");
        }
        for text in ["(VitSmall((patch: 8, image: 32)), ())", "(VitSmall(patch: 8, image: 32), ())"] {
            let read = check::<(crate::graph::spec::Backbone, HeadSpec)>(text, &[]);
            assert_eq!(read.map(|pair| format!("{:?}", pair.0)).as_deref(), {
                Some("VitSmall(VitSpec { patch: 8, image: 32, stem: Patch, registers: 0 })")
            });
        }
        assert_eq!(check::<Option<usize>>("3", &[]), Some(Some(3)));
        assert_eq!(check::<Option<usize>>("Some(3)", &[]), Some(Some(3)));
        assert_eq!(check::<Option<usize>>("None", &[]), Some(None));
        assert_eq!(check::<f64>("3", &[]), Some(3.0));
        assert_eq!(check::<f64>("-inf", &[]), Some(f64::NEG_INFINITY));
    }
}
