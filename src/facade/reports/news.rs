//! What is told of a Task's work beside its progress: another title, speeds, messages. Speeds and messages are kept in
//! rings of a bounded size, and messages are numbered, so that whoever watches the Task can tell what is new. Pure.

use jiff::Timestamp;

use super::overlaid;
use crate::crd::{
    Message, Progress, Speed, TaskStatus,
    change::{bounded, cut, to_millis},
};

/// Messages that a Task keeps.
const MESSAGES: usize = 256;
/// Bytes of all messages that a Task keeps. Every replica holds them in memory for every Task.
const MESSAGE_BYTES: usize = 32 * 1024;
/// Bytes of one message.
const MESSAGE: usize = 16 * 1024;
/// Speeds that a Task keeps.
const SPEEDS: usize = 64;
/// Bytes of a title.
const TITLE: usize = 1024;
/// Bytes of a text in a speed.
const WORD: usize = 256;

/// News of a Task. What is absent stays as it was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct News {
    /// The title from now on.
    pub title: Option<String>,
    /// How far the work has come.
    pub progress: Option<Progress>,
    /// Speeds, the newest last.
    pub speeds: Vec<Speed>,
    /// A message.
    pub message: Option<String>,
}

impl News {
    /// The status with the news in it. What is too long is cut; a message says so.
    pub fn added_to(&self, old: &TaskStatus, now: Timestamp) -> TaskStatus {
        let mut status = old.clone();
        status.modified_at = Some(to_millis(now));
        if let Some(title) = &self.title {
            status.title = Some(cut(title, TITLE).to_owned());
        }
        if let Some(progress) = &self.progress {
            let progress = Progress {
                title: progress
                    .title
                    .as_deref()
                    .map(|title| cut(title, TITLE).to_owned()),
                message: progress.message.as_deref().map(bounded),
                ..progress.clone()
            };
            status.progress = Some(overlaid(status.progress.take(), progress));
        }
        status.speeds.extend(self.speeds.iter().map(short));
        keep_last(&mut status.speeds, SPEEDS);
        if let Some(text) = self.message.as_deref().filter(|text| !text.is_empty()) {
            append(&mut status.messages, text, now);
        }
        status
    }
}

fn short(speed: &Speed) -> Speed {
    let word = |text: &str| cut(text, WORD).to_owned();
    Speed {
        title: word(&speed.title),
        speed: speed.speed,
        unit: word(&speed.unit),
        as_text: word(&speed.as_text),
    }
}

fn append(messages: &mut Vec<Message>, text: &str, now: Timestamp) {
    let kept = cut(text, MESSAGE);
    let text = match text.len() - kept.len() {
        0 => kept.to_owned(),
        left_out => format!("{kept}… ({left_out} bytes left out)"),
    };
    messages.push(Message {
        sequence: messages.last().map_or(1, |last| last.sequence.saturating_add(1)),
        time: to_millis(now),
        text,
    });
    keep_last(messages, MESSAGES);
    let mut bytes = 0;
    let fit = messages.iter().rev().take_while(|message| {
        bytes += message.text.len();
        bytes <= MESSAGE_BYTES
    });
    let fit = fit.count();
    keep_last(messages, fit);
}

fn keep_last<T>(all: &mut Vec<T>, count: usize) {
    all.drain(..all.len().saturating_sub(count));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:10:00.1234Z".parse().unwrap()
    }

    fn says(text: &str) -> News {
        News {
            message: Some(text.to_owned()),
            ..News::default()
        }
    }

    fn speed(value: f64) -> Speed {
        Speed {
            title: "copy".into(),
            speed: value,
            unit: "MB/s".into(),
            as_text: format!("{value} MB/s"),
        }
    }

    #[test]
    fn news_adds_to_what_was_known_and_moves_the_time() {
        let old = TaskStatus {
            title: Some("old".into()),
            progress: Some(Progress {
                percent: Some(10),
                message: Some("reading".into()),
                ..Progress::default()
            }),
            speeds: vec![speed(1.0)],
            ..says("one").added_to(&TaskStatus::default(), now())
        };
        let news = News {
            title: Some("new".into()),
            progress: Some(Progress {
                current: Some(1),
                maximum: Some(2),
                ..Progress::default()
            }),
            speeds: vec![speed(2.0)],
            message: Some("two".into()),
        };
        let message = |sequence, text: &str| Message {
            sequence,
            time: "2026-01-01T00:10:00.123Z".parse().unwrap(),
            text: text.into(),
        };
        let want = TaskStatus {
            title: Some("new".into()),
            progress: Some(Progress {
                percent: Some(50),
                current: Some(1),
                maximum: Some(2),
                message: Some("reading".into()),
                title: None,
            }),
            speeds: vec![speed(1.0), speed(2.0)],
            messages: vec![message(1, "one"), message(2, "two")],
            modified_at: Some("2026-01-01T00:10:00.123Z".parse().unwrap()),
            ..TaskStatus::default()
        };
        assert_eq!(news.added_to(&old, now()), want);
    }

    #[test]
    fn empty_news_moves_the_time_and_nothing_else() {
        let status = says("").added_to(&TaskStatus::default(), now());
        let want = TaskStatus {
            modified_at: Some("2026-01-01T00:10:00.123Z".parse().unwrap()),
            ..TaskStatus::default()
        };
        assert_eq!(status, want);
    }

    #[test]
    fn older_messages_and_speeds_make_room_and_numbers_go_on() {
        let mut status = TaskStatus::default();
        for number in 0..300 {
            let news = News {
                speeds: vec![speed(f64::from(number))],
                ..says(&number.to_string())
            };
            status = news.added_to(&status, now());
        }
        let ends = |status: &TaskStatus| {
            let number = |message: Option<&Message>| message.map(|message| message.sequence);
            (
                number(status.messages.first()),
                number(status.messages.last()),
                status.messages.len(),
            )
        };
        assert_eq!(ends(&status), (Some(45), Some(300), 256));
        assert_eq!((status.speeds.len(), status.speeds[63].speed), (64, 299.0));
    }

    #[test]
    fn a_message_that_is_cut_says_so() {
        let status = says(&"ä".repeat(10_000)).added_to(&TaskStatus::default(), now());
        let want = format!("{}… (3616 bytes left out)", "ä".repeat(8192));
        assert_eq!(status.messages[0].text, want);
    }

    proptest! {
        #[test]
        fn whatever_is_said_stays_within_bounds(texts in proptest::collection::vec(".{0,40}", 0..40), longest in 0usize..40_000) {
            let mut status = TaskStatus::default();
            for (index, text) in texts.iter().enumerate() {
                let text = if index % 7 == 3 { "x".repeat(longest) } else { text.clone() };
                status = says(&text).added_to(&status, now());
                let bytes: usize = status.messages.iter().map(|message| message.text.len()).sum();
                prop_assert!(bytes <= MESSAGE_BYTES && status.messages.len() <= MESSAGES);
                prop_assert!(status.messages.windows(2).all(|two| two[0].sequence + 1 == two[1].sequence));
                // Who has just spoken is always heard.
                prop_assert!(text.is_empty() || !status.messages.is_empty());
            }
        }
    }
}
