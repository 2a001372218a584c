//! Pickles that want something run, lie about lengths, nest without end or are cut short.

use dinoflow::keyed::Key;
use dinoflow::weights::pickle::{MOST, Value, read, write::pickle};

use crate::craft::{dict, ints, object, refused, storage, tensor, text, watched};

/// Reads a pickle on a small stack, and drops what came of it there; in words.
fn outcome(bytes: &[u8]) -> (String, u64) {
    watched(|| match read(bytes) {
        Ok(value) => shown(&value),
        Err(error) => format!("error: {error}"),
    })
}

/// A value in few words: a whole one may be shared beyond all bounds.
fn shown(value: &Value) -> String {
    match value {
        Value::Object(object) => format!("{}{:?}", object.class, object.arguments),
        other => other.kind(),
    }
}

#[track_caller]
pub fn check(name: &str, bytes: &[u8], words: &str) {
    let (outcome, allocated) = outcome(bytes);
    assert!(outcome.contains(words), "{name}: {outcome:?} lacks {words:?}");
    let bound = (1 << 16) + 256 * bytes.len() as u64;
    assert!(allocated <= bound, "{name}: {allocated} bytes allocated for a pickle of {}", bytes.len());
}

#[test]
fn what_wants_to_be_run_is_taken_down_and_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("ran");
    let command = format!("touch {}", mark.display());
    let short = [&[0x8c, command.len() as u8][..], command.as_bytes()].concat();
    let (old, taken) = (format!("S'{command}'\n"), format!("os.systemTuple([Str({command:?})])"));
    let line = |parts: &[&[u8]]| parts.concat();
    for (name, bytes) in [
        ("REDUCE", line(&[b"cos\nsystem\n(", old.as_bytes(), b"tR."])),
        ("INST", line(&[b"(", old.as_bytes(), b"ios\nsystem\n."])),
        ("OBJ", line(&[b"(cos\nsystem\n", old.as_bytes(), b"o."])),
        ("NEWOBJ", line(&[b"\x80\x02cos\nsystem\n", &short, b"\x85\x81."])),
        ("STACK_GLOBAL", line(&[b"\x80\x04\x8c\x02os\x8c\x06system\x93", &short, b"\x85R."])),
        ("BUILD", line(&[b"\x80\x04\x8c\x02os\x8c\x06system\x93", &short, b"\x85R}\x8c\x01a\x8c\x01bsb."])),
    ] {
        check(name, &bytes, &taken);
        if bytes.starts_with(b"\x80") {
            refused(name, "weights.pth", &bytes, "not of torch.save");
        }
    }
    check(
        "NEWOBJ_EX",
        &line(&[b"\x80\x04cos\nsystem\n", &short, b"\x85}\x92."]),
        "os.systemTuple([Tuple([Str(",
    );
    check("a callable that is no name", &line(&[b"\x80\x02]", &short, b"\x85R."]), "Tuple([Str(");
    for ext in [&b"\x80\x02\x82\x01."[..], b"\x80\x02\x83\x01\x00.", b"\x80\x02\x84\x01\x00\x00\x00."] {
        check("EXT", ext, "extension registry");
    }
    check("NEXT_BUFFER", b"\x80\x05\x97.", "a buffer that was kept apart");
    // whoever opens it as weights gets no further
    let dictionary = dict(vec![("backbone.cls_token", object("os.system", vec![text(&command)]))]);
    let archive = crate::craft::saved(&dictionary, &[]);
    refused("a dictionary of calls", "weights.pth", &archive, "a file without tensors");
    assert!(!mark.exists());
}

#[test]
fn lengths_are_held_against_what_is_there() {
    let most = [0xff; 8];
    for (name, op) in [("BINUNICODE8", 0x8d), ("BINBYTES8", 0x8e), ("BYTEARRAY8", 0x96), ("FRAME", 0x95)] {
        check(
            name,
            &[&[0x80, 5, op][..], &most, b"abc."].concat(),
            "18446744073709551615 more bytes were announced",
        );
    }
    for (name, op) in [("BINUNICODE", b'X'), ("BINBYTES", b'B'), ("BINSTRING", b'T'), ("LONG4", 0x8b)] {
        check(
            name,
            &[&[0x80, 2, op][..], &most[..4], b"abc."].concat(),
            "4294967295 more bytes were announced",
        );
    }
    for (name, op) in
        [("SHORT_BINUNICODE", 0x8c), ("SHORT_BINBYTES", b'C'), ("LONG1", 0x8a), ("SHORT_BINSTRING", b'U')]
    {
        check(name, &[0x80, 4, op, 0xff, b'a', b'.'], "255 more bytes were announced");
    }
    check("a line without an end", b"cos", "the file is cut short");
    check("an index without an end", b"p12345", "the file is cut short");
}

#[test]
fn nesting_is_bounded_and_sharing_is_not_undone() {
    let deep = 400_000;
    let lists = [vec![b']'; deep], vec![b'a'; deep - 1], vec![b'.']].concat();
    check("lists in lists", &lists, "nested more than");
    check("tuples in tuples", &[&b")"[..], &vec![0x85; deep], b"."].concat(), "nested more than");
    check(
        "objects in objects",
        &[&b"ca\nb\n"[..], &b")R\x85".repeat(deep / 4), b"."].concat(),
        "nested more than",
    );
    check("references in references", &[&b"N"[..], &vec![b'Q'; deep], b"."].concat(), "nested more than");
    // each list holds the one before it, and all lie side by side: no value is met deep down
    let side = [&b"\x80\x04]\x94(]\x94"[..], &b"]\x94h\x01a".repeat(100), b"e."].concat();
    check("a hundred lists side by side", &side, "a list");
    let chain = |links: u32| {
        let mut bytes = b"\x80\x02](]r\x00\x00\x00\x00".to_vec();
        for link in 1..links {
            // a list that holds the one before it
            bytes.extend([&b"]r"[..], &link.to_le_bytes(), b"j", &(link - 1).to_le_bytes(), b"a"].concat());
        }
        [&bytes[..], b"e."].concat()
    };
    check("a chain that a thread can drop", &chain(150), "a list");
    check("a chain that it can't", &chain(100_000), "nested more than");
    // of each of 60 lists twice the one before: 2^60 places of one empty list
    let mut laughs = b"\x80\x02]q\x00".to_vec();
    for level in 0..60 {
        laughs.extend(
            [b"](h"[..].to_vec(), vec![level, b'h', level], b"eq".to_vec(), vec![level + 1]].concat(),
        );
    }
    laughs.push(b'.');
    check("a billion laughs", &laughs, "a list");
    check("a list that holds itself", b"\x80\x02]q\x00h\x00a.", "a list");
    let Ok(Value::List(members)) = read(b"\x80\x02]q\x00h\x00a.") else { panic!("no list") };
    assert_eq!(*members, [Value::Cycle]);
}

#[test]
fn stack_and_memo_are_the_pickles_own() {
    for (name, bytes, words) in [
        ("nothing", &b"."[..], "no value at its end"),
        ("REDUCE of nothing", b"R.", "no arguments"),
        ("REDUCE of one", b"NR.", "no class"),
        ("BUILD of nothing", b"Nb.", "no object"),
        ("BUILD of a list", b"]Nb.", "no object"),
        ("TUPLE without a mark", b"Nt.", "no mark"),
        ("TUPLE3 of two", b"NN\x87.", "no values for a tuple"),
        ("TUPLE2 across a mark", b"N(N\x86.", "no values for a tuple"),
        ("APPEND to None", b"NNa.", "no list to append to"),
        ("SETITEM of a list", b"]NNs.", "no dictionary"),
        ("SETITEMS of an odd count", b"}(Nu.", "no value for the last key"),
        ("STACK_GLOBAL of numbers", b"\x80\x04K\x01K\x02\x93.", "no name"),
        ("OBJ of nothing", b"(o.", "no class"),
        ("POP of nothing", b"0N.", "no value to drop"),
        ("GET of what was never put", b"h\x07.", "asks for value 7"),
        ("LONG_BINGET", b"j\xff\xff\xff\xff.", "asks for value 4294967295"),
        ("a memo of the highest index", b"Nr\xff\xff\xff\xffj\xff\xff\xff\xff.", "None"),
        ("a mark that is dropped", b"(0N.", "None"),
        ("protocol 9", b"\x80\x09N.", "protocol 9"),
        ("no instruction", b"\xff.", "0xff"),
        ("text that is none", b"\x80\x02X\x01\x00\x00\x00\xff.", "not UTF-8"),
        ("a number that is none", b"Iseven\n.", "a number"),
        ("a text without quotes", b"Sabc\n.", "no quotes"),
    ] {
        check(name, bytes, words);
    }
    check("too many instructions", &vec![b'N'; MOST + 1], "more than");
}

/// Protocols 0 and 2 of the same: what a published ground truth is written in.
#[test]
fn old_pickles_are_read() {
    let zero = b"(dp0\nS'imlist'\np1\n(lp2\nS'all_souls_000013'\np3\naVch\\u00e2teau\np4\nasS'gnd'\np5\n(lp6\n(dp7\nS'bbx'\np8\n(F136.5\nF34.1\nI648\nL955L\ntp9\nsS'ok'\np10\nI01\nsas.";
    let value = read(zero).unwrap();
    let names: Vec<_> =
        value.get("imlist").unwrap().members().unwrap().iter().map(|name| name.text().unwrap()).collect();
    assert_eq!(names, ["all_souls_000013", "château"]);
    let query = &value.get("gnd").unwrap().members().unwrap()[0];
    let numbers: Vec<_> =
        query.get("bbx").unwrap().members().unwrap().iter().map(|x| x.number().unwrap()).collect();
    assert_eq!(numbers, [136.5, 34.1, 648.0, 955.0]);
    assert_eq!(query.get("ok"), Some(&Value::Bool(true)));
    let two = b"\x80\x02}q\x01(U\x03gndq\x02]q\x03(K\x05M\xe8\x03J\xff\xff\xff\xff\x8a\x02\x00\x80G@\x09\x21\xfb\x54\x44\x2d\x18eU\x01kC\x02\x00\xffu.";
    let value = read(two).unwrap();
    let numbers: Vec<_> =
        value.get("gnd").unwrap().members().unwrap().iter().map(|x| x.number().unwrap()).collect();
    assert_eq!(numbers, [5.0, 1000.0, -1.0, -32768.0, std::f64::consts::PI]);
    assert_eq!(value.get("k"), Some(&Value::Bytes([0, 0xff].into())));
}

fn sample() -> Value {
    let entries = vec![
        ("a", tensor(storage("torch.FloatStorage", 6), 1, &[2, 2], &[2, 1])),
        ("epoch", Value::Int(1 << 40)),
        ("small", ints(&[0, 255, 256, -1, i64::from(i32::MIN)])),
        ("list", Value::List([Value::None, Value::Float(0.1), Value::Bool(true), text("é")].into())),
        ("name", Value::Global("torch.float32".into())),
    ];
    dict(entries)
}

#[test]
fn what_is_written_is_read_back() {
    assert_eq!(read(&pickle(&sample())), Ok(sample()));
}

/// Cut short anywhere it is an error; changed anywhere it is one or a value, never a panic.
#[test]
fn damaged_pickles_are_errors_or_values() {
    let whole = pickle(&sample());
    for end in 0..whole.len() {
        assert!(read(&whole[..end]).is_err(), "cut to {end} of {} bytes", whole.len());
    }
    let mut draws = Key::new(11).named("damaged pickles").draws();
    let mut errors = 0;
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + draws.below(3) {
            let at = draws.below(bytes.len() as u64) as usize;
            bytes[at] = draws.below(256) as u8;
        }
        errors += u32::from(read(&bytes).is_err());
    }
    assert!(errors > 1000, "{errors} of 20000 damaged pickles were refused");
}
