//! Archives of `torch.save` that lie about their members, and tensors that reach beyond their storages.

use dinoflow::weights::pickle::{Value, write::pickle};
use dinoflow::weights::torch::write::{Item, write};

use crate::craft::{archive, dict, ints, object, refused, saved, storage, tensor, text};

const FLOATS: &str = "torch.FloatStorage";

/// What is said of a dictionary with this one tensor under a network's name, over a storage of 16 bytes.
#[track_caller]
fn check(name: &str, value: Value, words: &str) {
    refused(name, "weights.pth", &saved(&dict(vec![("backbone.cls_token", value)]), &[0; 16]), words);
}

#[test]
fn tensors_stay_within_their_storages() {
    let most = i64::MAX;
    for (name, offset, dims, strides, words) in [
        ("a size beyond the storage", 0, &[5][..], &[1][..], "more than its storage has (4 numbers)"),
        ("a size that overflows", 0, &[most, most, 4], &[1, 1, 1], "overflows"),
        ("a size below 0", 0, &[-1], &[1], "expected numbers from 0"),
        ("a stride below 0", 3, &[2], &[-1], "its strides is a tuple with -1; expected numbers from 0"),
        ("strides that reach beyond", 0, &[2, 2], &[3, 1], "reaches beyond its storage"),
        ("strides that overflow", 0, &[2, 2], &[most, most], "reaches beyond its storage"),
        ("an offset beyond", 4, &[1], &[1], "reaches beyond its storage"),
        ("an offset that overflows", most, &[2], &[most], "reaches beyond its storage"),
        ("axes without strides", 0, &[2, 2], &[1], "expected as many"),
        ("a hundred axes", 0, &[1; 100], &[1; 100], "up to 8"),
    ] {
        check(name, tensor(storage(FLOATS, 4), offset, dims, strides), words);
    }
    let apart = tensor(storage(FLOATS, 1 << 41), 0, &[2], &[1 << 40]);
    check("numbers far apart", apart, "its 2 numbers lie scattered among 1099511627777");
}

#[test]
fn references_are_pytorchs_own() {
    let one = |storage: Value| tensor(storage, 0, &[1], &[1]);
    let untyped = vec![text("storage"), Value::None, text("0"), text("cpu"), Value::Int(4)];
    let elsewhere = "in a way that PyTorch doesn't";
    check("no storage", one(Value::Int(3)), "its storage is an int");
    check("a storage of no type", one(reference(untyped)), "type is None");
    check("a reference to something else", one(reference(vec![text("module"), text("0")])), elsewhere);
    check(
        "a reference that is a number",
        one(Value::Persistent(std::sync::Arc::new(Value::Int(7)))),
        elsewhere,
    );
    let sparse = object("torch._utils._rebuild_sparse_tensor", vec![]);
    check("a sparse tensor", sparse, "not read; save plain dense tensors");
    let around = object("torch._utils._rebuild_parameter", vec![object("os.system", vec![])]);
    check("a parameter around a call", around, "expected a tensor");
}

fn reference(parts: Vec<Value>) -> Value {
    Value::Persistent(std::sync::Arc::new(Value::Tuple(parts.into())))
}

/// A residual network's dictionary with one tensor of these words where its first convolution is.
fn with_convolution(value: Value) -> Value {
    dict(vec![("conv1.weight", value), ("layer1.0.conv1.weight", tensor(storage(FLOATS, 4), 0, &[4], &[1]))])
}

#[test]
fn what_a_pickle_claims_is_held_against_its_storage() {
    // the whole of a network is claimed, by tensors that all look at the same storage
    let mut entries = Vec::new();
    let network = crate::formats::resnet18();
    for (key, dims) in crate::formats::shapes(&network) {
        let dims: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
        let all: i64 = dims.iter().product();
        let strides: Vec<i64> = (1..=dims.len()).map(|axis| dims[axis..].iter().product()).collect();
        let class = if key.ends_with("tracked") { "torch.LongStorage" } else { FLOATS };
        entries.push((key, tensor(storage(class, all), 0, &dims, &strides)));
    }
    let claimed = dict(entries.iter().map(|(key, value)| (key.as_str(), value.clone())).collect());
    // enough for the largest of them, not for all
    let long = vec![0; 4 * 512 * 512 * 9];
    refused(
        "more numbers than bytes",
        "w.pth",
        &saved(&claimed, &long),
        "more numbers than the file has bytes",
    );
    refused(
        "a storage that is shorter than claimed",
        "w.pth",
        &saved(&claimed, &[0; 16]),
        "its storage is said to have",
    );
    let gone = archive(&[("x/data.pkl", &pickle(&claimed)), ("x/data/1", &long)]);
    refused("a storage that is not there", "w.pth", &gone, "the file has no such storage");
    let twice = with_convolution(tensor(storage(FLOATS, 4), 0, &[4], &[1]));
    let Value::Dict(entries) = &twice else { panic!("no dictionary") };
    let twice = Value::Dict([&entries[..], &entries[..1]].concat().into());
    refused("a key twice", "w.pth", &saved(&twice, &[0; 16]), "twice");
    refused(
        "another network",
        "w.pth",
        &saved(&with_convolution(tensor(storage(FLOATS, 4), 0, &[4], &[1])), &[0; 16]),
        "a residual network whose first convolution",
    );
}

/// Changes the bytes behind every place where `mark` stands.
fn patched(mut bytes: Vec<u8>, mark: &[u8], offset: usize, with: &[u8]) -> Vec<u8> {
    let places: Vec<usize> =
        (0..bytes.len() - mark.len()).filter(|&at| bytes[at..].starts_with(mark)).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at + offset..at + offset + with.len()].copy_from_slice(with);
    }
    bytes
}

const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";

#[test]
fn a_name_stands_once_in_an_archive() {
    let all = [("x/data.pkl", &b"}."[..]), ("x/data/0", &[1; 4]), ("x/data/1", &[2; 4])];
    for (name, from, to) in [
        ("two storages of one name", &b"x/data/1"[..], &b"x/data/0"[..]),
        ("two storages of one name in another case", b"x/data/1", b"x/DATA/0"),
    ] {
        check_archive(name, patched(archive(&all), from, 0, to), "two members of the archive have one name");
    }
    let pickles = [("x/data.pkl", &b"}."[..]), ("x/dbta.pkl", b"].")];
    let twice = patched(archive(&pickles), b"x/dbta.pkl", 0, b"x/data.pkl");
    check_archive("two pickles", twice, "two members of the archive have one name");
}

fn good() -> Vec<u8> {
    saved(&dict(vec![("a", Value::Int(1))]), &[7; 16])
}

#[track_caller]
fn check_archive(name: &str, bytes: Vec<u8>, words: &str) {
    refused(name, "weights.pth", &bytes, words);
}

/// The last record, with as many members as no file has, and one of 64 bits that says so too.
fn with_count(long: bool) -> Vec<u8> {
    let whole = good();
    let end = whole.windows(4).rposition(|window| window == b"PK\x05\x06").unwrap();
    let central = whole.windows(4).position(|window| window == CENTRAL).unwrap() as u64;
    let (mut head, mut last) = (whole[..end].to_vec(), whole[end..].to_vec());
    last[8..12].fill(0xff);
    if long {
        let place = head.len() as u64;
        let (count, size) = (1u64 << 62, place - central);
        let sizes = [count, count, size, central].map(u64::to_le_bytes).concat();
        head.extend([&b"PK\x06\x06\x2c\0\0\0\0\0\0\0\x2d\0\x2d\0\0\0\0\0\0\0\0\0"[..], &sizes].concat());
        head.extend([&b"PK\x06\x07\0\0\0\0"[..], &place.to_le_bytes(), &[1, 0, 0, 0]].concat());
        last[12..20].fill(0xff);
    }
    [head, last].concat()
}

#[test]
fn members_are_held_against_the_file() {
    let most = [0xff, 0xff, 0xff, 0x7f];
    check_archive("nothing wrong but no tensors", good(), "a file without tensors");
    // the method: 8 is deflate
    let deflated = patched(patched(good(), LOCAL, 8, &[8, 0]), CENTRAL, 10, &[8, 0]);
    check_archive("a deflated member", deflated, "compressed or encrypted");
    let bomb = patched(patched(good(), CENTRAL, 10, &[8, 0]), CENTRAL, 24, &most);
    check_archive("a bomb", bomb, "compressed or encrypted");
    let unpacked = patched(good(), CENTRAL, 24, &most);
    check_archive("an unpacked size beyond the file", unpacked, "more than the archive has");
    let both = patched(patched(good(), CENTRAL, 20, &most), CENTRAL, 24, &most);
    check_archive("both sizes beyond the file", both, "more than the archive has");
    // every member begins where the first does
    let stacked = patched(good(), CENTRAL, 42, &[0; 4]);
    check_archive("members on top of each other", stacked, "on top of each other");
    check_archive("more members than the file has bytes", with_count(false), "no whole zip archive");
    check_archive("2^62 members", with_count(true), "no whole zip archive");
    let many: Vec<String> = (0..60_000).map(|i| format!("x/data/{i}")).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|name| (name.as_str(), &[][..])).collect();
    check_archive("sixty thousand members", archive(&many), "without one data.pkl");
    let whole = good();
    check_archive("cut short", whole[..whole.len() - 30].to_vec(), "no whole zip archive");
    let mut damaged = good();
    let at = damaged.windows(6).position(|window| window == b"little").unwrap();
    damaged[at] = b'L';
    check_archive("a byte that changed", damaged, "x/byteorder in it can't be read");
}

#[test]
fn archives_of_something_else_are_told_so() {
    for (name, members, words) in [
        ("no pickle", &[("x/version", &b"3"[..])][..], "without one data.pkl"),
        ("two pickles", &[("x/data.pkl", b"N."), ("y/data.pkl", b"N.")], "without one data.pkl"),
        ("a program", &[("x/data.pkl", b"N."), ("x/code/a.py", b"")], "a TorchScript program"),
        ("the highest byte first", &[("x/data.pkl", b"}."), ("x/byteorder", b"big")], "highest byte first"),
        (
            "an endless byte order",
            &[("x/data.pkl", b"}."), ("x/byteorder", b"little little little")],
            "x/byteorder in it has 20 bytes; up to 16",
        ),
        ("no byte order", &[("x/data.pkl", b"}."), ("x/byteorder", b"\x1b[3")], "said to be \"\\\\u{1b}[3\""),
        ("a pickle of one number", &[("x/data.pkl", b"K\x07.")], "torch.save was handed an int"),
        ("a module", &[("x/data.pkl", b"cmodels\nNet\n)R.")], "whole module"),
    ] {
        check_archive(name, archive(members), words);
    }
}

#[test]
fn files_before_pytorch_1_6_are_held_against_their_lengths() {
    let magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";
    let rest =
        [&magic[..], &pickle(&Value::Int(1001)), &pickle(&dict(vec![("little_endian", Value::Bool(true))]))]
            .concat();
    let dictionary = pickle(&with_convolution(tensor(storage(FLOATS, 4), 0, &[4], &[1])));
    let names = pickle(&Value::List([text("0")].into()));
    let file = |numbers: u64, bytes: usize| {
        [&rest[..], &dictionary, &names, &numbers.to_le_bytes(), &vec![0; bytes]].concat()
    };
    refused("a storage as long as it says", "w.pth", &file(4, 16), "whose first convolution");
    refused(
        "a storage that is longer than the file",
        "w.pth",
        &file(u64::MAX, 16),
        "longer than what is left",
    );
    refused("a storage that is cut short", "w.pth", &file(4, 15), "longer than what is left");
    refused("no storage", "w.pth", &[&rest[..], &dictionary, &names].concat(), "cut short");
    let numbers = pickle(&ints(&[0]));
    let unnamed = [&rest[..], &dictionary, &numbers, &[0; 24]].concat();
    refused("storages by numbers", "w.pth", &unnamed, "names an int; expected texts");
    let big = pickle(&dict(vec![("little_endian", Value::Bool(false))]));
    let turned = [&magic[..], &pickle(&Value::Int(1001)), &big].concat();
    refused("the highest byte first", "w.pth", &turned, "highest byte first");
    refused("another pickle", "w.pth", &pickle(&Value::Int(3)), "a pickle of an int, not of torch.save");
}

#[test]
fn an_archive_of_many_tensors_is_read_in_whole() {
    let mut file = std::io::Cursor::new(Vec::new());
    let tensors: Vec<_> = (0..300)
        .map(|i| {
            (
                format!("t{i}"),
                dinoflow::runtime::stage::SavedTensor::F32 { dims: vec![2], values: vec![i as f32; 2] },
            )
        })
        .collect();
    let entries = tensors.iter().map(|(key, tensor)| (key.clone(), Item::Tensor(tensor))).collect();
    write(&mut file, &Item::Dict(entries)).unwrap();
    refused(
        "three hundred tensors of no network",
        "w.pth",
        &file.into_inner(),
        "300 tensors that no network known here has",
    );
}
