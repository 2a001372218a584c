use super::*;
use crate::graph::origin::Origins;

fn parsed(text: &str) -> Result<String, (Range<usize>, String)> {
    let id = Origins::default().add("text", text);
    parse(text, id).map(|tree| tree.to_ron()).map_err(|d| (d.place.span, d.expected))
}

#[test]
fn every_form_of_value_is_read() {
    for (text, plain) in [
        ("1_000", "1000"),
        ("-1.5e-3", "-1.5e-3"),
        ("0xff", "0xff"),
        ("-inf", "-inf"),
        ("NaN", "NaN"),
        ("r#\"a\"b\"#", r#""a\"b""#),
        (r#""tab\t \u{e9} \x41""#, r#""tab\t é A""#),
        ("'x'", "'x'"),
        ("// c\n/* a /* b */ */ [1, 2,]", "[1, 2]"),
        ("#![enable(implicit_some)] {\"a\": true}", r#"{"a": true}"#),
        ("Name(a: 1, b: (2, 3))", "Name(a: 1, b: (2, 3))"),
        ("()", "()"),
        ("None", "None"),
        // ron writes variants of these names so
        ("r#None", "None"),
        ("\u{feff}1", "1"),
    ] {
        assert_eq!(parsed(text).as_deref(), Ok(plain), "{text}");
    }
}

#[test]
fn what_is_no_ron_is_refused_at_its_place() {
    for (text, place) in [
        ("(a: 1, b 2)", 9..10),
        ("(a: 1", 5..5),
        ("[1 2]", 3..4),
        ("\"open", 0..1),
        ("1.2.3", 0..5),
        ("1 2", 2..3),
        ("(a: 1, a: 2)", 7..8),
        ("{\"a\": 1, \"a\": 2}", 9..12),
        ("#![enable(other)] 1", 10..15),
        ("(a: @)", 4..5),
        ("/* open", 0..2),
        ("(1, a: 2)", 5..6),
    ] {
        assert_eq!(parsed(text).map_err(|e| e.0), Err(place), "{text}");
    }
}

#[test]
fn depth_is_bounded() {
    let nested = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
    assert!(parsed(&nested(DEEPEST - 1)).is_ok());
    assert!(parsed(&nested(DEEPEST)).is_err());
    assert!(parsed(&"[".repeat(100_000)).is_err());
}
