//! Content negotiation. Pure; follows `k8s.io/apiserver/pkg/endpoints/handlers/negotiation`.
use super::status::{ApiError, Result};

/// Encoding of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
}

/// What of the objects an answer shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The objects.
    Whole,
    /// A meta.k8s.io/v1 Table.
    Table,
    /// Metadata only.
    Metadata,
}

/// What a client takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Encoding.
    pub format: Format,
    /// Shape.
    pub shape: Shape,
}

impl Accepted {
    /// Chooses from an `Accept` header, the first acceptable of the most wanted.
    ///
    /// # Errors
    /// 406 when there is none.
    pub fn choose(accept: Option<&str>) -> Result<Self> {
        let accept = accept.unwrap_or("").trim();
        if accept.is_empty() {
            return Ok(Self {
                format: Format::Json,
                shape: Shape::Whole,
            });
        }
        let mut ranges: Vec<(f32, Self)> = accept.split(',').filter_map(range).collect();
        // Stable, so that equals stay in the client's order.
        ranges.sort_by(|a, b| b.0.total_cmp(&a.0));
        ranges
            .first()
            .map(|(_, accepted)| *accepted)
            .ok_or_else(ApiError::not_acceptable)
    }
}

fn range(text: &str) -> Option<(f32, Accepted)> {
    let mut parts = text.split(';').map(str::trim);
    let format = match parts.next()?.to_ascii_lowercase().as_str() {
        "application/json" | "*/*" | "application/*" => Format::Json,
        "application/yaml" => Format::Yaml,
        _ => return None,
    };
    let (mut quality, mut kind, mut group, mut version) = (1.0, "", "", "");
    for parameter in parts {
        match parameter.split_once('=') {
            Some(("q", value)) => quality = value.parse().ok().filter(|q| (0.0..=1.0).contains(q))?,
            Some(("as", value)) => kind = value,
            Some(("g", value)) => group = value,
            Some(("v", value)) => version = value,
            _ => {}
        }
    }
    let shape = match kind {
        "" => Shape::Whole,
        "Table" if group == "meta.k8s.io" && version == "v1" => Shape::Table,
        "PartialObjectMetadata" | "PartialObjectMetadataList"
            if group == "meta.k8s.io" && version == "v1" =>
        {
            Shape::Metadata
        }
        _ => return None,
    };
    (quality > 0.0).then_some((quality, Accepted { format, shape }))
}

/// Media type without parameters, in lower case; empty when there is none.
pub fn media_type(content_type: Option<&str>) -> String {
    content_type
        .unwrap_or("")
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(accept: &str) -> Option<(Format, Shape)> {
        Accepted::choose(Some(accept))
            .ok()
            .map(|accepted| (accepted.format, accepted.shape))
    }

    #[test]
    fn the_first_thing_we_can_give_is_given() {
        let json = Some((Format::Json, Shape::Whole));
        assert_eq!(choose(""), json);
        assert_eq!(choose("*/*"), json);
        assert_eq!(
            choose("application/vnd.kubernetes.protobuf,application/json"),
            json
        );
        assert_eq!(
            choose(
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
            ),
            Some((Format::Json, Shape::Table))
        );
        assert_eq!(
            choose(
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
            ),
            Some((Format::Json, Shape::Metadata))
        );
        assert_eq!(
            choose("application/json;q=0.5, application/yaml"),
            Some((Format::Yaml, Shape::Whole))
        );
        assert_eq!(choose("application/json;stream=watch"), json);
    }

    #[test]
    fn what_nobody_can_give_is_not_acceptable() {
        assert_eq!(choose("text/html"), None);
        assert_eq!(choose("application/vnd.kubernetes.protobuf"), None);
        assert_eq!(choose("application/json;q=0"), None);
        assert_eq!(choose("application/json;as=Table;v=v2;g=meta.k8s.io"), None);
    }
}
