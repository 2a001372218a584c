//! Features as NumPy's arrays, one a file.

use std::io::{Read, Result};
use std::path::{Path, PathBuf};

use npyz::WriterBuilder;

use super::collect::{Collected, next};
use crate::checkpoint::atomic;

/// Writes `PATH`, and beside it what there is of labels, patches and names.
pub fn write(path: &Path, collected: &mut Collected) -> Result<Vec<PathBuf>> {
    let rows = collected.len();
    let mut written = vec![path.to_owned()];
    let mut beside = |end: &str| {
        written.push(path.with_extension(end));
        path.with_extension(end)
    };
    floats(path, &[rows, collected.dim], collected.cls()?)?;
    if let Some((count, dim)) = collected.patches {
        floats(&beside("patches.npy"), &[rows, count, dim], collected.patches()?)?;
    }
    if let Some(numbers) = collected.numbers() {
        atomic::write(&beside("labels.npy"), |file| {
            let mut array =
                npyz::WriteOptions::new().default_dtype().shape(&[rows as u64]).writer(file).begin_nd()?;
            array.extend(numbers)?;
            array.finish()
        })?;
    }
    let names = collected.lines();
    atomic::write(&beside("names.txt"), |file| file.write_all(names.as_bytes()))?;
    Ok(written)
}

fn floats(path: &Path, dims: &[usize], mut column: impl Read) -> Result<()> {
    let shape: Vec<u64> = dims.iter().map(|&side| side as u64).collect();
    let mut row = vec![0.0f32; dims[1..].iter().product()];
    atomic::write(path, |file| {
        let mut array = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(file).begin_nd()?;
        for _ in 0..dims[0] {
            next(&mut column, &mut row)?;
            array.extend(row.iter().copied())?;
        }
        array.finish()
    })
}
