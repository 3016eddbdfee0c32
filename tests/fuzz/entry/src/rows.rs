//! Rows from bytes. A text that is JSON stands for itself. Any other is a list of changes to rows
//! as an engine writes them, one per line: a JSON pointer and a value. That way almost everything a
//! fuzzer thinks of is rows.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Changes of one input.
const CHANGES_MAX: usize = 40;

/// Reads rows. `usual` is JSON that is never wrong.
pub fn read<T: DeserializeOwned>(bytes: &[u8], usual: &str) -> Option<T> {
    let text = String::from_utf8_lossy(bytes);
    if text.starts_with('{') {
        return serde_json::from_str(&text).ok();
    }
    let mut rows: Value = serde_json::from_str(usual).ok()?;
    for line in text.lines().take(CHANGES_MAX) {
        let (pointer, value) = line.split_once(' ').unwrap_or((line, "0"));
        let Some(changed) = changed(&rows, pointer, value) else { continue };
        // What is no row at all never reaches an engine.
        if serde_json::from_value::<T>(changed.clone()).is_ok() {
            rows = changed;
        }
    }
    serde_json::from_value(rows).ok()
}

/// A pointer ending in `/-` repeats the first of a list; the other changes then find it at its end.
fn changed(rows: &Value, pointer: &str, value: &str) -> Option<Value> {
    let mut rows = rows.clone();
    if let Some(list) = pointer.strip_suffix("/-") {
        let list = rows.pointer_mut(list)?.as_array_mut()?;
        list.push(list.first()?.clone());
    } else {
        *rows.pointer_mut(pointer)? = serde_json::from_str(value).ok()?;
    }
    Some(rows)
}
