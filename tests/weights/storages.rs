//! Storages of `torch.save`'s files: what is read of them, which tensors need them, and which network is asked for.

use dinoflow::runtime::stage::SavedTensor;
use dinoflow::weights::pickle::{Value, write::pickle};
use dinoflow::weights::{Which, open};

use crate::craft::{dict, object, opened, put, saved, storage, tensor, text, watched};
use crate::formats::{micro, shapes};

const FLOATS: &str = "torch.FloatStorage";

/// The tensors of a backbone, one behind the other in a storage of so many numbers; matrices column by column. And how many they are.
fn flat(numbers: i64) -> (Vec<(String, Value)>, usize) {
    let (mut entries, mut offset) = (Vec::new(), 0);
    for (key, dims) in shapes(&micro()) {
        if !key.starts_with("backbone.") {
            continue;
        }
        let dims: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
        let strides: Vec<i64> = match dims[..] {
            [rows, _] => vec![1, rows],
            _ => (1..=dims.len()).map(|axis| dims[axis..].iter().product()).collect(),
        };
        entries.push((key, tensor(storage(FLOATS, numbers), offset, &dims, &strides)));
        offset += dims.iter().product::<i64>();
    }
    (entries, offset as usize)
}

fn named(entries: &[(String, Value)]) -> Value {
    dict(entries.iter().map(|(key, value)| (key.as_str(), value.clone())).collect())
}

/// A file from before PyTorch 1.6 with one storage, whose numbers come next.
fn before(dictionary: &Value, numbers: u64) -> Vec<u8> {
    let magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";
    let machine = dict(vec![("little_endian", Value::Bool(true))]);
    let names = Value::List([text("0")].into());
    let pickles = [&Value::Int(1001), &machine, dictionary, &names].map(pickle).concat();
    [&magic[..], &pickles, &numbers.to_le_bytes()].concat()
}

#[test]
fn of_a_storage_what_tensors_span_is_read() {
    let (_, all) = flat(0);
    let bytes: Vec<u8> = (0..all).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let claimed = 1i64 << 38;
    let (small, large) = (named(&flat(all as i64).0), named(&flat(claimed).0));
    let sparse = [before(&large, claimed as u64), bytes.clone()].concat();
    for (name, file, length) in [
        ("an archive", saved(&small, &bytes), None),
        ("a file before PyTorch 1.6", [before(&small, all as u64), bytes].concat(), None),
        // whose storage has 2^40 bytes, and the disk a few of them
        ("a file of holes", sparse, Some(before(&large, 0).len() as u64 + (1 << 40))),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = put(folder.path(), "w.pth", &file);
        if let Some(length) = length {
            std::fs::File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
        }
        let (opened, allocated) = watched(|| open(&path, Which::Teacher));
        let mut offset = 0;
        for (key, found) in opened.unwrap().state {
            let SavedTensor::F32 { dims, values } = found else { panic!("{name}: {key}") };
            let second = offset + if let [rows, _] = dims[..] { rows } else { 1 };
            assert_eq!((values[0], values[1]), (offset as f32, second as f32), "{name}: {key}");
            offset += values.len();
        }
        assert_eq!(offset, all, "{name}");
        assert!(allocated < 64 * file.len() as u64, "{name}: {allocated} bytes allocated");
    }
}

#[test]
fn a_tensor_that_is_not_read_matters_where_it_is_needed() {
    let (entries, all) = flat(1 << 20);
    let sparse = object("torch._utils._rebuild_sparse_tensor", vec![]);
    for (key, refuses) in [
        ("junk", false),
        ("optimizer.state", false),
        ("backbone.norm.bias", true),
        ("backbone.pos_embed", true),
        ("backbone.blocks.0.ls1.gamma", true),
    ] {
        let mut entries: Vec<_> = entries.iter().filter(|(known, _)| known != key).cloned().collect();
        entries.push((key.to_owned(), sparse.clone()));
        let file = saved(&named(&entries), &vec![0; 4 << 20]);
        let (opened, _) = opened("w.pth", &file);
        match opened {
            Ok(found) => {
                let left = &found.keys.left[0];
                assert!(!refuses && left.key == key, "{key}: {left:?}");
                assert!(left.reason.starts_with("not read: it is saved by way of"), "{left:?}");
            }
            Err(error) => {
                let words = format!("{key}: it is saved by way of");
                assert!(refuses && error.to_string().contains(&words), "{key}: {error}");
            }
        }
    }
    assert!(all < 1 << 20);
    let keys = [Value::Int(3), Value::None, Value::Int(3)].map(|key| (key, Value::Bool(true)));
    let Value::Dict(entries) = named(&entries) else { panic!("no dictionary") };
    let file = saved(&Value::Dict([&entries[..], &keys].concat().into()), &vec![0; 4 << 20]);
    let left = opened("w.pth", &file).0.unwrap().keys.left;
    assert_eq!((left.len(), &*left[0].key), (1, "3 keys of which the first is an int"));
}

#[test]
fn of_two_networks_the_one_that_is_asked_for_is_taken_or_none() {
    let (entries, _) = flat(1 << 20);
    let network = named(&entries);
    let check = |keys: &[&str], expected: Option<&str>| {
        let whole = dict(keys.iter().map(|&key| (key, network.clone())).collect());
        let (opened, _) = opened("w.pth", &saved(&whole, &vec![0; 4 << 20]));
        match (opened, expected) {
            (Ok(_), None) => {}
            (Err(error), Some(words)) => {
                assert!(error.to_string().contains(words), "{error}");
                assert_eq!(dinoflow::error::Error::from(error).exit_status(), 2);
            }
            (found, _) => panic!("{keys:?}: {found:?}"),
        }
    };
    let student = Some("the file has no teacher but a student: ask for it with --which student");
    check(&["teacher", "student"], None);
    check(&["teacher", "model"], None);
    check(&["student"], student);
    check(&["student", "model"], student);
    check(&["model"], None);
}
