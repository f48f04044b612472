//! What a record says, as the command line prints it in JSON.

use serde_json::Value;

use crate::Count;

/// Empty where there is none.
pub fn text<'e>(event: &'e Value, pointer: &str) -> &'e str {
    event.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// 0 where there is none.
pub fn number(event: &Value, pointer: &str) -> u64 {
    event.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

/// What they say that was sent.
pub fn sum(events: &[Value]) -> Count {
    let mut sum = Count::default();
    for event in events {
        let bytes = number(event, "/source/bytes");
        sum += Count { packets: number(event, "/source/packets"), bytes };
    }
    sum
}
