//! How long each kernel takes on the card, where somebody wants to know.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};

use cudarc::driver::{result, sys};
use dfdx::prelude::CudaError;

use super::gpu::Gpu;
use crate::kernels::KernelTime;

/// One start of a kernel, between two marks on the stream.
struct Span {
    kernel: &'static str,
    start: sys::CUevent,
    end: sys::CUevent,
}

// SAFETY: events are the driver's, which any thread may use once the context is its current one
unsafe impl Send for Span {}

/// The marks so far.
#[derive(Default)]
pub struct Clock {
    running: AtomicBool,
    spans: Mutex<Vec<Span>>,
}

impl Clock {
    fn spans(&self) -> std::sync::MutexGuard<'_, Vec<Span>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gpu {
    /// Times every kernel from now on.
    pub fn time_kernels(&self) {
        self.clock().running.store(true, Relaxed);
    }

    /// Starts a kernel by `start`, between two marks where kernels are timed.
    pub(super) fn between_marks<T>(
        &self,
        kernel: &'static str,
        start: impl FnOnce() -> Result<T, CudaError>,
    ) -> Result<T, CudaError> {
        if !self.clock().running.load(Relaxed) {
            return start();
        }
        let first = self.mark()?;
        let started = start()?;
        let span = Span { kernel, start: first, end: self.mark()? };
        self.clock().spans().push(span);
        Ok(started)
    }

    fn mark(&self) -> Result<sys::CUevent, CudaError> {
        let event = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT)?;
        // SAFETY: the event was made just now, and is destroyed in `kernel_times` alone
        unsafe { result::event::record(event, self.stream()) }?;
        Ok(event)
    }

    /// Stops, and gives the time of each kernel since [`Gpu::time_kernels`], the longest first.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn kernel_times(&self) -> Result<Vec<KernelTime>, CudaError> {
        self.clock().running.store(false, Relaxed);
        self.wait()?;
        let mut sums: HashMap<&'static str, (u64, f64)> = HashMap::new();
        for Span { kernel, start, end } in std::mem::take(&mut *self.clock().spans()) {
            // SAFETY: both events were recorded, are complete, and are not used again
            let milliseconds = unsafe {
                let elapsed = result::event::elapsed(start, end);
                result::event::destroy(start)?;
                result::event::destroy(end)?;
                elapsed?
            };
            let sum = sums.entry(kernel).or_default();
            *sum = (sum.0 + 1, sum.1 + f64::from(milliseconds) / 1e3);
        }
        let of =
            |(kernel, (starts, seconds)): (&str, _)| KernelTime { kernel: kernel.into(), starts, seconds };
        let mut times: Vec<KernelTime> = sums.into_iter().map(of).collect();
        times.sort_by(|a, b| b.seconds.total_cmp(&a.seconds).then_with(|| a.kernel.cmp(&b.kernel)));
        Ok(times)
    }
}

#[cfg(test)]
mod tests {
    use crate::kernels::cuda::probe::{self, lent, stored};

    #[test]
    fn kernels_are_counted_between_marks_alone() {
        let Some(gpu) = probe::gpu() else { return };
        let count = |times: Vec<crate::kernels::KernelTime>| {
            times
                .into_iter()
                .filter(|time| time.kernel == "convert_f32_bf16")
                .map(|time| time.starts)
                .sum::<u64>()
        };
        stored(gpu, crate::kernels::Products::Bf16, &[1.0; 5]);
        gpu.time_kernels();
        for _ in 0..3 {
            stored(gpu, crate::kernels::Products::Bf16, &[1.0; 5]);
        }
        // other tests may start some meanwhile
        let times = gpu.kernel_times().unwrap();
        assert!(times.iter().all(|time| time.seconds >= 0.0), "{times:?}");
        assert!(count(times) >= 3);
        lent(gpu, &[1.0]);
        assert_eq!(count(gpu.kernel_times().unwrap()), 0, "nothing is counted afterwards");
    }
}
