//! Sets of fields as `metadata.managedFields` writes them (`fieldsV1`). Pure.
//!
//! Form: `k8s.io/apimachinery/pkg/apis/meta/v1.FieldsV1`: `f:NAME` for a field, `k:{KEYS}` for an element of a keyed
//! list, `v:VALUE` for an element of a set, `.` for the element itself.
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::lists::{ListRule, ListRules, join};

/// A set of fields, as a tree of path elements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// Whether what is here belongs to the set as such: a scalar, an atomic list, an element of a list.
    pub here: bool,
    /// What belongs to the set further down.
    pub below: BTreeMap<String, Fields>,
}

/// Fields that nobody manages.
const UNMANAGED: [&str; 10] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.generateName",
    "metadata.uid",
    "metadata.resourceVersion",
    "metadata.generation",
    "metadata.creationTimestamp",
    "metadata.managedFields",
    "metadata.deletionTimestamp",
    "metadata.selfLink",
];

impl Fields {
    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        !self.here && self.below.values().all(Self::is_empty)
    }

    fn leaf() -> Self {
        Self {
            here: true,
            below: BTreeMap::new(),
        }
    }

    /// All fields of an object that may be managed.
    ///
    /// # Errors
    /// Elements of keyed lists without a key, or with the key of another.
    pub fn of_object(object: &Value, rules: &ListRules) -> Result<Self, String> {
        let mut fields = Self::of(object, "", rules)?;
        fields.below.remove("f:apiVersion");
        fields.below.remove("f:kind");
        for path in UNMANAGED {
            fields.forget(path);
        }
        if fields.below.get("f:metadata").is_some_and(Self::is_empty) {
            fields.below.remove("f:metadata");
        }
        Ok(fields)
    }

    fn forget(&mut self, path: &str) {
        if let Some((first, rest)) = path.split_once('.')
            && let Some(child) = self.below.get_mut(&format!("f:{first}"))
        {
            child.below.remove(&format!("f:{rest}"));
        }
    }

    fn of(value: &Value, path: &str, rules: &ListRules) -> Result<Self, String> {
        match value {
            Value::Object(map) if !map.is_empty() && !rules.is_atomic_map(path) => {
                let mut fields = Self::default();
                for (name, value) in map {
                    fields
                        .below
                        .insert(format!("f:{name}"), Self::of(value, &join(path, name), rules)?);
                }
                Ok(fields)
            }
            Value::Array(items) if !items.is_empty() => Self::of_list(items, path, rules),
            _ => Ok(Self::leaf()),
        }
    }

    fn of_list(items: &[Value], path: &str, rules: &ListRules) -> Result<Self, String> {
        let rule = rules.of(path);
        if rule == ListRule::Atomic {
            return Ok(Self::leaf());
        }
        let mut fields = Self::default();
        for (index, item) in items.iter().enumerate() {
            let element = element(item, &rule)
                .ok_or_else(|| format!(".{path}: element {index} does not have its keys"))?;
            let mut below = match rule {
                ListRule::Map(_) => Self::of(item, path, rules)?,
                _ => Self::leaf(),
            };
            below.here = true;
            if fields.below.insert(element.clone(), below).is_some() {
                return Err(format!(
                    ".{path}: duplicate entries for key [{}]",
                    element.split_at(2).1
                ));
            }
        }
        Ok(fields)
    }

    /// Everything that is in both or in either.
    pub fn add(&mut self, other: &Self) {
        self.here |= other.here;
        for (element, below) in &other.below {
            self.below.entry(element.clone()).or_default().add(below);
        }
    }

    /// Takes away what is in `other`, place by place.
    pub fn subtract(&mut self, other: &Self) {
        if other.here {
            self.here = false;
        }
        self.below.retain(|element, below| {
            if let Some(gone) = other.below.get(element) {
                below.subtract(gone);
            }
            !below.is_empty()
        });
    }

    /// What is at the same place in both.
    pub fn intersect(&self, other: &Self) -> Self {
        let mut both = Self {
            here: self.here && other.here,
            below: BTreeMap::new(),
        };
        for (element, below) in &self.below {
            let Some(theirs) = other.below.get(element) else {
                continue;
            };
            let shared = below.intersect(theirs);
            if !shared.is_empty() {
                both.below.insert(element.clone(), shared);
            }
        }
        both
    }

    /// Those fields of the set whose values differ between two objects.
    pub fn differing(&self, a: Option<&Value>, b: Option<&Value>) -> Self {
        let ends = self.below.is_empty();
        let mut differing = Self::default();
        if self.here {
            // An element of a list counts by being there, its fields count by themselves.
            differing.here = if ends { a != b } else { a.is_some() != b.is_some() };
        }
        for (element, below) in &self.below {
            let step = |value: Option<&Value>| value.and_then(|value| step(value, element)).cloned();
            let found = below.differing(step(a).as_ref(), step(b).as_ref());
            if !found.is_empty() {
                differing.below.insert(element.clone(), found);
            }
        }
        differing
    }

    /// Takes the fields of the set out of an object, and maps and lists that become empty by it.
    pub fn remove_from(&self, value: &mut Value) {
        for (element, below) in &self.below {
            let whole = below.here;
            match value {
                Value::Object(map) => {
                    let Some(name) = element.strip_prefix("f:") else {
                        continue;
                    };
                    let Some(child) = map.get_mut(name) else { continue };
                    if !whole {
                        below.remove_from(child);
                    }
                    if whole || is_hollow(child) {
                        map.shift_remove(name);
                    }
                }
                Value::Array(items) => {
                    let Some(at) = items.iter().position(|item| is_element(item, element)) else {
                        continue;
                    };
                    if whole {
                        items.remove(at);
                    } else {
                        below.remove_from(&mut items[at]);
                    }
                }
                _ => {}
            }
        }
    }

    /// The paths of the set, as conflicts name them: `.spec.containers[name="a"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect(&mut String::new(), &mut paths);
        paths
    }

    fn collect(&self, path: &mut String, paths: &mut Vec<String>) {
        if self.here {
            paths.push(path.clone());
        }
        for (element, below) in &self.below {
            let length = path.len();
            path.push_str(&element_text(element));
            below.collect(path, paths);
            path.truncate(length);
        }
    }

    /// As `fieldsV1`.
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        if self.here && !self.below.is_empty() {
            map.insert(".".into(), Value::Object(Map::new()));
        }
        for (element, below) in &self.below {
            map.insert(element.clone(), below.to_json());
        }
        Value::Object(map)
    }

    /// From `fieldsV1`; what it cannot be is left out.
    pub fn from_json(value: &Value) -> Self {
        let mut fields = Self::default();
        let Some(map) = value.as_object() else {
            return fields;
        };
        fields.here = map.is_empty();
        for (element, below) in map {
            if element == "." {
                fields.here = true;
                continue;
            }
            let known = element
                .get(..2)
                .is_some_and(|kind| matches!(kind, "f:" | "k:" | "v:" | "i:"));
            let below = Self::from_json(below);
            if known && !below.is_empty() {
                fields.below.insert(element.clone(), below);
            }
        }
        fields
    }
}

fn is_hollow(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// Path element of a list item.
pub fn element(item: &Value, rule: &ListRule) -> Option<String> {
    match rule {
        ListRule::Atomic => None,
        ListRule::Set => Some(format!("v:{item}")),
        ListRule::Map(keys) => {
            let mut id = BTreeMap::new();
            for key in keys {
                match item.get(key) {
                    Some(value) => drop(id.insert(key.as_str(), value.clone())),
                    // The one defaulted key among the built-in lists.
                    None if key == "protocol" => drop(id.insert(key.as_str(), "TCP".into())),
                    None => {}
                }
            }
            if id.is_empty() {
                None
            } else {
                serde_json::to_string(&id).ok().map(|id| format!("k:{id}"))
            }
        }
    }
}

fn is_element(item: &Value, element: &str) -> bool {
    let Some((kind, text)) = element.split_at_checked(2) else {
        return false;
    };
    let Ok(wanted) = serde_json::from_str::<Value>(text) else {
        return false;
    };
    match (kind, &wanted) {
        ("v:", wanted) => item == wanted,
        ("k:", Value::Object(keys)) => keys.iter().all(|(key, value)| match item.get(key) {
            Some(found) => found == value,
            None => key == "protocol" && value == "TCP",
        }),
        _ => false,
    }
}

fn step<'a>(value: &'a Value, element: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => map.get(element.strip_prefix("f:")?),
        Value::Array(items) => items.iter().find(|item| is_element(item, element)),
        _ => None,
    }
}

fn element_text(element: &str) -> String {
    match element.split_at_checked(2) {
        Some(("f:", name)) => format!(".{name}"),
        Some(("k:", keys)) => {
            let keys: BTreeMap<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", keys.join(","))
        }
        Some((_, value)) => format!("[={value}]"),
        None => String::new(),
    }
}

/// Puts an applied configuration over an object: maps merge, keyed lists merge by key, sets unite, the rest is replaced.
pub fn merge(live: &Value, applied: &Value, path: &str, rules: &ListRules) -> Value {
    match (live, applied) {
        (Value::Object(live), Value::Object(applied)) if !rules.is_atomic_map(path) => {
            let mut merged = live.clone();
            for (name, value) in applied {
                let new = match live.get(name) {
                    Some(old) => merge(old, value, &join(path, name), rules),
                    None => value.clone(),
                };
                merged.insert(name.clone(), new);
            }
            Value::Object(merged)
        }
        (Value::Array(live), Value::Array(applied)) => merge_lists(live, applied, path, rules),
        (_, applied) => applied.clone(),
    }
}

fn merge_lists(live: &[Value], applied: &[Value], path: &str, rules: &ListRules) -> Value {
    let rule = rules.of(path);
    if rule == ListRule::Atomic {
        return Value::Array(applied.to_vec());
    }
    let mut merged = live.to_vec();
    for item in applied {
        let Some(element) = element(item, &rule) else {
            continue;
        };
        match merged.iter().position(|known| is_element(known, &element)) {
            Some(at) => merged[at] = merge(&merged[at], item, path, rules),
            None => merged.push(item.clone()),
        }
    }
    // The order of the configuration counts among its own elements.
    let place = |item: &Value| {
        applied
            .iter()
            .position(|a| element(a, &rule).is_some_and(|e| is_element(item, &e)))
    };
    let mut ordered: Vec<Value> = merged
        .iter()
        .filter(|item| place(item).is_some())
        .cloned()
        .collect();
    ordered.sort_by_key(|item| place(item));
    let mut ordered = ordered.into_iter();
    for slot in &mut merged {
        if place(slot).is_some()
            && let Some(next) = ordered.next()
        {
            *slot = next;
        }
    }
    Value::Array(merged)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn fields(object: Value) -> Fields {
        Fields::of_object(&object, &ListRules::builtin()).unwrap()
    }

    #[test]
    fn fields_take_the_form_of_managed_fields() {
        let set = fields(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "labels": {"a": "b"}, "finalizers": ["x.y/z"]},
            "spec": {"containers": [{"name": "c", "command": ["a"], "ports": [{"containerPort": 1}]}]}
        }));
        let form = json!({
            "f:metadata": {"f:labels": {"f:a": {}}, "f:finalizers": {"v:\"x.y/z\"": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:command": {},
                "f:ports": {"k:{\"containerPort\":1,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}
        });
        assert_eq!(set.to_json(), form);
        assert_eq!(Fields::from_json(&form), set);
        assert!(
            set.paths()
                .contains(&".spec.containers[name=\"c\"].command".to_owned())
        );
    }

    #[test]
    fn differing_fields_and_removal_work_element_by_element() {
        let old =
            json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}, "data": {"k": "v"}});
        let new =
            json!({"spec": {"containers": [{"name": "a", "image": "2"}, {"name": "b"}]}, "data": {"k": "v"}});
        assert_eq!(
            fields(old.clone()).differing(Some(&old), Some(&new)).paths(),
            [".spec.containers[name=\"a\"].image"]
        );
        let mut value = old.clone();
        fields(json!({"data": {"k": "v"}, "spec": {"containers": [{"name": "b"}]}})).remove_from(&mut value);
        assert_eq!(
            value,
            json!({"spec": {"containers": [{"name": "a", "image": "1"}]}})
        );
    }

    fn hostile() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!({})),
            Just(json!(null)),
            Just(json!(1)),
            Just(json!("x"))
        ];
        leaf.prop_recursive(4, 24, 3, |inner| {
            let key = "(f:|k:|v:|i:|\\.|x)(containers|\\{\"name\":\"a\"\\}|\"a\"|ä|)";
            proptest::collection::hash_map(key, inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect()))
        })
    }

    proptest! {
        #[test]
        fn hostile_managed_fields_never_panic(form in hostile()) {
            let set = Fields::from_json(&form);
            let mut object = json!({"containers": [{"name": "a"}, "a"], "x": 1});
            let _ = (set.paths(), set.differing(Some(&object), None), set.intersect(&set));
            set.remove_from(&mut object);
            if !set.below.is_empty() {
                prop_assert_eq!(Fields::from_json(&set.to_json()).paths(), set.paths());
            }
        }
    }

    #[test]
    fn duplicate_and_keyless_elements_are_refused() {
        let of = |object: Value| Fields::of_object(&object, &ListRules::builtin());
        assert!(of(json!({"spec": {"containers": [{"name": "a"}, {"name": "a"}]}})).is_err());
        assert!(of(json!({"spec": {"containers": [{"image": "a"}]}})).is_err());
    }
}
