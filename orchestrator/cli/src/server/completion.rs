//! `saga completion SHELL`: the script with which a shell completes the verbs and options of `saga`.

use clap::{Arg, CommandFactory, ValueHint};
use clap_complete::{Generator, shells};

use crate::{
    Cli,
    exit::{Exit, Failure},
    show::output,
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
        Shell::Fish => fish(),
    };
    output::data(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}

fn script(shell: impl Generator) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut visible(), "saga", &mut script);
    script
}

/// The script for fish. Its generator passes over the words that a verb takes without an option.
fn fish() -> Vec<u8> {
    let mut script = script(shells::Fish);
    for verb in visible().get_subcommands() {
        for argument in verb.get_positionals() {
            let values = argument.get_possible_values();
            let words: Vec<&str> = values
                .iter()
                .map(clap::builder::PossibleValue::get_name)
                .collect();
            if !words.is_empty() {
                let (verb, words) = (verb.get_name(), words.join(" "));
                let line = format!(
                    "complete -c saga -n \"__fish_saga_using_subcommand {verb}\" -f -a \"{words}\"\n"
                );
                script.extend_from_slice(line.as_bytes());
            }
        }
    }
    script
}

/// The command without its hidden verbs, which the scripts of some shells would offer.
fn visible() -> clap::Command {
    let whole = Cli::command();
    let verbs = whole.get_subcommands().filter(|verb| !verb.is_hide_set());
    clap::Command::new("saga")
        .version(env!("CARGO_PKG_VERSION"))
        .args(whole.get_arguments().cloned().map(hinted))
        .subcommands(verbs.map(|verb| verb.clone().mut_args(hinted)))
}

/// Where nothing is said about a value, zsh offers every command of the system. What an argument calls its value tells
/// whether it is a path.
fn hinted(argument: Arg) -> Arg {
    if argument.get_value_hint() != ValueHint::Unknown || !argument.get_action().takes_values() {
        return argument;
    }
    let name = argument
        .get_value_names()
        .into_iter()
        .flatten()
        .next()
        .map_or("", |name| name.as_str());
    let hint = match name {
        "FILE|DIR" => ValueHint::AnyPath,
        "FILE" | "FILE|-" | "PATH" => ValueHint::FilePath,
        "DIR" => ValueHint::DirPath,
        _ => ValueHint::Other,
    };
    argument.value_hint(hint)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn scripts_know_the_verbs_and_their_options_but_none_that_is_hidden() {
        for script in [script(shells::Bash), script(shells::Zsh), fish()] {
            let script = String::from_utf8(script).expect("scripts are text");
            for word in [
                "participants",
                "completion",
                "deny",
                "endpoint",
                "mermaid",
                "ls",
            ] {
                assert!(script.contains(word), "{word} is missing");
            }
            for hidden in Cli::command()
                .get_subcommands()
                .filter(|verb| verb.is_hide_set())
            {
                assert!(
                    !script.contains(hidden.get_name()),
                    "{} is offered",
                    hidden.get_name()
                );
            }
        }
    }

    /// Runs a shell over the script; nothing where that shell is not installed.
    fn asked(program: &str, name: &str, script: &[u8], questions: &str) -> Option<String> {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join(name), script).expect("written");
        std::fs::write(dir.path().join("trip.saga.yaml"), "").expect("written");
        let shell = Command::new(program)
            .arg("-c")
            .arg(questions)
            .current_dir(dir.path())
            .output();
        let output = match shell {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            other => other.expect("the shell starts"),
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{program}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Some(text)
    }

    #[test]
    fn bash_completes_verbs_options_values_and_files() {
        let questions = "source ./saga.bash
            ask() { COMP_WORDS=(saga \"$@\"); COMP_CWORD=$#; COMPREPLY=(); \
                _saga saga \"${COMP_WORDS[$#]}\" \"${COMP_WORDS[$# - 1]}\"; echo \"${COMPREPLY[@]}\"; }
            ask gra; ask graph --form; ask graph --format s; ask completion z; ask lint --deny ''; ask start x --wa
            ask start x --input tr";
        let Some(answers) = asked("bash", "saga.bash", &script(shells::Bash), questions) else {
            panic!("bash is needed");
        };
        let answers: Vec<&str> = answers.lines().collect();
        let wanted = [
            "graph",
            "--format",
            "svg",
            "zsh",
            "warnings",
            "--wait --watch",
            "trip.saga.yaml",
        ];
        assert_eq!(answers, wanted);
    }

    #[test]
    fn fish_completes_verbs_options_values_and_files() {
        let questions = "source ./saga.fish
            for line in gra 'graph --form' 'graph --format s' 'completion z' 'lint --deny ' 'start x --watc' 'lint tr'
                complete -C \"saga $line\" | string split -f 1 \\t | head -1
            end";
        let Some(answers) = asked("fish", "saga.fish", &fish(), questions) else {
            return;
        };
        let answers: Vec<&str> = answers.lines().collect();
        assert_eq!(
            answers,
            [
                "graph",
                "--format",
                "svg",
                "zsh",
                "warnings",
                "--watch",
                "trip.saga.yaml"
            ]
        );
    }

    /// What zsh completes interactively was tried by hand; here it reads the script and finds its function.
    #[test]
    fn zsh_loads_the_script() {
        let questions = "fpath=($PWD $fpath); autoload -Uz compinit && compinit -D -u && zsh -n _saga \
                         && print -r -- ${_comps[saga]} && autoload +X _saga && print -r -- $+functions[_saga]";
        let Some(answers) = asked("zsh", "_saga", &script(shells::Zsh), questions) else {
            return;
        };
        assert_eq!(answers, "_saga\n1\n");
    }
}
