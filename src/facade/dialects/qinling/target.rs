//! What an execution, a job or a webhook runs: a function and a version, or an alias for both.

use std::sync::Arc;

use super::{fields::Fields, find, package::Settings, versions};
use crate::{
    crd::Function,
    facade::{refusal::Refusal, state::Facade, views::Facet},
};

/// What is to be run, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A function and its version, 0 being the function as it stands.
    Function {
        /// Its id.
        id: String,
        /// The version.
        version: i64,
    },
    /// An alias of this name.
    Alias(String),
}

impl Target {
    /// Reads `function_id`, `function_version` and `function_alias`. An alias goes before the other two.
    ///
    /// # Errors
    /// Neither is there, or one is malformed.
    pub fn read(fields: &Fields) -> Result<Self, Refusal> {
        let version = fields.integer("function_version", 0)?.unwrap_or(0);
        let id = fields.id("function_id")?;
        match (fields.text("function_alias")?, id) {
            (Some(alias), _) => Ok(Self::Alias(alias)),
            (None, Some(id)) => Ok(Self::Function { id, version }),
            (None, None) => {
                let sentence = "Either function_alias or function_id must be provided.";
                Err(Refusal::Invalid(sentence.to_owned()))
            }
        }
    }

    /// The alias, where one was named.
    pub fn alias(&self) -> Option<&str> {
        match self {
            Self::Alias(name) => Some(name),
            Self::Function { .. } => None,
        }
    }
}

/// The Function and the version that are meant, in a namespace.
///
/// # Errors
/// There is no such alias, function or version, or the function has no versions.
pub async fn resolve(
    facade: &Facade,
    namespace: &str,
    target: &Target,
) -> Result<(Arc<Function>, i64), Refusal> {
    let (function, version) = match target {
        Target::Alias(name) => alias(facade, namespace, name)?,
        Target::Function { id, version } => (find::function_in(facade, namespace, id).await?, *version),
    };
    if version > 0 {
        if Settings::of(&function).is_none() {
            let sentence = "Can not specify version for package type function.";
            return Err(Refusal::Invalid(sentence.to_owned()));
        }
        versions::get(facade, &function, version).await?;
    }
    Ok((function, version))
}

/// The Function with an alias of this name, and the version that it stands for.
fn alias(facade: &Facade, namespace: &str, name: &str) -> Result<(Arc<Function>, i64), Refusal> {
    let functions = facade
        .views
        .functions
        .by_facet(&Facet::Namespace(namespace.to_owned()));
    let found = functions.into_iter().find_map(|function| {
        let alias = function.spec.aliases.iter().find(|alias| alias.name == name)?;
        let version = alias.version;
        Some((function, version))
    });
    found.ok_or_else(|| Refusal::NotFound(format!("FunctionAlias not found [name={name}]")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0f1e2d3c-4b5a-4978-8069-1a2b3c4d5e6f";

    fn read(text: &str) -> Result<Target, Refusal> {
        let known = ["function_id", "function_version", "function_alias"];
        Target::read(&Fields::read(text.as_bytes(), &known, &[]).unwrap())
    }

    #[test]
    fn an_alias_goes_before_the_function_and_null_is_nothing() {
        let function = |version| Target::Function {
            id: ID.into(),
            version,
        };
        let id = |rest: &str| read(&format!("{{\"function_id\": \"{ID}\"{rest}}}"));
        assert_eq!(id(""), Ok(function(0)));
        assert_eq!(id(", \"function_version\": \"3\""), Ok(function(3)));
        assert_eq!(id(", \"function_version\": null"), Ok(function(0)));
        assert_eq!(id(", \"function_alias\": \"a\""), Ok(Target::Alias("a".into())));
        assert_eq!(
            read(r#"{"function_alias": "a", "function_id": null, "function_version": null}"#),
            Ok(Target::Alias("a".into()))
        );
        let none = read("{}").unwrap_err().to_string();
        assert_eq!(none, "Either function_alias or function_id must be provided.");
    }
}
