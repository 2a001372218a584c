//! Rows of features as they come. How many there will be is known at the end alone, since some pictures can't be read; and patches of
//! many pictures are more than memory holds. So they wait in files without a name, which vanish with the program.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Result, Seek, SeekFrom, Write};
use std::path::Path;

/// What is known of one picture.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    pub name: &'a str,
    pub label: Option<u32>,
    /// (dim).
    pub cls: &'a [f32],
    /// (patches, dim), of every picture as many; or of none.
    pub patches: &'a [f32],
}

/// All rows so far.
pub struct Collected {
    pub names: Vec<String>,
    pub labels: Vec<Option<u32>>,
    /// The names of the classes that labels number.
    pub classes: Vec<String>,
    /// Numbers of a row's CLS.
    pub dim: usize,
    /// Patches of a row and numbers of each.
    pub patches: Option<(usize, usize)>,
    cls_file: BufWriter<File>,
    patches_file: BufWriter<File>,
}

impl Collected {
    /// No rows yet. They wait on the disk that holds `folder`.
    ///
    /// # Errors
    /// When no file can be made there.
    pub fn new(
        folder: &Path,
        classes: Vec<String>,
        dim: usize,
        patches: Option<(usize, usize)>,
    ) -> Result<Self> {
        let file = || tempfile::tempfile_in(folder).map(BufWriter::new);
        let (cls_file, patches_file) = (file()?, file()?);
        let (names, labels) = (Vec::new(), Vec::new());
        Ok(Collected { names, labels, classes, dim, patches, cls_file, patches_file })
    }

    /// Adds a picture.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn add(&mut self, row: Row<'_>) -> Result<()> {
        debug_assert_eq!(row.cls.len(), self.dim);
        debug_assert_eq!(row.patches.len(), self.patches.map_or(0, |(count, dim)| count * dim));
        self.cls_file.write_all(bytemuck::cast_slice(row.cls))?;
        self.patches_file.write_all(bytemuck::cast_slice(row.patches))?;
        // a list of names is a name a line
        self.names.push(row.name.replace(['\n', '\r'], " "));
        self.labels.push(row.label);
        Ok(())
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// True when there is no picture.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// A number for each picture, -1 where it has no label; nothing where none has one.
    pub fn numbers(&self) -> Option<Vec<i64>> {
        let number = |label: &Option<u32>| label.map_or(-1, i64::from);
        self.labels.iter().any(Option::is_some).then(|| self.labels.iter().map(number).collect())
    }

    /// The names, a line for each.
    pub fn lines(&self) -> String {
        self.names.iter().flat_map(|name| [name, "\n"]).collect()
    }

    /// All CLS numbers from the first on, as they lie in memory.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn cls(&mut self) -> Result<BufReader<File>> {
        read(&mut self.cls_file)
    }

    /// All numbers of patches from the first on.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn patches(&mut self) -> Result<BufReader<File>> {
        read(&mut self.patches_file)
    }
}

fn read(file: &mut BufWriter<File>) -> Result<BufReader<File>> {
    file.flush()?;
    let mut file = file.get_ref().try_clone()?;
    file.seek(SeekFrom::Start(0))?;
    Ok(BufReader::new(file))
}

/// The next numbers of a column.
///
/// # Errors
/// When the disk fails.
pub fn next(column: &mut impl Read, numbers: &mut [f32]) -> Result<()> {
    column.read_exact(bytemuck::cast_slice_mut(numbers))
}
