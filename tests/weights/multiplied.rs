//! Small pickles that would come to much: each part of them is made once, and there are not many.

use std::sync::Arc;

use dinoflow::weights::pickle::{Value, write::pickle};

use crate::craft::{archive, dict, refused, saved, tensor, text};
use crate::pickles::check;

fn pickled(pickle: &[u8]) -> Vec<u8> {
    archive(&[("x/data.pkl", pickle)])
}

#[test]
fn values_are_bounded() {
    // each makes a value, or several
    for (name, one) in [("empty tuples", &b")"[..]), ("instances", b"(i\n\n"), ("references", b"P\n")] {
        let many = [&b"\x80\x02("[..], &one.repeat((1 << 22) / one.len()), b"l."].concat();
        let file = pickled(&many);
        refused(name, "weights.pth", &file, "more than");
    }
}

/// A text that a pickle says once and refers to many times is not made many times.
#[test]
fn what_is_shared_is_not_copied() {
    let says = |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let (short, long) = ("m".repeat(1000), "m".repeat(1 << 20));
    let global = |text: &str| {
        [&b"\x80\x02"[..], &says(text), b"q\x00q\x01(", &b"h\x00h\x01\x93".repeat(100_000), b"l."].concat()
    };
    check("a class by long names", &global(&short), "a list");
    check("a class by endless names", &global(&long), "takes 1048576 bytes to name; up to 1024");
    let line = format!("c{long}\nx\n.");
    check("a class by an endless line", line.as_bytes(), "bytes to name");
    check("an instance of it", format!("(i{long}\nx\n.").as_bytes(), "bytes to name");
    // a dictionary of calls of one class
    let calls = |class: &str| {
        let entry = |i: u32| [says(&i.to_string()), b"h\x00".to_vec()].concat();
        let call = format!("\x02c{class}\nx\n)R");
        let entries: Vec<u8> = (0..100_000).flat_map(entry).collect();
        let pickle = [&b"\x80"[..], call.as_bytes(), b"q\x000}(", &entries, b"u."].concat();
        pickled(&pickle)
    };
    refused("a dictionary of one call", "w.pth", &calls(&short), "a file without tensors");
    // and of one tensor, whose storage and type have long names
    for (key, class, words) in [
        (&short, "torch.FloatStorage", "100000 tensors that no network"),
        (&short, &*format!("torch.{}", &short[..900]), "100000 tensors that no network"),
        (&long, "torch.FloatStorage", "its storage's name has 1048576 bytes"),
    ] {
        let parts = [text("storage"), Value::Global(class.into()), text(key), text("cpu"), Value::Int(4)];
        let shared = Value::Persistent(Arc::new(Value::Tuple(parts.into())));
        let one = pickle(&tensor(shared, 0, &[2], &[1]));
        let entry = |i: u32| [says(&i.to_string()), b"h\x00".to_vec()].concat();
        let entries: Vec<u8> = (0..100_000).flat_map(entry).collect();
        let whole = [&one[..one.len() - 1], b"q\x000}(", &entries, b"u."].concat();
        let file = pickled(&whole);
        refused("a dictionary of one tensor", "w.pth", &file, words);
    }
    let numbers = [&b"\x80\x02K\x01q\x00}("[..], &b"h\x00h\x00".repeat(100_000), b"u."].concat();
    let file = pickled(&numbers);
    refused("a hundred thousand keys of one number", "w.pth", &file, "a file without tensors");
    let keyed = saved(&dict(vec![(&long, Value::None)]), &[]);
    refused("an endless key", "w.pth", &keyed, "this key has 1048576 bytes");
}
