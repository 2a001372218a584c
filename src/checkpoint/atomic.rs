//! Files that appear whole or not at all.

use std::fs::File;
use std::io::{BufWriter, Result, Write};
use std::path::Path;

/// Writes a file beside `path` and puts it in its place in one instant.
///
/// # Errors
/// When the folder is not there or can't be written; `path` is then as before.
pub fn write(path: &Path, fill: impl FnOnce(&mut (dyn Write + Send)) -> Result<()>) -> Result<()> {
    write_seekable(path, |file| fill(file))
}

/// The same for what goes back to fill in a length.
///
/// # Errors
/// As [`write()`].
pub fn write_seekable(path: &Path, fill: impl FnOnce(&mut BufWriter<&mut File>) -> Result<()>) -> Result<()> {
    let folder = parent(path);
    // tempfile's own error names a file that nobody asked for
    let made = unfinished(0o666).tempfile_in(folder);
    let mut file = made.map_err(|e| std::io::Error::new(e.kind(), e.kind().to_string()))?;
    let mut buffer = BufWriter::new(file.as_file_mut());
    fill(&mut buffer)?;
    buffer.flush()?;
    drop(buffer);
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    sync_folder(folder)
}

/// What unfinished files and folders are called until they are whole; leftovers of a killed run are removed by it.
pub const TEMPORARY: &str = ".unfinished-";

/// The folder that a path lies in.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes renames in a folder survive a power cut. Only Unix lets a folder be opened for that.
pub fn sync_folder(folder: &Path) -> Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Temporary files are readable by their owner alone unless told otherwise; results are ordinary files and folders, `mode`
/// being what the user's mask is taken from.
pub fn unfinished(mode: u32) -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(mode));
    }
    #[cfg(not(unix))]
    let _ = mode;
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write(&path, |file| file.write_all(b"old")).unwrap();
        let half = |file: &mut (dyn Write + Send)| {
            file.write_all(b"ne")?;
            Err(std::io::Error::other("disk full"))
        };
        assert!(write(&path, half).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
