//! JSON merge patch (RFC 7396): how a delta is made and applied. The law, kept by a property test:
//! `patch(a, diff(a, b)) == b` for objects without null members, which is what every published state is.

use serde_json::{Map, Value};

/// Applies `patch` to `target`.
pub fn patch(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Value::Object(members) = target {
        for (name, change) in changes {
            if change.is_null() {
                members.remove(name);
            } else {
                self::patch(members.entry(name.clone()).or_insert(Value::Null), change);
            }
        }
    }
}

/// The smallest patch from `a` to `b`, or `None` if they are equal.
pub fn diff(a: &Value, b: &Value) -> Option<Value> {
    if a == b {
        return None;
    }
    let (Value::Object(before), Value::Object(after)) = (a, b) else {
        return Some(b.clone());
    };
    let mut changes = Map::new();
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        changes.insert(name.clone(), Value::Null);
    }
    for (name, value) in after {
        match before.get(name) {
            // An object that replaces a non-object must not carry nulls; published states have none.
            None => drop(changes.insert(name.clone(), value.clone())),
            Some(old) => {
                if let Some(change) = diff(old, value) {
                    changes.insert(name.clone(), change);
                }
            }
        }
    }
    Some(Value::Object(changes))
}

/// `value` without null members of objects, at any depth outside arrays: a published state can't express them.
pub fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect(),
        ),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// Objects without nulls, with few names so that both sides share some.
    pub(crate) fn state() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
            prop::collection::vec(any::<u8>().prop_map(Value::from), 0..3).prop_map(Value::from),
        ];
        let inner = leaf.prop_recursive(3, 24, 4, |inner| {
            prop::collection::hash_map("[a-d]", inner, 0..4).prop_map(|m| Value::Object(m.into_iter().collect()))
        });
        prop::collection::hash_map("[a-d]", inner, 0..4).prop_map(|m| Value::Object(m.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn patch_of_diff_gives_the_other(a in state(), b in state()) {
            let mut patched = a.clone();
            match diff(&a, &b) {
                None => prop_assert_eq!(&a, &b),
                Some(change) => { patch(&mut patched, &change); prop_assert_eq!(patched, b); }
            }
        }
    }

    /// The examples of RFC 7396, appendix A.
    #[test]
    fn examples_of_the_rfc() {
        for (target, change, result) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"a":"foo"}), json!(null), json!(null)),
            (json!({"a":"foo"}), json!("bar"), json!("bar")),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ] {
            let mut patched = target.clone();
            patch(&mut patched, &change);
            assert_eq!(patched, result, "{target} with {change}");
        }
    }
}
