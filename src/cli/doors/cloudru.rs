//! Flags about the door of cloud.ru.

use crate::facade::dialects::cloudru::{AnyForm, Settings, StatusWords};

/// What the API's documentation leaves open.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The door of cloud.ru")]
pub struct CloudruArgs {
    /// How a google.protobuf.Any is written: documented (typeUrl and value), proto3 (@type and the fields) or both
    #[arg(long, value_name = "FORM", env = "ERRAND_CLOUDRU_ANY_FORM", default_value_t)]
    cloudru_any_form: AnyForm,
    /// What a task's status is called in each phase; phases that are left out keep their word
    #[arg(
        long,
        value_name = "PHASE=WORD,...",
        env = "ERRAND_CLOUDRU_STATUSES",
        default_value_t
    )]
    cloudru_statuses: StatusWords,
}

impl CloudruArgs {
    /// As the door takes it.
    pub fn settings(&self) -> Settings {
        Settings {
            any: self.cloudru_any_form,
            statuses: self.cloudru_statuses.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: CloudruArgs,
    }

    fn parse(line: &[&str]) -> Result<Settings, String> {
        let cli = Cli::try_parse_from(std::iter::once("facade").chain(line.iter().copied()));
        cli.map(|cli| cli.args.settings())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn flags_become_the_settings() {
        let wanted = Settings {
            any: AnyForm::Both,
            statuses: "Running=IN_PROGRESS,Succeeded=DONE".parse().unwrap(),
        };
        let line = [
            "--cloudru-any-form=both",
            "--cloudru-statuses=Running=IN_PROGRESS,Succeeded=DONE",
        ];
        assert_eq!(parse(&line), Ok(wanted));
        assert_eq!(parse(&[]), Ok(Settings::default()));
    }

    #[test]
    fn what_is_no_setting_is_refused_with_what_is() {
        for (flag, part) in [
            ("--cloudru-any-form=xml", "choose documented, proto3 or both"),
            ("--cloudru-statuses=Done=X", "they are Queued, Pending, Running"),
            (
                "--cloudru-statuses=Running=FAILED",
                "could not tell when to stop asking",
            ),
        ] {
            let refused = parse(&[flag]).unwrap_err();
            assert!(refused.contains(part), "{refused}");
        }
    }
}
