//! A run's steps and the barriers between them.

use std::time::{Duration, Instant};

use super::channel::Stopped;
use super::firing::Run;
use super::host::Feed;
use super::island::{Done, Island};
use super::records::Records;
use super::signal::Interrupt;
use super::stage::{Event, StageError};
use crate::checkpoint::{self, FolderError, RunFolder, Snapshot};
use crate::graph::spec::OnCollapse;
use crate::kernels::Kernels;
use crate::plan::NodeId;
use crate::report::logs::Unwritten;
use crate::stages::{Declare, Role, StageSpec};
use serde_json::{Map, Value};

/// How far a run came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reached {
    /// Updates of the weights in total.
    pub step: u64,
    /// The status that a signal asked for.
    pub status: Option<u8>,
    /// Whether the run is to stop because training has collapsed.
    pub collapsed: bool,
    pub data_wait: Duration,
    pub rejected: u64,
    /// The most pictures that one evaluation did without.
    pub left_out: u64,
}

/// Does the steps of a run.
pub struct Drive<'a, 'r, D: Kernels> {
    pub run: &'a Run<'a>,
    pub island: Island<'a, D>,
    pub feed: Box<dyn Feed<D> + 'a>,
    pub records: &'r mut Records<'a>,
    pub interrupt: &'r Interrupt,
}

impl<D: Kernels> Drive<'_, '_, D> {
    /// From the barrier before the first step to the one after the last. `evaluated` says that the first barrier was done by the
    /// run that this one resumes; `resumed`, that there was one.
    pub fn steps(&mut self, resumed: bool, evaluated: bool) -> Result<Reached, Stopped> {
        let steps = self.run.steps.clone();
        let mut reached = Reached { step: steps.start, ..Reached::default() };
        let mut evaluated = evaluated;
        if !evaluated && !self.interrupted(&mut reached) {
            self.evaluate(steps.start, &mut reached)?;
            evaluated = true;
            if resumed {
                self.report(steps.start, checkpoint::mark_evaluated)?;
            }
        }
        if !resumed && self.interrupted(&mut reached) {
            self.checkpoint(steps.start, evaluated)?;
        }
        // one that was stopped is still as collapsed as it was
        reached.collapsed = self.stops_at_collapse() && self.records.doctor.collapsed();
        self.records.reached = reached;
        // a run that has done nothing has nothing new to keep
        while reached.step < steps.end && !reached.collapsed && !self.interrupted(&mut reached) {
            let start = Instant::now();
            let done = self.island.step(reached.step, self.feed.as_mut())?;
            self.record(&done, start.elapsed(), &mut reached)?;
            reached.step += 1;
            self.records.reached = reached;
            self.barrier(&mut reached)?;
        }
        Ok(reached)
    }

    fn interrupted(&self, reached: &mut Reached) -> bool {
        reached.status = reached.status.or(self.interrupt.status());
        reached.status.is_some()
    }

    fn stops_at_collapse(&self) -> bool {
        self.run.plan.graph.on_collapse == OnCollapse::Stop
    }

    /// Shows the doctor a step's line. A collapse is said once: here where the run goes on, at its end where it stops.
    fn examine(&mut self, line: &Map<String, Value>, reached: &mut Reached) {
        let first = self.records.doctor.line(line);
        if self.stops_at_collapse() {
            reached.collapsed = self.records.doctor.collapsed();
        } else if first {
            self.records.progress.say(&self.records.doctor.diagnosis().to_string());
        }
    }

    fn record(&mut self, done: &Done, took: Duration, reached: &mut Reached) -> Result<(), Stopped> {
        let step = reached.step;
        let images = self.run.plan.batch.global;
        let mut metrics = done.metrics.clone();
        metrics.push(("images_per_second", images as f64 / took.as_secs_f64().max(1e-9)));
        if !self.records.doctor.has_divergence() && metrics.iter().all(|(name, _)| *name != "kl") {
            metrics.push(("kl", f64::NAN));
        }
        let epoch = step / self.run.horizon.steps_per_epoch.max(1);
        let line = self.records.logs.step(step, epoch, &metrics).map_err(|e| self.unwritten(step, e))?;
        self.keep_pictures(step, done)?;
        self.examine(&line, reached);
        let path = self.records.folder.rejected();
        let rejected = self.records.rejections.append(&path, step).map_err(|e| self.file(step, path, e))?;
        reached.rejected += rejected;
        reached.data_wait += done.data_wait;
        let loss = metrics.iter().find(|(name, _)| *name == "loss").map(|(_, loss)| *loss);
        self.records.progress.step(step, loss, images, took, done.data_wait);
        Ok(())
    }

    /// Between two steps: what is due looks on, then a checkpoint is written if one is due, at the end, or on a signal.
    fn barrier(&mut self, reached: &mut Reached) -> Result<(), Stopped> {
        let step = reached.step;
        let interrupted = self.interrupted(reached);
        if !interrupted {
            self.evaluate(step, reached)?;
        }
        // a signal may have come while something looked on
        let last = self.interrupted(reached) || reached.collapsed || step == self.run.steps.end;
        if last || !self.due_nodes(step, last, |role| *role == Role::Checkpoint).is_empty() {
            self.checkpoint(step, !interrupted)?;
        }
        Ok(())
    }

    /// Fires the stages at the barrier that are due after `step` updates.
    fn evaluate(&mut self, step: u64, reached: &mut Reached) -> Result<(), Stopped> {
        for node in self.due_nodes(step, reached.collapsed, |role| *role != Role::Checkpoint) {
            for event in self.island.fire_at_barrier(node, step)? {
                self.keep_event(step, &event)?;
                let fields: Vec<String> =
                    event.fields.iter().map(|(key, value)| worded(key, value)).collect();
                self.records.progress.say(&format!("{} at step {step}: {}", event.name, fields.join(", ")));
            }
            let path = self.records.folder.rejected();
            let left_out = self.records.rejections.append_left_out(&path);
            reached.left_out = reached.left_out.max(left_out.map_err(|e| self.file(step, path, e))?);
        }
        Ok(())
    }

    /// Writes down what a stage at the barrier has to say; its picture first, which the line names.
    fn keep_event(&mut self, step: u64, event: &Event) -> Result<(), Stopped> {
        let logs = &mut self.records.logs;
        let network = event.fields.get("network").and_then(Value::as_str);
        let tag = network.map_or(event.name.to_owned(), |network| format!("{}/{network}", event.name));
        let drawn = event.picture.as_ref().map_or(Ok(()), |drawn| logs.picture(step, &tag, drawn));
        let written = drawn.and_then(|()| logs.evaluation(event.name, step, &event.fields));
        written.map_err(|e| self.unwritten(step, e))
    }

    /// Keeps the pictures of a run's first step. One that is resumed has them.
    fn keep_pictures(&mut self, step: u64, done: &Done) -> Result<(), Stopped> {
        let known = |name: &str| step > 0 && self.records.folder.picture(name).exists();
        for drawn in done.pictures.iter().filter(|drawn| !known(&drawn.name)) {
            let kept = self.records.logs.picture(step, &drawn.name, drawn);
            kept.map_err(|e| self.unwritten(step, e))?;
        }
        Ok(())
    }

    /// The nodes of some roles that are due after `step` updates; `last` says that no other step follows, whatever was planned.
    fn due_nodes(&self, step: u64, last: bool, of: impl Fn(&Role) -> bool) -> Vec<NodeId> {
        let barrier = self.run.plan.barrier.iter().copied();
        barrier.filter(|node| of(&self.run.plan.nodes[node.0].role) && self.due(*node, step, last)).collect()
    }

    /// Whether a stage at the barrier looks on after `step` updates. Evaluations do at the start and at the end as well;
    /// checkpoints need neither, since the run writes the last one itself.
    fn due(&self, node: NodeId, step: u64, last: bool) -> bool {
        let node = &self.run.plan.nodes[node.0];
        let Some(every) = node.stage.built_in().and_then(Declare::every) else { return true };
        let steps = every.steps(self.run.horizon);
        let due = steps > 0 && step.is_multiple_of(steps);
        match node.role {
            Role::Checkpoint => step > 0 && due,
            _ => due || step == 0 || step == self.run.steps.end || last,
        }
    }

    fn checkpoint(&mut self, step: u64, evaluated: bool) -> Result<(), Stopped> {
        self.records.logs.sync().map_err(|e| self.unwritten(step, e))?;
        let keep = self.run.plan.nodes.iter().find_map(|node| match &node.stage {
            StageSpec::Checkpoint(checkpoint) => Some(checkpoint.keep),
            _ => None,
        });
        let keep = keep.unwrap_or(crate::stages::checkpoint::Checkpoint::default().keep);
        let snapshot = Snapshot { step, evaluated, saved: self.island.save(step)? };
        let keys = self.records.keys;
        self.report(step, |folder, _| checkpoint::write(folder, &snapshot, keys, keep))?;
        let spread = self.records.logs.weights(step, &snapshot.saved.files);
        spread.map_err(|e| self.unwritten(step, e))?;
        let path = self.records.folder.timings();
        self.records.write_timings(self.run, None).map_err(|e| self.file(step, path, e))
    }

    /// Does something to the folder; a failure ends the run as the checkpoint's.
    fn report(
        &self,
        step: u64,
        work: impl FnOnce(&RunFolder, u64) -> Result<(), FolderError>,
    ) -> Result<(), Stopped> {
        work(self.records.folder, step).map_err(|error| match error {
            FolderError::File { path, source } => self.file(step, path, source),
            other => self.run.fail("checkpoint".into(), step, StageError::Bug(other.to_string())),
        })
    }

    fn unwritten(&self, step: u64, Unwritten { path, source }: Unwritten) -> Stopped {
        self.file(step, path, source)
    }

    fn file(&self, step: u64, path: std::path::PathBuf, source: std::io::Error) -> Stopped {
        self.run.fail("run folder".into(), step, StageError::File { path, source })
    }
}

/// A field of an event as a line shows it: numbers that are no whole ones to one decimal place.
fn worded(key: &str, value: &Value) -> String {
    match value {
        Value::Number(number) if !number.is_u64() => {
            format!("{key} {:.1}", number.as_f64().unwrap_or(f64::NAN))
        }
        Value::String(text) => format!("{key} {text}"),
        other => format!("{key} {other}"),
    }
}
