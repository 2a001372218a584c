//! A graph's values by their dotted names, for comparing.

use crate::graph::check::{Draft, DraftNode};
use crate::graph::origin::{Origins, Place};
use crate::graph::parse::parse;
use crate::graph::tree::{Body, Tree, Value};
use crate::graph::write::to_ron;

/// Every parameter of a stage with its value, dotted as `--set` takes it.
pub fn parameters(node: &DraftNode) -> Vec<(String, String)> {
    let mut out = Vec::new();
    if node.declared.is_some() {
        leaves(&written(&node.spec.stage), "", &mut out);
    }
    out
}

/// The graph's own keys, the nodes left out.
pub fn keys(draft: &Draft) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut tree = written(draft.graph);
    if let Value::Shape { body: Body::Fields(fields), .. } = &mut tree.value {
        fields.retain(|field| field.key != "nodes");
    }
    leaves(&tree, "", &mut out);
    out
}

/// A value as the tree of its RON text, defaults written out.
fn written<T: serde::Serialize>(value: &T) -> Tree {
    let text = to_ron(value).unwrap_or_default();
    let id = Origins::default().add("", text.clone());
    let nothing = Value::Shape { name: None, body: Body::Tuple(Vec::new()) };
    let at = Place { origin: id, span: 0..0 };
    parse(&text, id).unwrap_or(Tree { value: nothing, at })
}

fn leaves(tree: &Tree, path: &str, out: &mut Vec<(String, String)>) {
    match &tree.value {
        Value::Shape { name, body: Body::Fields(fields) } => {
            if let Some(name) = name.as_ref().filter(|_| !path.is_empty()) {
                out.push((path.into(), name.text.clone()));
            }
            for field in fields {
                let below = if path.is_empty() { field.key.clone() } else { format!("{path}.{}", field.key) };
                leaves(&field.value, &below, out);
            }
        }
        Value::Shape { body: Body::Tuple(items), .. } if items.is_empty() && path.is_empty() => {}
        _ => out.push((path.into(), tree.to_ron())),
    }
}
