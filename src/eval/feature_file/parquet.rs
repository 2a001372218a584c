//! Features as a Parquet table, a row for each picture.

use std::io::{Read, Result, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use parquet::column::writer::{ColumnWriter, ColumnWriterImpl};
use parquet::data_type::{ByteArray, FloatType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::collect::{Collected, next};
use super::other;
use crate::checkpoint::atomic;

/// Numbers in a group of rows, about: what is in memory at once.
const GROUP: usize = 1 << 22;

/// Writes rows in groups.
pub fn write(path: &Path, collected: &mut Collected) -> Result<()> {
    let list = |name: &str| {
        format!("required group {name} (LIST) {{ repeated group list {{ required float element; }} }}")
    };
    let patches = collected.patches.map(|_| list("patches")).unwrap_or_default();
    let schema = format!(
        "message features {{ required binary name (STRING); optional int32 label; optional binary class (STRING); {} {patches} }}",
        list("cls")
    );
    let schema = Arc::new(parse_message_type(&schema).map_err(other)?);
    let width = collected.dim + collected.patches.map_or(0, |(count, dim)| count * dim);
    let rows = (GROUP / width.max(1)).max(1);
    let (mut cls, mut patches) = (collected.cls()?, collected.patches()?);
    atomic::write(path, |file| {
        let properties = Arc::new(WriterProperties::builder().set_dictionary_enabled(false).build());
        let mut table = SerializedFileWriter::new(file, schema, properties).map_err(other)?;
        for start in (0..collected.len()).step_by(rows) {
            let range = start..(start + rows).min(collected.len());
            let mut group = table.next_row_group().map_err(other)?;
            group_of(&mut group, collected, range, (&mut cls, &mut patches))?;
            group.close().map_err(other)?;
        }
        table.close().map(drop).map_err(other)
    })
}

fn group_of<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    collected: &Collected,
    rows: Range<usize>,
    (cls, patches): (&mut impl Read, &mut impl Read),
) -> Result<()> {
    let mut at = 0;
    while let Some(mut column) = group.next_column().map_err(other)? {
        match (at, column.untyped()) {
            (3, ColumnWriter::FloatColumnWriter(lists)) => {
                write_lists(lists, rows.len(), numbers(cls, rows.len() * collected.dim)?)?;
            }
            (4, ColumnWriter::FloatColumnWriter(lists)) => {
                let each = collected.patches.map_or(0, |(patches, dim)| patches * dim);
                write_lists(lists, rows.len(), numbers(patches, rows.len() * each)?)?;
            }
            (_, writer) => write_words(at, writer, collected, rows.clone())?,
        }
        column.close().map_err(other)?;
        at += 1;
    }
    Ok(())
}

/// The columns that are no features: name, label and class.
fn write_words(
    at: usize,
    writer: &mut ColumnWriter<'_>,
    collected: &Collected,
    rows: Range<usize>,
) -> Result<()> {
    let bytes = |text: &str| ByteArray::from(text);
    let labels = &collected.labels[rows.clone()];
    let given: Vec<i16> = labels.iter().map(|label| i16::from(label.is_some())).collect();
    let written = match (at, writer) {
        (0, ColumnWriter::ByteArrayColumnWriter(names)) => {
            let values: Vec<_> = collected.names[rows].iter().map(|name| bytes(name)).collect();
            names.write_batch(&values, None, None)
        }
        (1, ColumnWriter::Int32ColumnWriter(numbers)) => {
            let values: Vec<i32> = labels.iter().flatten().map(|&label| label as i32).collect();
            numbers.write_batch(&values, Some(&given), None)
        }
        (2, ColumnWriter::ByteArrayColumnWriter(classes)) => {
            let name = |&label: &u32| bytes(collected.classes.get(label as usize).map_or("", String::as_str));
            let values: Vec<_> = labels.iter().flatten().map(name).collect();
            classes.write_batch(&values, Some(&given), None)
        }
        _ => return Err(other("the table's columns are not those of its schema")),
    };
    written.map(drop).map_err(other)
}

fn write_lists(lists: &mut ColumnWriterImpl<'_, FloatType>, rows: usize, values: Vec<f32>) -> Result<()> {
    let (defined, repeated) = levels(rows, values.len() / rows.max(1));
    lists.write_batch(&values, Some(&defined), Some(&repeated)).map(drop).map_err(other)
}

fn numbers(column: &mut impl Read, count: usize) -> Result<Vec<f32>> {
    let mut values = vec![0.0; count];
    next(column, &mut values)?;
    Ok(values)
}

/// Every number of a list is there; the first of each begins a new one.
fn levels(rows: usize, each: usize) -> (Vec<i16>, Vec<i16>) {
    (vec![1; rows * each], (0..rows * each).map(|at| i16::from(at % each.max(1) != 0)).collect())
}
