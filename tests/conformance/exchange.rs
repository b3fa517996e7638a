//! A request, and the whole answer that it must get.

use std::fmt;

use serde_json::Value;

use crate::support::http::{Answer, Http};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// May do anything with Tasks and Functions.
    Ann,
    /// So may Bob.
    Bob,
    /// May do nothing.
    Eve,
    /// Brings no token.
    Nobody,
    /// Brings a token that nobody has.
    Wrong,
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub body: Body,
}

/// The whole body of an answer.
#[derive(Clone, Debug)]
pub enum Body {
    /// Of this media type of JSON, and equal to this.
    Json(&'static str, Value),
    /// Of this media type, byte for byte.
    Bytes(String, Vec<u8>),
    /// No byte.
    Empty,
}

impl Reply {
    pub fn json(status: u16, body: Value) -> Self {
        Self {
            status,
            body: Body::Json("application/json", body),
        }
    }

    pub fn json_as(media: &'static str, status: u16, body: Value) -> Self {
        Self {
            status,
            body: Body::Json(media, body),
        }
    }

    pub fn bytes(status: u16, media: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            body: Body::Bytes(media.to_owned(), body.into()),
        }
    }

    pub fn empty(status: u16) -> Self {
        Self {
            status,
            body: Body::Empty,
        }
    }

    /// Nothing, or what differs.
    pub fn matches(&self, got: &Answer) -> Result<(), String> {
        let media = got.header("content-type");
        let same = match &self.body {
            Body::Json(kind, wanted) => {
                media == Some(kind)
                    && serde_json::from_slice::<Value>(&got.body).is_ok_and(|got| got == *wanted)
            }
            Body::Bytes(wanted, bytes) => media == Some(wanted) && got.body == *bytes,
            Body::Empty => got.body.is_empty(),
        };
        if same && got.status == self.status {
            return Ok(());
        }
        let (wanted, text) = (self.body.text(), got.text());
        Err(format!(
            "wanted {self}\n{wanted}\ngot {} {media:?}\n{text}",
            got.status
        ))
    }
}

impl Body {
    fn text(&self) -> String {
        match self {
            Self::Json(_, json) => json.to_string(),
            Self::Bytes(_, bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Empty => String::new(),
        }
    }
}

/// In short: the status, and the names of a JSON object's fields or the media type.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        match &self.body {
            Body::Json(_, Value::Object(fields)) => {
                let names: Vec<_> = fields.keys().map(String::as_str).collect();
                write!(f, " `{{{}}}`", names.join(", "))
            }
            Body::Json(..) => write!(f, " JSON"),
            Body::Bytes(media, _) => write!(f, " {media}"),
            Body::Empty => Ok(()),
        }
    }
}

/// A request, and the answer that it must get.
pub struct Exchange {
    pub who: Who,
    pub method: &'static str,
    /// `{id}` stands for the id of the Task at this door.
    pub target: &'static str,
    pub body: Vec<u8>,
    pub reply: Reply,
    /// It changes nothing, whatever its method.
    reads: bool,
}

impl Exchange {
    /// Ann reads.
    pub fn get(target: &'static str, reply: Reply) -> Self {
        Self::send_as("GET", target, b"", reply)
    }

    /// Ann sends this.
    pub fn post(target: &'static str, body: &[u8], reply: Reply) -> Self {
        Self::send_as("POST", target, body, reply)
    }

    /// Ann uses some method.
    pub fn send_as(method: &'static str, target: &'static str, body: &[u8], reply: Reply) -> Self {
        Self {
            who: Who::Ann,
            method,
            target,
            body: body.to_vec(),
            reply,
            reads: method == "GET",
        }
    }

    /// The same of a call that changes nothing, whatever its method.
    pub fn read(self) -> Self {
        Self { reads: true, ..self }
    }

    /// The same of somebody else.
    pub fn by(self, who: Who) -> Self {
        Self { who, ..self }
    }

    /// True for what changes nothing and may be asked again.
    pub fn is_read(&self) -> bool {
        self.reads
    }

    /// Sends it, about the Task with this id.
    pub fn send(&self, caller: &Http, id: &str) -> Answer {
        let target = self.target.replace("{id}", id);
        caller.send(self.method, &target, &self.body)
    }
}

/// As the page shows it.
impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{} {}`", self.method, self.target)?;
        match self.who {
            Who::Bob => write!(f, " by bob")?,
            Who::Eve => write!(f, " by eve")?,
            Who::Ann | Who::Nobody | Who::Wrong => {}
        }
        write!(f, " {}", self.reply)
    }
}
