//! Flags about the door of Diego.

use crate::facade::{
    access::NamespaceRule,
    dialects::diego::{Settings, Stack},
};

/// How tasks of Diego's clients are run.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The door of Diego")]
pub struct DiegoArgs {
    /// The image that stands for the root file system preloaded:STACK; may be given again
    #[arg(
        long = "diego-stack",
        value_name = "STACK=IMAGE",
        env = "ERRAND_DIEGO_STACKS",
        value_delimiter = ','
    )]
    diego_stacks: Vec<Stack>,
    /// Cells come from outside: they start the tasks that are desired at this door and tell how they end, and no pods are made
    #[arg(long, env = "ERRAND_DIEGO_CELLS")]
    diego_cells: bool,
    /// Let a task connect to what its egress rules name and to nothing else, with a NetworkPolicy for each. What its actions
    /// download and upload must be among it
    #[arg(long, env = "ERRAND_DIEGO_EGRESS")]
    diego_egress: bool,
    /// How often cells may reject a task before the next rejection fails it
    #[arg(long, value_name = "COUNT", env = "ERRAND_DIEGO_RETRIES", default_value_t = 0)]
    diego_retries: u16,
    /// Namespace that stands for a caller of this door: fixed:NAME, user[:PREFIX] or label (errand.dev/account); without it
    /// as --namespaces says. A certificate names no groups
    #[arg(long, value_name = "RULE", env = "ERRAND_DIEGO_NAMESPACES")]
    diego_namespaces: Option<NamespaceRule>,
}

impl DiegoArgs {
    /// As the door takes it. Of two images for one stack the later counts.
    pub fn settings(&self) -> Settings {
        let stacks = self.diego_stacks.iter().cloned();
        Settings {
            stacks: stacks.map(|stack| (stack.name, stack.image)).collect(),
            cells: self.diego_cells,
            egress: self.diego_egress,
            retries: self.diego_retries,
            namespaces: self.diego_namespaces.clone(),
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
        args: DiegoArgs,
    }

    fn parse(line: &[&str]) -> Result<Settings, String> {
        let cli = Cli::try_parse_from(std::iter::once("facade").chain(line.iter().copied()));
        cli.map(|cli| cli.args.settings())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn flags_become_the_settings() {
        let wanted = Settings {
            stacks: [
                ("a".to_owned(), "x:1".to_owned()),
                ("b".to_owned(), "y".to_owned()),
            ]
            .into(),
            cells: true,
            egress: true,
            retries: 3,
            namespaces: Some(NamespaceRule::Fixed("cf".into())),
        };
        let line = [
            "--diego-stack=a=x:1",
            "--diego-stack=b=y",
            "--diego-cells",
            "--diego-egress",
            "--diego-retries=3",
            "--diego-namespaces=fixed:cf",
        ];
        assert_eq!(parse(&line), Ok(wanted));
        assert_eq!(parse(&[]), Ok(Settings::default()));
        let refused = parse(&["--diego-stack=a"]).unwrap_err();
        assert!(refused.contains("is not STACK=IMAGE"), "{refused}");
    }
}
