//! Changing JSON as JSON: a value replaced, a number moved, a member left out, renamed or added.
//!
//! So that a changed document still gets past the parser, to the rules behind it.

use serde_json::{Map, Value, json};

use super::Mutator;

impl Mutator {
    /// Changes one value of the document, or of one of its lines; false when there is no JSON in it.
    pub(super) fn change_json(&mut self, input: &mut Vec<u8>) -> bool {
        if let Ok(mut value) = serde_json::from_slice::<Value>(input) {
            self.change_somewhere(&mut value);
            *input = value.to_string().into_bytes();
            return true;
        }
        let mut lines: Vec<Vec<u8>> = input.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        let at = self.rng.below(lines.len());
        let Ok(mut value) = serde_json::from_slice::<Value>(&lines[at]) else { return false };
        self.change_somewhere(&mut value);
        lines[at] = value.to_string().into_bytes();
        *input = lines.join(&b'\n');
        true
    }

    fn change_somewhere(&mut self, value: &mut Value) {
        let mut steps = self.rng.below(count(value));
        self.change_at(value, &mut steps);
    }

    /// Walks to the value that is `steps` away, in the order of reading, and changes it.
    fn change_at(&mut self, value: &mut Value, steps: &mut usize) -> bool {
        if *steps == 0 {
            self.change_value(value);
            return true;
        }
        *steps -= 1;
        match value {
            Value::Array(items) => items.iter_mut().any(|item| self.change_at(item, steps)),
            Value::Object(members) => members.values_mut().any(|member| self.change_at(member, steps)),
            _ => false,
        }
    }

    fn change_value(&mut self, value: &mut Value) {
        if self.rng.once_in(4) {
            *value = self.value();
            return;
        }
        match value {
            Value::Null => *value = self.value(),
            Value::Bool(truth) => *truth = !*truth,
            Value::Number(number) => *value = self.number(number.as_i64().unwrap_or(0)),
            Value::String(text) => {
                let mut bytes = std::mem::take(text).into_bytes();
                self.change_bytes(&mut bytes, &[]);
                *text = String::from_utf8_lossy(&bytes).into_owned();
            }
            Value::Array(items) => self.change_items(items),
            Value::Object(members) => self.change_members(members),
        }
    }

    fn change_items(&mut self, items: &mut Vec<Value>) {
        match (self.rng.below(3), items.len()) {
            (0, 1..) => drop(items.remove(self.rng.below(items.len()))),
            (1, 1..) => {
                let again = self.rng.choose(items).clone();
                items.push(again);
            }
            _ => {
                let value = self.value();
                items.push(value);
            }
        }
    }

    fn change_members(&mut self, members: &mut Map<String, Value>) {
        let names: Vec<String> = members.keys().cloned().collect();
        let new = self.word().to_owned();
        match (self.rng.below(4), names.is_empty()) {
            (0, false) => drop(members.remove(self.rng.choose(&names))),
            (1, false) => {
                let member = members.remove(self.rng.choose(&names)).unwrap_or_default();
                members.insert(new, member);
            }
            (2, false) => {
                // One member's value under another's name.
                let member = members[self.rng.choose(&names)].clone();
                members.insert(self.rng.choose(&names).clone(), member);
            }
            _ => {
                let value = self.value();
                members.insert(new, value);
            }
        }
    }

    /// Any value.
    fn value(&mut self) -> Value {
        match self.rng.below(9) {
            0 => Value::Null,
            1 => Value::Bool(self.rng.once_in(2)),
            2 => self.number(0),
            3 => json!([]),
            4 => json!({}),
            5 => json!([self.word()]),
            6 => {
                // Up to above the depth that parsers refuse.
                let depth = self.rng.below(140);
                (0..depth).fold(Value::Null, |inner, _| json!([inner]))
            }
            _ => json!(self.word()),
        }
    }

    fn number(&mut self, near: i64) -> Value {
        match self.rng.below(10) {
            0 => json!(near.wrapping_add(1)),
            1 => json!(near.wrapping_sub(1)),
            2 => json!(near.wrapping_neg()),
            3 => json!(0),
            4 => json!(i64::MAX),
            5 => json!(i64::MIN),
            6 => json!(u64::MAX),
            7 => json!(u32::MAX),
            8 => json!(0.5),
            _ => json!(i64::from_le_bytes(self.rng.next().to_le_bytes()) >> self.rng.below(64)),
        }
    }
}

/// The value itself and everything in it.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum::<usize>(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    }
}
