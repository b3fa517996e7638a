//! What can be done with objects. Synchronous: all of it is work in memory.
pub mod create;
pub mod delete;
pub mod list;
pub mod prepare;
pub mod update;
pub mod watch;

use std::sync::Arc;

use serde_json::Value;

use super::{
    auth::User,
    catalogue::{CRDS, Kind},
    core::Core,
    http::{
        path::Query,
        status::{ApiError, Result},
    },
    store::{Address, Object, StoreError},
};

/// What happens to fields that the schema does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// They are dropped.
    Ignore,
    /// They are dropped, and the client is told in a `Warning` header.
    #[default]
    Warn,
    /// The write is refused.
    Strict,
}

/// Options of a write.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Do everything but store it.
    pub dry_run: bool,
    /// Who is said to manage the fields.
    pub manager: String,
    /// Whether the client named the manager itself.
    pub manager_given: bool,
    /// Take over fields of other managers (server-side apply).
    pub force: Option<bool>,
    /// Unknown fields.
    pub validation: FieldValidation,
}

impl WriteOptions {
    /// From query parameters.
    ///
    /// # Errors
    /// Values that the options do not have.
    pub fn parse(query: &Query, user_agent: &str) -> Result<Self> {
        let dry_run = match query.get("dryRun") {
            None => false,
            Some("All") => true,
            Some(other) => {
                return Err(ApiError::bad_request(format!(
                    "invalid dryRun value {other:?}: supported values: \"All\""
                )));
            }
        };
        let validation = match query.get("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                return Err(ApiError::bad_request(format!(
                    "invalid fieldValidation value {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
                )));
            }
        };
        // As `managerOrUserAgent` of apiserver: the part before the slash.
        let agent = user_agent.split('/').next().unwrap_or("");
        let manager = query
            .get("fieldManager")
            .unwrap_or(if agent.is_empty() { "unknown" } else { agent });
        if manager.chars().count() > 128 || manager.chars().any(char::is_control) {
            return Err(ApiError::bad_request(
                "fieldManager: Invalid value: at most 128 printable characters",
            ));
        }
        Ok(Self {
            dry_run,
            manager_given: query.get("fieldManager").is_some(),
            manager: manager.to_owned(),
            force: query.tristate("force"),
            validation,
        })
    }
}

/// One request about objects of one kind.
pub struct Call<'a> {
    /// The server.
    pub core: &'a Core,
    /// The kind.
    pub kind: &'a Arc<Kind>,
    /// Who asks.
    pub user: &'a User,
    /// Namespace of the path, empty when it has none.
    pub namespace: &'a str,
    /// Options of a write.
    pub options: WriteOptions,
    /// `Warning` headers for the client.
    pub warnings: Vec<String>,
}

impl<'a> Call<'a> {
    /// A call of the server itself.
    pub fn internal(core: &'a Core, kind: &'a Arc<Kind>, user: &'a User, namespace: &'a str) -> Self {
        let options = WriteOptions {
            validation: FieldValidation::Ignore,
            ..WriteOptions::default()
        };
        Self {
            core,
            kind,
            user,
            namespace,
            options,
            warnings: Vec::new(),
        }
    }

    /// Where an object of this name is.
    pub fn address(&self, name: &str) -> Address {
        Address::new(&self.kind.key, self.namespace, name)
    }

    /// The stored object.
    ///
    /// # Errors
    /// 404.
    pub fn stored(&self, name: &str) -> Result<Arc<Object>> {
        self.core
            .store
            .get(&self.address(name))
            .ok_or_else(|| ApiError::not_found(self.kind.subject(), name))
    }

    /// What has to follow a write of this kind.
    fn written(&self) {
        if self.kind.is(CRDS) {
            self.core.reload_catalogue();
        }
    }
}

/// The object that answers a call.
pub enum Answer {
    /// As it is in the store.
    Stored(Arc<Object>),
    /// Made for this answer, in the version of the call.
    Made(Value),
}

impl Answer {
    /// The object in the version of `kind`.
    pub fn value(&self, kind: &Kind) -> Value {
        match self {
            Self::Stored(object) => kind.from_stored(object.value()),
            Self::Made(value) => value.clone(),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::TooLarge { size } => Self::object_too_large(size, super::store::MAX_OBJECT),
            StoreError::Encode(source) => Self::internal(source.to_string()),
            StoreError::Log(source) => {
                tracing::error!(error = %source, "could not write to the log of the store");
                Self::internal(format!("write to the data folder: {source}"))
            }
        }
    }
}
