//! Writing pickles of protocol 2, the one that PyTorch's archives hold. Only what `torch.load(weights_only=True)` takes is written.

use super::Value;

/// The pickle of a value. What it can't say (a cycle, a set, a number beyond 64 bits) stands as None: nothing of ours holds such.
pub fn pickle(value: &Value) -> Vec<u8> {
    let mut out = vec![0x80, 2];
    write(value, &mut out);
    out.push(b'.');
    out
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Bool(truth) => out.push(if *truth { 0x88 } else { 0x89 }),
        Value::Int(number) => int(*number, out),
        Value::Float(number) => {
            out.push(b'G');
            out.extend(number.to_be_bytes());
        }
        Value::Str(text) => {
            out.push(b'X');
            out.extend((text.len() as u32).to_le_bytes());
            out.extend(text.as_bytes());
        }
        Value::List(members) => {
            out.push(b']');
            marked(members, b'e', out);
        }
        Value::Tuple(members) => marked(members, b't', out),
        Value::Dict(entries) => {
            out.push(b'}');
            set_items(entries, out);
        }
        Value::Global(name) => global(name, out),
        Value::Object(object) => {
            global(&object.class, out);
            write(&object.arguments, out);
            out.push(b'R');
            set_items(&object.entries, out);
        }
        Value::Persistent(id) => {
            write(id, out);
            out.push(b'Q');
        }
        Value::None | Value::Long(_) | Value::Bytes(_) | Value::Set(_) | Value::Cycle => out.push(b'N'),
    }
}

fn int(number: i64, out: &mut Vec<u8>) {
    match (u8::try_from(number), i32::try_from(number)) {
        (Ok(small), _) => out.extend([b'K', small]),
        (_, Ok(number)) => {
            out.push(b'J');
            out.extend(number.to_le_bytes());
        }
        _ => {
            out.extend([0x8a, 8]);
            out.extend(number.to_le_bytes());
        }
    }
}

/// `torch._utils._rebuild_tensor_v2`: module and name.
fn global(name: &str, out: &mut Vec<u8>) {
    let (module, name) = name.rsplit_once('.').unwrap_or(("builtins", name));
    out.extend(format!("c{module}\n{name}\n").bytes());
}

/// All members behind a mark, then the instruction that takes them.
fn marked(members: &[Value], then: u8, out: &mut Vec<u8>) {
    out.push(b'(');
    members.iter().for_each(|member| write(member, out));
    out.push(then);
}

fn set_items(entries: &[(Value, Value)], out: &mut Vec<u8>) {
    if entries.is_empty() {
        return;
    }
    out.push(b'(');
    for (key, value) in entries {
        write(key, out);
        write(value, out);
    }
    out.push(b'u');
}
