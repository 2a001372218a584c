//! Lists of images that some rows are of, in the GPU's memory.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use cudarc::driver::{CudaSlice, DevicePtr};
use dfdx::prelude::CudaError;

use super::super::launch::RowsArgument;
use super::Gpu;
use crate::kernels::Rows;

/// Lists of images that stay in the GPU's memory before older ones make room: some steps' worth.
const LISTS: usize = 512;

/// Lists of images in the GPU's memory: those that came lately, and as many that came before them.
#[derive(Default)]
pub(super) struct Lists {
    lately: HashMap<Vec<usize>, Arc<CudaSlice<i32>>>,
    before: HashMap<Vec<usize>, Arc<CudaSlice<i32>>>,
}

impl Lists {
    fn get(&self, images: &[usize]) -> Option<&Arc<CudaSlice<i32>>> {
        self.lately.get(images).or_else(|| self.before.get(images))
    }

    fn keep(&mut self, images: Vec<usize>, list: &Arc<CudaSlice<i32>>) {
        if self.lately.len() >= LISTS {
            // what goes is freed in the order of the stream, and was asked for long before
            self.before = std::mem::take(&mut self.lately);
        }
        self.lately.insert(images, list.clone());
    }
}

impl Gpu {
    /// Rows as kernels take them. The list of images stays where it is until many others have come.
    pub fn rows(&self, rows: Rows<'_>) -> Result<RowsArgument, CudaError> {
        let count = rows.len() as i32;
        Ok(match rows {
            Rows::All(_) => RowsArgument { images: 0, each: 1, first: 0, apart: 1, count },
            Rows::Every { first, apart, .. } => {
                RowsArgument { images: 0, each: 1, first: first as i32, apart: apart as i32, count }
            }
            Rows::Of { images, each } => {
                let images = if images.is_empty() { 0 } else { *self.list(images)?.device_ptr() };
                RowsArgument { images, each: each as i32, first: 0, apart: 1, count }
            }
        })
    }

    fn list(&self, images: &[usize]) -> Result<Arc<CudaSlice<i32>>, CudaError> {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = lists.get(images) {
            return Ok(list.clone());
        }
        let numbers: Vec<i32> = images.iter().map(|&image| image as i32).collect();
        // the numbers stay with the copy, so that nobody waits for it
        let list = Arc::new(self.device.htod_copy(numbers)?);
        lists.keep(images.to_vec(), &list);
        Ok(list)
    }
}
