//! The published ground truths as their pickles hold them: lists and numpy arrays of numbers, taken from the values that a pickle would build.

use super::ground_truth::{Answer, GroundTruth};
use crate::weights::pickle::{self, Object, Value};

/// Takes a ground truth from a pickle's bytes.
///
/// # Errors
/// What is missing or of another kind, in words.
pub fn parse(bytes: &[u8]) -> Result<GroundTruth, String> {
    let root = pickle::read(bytes).map_err(|e| e.to_string())?;
    let member = |key: &str| root.get(key).ok_or_else(|| format!("there is no `{key}` in it"));
    let names = |key: &str| -> Result<Vec<String>, String> {
        let members = member(key)?.members().ok_or_else(|| format!("`{key}` is no list"))?;
        let text = |value: &Value| value.text().map(str::to_owned);
        members
            .iter()
            .map(text)
            .collect::<Option<_>>()
            .ok_or_else(|| format!("`{key}` holds more than names"))
    };
    let answers = member("gnd")?.members().ok_or("`gnd` is no list")?;
    let answers =
        answers.iter().enumerate().map(|(at, value)| answer(at, value)).collect::<Result<_, _>>()?;
    Ok(GroundTruth { images: names("imlist")?, queries: names("qimlist")?, answers })
}

fn answer(query: usize, value: &Value) -> Result<Answer, String> {
    let of = |key: &str| -> Result<Option<Vec<f64>>, String> {
        let found = value.get(key).map(|list| numbers(list).ok_or_else(|| list.kind()));
        found.transpose().map_err(|kind| {
            format!("`{key}` of query {query} is {kind}; expected a list or an array of numbers")
        })
    };
    let indices = |key: &str| -> Result<Vec<u32>, String> {
        let index = |&x: &f64| if x >= 0.0 && x.fract() == 0.0 && x < 4e9 { Some(x as u32) } else { None };
        let all: Option<Vec<u32>> = of(key)?.unwrap_or_default().iter().map(index).collect();
        all.ok_or_else(|| format!("`{key}` of query {query} holds what is no index"))
    };
    let region = match of("bbx")? {
        None => None,
        Some(numbers) => {
            Some(numbers.try_into().map_err(|_| format!("`bbx` of query {query} is not of four numbers"))?)
        }
    };
    Ok(Answer { region, easy: indices("easy")?, hard: indices("hard")?, junk: indices("junk")? })
}

/// The numbers of a list, or of numpy's array.
fn numbers(value: &Value) -> Option<Vec<f64>> {
    match value {
        Value::Object(object) if object.class.ends_with("multiarray._reconstruct") => {
            // version, shape, type, order, bytes
            let [_, _, kind, _, data] = object.state.members()? else { return None };
            array(kind, data)
        }
        Value::Object(object) if object.class.ends_with("numeric._frombuffer") => {
            // protocol 5: bytes, type, shape, order
            let [data, kind, ..] = object.arguments.members()? else { return None };
            array(kind, data)
        }
        list => list.members()?.iter().map(number).collect(),
    }
}

/// A number of Python's or numpy's.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Object(object) if object.class.ends_with("multiarray.scalar") => {
            let [kind, data] = object.arguments.members()? else { return None };
            array(kind, data)?.first().copied()
        }
        plain => plain.number(),
    }
}

/// Numbers of one of numpy's little-endian types.
fn array(kind: &Value, data: &Value) -> Option<Vec<f64>> {
    fn each<const N: usize>(bytes: &[u8], one: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks::<N>().0.iter().map(|&bytes| one(bytes)).collect()
    }
    let Value::Object(kind) = kind else { return None };
    let big = kind.state.members()?.get(1)?.text()? == ">";
    let bytes = bytes(data)?;
    Some(match kind.arguments.members()?.first()?.text()? {
        _ if big => return None,
        "i4" => each(&bytes, |b| f64::from(i32::from_le_bytes(b))),
        "u4" => each(&bytes, |b| f64::from(u32::from_le_bytes(b))),
        "i8" => each(&bytes, |b| i64::from_le_bytes(b) as f64),
        "u8" => each(&bytes, |b| u64::from_le_bytes(b) as f64),
        "f4" => each(&bytes, |b| f64::from(f32::from_le_bytes(b))),
        "f8" => each(&bytes, f64::from_le_bytes),
        _ => return None,
    })
}

/// Bytes as they are, or as the text of one character a byte that older pickles write them as.
fn bytes(data: &Value) -> Option<Vec<u8>> {
    let narrow = |text: &str| text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    match data {
        Value::Bytes(bytes) => Some(bytes.to_vec()),
        Value::Str(text) => narrow(text),
        Value::Object(object) => {
            let Object { class, arguments, .. } = &**object;
            match (&**class, arguments.members()?) {
                // what protocol 2 makes of no bytes at all
                ("__builtin__.bytes", []) => Some(Vec::new()),
                ("_codecs.encode", [text, ..]) => narrow(text.text()?),
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Python's `pickle.dumps` writes of {"imlist": ["a", "b"], "qimlist": ["q"], "gnd": [{"bbx": [1.0, 2, 3.5, 4.0], "easy":
    /// numpy.array([1]), "hard": numpy.array([], int), "junk": [numpy.int64(0)]}]} in a protocol.
    const TWO: &str = concat!(
        "80027d7100285806000000696d6c69737471015d7102285801000000617103580100000062710465580700000071696d",
        "6c69737471055d71065801000000717107615803000000676e6471085d71097d710a285803000000626278710b5d710c",
        "28473ff00000000000004b0247400c00000000000047401000000000000065580400000065617379710d636e756d7079",
        "2e5f636f72652e6d756c746961727261790a5f7265636f6e7374727563740a710e636e756d70790a6e6461727261790a",
        "710f4b00857110635f636f646563730a656e636f64650a7111580100000062711258060000006c6174696e3171138671",
        "14527115877116527117284b014b01857118636e756d70790a64747970650a711958020000006938711a898887711b52",
        "711c284b0358010000003c711d4e4e4e4affffffff4affffffff4b0074711e6289681158080000000100000000000000",
        "711f6813867120527121747122625804000000686172647123680e680f4b008571246815877125527126284b014b0085",
        "7127681c89635f5f6275696c74696e5f5f0a62797465730a71282952712974712a6258040000006a756e6b712b5d712c",
        "636e756d70792e5f636f72652e6d756c746961727261790a7363616c61720a712d681c68115808000000000000000000",
        "0000712e681386712f527130867131527132617561752e",
    );
    const FOUR: &str = concat!(
        "80049543010000000000007d94288c06696d6c697374945d94288c0161948c016294658c0771696d6c697374945d948c",
        "017194618c03676e64945d947d94288c03626278945d9428473ff00000000000004b0247400c00000000000047401000",
        "0000000000658c0465617379948c166e756d70792e5f636f72652e6d756c74696172726179948c0c5f7265636f6e7374",
        "727563749493948c056e756d7079948c076e6461727261799493944b0085944301629487945294284b014b0185946811",
        "8c0564747970659493948c02693894898887945294284b038c013c944e4e4e4affffffff4affffffff4b007494628943",
        "080100000000000000947494628c046861726494681068134b008594681587945294284b014b008594681d8943009474",
        "94628c046a756e6b945d94680e8c067363616c6172949394681d430800000000000000009486945294617561752e",
    );

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..][..2], 16).unwrap()).collect()
    }

    #[test]
    fn lists_and_arrays_of_either_protocol_are_read() {
        let region = Some([1.0, 2.0, 3.5, 4.0]);
        let answers = vec![Answer { region, easy: vec![1], hard: vec![], junk: vec![0] }];
        let expected =
            GroundTruth { images: vec!["a".into(), "b".into()], queries: vec!["q".into()], answers };
        for hex in [TWO, FOUR] {
            assert_eq!(parse(&bytes(hex)).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_none_is_told() {
        let check = |bytes: &[u8], part: &str| {
            let error = parse(bytes).unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        check(b"", "pickle");
        // an empty dictionary, and one whose `gnd` is None
        check(b"\x80\x02}q\x00.", "no `gnd`");
        check(b"\x80\x02}X\x03\x00\x00\x00gndNs.", "`gnd` is no list");
    }
}
