//! What each stage cost in a step: the medians of what the trace saw.

use super::Measured;
use crate::plan::{Direction, NodeId, Plan};
use crate::runtime::trace::Doing;

/// One stage's cost of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// In its forward and its backward half, in seconds; those of several threads are added.
    pub forward: f64,
    pub backward: f64,
    pub allocations: f64,
    pub allocated_bytes: f64,
}

impl Cost {
    pub fn seconds(&self) -> f64 {
        self.forward + self.backward
    }
}

/// The cost of every stage that fired while steps were timed, in the order of the graph's nodes.
pub fn stages(plan: &Plan, measured: &Measured) -> Vec<(NodeId, Cost)> {
    let mut sums = vec![vec![Cost::default(); measured.timings.len()]; plan.nodes.len()];
    let mut fired = vec![false; plan.nodes.len()];
    for (step, span) in &measured.spans {
        let Doing::Firing(actor) = span.doing else { continue };
        fired[actor.node.0] = true;
        let sum = &mut sums[actor.node.0][*step];
        match actor.direction {
            Direction::Forward => sum.forward += span.length().as_secs_f64(),
            Direction::Backward => sum.backward += span.length().as_secs_f64(),
        }
        sum.allocations += span.allocated.count as f64;
        sum.allocated_bytes += span.allocated.bytes as f64;
    }
    let of = |steps: &[Cost], field: fn(&Cost) -> f64| median(steps.iter().map(field));
    let cost = |steps: &Vec<Cost>| Cost {
        forward: of(steps, |cost| cost.forward),
        backward: of(steps, |cost| cost.backward),
        allocations: of(steps, |cost| cost.allocations),
        allocated_bytes: of(steps, |cost| cost.allocated_bytes),
    };
    let nodes = sums.iter().enumerate().filter(|(node, _)| fired[*node]);
    nodes.map(|(node, steps)| (NodeId(node), cost(steps))).collect()
}

/// The middle value, or the mean of the two in the middle; 0 of none.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n => (values[(n - 1) / 2] + values[n / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        let check = |values: &[f64], expected: f64| assert_eq!(median(values.iter().copied()), expected);
        check(&[], 0.0);
        check(&[3.0], 3.0);
        check(&[9.0, 1.0, 2.0], 2.0);
        check(&[4.0, 1.0, 100.0, 2.0], 3.0);
    }
}
