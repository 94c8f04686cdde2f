//! `saga completion SHELL`: the script with which a shell completes the verbs and options of `saga`.

use clap::CommandFactory;
use clap_complete::{Generator, shells};

use super::{
    Cli,
    exit::{Exit, Failure},
    output,
};

const EXAMPLES: &str = "\
Examples:
  source <(saga completion bash)           this shell only
  saga completion bash > ~/.local/share/bash-completion/completions/saga
  saga completion zsh > \"${fpath[1]}/_saga\"
  saga completion fish > ~/.config/fish/completions/saga.fish";

/// Shells that are known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Arguments of `saga completion`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Shell that is to read the script
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Runs `saga completion`.
pub fn run(args: Args) -> Result<Exit, Failure> {
    let script = match args.shell {
        Shell::Bash => script(shells::Bash),
        Shell::Zsh => script(shells::Zsh),
        Shell::Fish => script(shells::Fish),
    };
    output::data(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}

fn script(shell: impl Generator) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut visible(), "saga", &mut script);
    script
}

/// The command without its hidden verbs, which the scripts of some shells would offer.
fn visible() -> clap::Command {
    let whole = Cli::command();
    let verbs = whole.get_subcommands().filter(|verb| !verb.is_hide_set());
    clap::Command::new("saga")
        .version(env!("CARGO_PKG_VERSION"))
        .args(whole.get_arguments())
        .subcommands(verbs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_know_the_verbs_and_their_options_but_none_that_is_hidden() {
        for script in [script(shells::Bash), script(shells::Zsh), script(shells::Fish)] {
            let script = String::from_utf8(script).expect("scripts are text");
            for word in ["participants", "completion", "deny", "endpoint", "mermaid", "ls"] {
                assert!(script.contains(word), "{word} is missing");
            }
            for hidden in Cli::command().get_subcommands().filter(|verb| verb.is_hide_set()) {
                assert!(!script.contains(hidden.get_name()), "{} is offered", hidden.get_name());
            }
        }
    }
}
