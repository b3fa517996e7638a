//! What the supervisor is to run in place of a command: the file that `errand runner --actions` reads.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A tree of actions on its way into the container, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The tree, in the words of the Task.
    pub action: Map<String, Value>,
    /// Name of the log's source where an action gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_source: Option<String>,
}

impl Plan {
    /// Compact JSON.
    pub fn encode(&self) -> String {
        // Strings, numbers and maps with string keys: serialization cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// Where it is something else, or nested deeper than serde_json reads.
    pub fn decode(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}
