//! The command line of `errand runner`, written by the engine and read by the supervisor.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Where Kubernetes looks for the termination message unless the container says otherwise.
pub const TERMINATION_MESSAGE_PATH: &str = "/dev/termination-log";

/// The most that the kubelet reads of a termination message, in bytes
/// (`MaxContainerTerminationMessageLength` in kubelet/container).
pub const TERMINATION_MESSAGE_LIMIT: usize = 4096;

/// A record without any inline content needs less than this.
pub const MIN_TERMINATION_MESSAGE_LIMIT: usize = 3072;

/// Bytes of a result that are kept unless it is said otherwise.
pub const RESULT_LIMIT: usize = 256 * 1024;

/// Bytes of the log that are kept unless it is said otherwise.
pub const LOG_LIMIT: usize = 64 * 1024;

/// The grace period of Kubernetes unless it is said otherwise.
pub const GRACE: Duration = Duration::from_secs(30);

/// Where a Task's result comes from.
///
/// The supervisor knows nothing of results taken from the log: the engine passes [`ResultFrom::None`] for those
/// and uses the log tail of the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResultFrom {
    /// What the command writes to stdout, without progress lines.
    Stdout,
    /// A file, read after the command ended.
    File(PathBuf),
    /// What the command itself leaves in the termination message file, before the record replaces it.
    TerminationMessage,
    /// No result.
    None,
}

impl fmt::Display for ResultFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::TerminationMessage => f.write_str("termination-message"),
            Self::None => f.write_str("none"),
        }
    }
}

impl FromStr for ResultFrom {
    type Err = ArgsError;

    fn from_str(text: &str) -> Result<Self, ArgsError> {
        match text {
            "stdout" => Ok(Self::Stdout),
            "termination-message" => Ok(Self::TerminationMessage),
            "none" => Ok(Self::None),
            _ => match text.strip_prefix("file:") {
                Some(path) if !path.is_empty() => Ok(Self::File(PathBuf::from(path))),
                _ => Err(ArgsError::ResultSource(text.to_owned())),
            },
        }
    }
}

/// Copy the input files and decode the body on the way.
///
/// A downward API volume carries text only, so the engine mounts a binary body as `body.base64` in `from`; the
/// supervisor copies the other files to `to` (an emptyDir) and writes the decoded `body` beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeInput {
    from: PathBuf,
    to: PathBuf,
}

impl DecodeInput {
    /// Both paths must be absolute and free of `:`, as Kubernetes asks of mount paths too.
    pub fn new(from: impl Into<PathBuf>, to: impl Into<PathBuf>) -> Result<Self, ArgsError> {
        let (from, to) = (from.into(), to.into());
        for path in [&from, &to] {
            let fits = path
                .to_str()
                .is_some_and(|text| text.starts_with('/') && !text.contains(':'));
            if !fits {
                return Err(ArgsError::DecodePath(path.display().to_string()));
            }
        }
        Ok(Self { from, to })
    }

    /// The folder with the encoded input.
    pub fn from(&self) -> &std::path::Path {
        &self.from
    }

    /// The folder that gets the decoded input.
    pub fn to(&self) -> &std::path::Path {
        &self.to
    }
}

impl fmt::Display for DecodeInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.from.display(), self.to.display())
    }
}

impl FromStr for DecodeInput {
    type Err = ArgsError;

    fn from_str(text: &str) -> Result<Self, ArgsError> {
        let (from, to) = text
            .split_once(':')
            .ok_or_else(|| ArgsError::DecodePair(text.to_owned()))?;
        Self::new(from, to)
    }
}

/// Everything the supervisor is told.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct SuperviseArgs {
    /// Where the result comes from: stdout, file:PATH, termination-message or none
    #[arg(long, value_name = "SOURCE", default_value = "stdout")]
    pub result: ResultFrom,
    /// Bytes of the result that are kept: its beginning
    #[arg(long, value_name = "BYTES", default_value_t = RESULT_LIMIT)]
    pub result_limit: usize,
    /// Bytes of stdout and stderr together that are kept: their end
    #[arg(long, value_name = "BYTES", default_value_t = LOG_LIMIT)]
    pub log_limit: usize,
    /// How long the command may run, such as 90s or 10m; without it, for ever
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
    /// How long after SIGTERM the command is killed
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "30s")]
    pub grace: Duration,
    /// The file that gets the record
    #[arg(long, value_name = "PATH", default_value = TERMINATION_MESSAGE_PATH)]
    pub termination_message: PathBuf,
    /// The most bytes the record may take
    #[arg(long, value_name = "BYTES", default_value_t = TERMINATION_MESSAGE_LIMIT, value_parser = parse_record_limit)]
    pub termination_message_limit: usize,
    /// Copy the input files of FROM to TO and decode body.base64 to body on the way
    #[arg(long, value_name = "FROM:TO")]
    pub decode_input: Option<DecodeInput>,
    /// A file with a tree of actions to run, in place of a command
    #[arg(long, value_name = "PATH", conflicts_with = "command")]
    pub actions: Option<PathBuf>,
    /// The command and its arguments
    #[arg(last = true, required_unless_present = "actions", value_name = "COMMAND")]
    pub command: Vec<String>,
}

impl SuperviseArgs {
    /// The defaults, for `command`.
    pub fn new(command: Vec<String>) -> Self {
        Self {
            result: ResultFrom::Stdout,
            result_limit: RESULT_LIMIT,
            log_limit: LOG_LIMIT,
            timeout: None,
            grace: GRACE,
            termination_message: PathBuf::from(TERMINATION_MESSAGE_PATH),
            termination_message_limit: TERMINATION_MESSAGE_LIMIT,
            decode_input: None,
            actions: None,
            command,
        }
    }

    /// The defaults, for the actions in the file `plan`: no result.
    pub fn actions(plan: impl Into<PathBuf>) -> Self {
        Self {
            result: ResultFrom::None,
            actions: Some(plan.into()),
            ..Self::new(Vec::new())
        }
    }

    /// The arguments that follow `errand runner`.
    ///
    /// In a pod they stand in `command` or `args`, where Kubernetes replaces `$(NAME)`: as wanted in the command
    /// (it would be replaced there without a supervisor too), but in a result path it must be escaped.
    pub fn to_args(&self) -> Vec<String> {
        let mut args = vec![
            format!("--result={}", self.result),
            format!("--result-limit={}", self.result_limit),
            format!("--log-limit={}", self.log_limit),
            format!("--grace={}", format_duration(self.grace)),
            format!("--termination-message={}", self.termination_message.display()),
            format!("--termination-message-limit={}", self.termination_message_limit),
        ];
        args.extend(
            self.timeout
                .map(|timeout| format!("--timeout={}", format_duration(timeout))),
        );
        args.extend(
            self.decode_input
                .as_ref()
                .map(|pair| format!("--decode-input={pair}")),
        );
        args.extend(
            self.actions
                .as_ref()
                .map(|plan| format!("--actions={}", plan.display())),
        );
        if self.actions.is_some() {
            return args;
        }
        args.push("--".to_owned());
        args.extend(self.command.iter().cloned());
        args
    }
}

/// An argument that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// The result source is none of the known ones.
    #[error("{0:?} is no result source: use stdout, file:PATH, termination-message or none")]
    ResultSource(String),
    /// A duration that does not parse or does not fit.
    #[error("{0:?} is no duration: use whole numbers with ms, s, m or h, such as 90s or 1500ms")]
    Duration(String),
    /// No `FROM:TO`.
    #[error("{0:?} is no pair of folders: use FROM:TO")]
    DecodePair(String),
    /// A folder that cannot be mounted.
    #[error("{0:?} is no folder to mount: it must be an absolute path without a colon")]
    DecodePath(String),
    /// The record would not fit.
    #[error("{0:?} leaves no room for the record: it needs {MIN_TERMINATION_MESSAGE_LIMIT} bytes or more")]
    RecordLimit(String),
}

/// Parses durations such as `90s`, `1500ms`, `1h30m`; milliseconds are the smallest unit.
pub fn parse_duration(text: &str) -> Result<Duration, ArgsError> {
    let bad = || ArgsError::Duration(text.to_owned());
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest.get(..digits).and_then(|n| n.parse().ok()).ok_or_else(bad)?;
        rest = rest.get(digits..).unwrap_or_default();
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = match rest.get(..letters) {
            Some("ms") => 1,
            Some("s") => 1000,
            Some("m") => 60_000,
            Some("h") => 3_600_000,
            _ => return Err(bad()),
        };
        rest = rest.get(letters..).unwrap_or_default();
        total = number
            .checked_mul(unit)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(bad)?;
    }
    if text.is_empty() {
        Err(bad())
    } else {
        Ok(Duration::from_millis(total))
    }
}

/// Writes a duration so that [`parse_duration`] reads it back; what is finer than a millisecond is dropped.
pub fn format_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis.is_multiple_of(1000) {
        format!("{}s", millis / 1000)
    } else {
        format!("{millis}ms")
    }
}

fn parse_record_limit(text: &str) -> Result<usize, ArgsError> {
    match text.parse() {
        Ok(limit) if limit >= MIN_TERMINATION_MESSAGE_LIMIT => Ok(limit),
        _ => Err(ArgsError::RecordLimit(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use proptest::prelude::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: SuperviseArgs,
    }

    fn parse<S: Into<String>>(args: impl IntoIterator<Item = S>) -> Result<SuperviseArgs, clap::Error> {
        let words = std::iter::once("runner".to_owned()).chain(args.into_iter().map(Into::into));
        Cli::try_parse_from(words).map(|cli| cli.args)
    }

    fn millis() -> impl Strategy<Value = Duration> {
        any::<u64>().prop_map(Duration::from_millis)
    }

    fn mount() -> impl Strategy<Value = String> {
        "/[a-z= .-]{0,12}"
    }

    prop_compose! {
        fn any_args()(
            result in prop_oneof![
                Just(ResultFrom::Stdout), Just(ResultFrom::TerminationMessage), Just(ResultFrom::None),
                any::<String>().prop_filter("empty", |p| !p.is_empty()).prop_map(|p| ResultFrom::File(p.into())),
            ],
            result_limit in any::<usize>(),
            log_limit in any::<usize>(),
            timeout in proptest::option::of(millis()),
            grace in millis(),
            path in any::<String>().prop_filter("empty", |p| !p.is_empty()),
            limit in MIN_TERMINATION_MESSAGE_LIMIT..usize::MAX,
            decode in proptest::option::of((mount(), mount())),
            actions in proptest::option::of("/[ -~]{1,20}"),
            command in proptest::collection::vec(any::<String>(), 1..6),
        ) -> SuperviseArgs {
            SuperviseArgs {
                result, result_limit, log_limit, timeout, grace,
                command: if actions.is_some() { Vec::new() } else { command },
                actions: actions.map(PathBuf::from),
                termination_message: path.into(),
                termination_message_limit: limit,
                decode_input: decode.map(|(from, to)| DecodeInput::new(from, to).unwrap()),
            }
        }
    }

    proptest! {
        #[test]
        fn arguments_come_back_as_they_were_written(args in any_args()) {
            prop_assert_eq!(parse(args.to_args()).unwrap(), args);
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in any::<String>()) {
            let _ = (text.parse::<ResultFrom>(), text.parse::<DecodeInput>(), parse_duration(&text));
        }
    }

    #[test]
    fn defaults_of_the_command_line_are_those_of_the_type() {
        assert_eq!(
            parse(["--", "true"]).unwrap(),
            SuperviseArgs::new(vec!["true".into()])
        );
    }

    #[test]
    fn a_command_is_needed() {
        assert!(parse(["--result=none"]).is_err());
        assert!(parse(["--"]).is_err());
    }

    #[test]
    fn durations_are_sums_of_whole_units() {
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
        for bad in [
            "",
            "5",
            "s",
            "-1s",
            "1.5s",
            "5 s",
            "1d",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert_eq!(parse_duration(bad), Err(ArgsError::Duration(bad.into())));
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_in_words() {
        assert_eq!(
            "log".parse::<ResultFrom>().unwrap_err().to_string(),
            "\"log\" is no result source: use stdout, file:PATH, termination-message or none"
        );
        assert_eq!(
            "file:".parse::<ResultFrom>(),
            Err(ArgsError::ResultSource("file:".into()))
        );
        assert_eq!(
            "/a".parse::<DecodeInput>(),
            Err(ArgsError::DecodePair("/a".into()))
        );
        assert_eq!(
            "/a:b".parse::<DecodeInput>(),
            Err(ArgsError::DecodePath("b".into()))
        );
        assert_eq!(
            "/a:/b:/c".parse::<DecodeInput>(),
            Err(ArgsError::DecodePath("/b:/c".into()))
        );
        assert!(parse(["--termination-message-limit=100", "--", "true"]).is_err());
    }
}
