//! What each door says to each row, a file for each door.

mod cloudru;
mod diego;
mod errand;
mod greencloud;
mod qinling;
mod ucloud;

use ::errand::crd::MAX_BODY_BYTES;

use super::{ground::Subject, table::Cell};

/// All doors.
pub fn all() -> Vec<Box<dyn Door>> {
    vec![
        Box::new(errand::Errand),
        Box::new(greencloud::GreenCloud),
        Box::new(cloudru::CloudRu),
        Box::new(qinling::Qinling),
        Box::new(ucloud::UCloud),
        Box::new(diego::Diego),
    ]
}

/// A door. Each method that takes a subject and gives a cell is a row of the table ([`super::table::ROWS`] says what each
/// is about), and none of them has a default: a new row must be answered for by every door.
pub trait Door {
    fn name(&self) -> &'static str;

    /// It has a listener of its own, at which nobody brings a token.
    fn is_apart(&self) -> bool {
        false
    }

    /// What a Task is asked for by.
    fn id(&self, subject: &Subject) -> String;

    fn create(&self, subject: &Subject) -> Cell;
    fn observe(&self, subject: &Subject) -> Cell;
    fn run(&self, subject: &Subject) -> Cell;
    fn progress(&self, subject: &Subject) -> Cell;
    fn log(&self, subject: &Subject) -> Cell;
    fn result(&self, subject: &Subject) -> Cell;
    fn failure(&self, subject: &Subject) -> Cell;
    fn time_out(&self, subject: &Subject) -> Cell;
    fn cancel(&self, subject: &Subject) -> Cell;
    fn cancelled(&self, subject: &Subject) -> Cell;
    fn delete(&self, subject: &Subject) -> Cell;
    fn not_found(&self, subject: &Subject) -> Cell;
    fn not_mine(&self, subject: &Subject) -> Cell;
    fn no_token(&self, subject: &Subject) -> Cell;
    fn wrong_token(&self, subject: &Subject) -> Cell;
    fn bad_body(&self, subject: &Subject) -> Cell;
    fn oversized_body(&self, subject: &Subject) -> Cell;
    fn concurrent_creates(&self, subject: &Subject) -> Cell;
    fn gone(&self, subject: &Subject) -> Cell;
}

/// What the facade says at every door.
const NO_TOKEN: &str = "a token is needed in the header Authorization";
const WRONG_TOKEN: &str = "the token is not valid, or has ended";
const NO_METHOD: &str = "this method is not allowed here";
const TOO_LARGE: &str = "the body may have at most 131072 bytes";

/// A body with one byte more than a Task can hold.
fn oversized() -> Vec<u8> {
    vec![b'x'; MAX_BODY_BYTES + 1]
}

/// The UUID of an object: its name where that is one, else its uid.
fn uuid_of(object: &impl kube::ResourceExt) -> String {
    let name = object.name_any();
    let is_uuid = name.len() == 36 && name.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if is_uuid { name } else { object.uid().unwrap() }
}
