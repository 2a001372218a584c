use super::*;

/// Writes a tar file of (name, content).
fn shard(path: &Path, entries: &[(&str, &str)]) {
    let mut tar = tar::Builder::new(File::create(path).unwrap());
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap();
}

fn open(files: &[PathBuf]) -> Result<Shards, SourceError> {
    Shards::open(&ShardsParams { files: files.to_vec() })
}

#[test]
fn classes_from_cls_entries_in_any_order() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("b.tar"), folder.path().join("a.tar"));
    let long = format!("{}/9.png", "long".repeat(60));
    shard(
        &first,
        &[("1.cls", "3\n"), ("1.jpg", "one"), ("2.JPEG", "two!"), ("2.cls", "0"), ("n.json", "{}")],
    );
    shard(&second, &[(&long, "far"), (&long.replace("png", "cls"), "1"), ("x/.7.jpg", "no"), ("8.webp", "")]);
    let shards = open(&[folder.path().to_owned()]).unwrap();
    assert_eq!(shards.len(), 4);
    let contents = ["far", "", "one", "two!"];
    let labels = [Some(1), None, Some(3), Some(0)];
    for i in (0..4).rev() {
        assert_eq!(shards.read(i).unwrap(), Raw::Encoded(contents[i].into()));
        assert_eq!(shards.label(i), labels[i]);
    }
    assert!(shards.name(2).ends_with("b.tar/1.jpg"));
    assert_eq!(shards.classes(), ["0", "1", "2", "3"]);
    assert!(matches!(shards.read(4), Err(SourceError::Index { .. })));
    // given one by one, the order is the caller's
    assert!(open(&[first, second]).unwrap().name(0).ends_with("b.tar/1.jpg"));
}

#[test]
fn classes_from_folders() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.tar");
    shard(&path, &[("train/dog/1.jpg", ""), ("train/cat/1.jpg", ""), ("./cat/2.jpg", ""), ("top.jpg", "")]);
    let shards = open(&[path]).unwrap();
    assert_eq!(shards.classes(), ["cat", "dog"]);
    let labels: Vec<_> = (0..4).map(|i| shards.label(i)).collect();
    assert_eq!(labels, [Some(1), Some(0), Some(0), None]);
}

#[test]
fn many_threads_read_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.tar");
    let entries: Vec<_> = (0..50).map(|i| (format!("{i}.jpg"), format!("picture {i}").repeat(100))).collect();
    let entries: Vec<_> = entries.iter().map(|(n, c)| (n.as_str(), c.as_str())).collect();
    shard(&path, &entries);
    let shards = open(&[path]).unwrap();
    let read = |i: usize| shards.read(i).unwrap() == Raw::Encoded(entries[i].1.into());
    std::thread::scope(|scope| {
        for start in 0..4 {
            scope.spawn(move || (0..200).for_each(|i| assert!(read((i * 7 + start) % 50))));
        }
    });
}

#[test]
fn broken_shards_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.tar");
    shard(&path, &[("1.jpg", &"x".repeat(5000))]);
    let whole = std::fs::read(&path).unwrap();
    for (bytes, expected) in
        [(&whole[..2000], "cut short"), (&[7; 3000], "s.tar"), (&[], "no image in"), (&whole[..300], "s.tar")]
    {
        std::fs::write(&path, bytes).unwrap();
        let error = open(std::slice::from_ref(&path)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let empty = tempfile::tempdir().unwrap();
    assert!(open(&[empty.path().to_owned()]).unwrap_err().to_string().contains(".tar"));
    assert!(open(&[folder.path().join("nowhere.tar")]).unwrap_err().to_string().contains("nowhere"));
    assert!(open(&[]).unwrap_err().to_string().contains("set files"));
}
