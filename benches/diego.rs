//! `make bench`: what tasks of Diego's clients cost, on a release build, with clients on the same two cores.
//!
//! Prints a table; nothing here fails for being slow.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/plane/support/protobuf.rs"]
#[allow(dead_code)]
mod protobuf;
#[path = "support/mod.rs"]
mod support;

use std::path::Path;

use protobuf::{message, text};
use support::{Plane, load::load};

/// Tasks that are listed; nobody runs them.
const LISTED: usize = 5_000;
/// Lists, so many at once.
const LISTS: usize = 20;
const LISTERS: usize = 2;

fn main() {
    let runtime = support::runtime();
    println!("| what | measured | beside it |");
    println!("|---|---|---|");
    runtime.block_on(list());
}

/// A request to desire a task that does nothing. All lengths are below 128, so the bytes are text.
fn desire(number: usize) -> (String, String) {
    let run = [text(1, "true"), text(6, "root")].concat();
    let definition = [text(1, "docker:///busybox"), message(3, &message(3, &run))].concat();
    let guid = format!("bench-{number}");
    let body = [message(1, &definition), text(2, &guid), text(3, "bench")].concat();
    (
        "POST /v1/tasks/desire.r2".to_owned(),
        String::from_utf8(body).unwrap(),
    )
}

fn plane(folder: &Path, more: &[&str]) -> (Plane, String) {
    let args = ["--diego-addr", "127.0.0.1:0"].iter().chain(more);
    let plane = Plane::start_with(folder, &args.map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
    let url = plane.diego.clone().unwrap();
    (plane, url)
}

/// Tasks that wait for cells, so that nothing but the door is measured.
async fn list() {
    let folder = tempfile::tempdir().unwrap();
    let (mut plane, url) = plane(folder.path(), &["--diego-cells"]);
    let made = load(&url, 16, LISTED / 16, desire).await;
    made.print("desires at the door of Diego, for cells from outside", "");
    let listed = load(&url, LISTERS, LISTS / LISTERS, |_| {
        ("POST /v1/tasks/list.r3".to_owned(), String::new())
    })
    .await;
    let count = LISTED / 16 * 16;
    listed.print(&format!("lists of {count} tasks through list.r3"), "");
    println!(
        "| memory of the plane after it (VmHWM) | {:.1} MiB | |",
        plane.memory()
    );
    plane.stop();
}
