//! Features in a safetensors file: `cls` (pictures, dim), and beside it `labels` (pictures) and `patches` (pictures, patches, dim) where
//! there are any, `names` as lines of text.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::error::Error;
use crate::eval::classifier::Rows;
use crate::eval::knn::Labelled;

/// Largest header that is read: the names of all classes are in it, those of all pictures are not.
const LARGEST_HEADER: u64 = 16 << 20;

/// Labelled features of a file, brought to unit length.
///
/// # Errors
/// As [`rows`].
pub fn labelled(path: &Path) -> Result<Labelled, Error> {
    rows(path).map(Labelled::from)
}

/// Labelled features of a file as they are. Memory is the features' own: the file is read straight into it.
///
/// # Errors
/// [`Error::Request`] when it is no such file, [`Error::File`] when it can't be read.
pub fn rows(path: &Path) -> Result<Rows, Error> {
    named(path).map(|(rows, _)| rows)
}

/// [`rows`], and the names of the classes that their labels number; none where the file does not tell.
///
/// # Errors
/// As [`rows`].
pub(super) fn named(path: &Path) -> Result<(Rows, Vec<String>), Error> {
    let mut file = Open::new(path)?;
    let (dim, features) = file.cls()?;
    let labels = file.labels()?;
    if features.len() != labels.len() * dim {
        let (rows, labels) = (features.len() / dim, labels.len());
        return Err(
            file.wrong(format!("`cls` has {rows} rows and there are {labels} labels; expected one a row"))
        );
    }
    let classes = file.classes()?;
    match labels.iter().find(|&&label| !classes.is_empty() && label as usize >= classes.len()) {
        Some(label) => {
            let names = if classes.len() == 1 { "class" } else { "classes" };
            Err(file.wrong(format!("it holds label {label}, and names {} {names}", classes.len())))
        }
        None => Ok((Rows { dim, features, labels }, classes)),
    }
}

/// The width of a file's features and the features (pictures, width), whether they are labelled or not.
///
/// # Errors
/// As [`rows`].
pub fn unlabelled(path: &Path) -> Result<(usize, Vec<f32>), Error> {
    Open::new(path)?.cls()
}

/// An opened file with what its header says.
struct Open<'p> {
    path: &'p Path,
    file: File,
    header: Metadata,
    /// Where the tensors begin.
    start: u64,
}

impl<'p> Open<'p> {
    fn new(path: &'p Path) -> Result<Self, Error> {
        let read = |cause| Error::File { doing: "read", path: path.to_owned(), cause };
        let wrong = |reason: String| Error::Request(format!("{}: {reason}", path.display()));
        let mut file = File::open(path).map_err(read)?;
        let size = file.metadata().map_err(read)?.len();
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(|_| wrong("no safetensors file: it is too short".into()))?;
        let length = u64::from_le_bytes(length);
        if length > LARGEST_HEADER.min(size.saturating_sub(8)) {
            return Err(wrong(format!("no file of features: its header would be {length} bytes")));
        }
        let mut text = vec![0; length as usize];
        file.read_exact(&mut text).map_err(read)?;
        let header: Metadata =
            serde_json::from_slice(&text).map_err(|e| wrong(format!("its header is damaged: {e}")))?;
        let start = 8 + length;
        let said = start.checked_add(header.data_len() as u64);
        if said != Some(size) {
            let said = said.map_or("more than any has".to_owned(), |said| said.to_string());
            return Err(wrong(format!("it is {size} bytes, its header tells of {said}")));
        }
        Ok(Open { path, file, header, start })
    }

    fn wrong(&self, reason: String) -> Error {
        Error::Request(format!("{}: {reason}", self.path.display()))
    }

    /// A tensor's place and form.
    fn info(&self, name: &str, dtype: &[Dtype]) -> Result<TensorInfo, Error> {
        let info = self.header.info(name).cloned();
        let info = info.ok_or_else(|| {
            self.wrong(format!("no tensor `{name}`; expected what `dinoflow features` writes"))
        })?;
        if !dtype.contains(&info.dtype) {
            return Err(self.wrong(format!("`{name}` holds {:?}; expected {dtype:?}", info.dtype)));
        }
        Ok(info)
    }

    /// Reads a tensor's bytes to where they belong.
    fn fill<T: bytemuck::Pod>(&mut self, info: &TensorInfo) -> Result<Vec<T>, Error> {
        let count = (info.data_offsets.1 - info.data_offsets.0) / size_of::<T>();
        let mut values: Vec<T> = vec![T::zeroed(); count];
        let read = |cause| Error::File { doing: "read", path: self.path.to_owned(), cause };
        self.file.seek(SeekFrom::Start(self.start + info.data_offsets.0 as u64)).map_err(read)?;
        self.file.read_exact(bytemuck::cast_slice_mut(&mut values)).map_err(read)?;
        Ok(values)
    }

    fn floats(&mut self, name: &str) -> Result<(Vec<f32>, Vec<usize>), Error> {
        let info = self.info(name, &[Dtype::F32])?;
        Ok((self.fill(&info)?, info.shape))
    }

    /// The width of the features, at least 1, and the features: finite numbers.
    fn cls(&mut self) -> Result<(usize, Vec<f32>), Error> {
        let (features, dims) = self.floats("cls")?;
        let dim = match dims.as_slice() {
            &[_, dim] if dim > 0 => dim,
            _ => return Err(self.wrong(format!("`cls` is {dims:?}; expected (pictures, dim)"))),
        };
        match features.iter().position(|x| !x.is_finite()) {
            None => Ok((dim, features)),
            Some(at) => {
                Err(self.wrong(format!("row {} of `cls` holds a number that is not finite", at / dim)))
            }
        }
    }

    /// The names of the classes, where the header's metadata tells them.
    fn classes(&self) -> Result<Vec<String>, Error> {
        let text = self.header.metadata().as_ref().and_then(|about| about.get("classes"));
        let names = text.map_or(Ok(Vec::new()), |text| serde_json::from_str(text));
        names.map_err(|e| self.wrong(format!("`classes` is {e}; expected a list of names in JSON")))
    }

    fn labels(&mut self) -> Result<Vec<u32>, Error> {
        let info = self.info("labels", &[Dtype::I64])?;
        if info.shape.len() != 1 {
            return Err(self.wrong(format!("`labels` is {:?}; expected (pictures)", info.shape)));
        }
        let labels: Vec<i64> = self.fill(&info)?;
        let label = |label: i64| u32::try_from(label).ok().filter(|&l| l < MOST_CLASSES);
        let whole: Option<Vec<u32>> = labels.iter().copied().map(label).collect();
        whole.ok_or_else(|| self.wrong(format!("a label is no number from 0 to {}", MOST_CLASSES - 1)))
    }
}

/// Votes are counted in a list of all classes.
const MOST_CLASSES: u32 = 1 << 20;
