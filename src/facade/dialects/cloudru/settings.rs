//! What is not documented of this API and may be set: words and forms.

use std::{fmt, str::FromStr};

use crate::crd::Phase;

/// Settings of the door.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// How a google.protobuf.Any is written.
    pub any: AnyForm,
    /// What stands in `status`.
    pub statuses: StatusWords,
}

/// How a google.protobuf.Any is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnyForm {
    /// `typeUrl`, and the message as base64 in `value`: as the API is documented.
    #[default]
    Documented,
    /// `@type`, and the message's own fields beside it: as proto3 has it in JSON.
    Proto3,
    /// The documented fields and `@type` with the message's own fields.
    Both,
}

impl AnyForm {
    const ALL: [Self; 3] = [Self::Documented, Self::Proto3, Self::Both];

    fn word(self) -> &'static str {
        match self {
            Self::Documented => "documented",
            Self::Proto3 => "proto3",
            Self::Both => "both",
        }
    }
}

impl fmt::Display for AnyForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for AnyForm {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        let mut forms = Self::ALL.into_iter();
        let form = forms.find(|form| form.word() == text);
        form.ok_or_else(|| SettingError::Form(text.to_owned()))
    }
}

/// Why a text is no setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// Some other word.
    #[error("{0:?} is no form; choose documented, proto3 or both")]
    Form(String),
    /// No equals sign.
    #[error("{0:?} is not PHASE=WORD")]
    Pair(String),
    /// No phase.
    #[error(
        "{0:?} is no phase of a Task; they are Queued, Pending, Running, Succeeded, Failed and Cancelled"
    )]
    Phase(String),
    /// The same phase twice.
    #[error("{0} is there twice")]
    Twice(Phase),
    /// Not a word that can stand in an answer.
    #[error(
        "{0:?} cannot be a status: 1 to 64 characters without control characters and commas, no space at the ends"
    )]
    Word(String),
    /// A client that polls would stop too early, or never.
    #[error(
        "{word:?} stands for {open}, which is not the end of a Task, and for {end}, which is: clients could not tell when to stop asking"
    )]
    Ambiguous {
        /// The word.
        word: String,
        /// A phase that is not final.
        open: Phase,
        /// A final phase.
        end: Phase,
    },
}

/// Longest word.
const MAX_WORD: usize = 64;

/// Phases in the order of a Task's life.
const PHASES: [Phase; 6] = [
    Phase::Queued,
    Phase::Pending,
    Phase::Running,
    Phase::Succeeded,
    Phase::Failed,
    Phase::Cancelled,
];

/// What stands in `status`, for each phase. The API's documentation lists no values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusWords([String; PHASES.len()]);

impl Default for StatusWords {
    fn default() -> Self {
        let words = [
            "PENDING",
            "PENDING",
            "RUNNING",
            "SUCCEEDED",
            "FAILED",
            "CANCELLED",
        ];
        Self(words.map(str::to_owned))
    }
}

impl StatusWords {
    /// The word for a phase.
    pub fn of(&self, phase: Phase) -> &str {
        &self.0[place(phase)]
    }
}

/// Where a phase stands in [`PHASES`].
fn place(phase: Phase) -> usize {
    match phase {
        Phase::Queued => 0,
        Phase::Pending => 1,
        Phase::Running => 2,
        Phase::Succeeded => 3,
        Phase::Failed => 4,
        Phase::Cancelled => 5,
    }
}

impl fmt::Display for StatusWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = PHASES.iter().map(|phase| format!("{phase}={}", self.of(*phase)));
        f.write_str(&pairs.collect::<Vec<_>>().join(","))
    }
}

/// `PHASE=WORD,PHASE=WORD`; phases that are left out keep their word.
impl FromStr for StatusWords {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        let mut words = Self::default();
        let mut set = Vec::new();
        for pair in text.split(',').filter(|pair| !pair.is_empty()) {
            let (phase, word) = pair
                .split_once('=')
                .ok_or_else(|| SettingError::Pair(pair.to_owned()))?;
            let phase = parse_phase(phase)?;
            if set.contains(&phase) {
                return Err(SettingError::Twice(phase));
            }
            set.push(phase);
            words.0[place(phase)] = check_word(word)?.to_owned();
        }
        words.check()
    }
}

impl StatusWords {
    fn check(self) -> Result<Self, SettingError> {
        let (ends, open): (Vec<_>, Vec<_>) = PHASES.into_iter().partition(|phase| phase.is_terminal());
        let mut pairs = open
            .iter()
            .flat_map(|open| ends.iter().map(move |end| (*open, *end)));
        match pairs.find(|(open, end)| self.of(*open) == self.of(*end)) {
            None => Ok(self),
            Some((open, end)) => Err(SettingError::Ambiguous {
                word: self.of(open).to_owned(),
                open,
                end,
            }),
        }
    }
}

fn parse_phase(text: &str) -> Result<Phase, SettingError> {
    let found = PHASES.into_iter().find(|phase| phase.to_string() == text);
    found.ok_or_else(|| SettingError::Phase(text.to_owned()))
}

fn check_word(word: &str) -> Result<&str, SettingError> {
    let legal = (1..=MAX_WORD).contains(&word.chars().count())
        && word.trim() == word
        && !word.chars().any(char::is_control);
    if legal {
        Ok(word)
    } else {
        Err(SettingError::Word(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forms_are_read_and_written() {
        for form in AnyForm::ALL {
            assert_eq!(form.to_string().parse(), Ok(form));
        }
        assert_eq!("Both".parse::<AnyForm>(), Err(SettingError::Form("Both".into())));
    }

    #[test]
    fn words_that_are_left_out_stay_as_they_are() {
        let words: StatusWords = "Running=IN_PROGRESS,Succeeded=DONE,Failed=Ошибка = 1"
            .parse()
            .unwrap();
        let all = "Queued=PENDING,Pending=PENDING,Running=IN_PROGRESS,Succeeded=DONE,Failed=Ошибка = 1,Cancelled=CANCELLED";
        assert_eq!(words.to_string(), all);
        assert_eq!(all.parse(), Ok(words));
        assert_eq!("".parse(), Ok(StatusWords::default()));
    }

    #[test]
    fn a_table_that_would_mislead_is_refused_with_a_sentence() {
        for (text, error) in [
            ("DONE", "\"DONE\" is not PHASE=WORD"),
            ("running=X", "\"running\" is no phase of a Task"),
            ("Done=X", "\"Done\" is no phase of a Task"),
            ("Running=A,Running=B", "Running is there twice"),
            ("Running=", "\"\" cannot be a status"),
            ("Running= A", "\" A\" cannot be a status"),
            ("Running=A\u{7}", "\"A\\u{7}\" cannot be a status"),
            (
                "Running=SUCCEEDED",
                "\"SUCCEEDED\" stands for Running, which is not the end of a Task, and for Succeeded",
            ),
            ("Cancelled=PENDING", "\"PENDING\" stands for Queued"),
        ] {
            let refused = text.parse::<StatusWords>().unwrap_err().to_string();
            assert!(refused.starts_with(error), "{text}: {refused}");
        }
        let long = format!("Running={}", "x".repeat(65));
        assert!(long.parse::<StatusWords>().is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_table_or_refused(text in "((Queued|Running|Failed|x)=[a-zA-Z ,=]{0,6},?){0,4}") {
            if let Ok(words) = text.parse::<StatusWords>() {
                prop_assert_eq!(words.to_string().parse(), Ok(words));
            }
        }
    }
}
