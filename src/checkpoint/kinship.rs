//! Whether two graphs train the same thing, so that one may go on where the other stopped.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::graph::spec::GraphSpec;

/// A graph's keys, dotted, with their values: those alone that decide the numbers of a step.
pub type GraphKeys = BTreeMap<String, String>;

/// Keys that may differ between a run and its continuation: they change how long, how fast or where it runs, and what makes it
/// stop.
const FREE: [&str; 4] = ["name", "duration", "device", "on_collapse"];
/// Stages that only look on.
const ONLOOKERS: [&str; 3] = ["Checkpoint", "Knn", "Maps"];

/// The keys of a graph that a resumed run must share.
///
/// # Errors
/// When a custom stage's parameters can't be written out.
pub fn graph_keys(graph: &GraphSpec) -> Result<GraphKeys, serde_json::Error> {
    let graph = GraphSpec { precision: graph.decided_precision(), ..graph.clone() };
    let mut tree = serde_json::to_value(&graph)?;
    if let Some(top) = tree.as_object_mut() {
        top.retain(|key, _| !FREE.contains(&key.as_str()));
        if let Some(nodes) = top.get_mut("nodes").and_then(Value::as_object_mut) {
            nodes.retain(|_, node| ONLOOKERS.iter().all(|stage| node["stage"].get(stage).is_none()));
        }
    }
    let mut keys = GraphKeys::new();
    flatten("", &tree, &mut keys);
    // what is computed again is what was kept, and pixels are the same whoever cuts them
    let free =
        |key: &str| key.ends_with(".workers") || key.ends_with(".cut_on") || key == "network.recompute";
    keys.retain(|key, _| !free(key));
    Ok(keys)
}

fn flatten(path: &str, value: &Value, keys: &mut GraphKeys) {
    let inner = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Object(map) if !map.is_empty() => map.iter().for_each(|(k, v)| flatten(&inner(k), v, keys)),
        Value::Array(list) if !list.is_empty() => {
            list.iter().enumerate().for_each(|(i, v)| flatten(&inner(&i.to_string()), v, keys));
        }
        leaf => {
            keys.insert(path.to_owned(), leaf.to_string());
        }
    }
}

/// What differs, a line for each key: `optimizer.lr: 0.1 in the checkpoint, 0.2 in the graph`.
pub fn differences(saved: &GraphKeys, asked: &GraphKeys) -> Vec<String> {
    let mut keys: Vec<&String> = saved.keys().chain(asked.keys()).collect();
    keys.sort();
    keys.dedup();
    let word = |keys: &GraphKeys, key: &String| keys.get(key).map_or("nothing".to_owned(), Clone::clone);
    keys.into_iter()
        .filter(|key| saved.get(*key) != asked.get(*key))
        .map(|key| {
            format!("{key}: {} in the checkpoint, {} in the graph", word(saved, key), word(asked, key))
        })
        .collect()
}
