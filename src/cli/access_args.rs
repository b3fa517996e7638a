//! Flags about who may use the REST facade.

use std::path::PathBuf;

use crate::{
    crd::Duration,
    facade::access::{AccessConfig, NamespaceRule},
};

/// Who gets in, and where they are at home.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Access")]
pub struct AccessArgs {
    /// How long a valid token and a granted right are taken for granted
    #[arg(
        long,
        value_name = "DURATION",
        env = "ERRAND_TOKEN_TTL",
        default_value = "10s"
    )]
    token_ttl: Duration,
    /// How long an invalid token and a missing right are not asked about again
    #[arg(
        long,
        value_name = "DURATION",
        env = "ERRAND_DENIED_TTL",
        default_value = "5s"
    )]
    denied_ttl: Duration,
    /// Tokens for callers that the cluster does not know: CSV with token,user,uid,"group1,group2"
    #[arg(long, value_name = "FILE", env = "ERRAND_STATIC_TOKENS")]
    static_tokens: Option<PathBuf>,
    /// Namespace that stands for a caller: fixed:NAME, user[:PREFIX], group[:PREFIX] or label (errand.dev/account)
    #[arg(long, value_name = "RULE", env = "ERRAND_NAMESPACES", default_value_t = NamespaceRule::default())]
    namespaces: NamespaceRule,
}

impl AccessArgs {
    /// As the facade takes it. Call [`AccessConfig::check`] on it before the start.
    pub fn config(&self) -> AccessConfig {
        AccessConfig {
            token_ttl: self.token_ttl.get(),
            denied_ttl: self.denied_ttl.get(),
            static_tokens: self.static_tokens.clone(),
            namespaces: self.namespaces.clone(),
            ..AccessConfig::default()
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
        args: AccessArgs,
    }

    fn parse(line: &[&str]) -> Result<AccessConfig, String> {
        let cli = Cli::try_parse_from(std::iter::once("facade").chain(line.iter().copied()));
        cli.map(|cli| cli.args.config())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn flags_become_the_configuration() {
        let config = parse(&[
            "--token-ttl=1m",
            "--denied-ttl=1s",
            "--static-tokens=/etc/errand/tokens.csv",
            "--namespaces=user:u-",
        ]);
        let wanted = AccessConfig {
            token_ttl: std::time::Duration::from_secs(60),
            denied_ttl: std::time::Duration::from_secs(1),
            static_tokens: Some("/etc/errand/tokens.csv".into()),
            namespaces: NamespaceRule::PerUser { prefix: "u-".into() },
            ..AccessConfig::default()
        };
        assert_eq!(format!("{config:?}"), format!("{:?}", Ok::<_, String>(wanted)));
    }

    #[test]
    fn without_flags_the_defaults_of_the_facade_hold() {
        let defaults = Ok::<_, String>(AccessConfig::default());
        assert_eq!(format!("{:?}", parse(&[])), format!("{defaults:?}"));
    }

    #[test]
    fn a_rule_that_is_none_is_refused_with_those_that_are() {
        let refused = parse(&["--namespaces=everyone"]).unwrap_err();
        assert!(
            refused.contains("choose fixed:NAME, user[:PREFIX], group[:PREFIX] or label"),
            "{refused}"
        );
    }
}
