use std::path::PathBuf;

use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::{Field, RowAccessor};

use super::*;

/// Three pictures, the second without a label.
fn collected(patches: Option<(usize, usize)>) -> Collected {
    let classes = vec!["cat".to_owned(), "dog".to_owned()];
    let mut collected = Collected::new(Path::new("."), classes, 2, patches).unwrap();
    let all: Vec<f32> = (0..12).map(|x| x as f32).collect();
    for (i, (name, label)) in
        [("a.png", Some(1)), ("b\n.png", None), ("c.png", Some(0))].into_iter().enumerate()
    {
        let patches = if patches.is_some() { &all[4 * i..4 * i + 4] } else { &[] };
        let cls = [3.0 + i as f32, 4.0];
        collected.add(Row { name, label, cls: &cls, patches }).unwrap();
    }
    collected
}

fn written(kind: Kind, name: &str, patches: Option<(usize, usize)>) -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let files = kind.write(&folder.path().join(name), &mut collected(patches)).unwrap();
    let mut names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let mut told = files.clone();
    told.sort();
    assert_eq!(names, told, "the files that are told of are those that are there");
    (folder, files)
}

#[test]
fn safetensors_holds_everything_in_one_file() {
    let check = |patches: Option<(usize, usize)>, expected: &[(&str, &[usize])]| {
        let (_folder, files) = written(Kind::Safetensors, "a.safetensors", patches);
        let bytes = std::fs::read(&files[0]).unwrap();
        let file = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut found: Vec<_> =
            file.iter().map(|(name, view)| (name.to_owned(), view.shape().to_vec())).collect();
        found.sort();
        let expected: Vec<_> =
            expected.iter().map(|(name, dims)| (name.to_string(), dims.to_vec())).collect();
        assert_eq!(found, expected);
        assert_eq!(file.tensor("names").unwrap().data(), b"a.png\nb .png\nc.png\n");
        let labels: Vec<i64> = bytemuck::pod_collect_to_vec(file.tensor("labels").unwrap().data());
        assert_eq!(labels, [1, -1, 0]);
        let cls: Vec<f32> = bytemuck::pod_collect_to_vec(file.tensor("cls").unwrap().data());
        assert_eq!(cls, [3.0, 4.0, 4.0, 4.0, 5.0, 4.0]);
    };
    check(None, &[("cls", &[3, 2]), ("labels", &[3]), ("names", &[19])]);
    check(Some((2, 2)), &[("cls", &[3, 2]), ("labels", &[3]), ("names", &[19]), ("patches", &[3, 2, 2])]);
}

#[test]
fn npy_holds_an_array_a_file() {
    let (_folder, files) = written(Kind::Npy, "a.npy", Some((2, 2)));
    let ends: Vec<_> = files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(ends, ["a.npy", "a.patches.npy", "a.labels.npy", "a.names.txt"]);
    let array = |file: &Path| npyz::NpyFile::new(std::io::Cursor::new(std::fs::read(file).unwrap())).unwrap();
    let patches = array(&files[1]);
    assert_eq!(patches.shape(), [3, 2, 2]);
    assert_eq!(patches.into_vec::<f32>().unwrap(), (0..12).map(|x| x as f32).collect::<Vec<_>>());
    assert_eq!(array(&files[2]).into_vec::<i64>().unwrap(), [1, -1, 0]);
    assert_eq!(array(&files[0]).into_vec::<f32>().unwrap(), [3.0, 4.0, 4.0, 4.0, 5.0, 4.0]);
}

#[test]
fn parquet_holds_a_row_a_picture() {
    let (_folder, files) = written(Kind::Parquet, "a.parquet", Some((2, 2)));
    let table = SerializedFileReader::new(std::fs::File::open(&files[0]).unwrap()).unwrap();
    let rows: Vec<_> = table.get_row_iter(None).unwrap().map(|row| row.unwrap()).collect();
    assert_eq!(rows.len(), 3);
    assert_eq!((rows[2].get_string(0).unwrap().as_str(), rows[2].get_int(1).unwrap()), ("c.png", 0));
    assert_eq!(rows[0].get_string(2).unwrap(), "dog");
    let fields: Vec<_> = rows[1].get_column_iter().map(|(_, field)| field.clone()).collect();
    assert_eq!((&fields[1], &fields[2]), (&Field::Null, &Field::Null));
    let list = rows[2].get_list(4).unwrap();
    let numbers: Vec<_> = list.elements().to_vec();
    assert_eq!(numbers, [8.0, 9.0, 10.0, 11.0].map(Field::Float));
}

#[test]
fn features_come_back_with_their_labels_at_unit_length() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let mut collected = Collected::new(folder.path(), vec!["x".into(), "y".into()], 2, None).unwrap();
    for label in [1, 0] {
        collected.add(Row { name: "a", label: Some(label), cls: &[3.0, 4.0], patches: &[] }).unwrap();
    }
    Kind::Safetensors.write(&path, &mut collected).unwrap();
    let read = labelled(&path).unwrap();
    assert_eq!((read.dim, read.labels), (2, vec![1, 0]));
    assert_eq!(read.features, [0.6, 0.8, 0.6, 0.8]);
}

#[test]
fn the_names_of_many_classes_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    // as many as ImageNet-21k's, with names as long: more than a mebibyte
    let classes: Vec<String> = (0..21_841).map(|class| format!("{class:060}")).collect();
    let mut collected = Collected::new(folder.path(), classes, 1, None).unwrap();
    collected.add(Row { name: "a", label: Some(21_840), cls: &[1.0], patches: &[] }).unwrap();
    Kind::Safetensors.write(&path, &mut collected).unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() > 1 << 20);
    assert_eq!(rows(&path).unwrap().labels, [21_840]);
}

#[test]
fn what_is_no_file_of_features_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let check = |bytes: &[u8], said: &str| {
        std::fs::write(&path, bytes).unwrap();
        let error = labelled(&path).unwrap_err();
        assert!(error.exit_status() == 2 && error.to_string().contains(said), "{error}");
    };
    let with = |header: &str, data: &[u8]| {
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
    };
    check(b"", "too short");
    check(&[0xFF; 16], "its header would be 18446744073709551615 bytes");
    check(&with("{", b""), "its header is damaged");
    check(
        &with(r#"{"cls":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#, &[0; 4]),
        "its header tells of",
    );
    check(
        &with(r#"{"cls":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}}"#, &[0; 4]),
        "no tensor `labels`",
    );
    check(&with(r#"{"a":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}}"#, &[0; 4]), "no tensor `cls`");
    let both = r#"{"cls":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},"labels":{"dtype":"I64","shape":[1],"data_offsets":[4,12]}}"#;
    check(
        &with(both, &[[0xFF; 4].as_slice(), &[0; 8]].concat()),
        "row 0 of `cls` holds a number that is not finite",
    );
    check(&with(both, &[[0; 4].as_slice(), &[0xFF; 8]].concat()), "a label is no number");
    let named = both.replacen('{', r#"{"__metadata__":{"classes":"cat"},"#, 1);
    check(&with(&named, &[0; 12]), "expected a list of names in JSON");
    let square = both.replace(r#""I64","shape":[1]"#, r#""I64","shape":[1,1]"#);
    check(&with(&square, &[0; 12]), "`labels` is [1, 1]; expected (pictures)");
    // eight tensors of 2^61 - 1 bytes and one of 7: with the header, 2^64 and more
    let end = |i: u64| i * ((1 << 61) - 1);
    let huge = (0..8u64).map(|i| {
        let (from, to) = (end(i), end(i + 1));
        format!(r#""z{i}":{{"dtype":"U8","shape":[{}],"data_offsets":[{from},{to}]}},"#, to - from)
    });
    let last = format!(r#""y":{{"dtype":"U8","shape":[7],"data_offsets":[{},{}]}}"#, end(8), u64::MAX);
    check(
        &with(&format!("{{{}{last}}}", huge.collect::<String>()), b""),
        "its header tells of more than any",
    );
    check(
        &with(r#"{"cls":{"dtype":"F32","shape":[1,1],"data_offsets":[0,18446744073709551615]}}"#, b""),
        "damaged",
    );
}
