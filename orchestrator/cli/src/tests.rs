//! The command line as a whole: what parses, what does not, and what the shell sees.

use clap::{CommandFactory, Parser, error::ErrorKind};

use super::{Cli, Command};

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("saga").chain(line.split_whitespace()))
}

#[test]
fn the_declaration_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn verbs_parse() {
    for line in [
        "start book_trip -i - -f a.b=1 -f c=x --key k --label team=x --version 2 --wait --timeout 30s",
        "start book_trip --dry-run -o json",
        "list --status running,compensating --saga book_trip --label a=b --since 2h --incident --all --limit 5",
        "ls -o id",
        "describe 7QK -o json",
        "watch",
        "watch 7QK --through-incidents --timeout 5s",
        "history 7QK --follow",
        "cancel 7QK --reason why --yes",
        "lint a.yaml b.yaml - --deny warnings -o json",
        "new order",
        "new order --dir x/y --sdk ../saga/participants",
        "fmt",
        "fmt a.yaml dir - --check",
        "test",
        "test a.saga.yaml sagas b.saga.test.yaml --case x --seed 7 --list -o json",
        "graph a.yaml",
        "graph - --format mermaid",
        "deploy a.yaml dir --dry-run",
        "definitions -o wide",
        "participants -o jsonl",
        "explain S0303",
        "serve --listen 127.0.0.1:0 --store x.db --log json",
        "dev",
        "dev sagas --ephemeral",
        "explain",
        "schema",
        "completion zsh",
        "version -o json",
        "--endpoint grpc://h:1 list",
        "list --endpoint h:1",
    ] {
        assert!(
            parse(line).is_ok(),
            "{line}: {}",
            parse(line).map(|_| ()).expect_err("refused")
        );
    }
}

#[test]
fn slips_are_usage_errors() {
    for line in [
        "nonsense",
        "lis",
        "start",
        "start x -f novalue",
        "start x --wait --watch",
        "start x --version 0",
        "start x --timeout soon",
        "list --status melting",
        "list --limit none",
        "list --since yesterday",
        "watch --through-incidents",
        "new",
        "lint",
        "lint x --deny everything",
        "graph",
        "graph x --format png",
        "completion",
        "completion cmd",
        "deploy",
        "describe",
        "describe x -o yaml",
        "schema book_trip",
    ] {
        let error = parse(line).map(|_| ()).expect_err(line);
        assert!(
            error.use_stderr() && error.exit_code() == 2,
            "{line}: {error}"
        );
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for (line, kind) in [
        ("--help", ErrorKind::DisplayHelp),
        ("--version", ErrorKind::DisplayVersion),
    ] {
        let error = parse(line).map(|_| ()).expect_err("shown instead");
        assert_eq!((error.kind(), error.use_stderr()), (kind, false));
    }
}

#[test]
fn every_verb_has_a_summary_and_most_have_examples() {
    let command = Cli::command();
    // They take no arguments that would need one.
    let plain = ["version", "help", "demo"];
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        assert!(
            verb.get_about().is_some(),
            "{} says nothing",
            verb.get_name()
        );
        let explained = plain.contains(&verb.get_name()) || verb.get_after_help().is_some();
        assert!(explained, "{} has no examples", verb.get_name());
    }
}

#[test]
fn long_help() {
    insta::assert_snapshot!(Cli::command().render_long_help().to_string());
}

/// The first screen that most people see of a verb.
#[test]
fn help_of_every_verb() {
    let mut command = Cli::command().term_width(100);
    command.build();
    for verb in command
        .get_subcommands_mut()
        .filter(|verb| !verb.is_hide_set())
    {
        let name = format!("help_{}", verb.get_name());
        if verb.get_name() != "help" {
            insta::assert_snapshot!(name, verb.render_long_help().to_string());
        }
    }
}

#[test]
fn ls_is_list() {
    assert!(matches!(
        parse("ls").map(|cli| cli.command),
        Ok(Command::List(_))
    ));
}
