//! Pictures that are made once: the step alone is timed.

use std::collections::HashMap;

use crate::kernels::Kernels;
use crate::runtime::channel::Stopped;
use crate::runtime::host::{Bundle, Feed};
use crate::runtime::trace::Track;

/// Takes one step's values from another feed and gives them in every step.
pub struct Replay<'a, D: Kernels> {
    from: Box<dyn Feed<D> + 'a>,
    /// For each feeding host node its firings in a step.
    per_step: Vec<u64>,
    made: HashMap<(usize, u64), Bundle<D>>,
}

impl<'a, D: Kernels> Replay<'a, D> {
    /// `per_step` says how often each of the nodes that feed the island fires in a step.
    pub fn new(from: Box<dyn Feed<D> + 'a>, per_step: Vec<u64>) -> Self {
        Replay { from, per_step, made: HashMap::new() }
    }
}

impl<D: Kernels> Feed<D> for Replay<'_, D> {
    fn next(&mut self, arrival: usize, ticket: u64, track: &mut Track<'_>) -> Result<Bundle<D>, Stopped> {
        let ticket = ticket % self.per_step.get(arrival).copied().unwrap_or(1).max(1);
        if let Some(bundle) = self.made.get(&(arrival, ticket)) {
            return Ok(bundle.clone());
        }
        let bundle = self.from.next(arrival, ticket, track)?;
        self.made.insert((arrival, ticket), bundle.clone());
        Ok(bundle)
    }
}
