//! Safetensors headers that lie.

use crate::craft::{refused, with_header};

/// A file of one tensor whose header has this many bytes.
fn collides(length: usize) -> Vec<u8> {
    let header = one("F32", "[2]", "[0,8]");
    with_header(&format!("{header}{}", " ".repeat(length - header.len())), &[0; 8])
}

/// A header of one tensor.
fn one(dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
}

#[test]
fn a_headers_length_is_held_against_the_file() {
    let mut longest = with_header("{}", &[]);
    longest[..8].fill(0xff);
    let mut longer = with_header("{}", &[]);
    longer[0] += 1;
    for (name, bytes, words) in [
        ("a header of 2^64 - 1 bytes", longest, "18446744073709551615 bytes"),
        ("a header that is longer than the file", longer, "said to have 3 bytes, of 2"),
        ("a length that looks like a pickle", collides(0x10280), "no network known here has (a)"),
        ("one that looks like a later pickle", collides(0x10580), "no network known here has (a)"),
        ("a few bytes", vec![1, 2, 3], "at least 8"),
        ("nothing", vec![], "it has 0 bytes"),
        ("no tensors", with_header("{}", &[]), "a file without tensors"),
    ] {
        refused(name, "weights.safetensors", &bytes, words);
    }
}

#[test]
fn a_header_that_is_none_is_damaged() {
    let a = r#""a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
    let endless = "{\"a\":".repeat(100_000);
    let nested = format!("{{\"__metadata__\":{}", "[".repeat(100_000));
    for (name, header, words) in [
        ("no JSON", "{nonsense}", "its header is damaged"),
        ("no object", "{\"a\":3}", "its header is damaged"),
        ("JSON without end", &endless, "its header is damaged"),
        ("nested words", &nested, "its header is damaged"),
        ("a key that a terminal obeys", "{\"\\u001b[31m\":3,\"\\u001b[31m\":3}", "its header is damaged"),
        ("an endless type", &one(&"F".repeat(1 << 20), "[2]", "[0,8]"), "its header is damaged"),
        (
            "an endless key",
            &one("F33", "[2]", "[0,8]").replace('a', &"a".repeat(1 << 20)),
            "its header is damaged",
        ),
        ("a key twice", &format!("{{{a},{a}}}"), "a stands there twice"),
        ("a shape below 0", &one("F32", "[-2]", "[0,8]"), "its header is damaged"),
        ("an unknown type", &one("F33", "[2]", "[0,8]"), "its header is damaged"),
    ] {
        refused(name, "weights.safetensors", &with_header(header, &[0; 8]), words);
    }
}

#[test]
fn ranges_and_shapes_are_held_against_each_other() {
    let a = r#""a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
    let overlapping = format!(r#"{{{a},"b":{{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}}}"#);
    let most = "[0,18446744073709551615]";
    for (name, header, bytes, words) in [
        ("overlapping ranges", overlapping, 12, "contradicts itself"),
        ("a range that is missing", one("F32", "[2]", "[4,12]"), 12, "contradicts itself"),
        ("a range backwards", one("F32", "[2]", "[8,0]"), 8, "contradicts itself"),
        (
            "a range beyond the file",
            one("F32", "[4]", "[0,16]"),
            8,
            "lists 16 bytes of tensors, the file holds 8",
        ),
        (
            "bytes that nobody listed",
            one("F32", "[2]", "[0,8]"),
            12,
            "lists 8 bytes of tensors, the file holds 12",
        ),
        ("offsets of 2^64 - 1", one("F32", "[2]", most), 8, "contradicts itself"),
        (
            "a shape that overflows",
            one("F32", "[4294967296,4294967296,4294967296]", "[0,8]"),
            8,
            "contradicts itself",
        ),
        (
            "a shape whose bytes overflow",
            one("F32", "[9223372036854775807]", "[0,8]"),
            8,
            "contradicts itself",
        ),
        ("nine axes", one("F32", "[1,1,1,1,1,1,1,1,2]", "[0,8]"), 8, "a: it has 9 axes; up to 8 are read"),
        (
            "a name that a terminal obeys",
            one("F32", "[2]", "[0,8]").replacen('a', "\\u001b[31m\\u202e", 1),
            8,
            "(\\u{1b}[31m\\u{202e})",
        ),
        ("another shape than bytes", one("F32", "[3]", "[0,8]"), 8, "contradicts itself"),
        ("no network's", one("F32", "[2]", "[0,8]"), 8, "1 tensor that no network known here has (a)"),
    ] {
        refused(name, "weights.safetensors", &with_header(&header, &vec![0; bytes]), words);
    }
}

#[test]
fn what_is_no_file_of_weights_is_told_so() {
    refused("a web page", "weights.safetensors", b"<!doctype html><html>", "a web page");
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid";
    refused("a pointer", "weights.safetensors", pointer, "a pointer of Git LFS");
    refused(
        "a picture",
        "weights.pth",
        b"\xff\xd8\xff\xe0\x00\x10JFIF",
        "of an unknown kind (it begins ff d8",
    );
}
