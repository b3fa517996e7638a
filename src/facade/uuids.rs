//! UUIDs as ids of objects, for doors whose clients know no other ids. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use uuid::Uuid;

/// The UUID that a text is in the only form that names of objects can have: with dashes, in lower case.
pub fn parse(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|id| id.to_string() == text)
}

/// The UUID of an object: its name where that is one, else its uid.
pub fn of(meta: &ObjectMeta) -> Option<Uuid> {
    let name = meta.name.as_deref().and_then(parse);
    name.or_else(|| parse(meta.uid.as_deref()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const UID: &str = "0f1e2d3c-4b5a-4978-8069-1a2b3c4d5e6f";
    const OTHER: &str = "6f1e2d3c-4b5a-4978-8069-1a2b3c4d5e6f";

    #[test]
    fn a_name_that_is_a_uuid_goes_before_the_uid() {
        let of = |name: &str, uid: Option<&str>| {
            let meta = serde_json::from_value(json!({"name": name, "uid": uid})).unwrap();
            of(&meta).map(|id| id.to_string())
        };
        assert_eq!(of("hello", Some(UID)).as_deref(), Some(UID));
        assert_eq!(of(OTHER, Some(UID)).as_deref(), Some(OTHER));
        for other in [
            "6f1e2d3c4b5a497880691a2b3c4d5e6f",
            "6F1E2D3C-4B5A-4978-8069-1A2B3C4D5E6F",
            "{6f1e2d3c-4b5a-4978-8069-1a2b3c4d5e6f}",
        ] {
            assert_eq!(of(other, Some(UID)).as_deref(), Some(UID), "{other}");
        }
        assert_eq!(of("hello", None), None);
    }
}
