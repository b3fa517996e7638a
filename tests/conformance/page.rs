//! The table as `docs/conformance.md`, made of what the test runs.

use std::{fmt::Write as _, path::Path};

use super::{
    Exchange,
    doors::{self, Door},
    ground::Subject,
    table::{Cell, ROWS, Row},
};

/// Set, it writes the page anew.
const UPDATE: &str = "ERRAND_UPDATE_PAGES";

const HEAD: &str = "\
# What every door does

Each line of the table is a behaviour, each column a door of the REST facade, each cell the statuses of its answers. A
dash says that the API has no such call; the statuses behind it are for whoever tries all the same. Below are the
requests: who asks is ann, who may do anything in the namespace, where nobody else is named, and behind each stand the
status and the fields of a JSON body, or its media type.

`tests/conformance` sends all of these requests to one plane, looks at the whole answers, and makes this page
(`ERRAND_UPDATE_PAGES=1 cargo test --test plane conformance::page`).

";

fn page() -> String {
    let doors = doors::all();
    let mut page = HEAD.to_owned();
    let names: Vec<_> = doors.iter().map(|door| door.name()).collect();
    // Writing into a String cannot fail.
    let _ = writeln!(page, "| behaviour | {} |", names.join(" | "));
    let _ = writeln!(page, "|---|{}", "---|".repeat(doors.len()));
    for row in &ROWS {
        let cells: Vec<_> = doors
            .iter()
            .map(|door| Shown::of(row, door.as_ref()).short())
            .collect();
        let anchor = row.title.replace(' ', "-");
        let _ = writeln!(page, "| [{}](#{anchor}) | {} |", row.title, cells.join(" | "));
    }
    for row in &ROWS {
        let _ = writeln!(page, "\n## {}\n\n{}\n", row.title, row.means);
        for door in &doors {
            let shown = Shown::of(row, door.as_ref());
            let _ = writeln!(page, "- **{}**{}", door.name(), shown.note);
            for line in shown.lines {
                let _ = writeln!(page, "  - {line}");
            }
        }
    }
    page
}

/// A cell to read.
struct Shown {
    has_call: bool,
    /// Behind the door's name.
    note: String,
    /// Requests with their answers.
    lines: Vec<String>,
    statuses: Vec<u16>,
}

impl Shown {
    fn of(row: &Row, door: &dyn Door) -> Self {
        let (has_call, note, exchanges) = match (row.ask)(door, &Subject::placeholder()) {
            Cell::Answers(exchanges) => (true, String::new(), exchanges),
            Cell::Makes(exchange) => (true, String::new(), vec![exchange]),
            Cell::AtOnce {
                request,
                others: None,
            } => (true, ": each makes a Task of its own".to_owned(), vec![request]),
            Cell::AtOnce {
                request,
                others: Some(others),
            } => (
                true,
                format!(": one makes a Task, the others are answered {others}"),
                vec![request],
            ),
            Cell::NoCall(why, exchanges) => (false, format!(": no such call, {why}"), exchanges),
        };
        let mut statuses: Vec<_> = exchanges.iter().map(|exchange| exchange.reply.status).collect();
        statuses.dedup();
        Self {
            has_call,
            note,
            lines: exchanges.iter().map(Exchange::to_string).collect(),
            statuses,
        }
    }

    fn short(&self) -> String {
        let statuses: Vec<_> = self.statuses.iter().map(u16::to_string).collect();
        let statuses = statuses.join(", ");
        match (self.has_call, statuses.as_str()) {
            (true, _) => statuses,
            (false, "") => "–".to_owned(),
            (false, _) => format!("– ({statuses})"),
        }
    }
}

#[test]
fn the_page_shows_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/conformance.md");
    let page = page();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == page,
        "docs/conformance.md is not what the table says; set {UPDATE}=1 to write it anew"
    );
}
