//! A queue of teacher rows from past steps: what InfoNCE holds a picture apart from.

use crate::kernels::Kernels;
use crate::keyed::Key;
use crate::nn::weights::failed;
use crate::runtime::stage::{SavedTensor, StageError, State};
use crate::tensor::{Batched, Device};

/// So many rows of unit length; new ones take the place of the oldest at a step's end.
pub struct Queue<D: Device> {
    length: usize,
    /// (length, K); made at the first firing, which tells K.
    rows: Option<Batched<D>>,
    /// Where the next row goes.
    next: usize,
    /// The rows of this step's micro-batches, not yet committed.
    pending: Vec<Batched<D>>,
    /// What the device said when a commit failed, until somebody can hear it.
    lost: Option<String>,
    key: Key,
    device: D,
}

impl<D: Device> Queue<D> {
    pub fn new(length: usize, seed: u64, device: &D) -> Self {
        let key = Key::new(seed).named("queue");
        Queue { length, rows: None, next: 0, pending: Vec::new(), lost: None, key, device: device.clone() }
    }

    /// Random rows of unit length, as the queue starts.
    fn first(&self, k: usize) -> Vec<f32> {
        let mut all = Vec::with_capacity(self.length * k);
        for row in 0..self.length {
            let mut draws = self.key.with(row as u64).draws();
            let row: Vec<f64> = (0..k).map(|_| draws.normal()).collect();
            let length = row.iter().map(|x| x * x).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
            all.extend(row.iter().map(|x| (x / length) as f32));
        }
        all
    }

    fn heard(&self) -> Result<(), StageError> {
        self.lost.clone().map_or(Ok(()), |text| Err(StageError::Device(text)))
    }

    /// The rows from before this step, of width k.
    pub fn rows(&mut self, k: usize) -> Result<&Batched<D>, StageError> {
        self.heard()?;
        let rows = match self.rows.take() {
            Some(rows) if rows.dims == [self.length, k] => rows,
            Some(rows) => {
                let text = format!("the queue is {:?}, the teacher's rows are {k} wide", rows.dims);
                return Err(StageError::Restore(text));
            }
            None => {
                let rows = self.first(k);
                Batched::from_host(&self.device, rows, vec![self.length, k], None).map_err(failed)?
            }
        };
        Ok(self.rows.insert(rows))
    }

    /// Takes a micro-batch's rows, to be laid down when the step commits; the first one forgets what a step without an end left.
    pub fn await_commit(&mut self, first: bool, rows: Batched<D>) {
        if first {
            self.pending.clear();
        }
        self.pending.push(rows);
    }

    pub fn save(&self) -> Result<State, StageError> {
        self.heard()?;
        let Some(rows) = &self.rows else { return Ok(State::new()) };
        let values = rows.to_host().map_err(failed)?;
        Ok(State::from([
            ("queue".into(), SavedTensor::F32 { dims: rows.dims.clone(), values }),
            ("next".into(), SavedTensor::U64 { dims: vec![1], values: vec![self.next as u64] }),
        ]))
    }

    pub fn restore(&mut self, mut state: State) -> Result<(), StageError> {
        (self.rows, self.next) = match (state.remove("queue"), state.remove("next")) {
            (None, None) => (None, 0),
            (Some(SavedTensor::F32 { dims, values }), Some(SavedTensor::U64 { values: next, .. }))
                if dims.first() == Some(&self.length) && next.len() == 1 && next[0] < self.length as u64 =>
            {
                let rows = Batched::from_host(&self.device, values, dims, None).map_err(failed)?;
                (Some(rows), next[0] as usize)
            }
            _ => return Err(StageError::Restore(format!("no queue of {} rows", self.length))),
        };
        Ok(())
    }
}

impl<D: Kernels> Queue<D> {
    /// The pending rows take the place of the oldest.
    pub fn commit(&mut self) {
        for rows in std::mem::take(&mut self.pending) {
            let Some(queue) = &mut self.rows else { return };
            let k = queue.dims[1];
            let laid = self.device.enqueue(self.next, self.length, k, rows.view(), queue.view_mut());
            // a commit can't fail: the next firing or save does
            self.lost = self.lost.take().or(laid.err().map(|e| e.to_string()));
            self.next = (self.next + rows.dims.iter().product::<usize>() / k.max(1)) % self.length;
        }
    }
}
