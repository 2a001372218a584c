//! Safetensors headers that lie.

use crate::craft::{refused, with_header};

#[test]
fn headers_are_held_against_the_file() {
    let a = r#""a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
    let of = |shape: &str, offsets: &str| {
        format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let mut longest = with_header("{}", &[]);
    longest[..8].fill(0xff);
    let mut longer = with_header("{}", &[]);
    longer[0] += 1;
    for (name, bytes, words) in [
        ("a header of 2^64 - 1 bytes", longest, "18446744073709551615 bytes"),
        ("a header that is longer than the file", longer, "said to have 3 bytes, of 2"),
        ("no JSON", with_header("{nonsense}", &[]), "its header is damaged"),
        ("no object", with_header("{\"a\":3}", &[]), "its header is damaged"),
        ("JSON without end", with_header(&"{\"a\":".repeat(100_000), &[]), "its header is damaged"),
        (
            "nested words",
            with_header(&format!("{{\"__metadata__\":{}", "[".repeat(100_000)), &[]),
            "its header is damaged",
        ),
        ("a key twice", with_header(&format!("{{{a},{a}}}"), &[0; 8]), "a stands there twice"),
        (
            "overlapping ranges",
            with_header(
                &format!(r#"{{{a},"b":{{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}}}"#),
                &[0; 12],
            ),
            "contradicts itself",
        ),
        ("a range that is missing", with_header(&of("[2]", "[4,12]"), &[0; 12]), "contradicts itself"),
        ("a range backwards", with_header(&of("[2]", "[8,0]"), &[0; 8]), "contradicts itself"),
        (
            "a range beyond the file",
            with_header(&of("[4]", "[0,16]"), &[0; 8]),
            "lists 16 bytes of tensors, the file holds 8",
        ),
        (
            "bytes that nobody listed",
            with_header(&of("[2]", "[0,8]"), &[0; 12]),
            "lists 8 bytes of tensors, the file holds 12",
        ),
        (
            "offsets of 2^64 - 1",
            with_header(&of("[2]", "[0,18446744073709551615]"), &[0; 8]),
            "contradicts itself",
        ),
        (
            "a shape that overflows",
            with_header(&of("[4294967296,4294967296,4294967296]", "[0,8]"), &[0; 8]),
            "contradicts itself",
        ),
        (
            "a shape whose bytes overflow",
            with_header(&of("[9223372036854775807]", "[0,8]"), &[0; 8]),
            "contradicts itself",
        ),
        ("another shape than bytes", with_header(&of("[3]", "[0,8]"), &[0; 8]), "contradicts itself"),
        ("a shape below 0", with_header(&of("[-2]", "[0,8]"), &[0; 8]), "its header is damaged"),
        (
            "an unknown type",
            with_header(&of("[2]", "[0,8]").replace("F32", "F33"), &[0; 8]),
            "its header is damaged",
        ),
        ("no tensors", with_header("{}", &[]), "a file without tensors"),
        (
            "no network's",
            with_header(&of("[2]", "[0,8]"), &[0; 8]),
            "1 tensors that no network known here has (a, …)",
        ),
    ] {
        refused(name, "weights.safetensors", &bytes, words);
    }
    refused("a few bytes", "weights.safetensors", &[1, 2, 3], "at least 8");
    refused("nothing", "weights.safetensors", &[], "it has 0 bytes");
    refused("a web page", "weights.safetensors", b"<!doctype html><html>", "a web page");
    refused(
        "a pointer",
        "weights.safetensors",
        b"version https://git-lfs.github.com/spec/v1\noid",
        "a pointer of Git LFS",
    );
    refused(
        "a picture",
        "weights.pth",
        b"\xff\xd8\xff\xe0\x00\x10JFIF",
        "a file of an unknown kind (it begins ff d8",
    );
}
