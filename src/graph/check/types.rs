//! Types along the wires: what each stage makes of what arrives.

use super::Draft;
use super::parameters::blame;
use crate::graph::load::Loaded;
use crate::plan::convert::conversion;
use crate::stages::{EdgeType, Given};

/// Tells every output's type, in topological order, then judges every input with all types known.
pub fn infer(loaded: &Loaded, draft: &mut Draft) {
    // weights arrive by feedback, from nodes that come later
    for pass in 0..2 {
        for index in draft.order.clone() {
            let Some((result, count)) = infer_one(loaded, draft, index) else { continue };
            match result {
                Ok(types) => {
                    let mut types: Vec<Option<EdgeType>> = types.into_iter().map(Some).collect();
                    types.resize(count, None);
                    draft.nodes[index].outputs = types;
                }
                Err(problems) if pass == 1 => {
                    let name = draft.nodes[index].name;
                    let found: Vec<_> = problems
                        .into_iter()
                        .filter_map(|problem| blame(loaded, draft, name, problem))
                        .collect();
                    draft.problems.extend(found);
                }
                Err(_) => {}
            }
        }
    }
}

type Inferred = Result<Vec<EdgeType>, Vec<crate::stages::Problem>>;

fn infer_one(loaded: &Loaded, draft: &Draft, index: usize) -> Option<(Inferred, usize)> {
    let node = &draft.nodes[index];
    let declared = node.declared.as_ref()?;
    // what follows from a value that could not be read is not worth a message
    let network = node.ports.inputs.iter().any(|port| port.name == "weights");
    if !loaded.sound(&["nodes", node.name, "stage"]) || (network && !loaded.sound(&["network"])) {
        return None;
    }
    let arriving = arriving(draft, index);
    let given = Given(node.ports.inputs.iter().zip(&arriving).map(|(p, ty)| (p.name, ty.as_ref())).collect());
    Some((declared.infer(&draft.scope(), &given), node.ports.outputs.len()))
}

/// The types at a node's inputs, as the node sees them.
pub fn arriving(draft: &Draft, index: usize) -> Vec<Option<EdgeType>> {
    let node = &draft.nodes[index];
    let mut arriving = vec![None; node.ports.inputs.len()];
    let Some(consumer) = &node.declared else { return arriving };
    for wire in draft.wires.iter().filter(|wire| wire.node == index && !wire.ignored) {
        let (Some(port), Some(from), Some(from_port)) = (wire.port, wire.from, wire.from_port) else {
            continue;
        };
        let from = &draft.nodes[from];
        let (Some(producer), Some(Some(ty))) = (&from.declared, from.outputs.get(from_port)) else {
            continue;
        };
        arriving[port] = Some(conversion(ty, producer.rate(), consumer.rate(), draft.batch).1);
    }
    for joint in draft.gradients.iter().filter(|joint| joint.to.0 == index) {
        if node.ports.inputs.get(joint.to.1).is_some_and(|port| port.mirrored) {
            arriving[joint.to.1] = Some(EdgeType::Gradients);
        }
    }
    arriving
}
