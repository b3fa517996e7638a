//! One table of behaviours, run through every door: `docs/conformance.md` shows it.
//!
//! [`table`] has the rows. [`doors`] has a file for each door, which says for every row what the door answers, or that
//! its API has no such call; a row that a door says nothing about does not compile. [`ground`] has the Tasks that rows
//! are about, on one plane for all of them. [`exchange`]: a request and its answer. [`page`]: the table to read.

mod doors;
mod exchange;
mod ground;
mod page;
mod table;

use std::{future::Future, time::Instant};

use self::{
    doors::Door,
    exchange::Exchange,
    ground::{Ground, Subject},
    table::{Cell, ROWS, Row},
};
use crate::support::PATIENCE;

/// Callers that ask the same at the same time.
const AT_ONCE: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_door_answers_as_the_table_says() {
    let mut ground = Ground::open().await;
    let doors = doors::all();
    for row in &ROWS {
        for door in &doors {
            for subject in ground.subjects(row.about, door.name()).await {
                let place = Place {
                    row,
                    door: door.as_ref(),
                };
                place.check(&mut ground, subject).await;
            }
        }
    }
}

/// A place in the table.
struct Place<'a> {
    row: &'a Row,
    door: &'a dyn Door,
}

impl Place<'_> {
    async fn check(&self, ground: &mut Ground, subject: Subject) {
        match self.cell(&subject) {
            Cell::Answers(exchanges) | Cell::NoCall(_, exchanges) => {
                for number in 0..exchanges.len() {
                    self.settle(ground, &subject, number).await;
                }
            }
            Cell::Makes(request) => self.makes(ground, request).await,
            Cell::AtOnce { request, others } => {
                let one_makes_it = others.is_some();
                self.at_once(ground, request, one_makes_it).await;
            }
        }
    }

    fn cell(&self, subject: &Subject) -> Cell {
        (self.row.ask)(self.door, subject)
    }

    /// What the cell says with this subject in it, of one exchange.
    fn exchange(&self, subject: &Subject, number: usize) -> Exchange {
        let exchanges = match self.cell(subject) {
            Cell::Answers(exchanges) | Cell::NoCall(_, exchanges) => exchanges,
            Cell::Makes(exchange)
            | Cell::AtOnce {
                request: exchange, ..
            } => vec![exchange],
        };
        exchanges.into_iter().nth(number).unwrap()
    }

    /// Sends a request. What is only read is read again until it is as it must be: the facade hears of changes a moment
    /// later than the API server knows them.
    async fn settle(&self, ground: &Ground, subject: &Subject, number: usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = ground.fresh(subject).await;
            let exchange = self.exchange(&now, number);
            let got = exchange.send(&ground.caller(self.door, exchange.who), &self.door.id(&now));
            let Err(difference) = exchange.reply.matches(&got) else {
                return;
            };
            let over = Instant::now() > deadline;
            assert!(
                exchange.is_read() && !over,
                "{}: {difference}",
                self.named(&exchange)
            );
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// A request that makes a Task, of which the answer must speak.
    async fn makes(&self, ground: &mut Ground, request: Exchange) {
        let got = request.send(&ground.caller(self.door, request.who), "");
        let made = ground.new_tasks().await;
        let [made] = made.as_slice() else {
            panic!(
                "{}: {} Tasks were made: {got:?}",
                self.named(&request),
                made.len()
            );
        };
        let wanted = self.exchange(made, 0);
        if let Err(difference) = wanted.reply.matches(&got) {
            panic!("{}: {difference}", self.named(&request));
        }
        ground.keep(made).await;
    }

    /// The same request several times at once.
    async fn at_once(&self, ground: &mut Ground, request: Exchange, one_makes_it: bool) {
        let caller = ground.caller(self.door, request.who);
        let answers = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..AT_ONCE)
                .map(|_| scope.spawn(|| request.send(&caller, "")))
                .collect();
            asking
                .into_iter()
                .map(|asking| asking.join().unwrap())
                .collect::<Vec<_>>()
        });
        let made = ground.new_tasks().await;
        let wanted = if one_makes_it { 1 } else { AT_ONCE };
        assert_eq!(made.len(), wanted, "{}: {answers:?}", self.named(&request));
        let mut left: Vec<_> = made.iter().map(|made| self.exchange(made, 0).reply).collect();
        for answer in answers {
            match left.iter().position(|reply| reply.matches(&answer).is_ok()) {
                Some(place) => drop(left.remove(place)),
                None => self.loses(&request, &answer),
            }
        }
        assert!(
            left.is_empty(),
            "{}: nobody was answered with {left:?}",
            self.named(&request)
        );
    }

    /// An answer to somebody who made no Task.
    fn loses(&self, request: &Exchange, answer: &crate::support::http::Answer) {
        let Cell::AtOnce {
            others: Some(others), ..
        } = self.cell(&Subject::placeholder())
        else {
            panic!("{}: {answer:?}", self.named(request));
        };
        if let Err(difference) = others.matches(answer) {
            panic!("{}: {difference}", self.named(request));
        }
    }

    fn named(&self, exchange: &Exchange) -> String {
        format!(
            "{} at the door of {}: {exchange}",
            self.row.title,
            self.door.name()
        )
    }
}

/// Asks again until there is an answer.
async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "{what} did not come about within {PATIENCE:?}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
