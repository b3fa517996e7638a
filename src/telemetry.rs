//! Logs: what is logged where and how. Metrics are [`crate::engine::metrics`].

use std::io::{self, IsTerminal as _};

use clap::ValueEnum;
use tracing_subscriber::{
    EnvFilter, Registry,
    filter::ParseError,
    layer::SubscriberExt as _,
    util::{SubscriberInitExt as _, TryInitError},
};

/// The commit that was built, where the build was told (`ERRAND_COMMIT` in its environment).
pub const COMMIT: Option<&str> = option_env!("ERRAND_COMMIT");

/// Libraries that tell of every request or connection at info: they are heard from `warn` on, unless the filter
/// names them. kube's client calls every 5xx answer an error, also that of a pod behind the API server's proxy which
/// is not ready yet; whoever made the call tells what became of it.
const QUIET: &str = "kube=warn,kube_client=warn,kube_client::client::builder=off,kube_runtime=warn,hyper=warn,hyper_util=warn,h2=warn,\
                     tower=warn,rustls=warn,bollard=warn";

/// Options of every subcommand that logs.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Logging")]
pub struct Args {
    /// What is logged: a level (error, warn, info, debug, trace), or directives such as `info,errand::engine=debug`.
    #[arg(long, value_name = "FILTER", env = "ERRAND_LOG", default_value = "info", value_parser = filter)]
    log_level: Filter,
    /// How each line is written, on stderr.
    #[arg(
        long,
        value_name = "FORMAT",
        env = "ERRAND_LOG_FORMAT",
        default_value = "text"
    )]
    log_format: Format,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Directives that were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(String);

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("the log filter is not understood")]
    Filter(#[source] ParseError),
    #[error("logging is set up already")]
    Install(#[source] TryInitError),
}

impl Default for Args {
    fn default() -> Self {
        Self {
            log_level: Filter("info".to_owned()),
            log_format: Format::default(),
        }
    }
}

impl Args {
    /// Sets up logging for the whole process. Lines go to stderr, so that stdout stays with results.
    ///
    /// # Errors
    /// It was set up before.
    pub fn init(&self) -> Result<(), Error> {
        let filter = self.log_level.build().map_err(Error::Filter)?;
        let registry = Registry::default().with(filter);
        let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
        match self.log_format {
            Format::Text => registry.with(layer.with_ansi(colours())).try_init(),
            Format::Json => registry
                .with(layer.json().flatten_event(true).with_current_span(true))
                .try_init(),
        }
        .map_err(Error::Install)
    }
}

impl Filter {
    fn build(&self) -> Result<EnvFilter, ParseError> {
        EnvFilter::try_new(self.directives())
    }

    /// A later directive for the same target takes the place of an earlier one, so what was asked for comes last.
    fn directives(&self) -> String {
        format!("{QUIET},{}", self.0)
    }
}

fn filter(text: &str) -> Result<Filter, ParseError> {
    // An environment variable that is set to nothing means the default.
    let text = if text.trim().is_empty() { "info" } else { text };
    EnvFilter::builder().parse(text)?;
    Ok(Filter(text.to_owned()))
}

/// See <https://no-color.org>.
fn colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The first line of a long-running subcommand: what runs. `config` is its configuration without secrets.
pub fn log_start(subcommand: &str, config: &dyn std::fmt::Debug) {
    tracing::info!(
        subcommand,
        version = env!("CARGO_PKG_VERSION"),
        commit = COMMIT.unwrap_or("unknown"),
        target = %target(),
        ?config,
        "errand starts"
    );
}

/// Operating system and processor that this was built for.
fn target() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        telemetry: Args,
    }

    fn parse(args: &[&str]) -> Result<Args, clap::Error> {
        Cli::try_parse_from([&["errand"], args].concat()).map(|cli| cli.telemetry)
    }

    #[test]
    fn options_are_read_and_a_bad_filter_is_refused_at_once() {
        let args = parse(&["--log-level", "debug,kube=trace", "--log-format", "json"]).unwrap();
        assert_eq!(
            (args.log_level.0.as_str(), args.log_format),
            ("debug,kube=trace", Format::Json)
        );
        assert!(
            parse(&["--log-level", "errand=loud"])
                .unwrap_err()
                .to_string()
                .contains("--log-level")
        );
        assert!(parse(&["--log-format", "xml"]).is_err());
    }

    #[test]
    fn nothing_means_info() {
        assert_eq!(filter(" ").unwrap(), Filter("info".to_owned()));
        assert_eq!(Args::default().log_level, Filter("info".to_owned()));
    }

    #[test]
    fn libraries_are_quiet_unless_they_are_named() {
        let plain = Filter("debug".to_owned()).build().unwrap().to_string();
        assert!(plain.contains("kube=warn") && plain.contains("debug"), "{plain}");
        let named = Filter("info,kube=trace".to_owned()).build().unwrap().to_string();
        assert!(
            named.contains("kube=trace") && !named.contains("kube=warn"),
            "{named}"
        );
    }
}
