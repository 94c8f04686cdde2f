//! The `saga` command. One file a verb: its arguments, what it asks of the server, how it shows the answer.
//!
//! A verb's `run` takes its arguments and the [`Context`], prints its data through [`output`] and answers an [`Exit`];
//! its screens are pure functions from messages of the contract to text. To add a verb: a file with `Args` and `run`,
//! a line in [`Command`], a line in `dispatch`.

mod author;
mod client;
mod exit;
mod files;
mod operator;
mod server;
mod show;
#[cfg(test)]
mod tests;

use std::{future::Future, process::ExitCode};

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, parser::ValueSource};

use self::{
    author::{deploy, dev, explain, fmt, graph, lint, new, schema, test, verify_participant},
    client::{Endpoint, Server},
    exit::{Exit, Failure},
    operator::{
        abandon, acknowledge, audit, breakers, cancel, definitions, describe, history, list,
        participants, resolve, retry, skip, start, wait, watch,
    },
    server::{bench, child, completion, demo, serve, topology, version},
    show::output,
};

/// The system's allocator collapses under threads on musl; `docs/decisions/0008` has the figures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const AFTER_HELP: &str = "\
A first minute:
  saga dev examples/                       a server with the sagas of a folder
  saga start book_trip -i trip.json --watch
  saga list                                what is going on
  saga describe ID                         why a saga is where it is

Exit codes:
  0 ok, 1 error, 2 usage, 3 no server, 4 not allowed, 5 not found, 6 refused in this state
  after waiting: 10 compensated, 11 an operator is needed, 12 gave up waiting, 13 abandoned";

/// Runs business transactions that span services, and undoes them when they cannot be finished.
#[derive(Debug, Parser)]
#[command(name = "saga", version, after_help = AFTER_HELP, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every verb that asks a server.
#[derive(Debug, clap::Args)]
struct Global {
    /// Server to ask, as grpc://host:port
    #[arg(
        long,
        global = true,
        env = "SAGA_ENDPOINT",
        hide_env_values = true,
        default_value = "grpc://127.0.0.1:7420",
        value_name = "URL"
    )]
    endpoint: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(serve::Args),
    /// Run a server with the saga files of a folder
    Dev(dev::Args),
    /// Start a saga and print its id
    Start(start::Args),
    /// List sagas, open ones first
    #[command(visible_alias = "ls")]
    List(list::Args),
    /// Show one saga and why it is where it is
    Describe(describe::Args),
    /// Watch one saga, or the counts of all
    Watch(watch::Args),
    /// Show every event of a saga
    History(history::Args),
    /// Block until a saga has ended
    Wait(wait::Args),
    /// Stop a saga and undo what it did
    Cancel(cancel::Args),
    /// Try again now what failed, backs off or is stuck
    Retry(retry::Args),
    /// Go on without a step, or without its undo
    Skip(skip::Args),
    /// Say what became of a step that nobody else can tell of
    Resolve(resolve::Args),
    /// End a saga as it is, and undo nothing
    Abandon(abandon::Args),
    /// Take note of an incident that nothing else settles
    Acknowledge(acknowledge::Args),
    /// Show what operators did, and why
    Audit(audit::Args),
    /// Make a saga with tests and a participant, to begin with
    New(new::Args),
    /// Check saga files, without a server
    Lint(lint::Args),
    /// Format saga files, without a server
    Fmt(fmt::Args),
    /// Try saga files with every kind of trouble, in virtual time, without a server
    Test(test::Args),
    /// Draw the steps of a saga file or of a saga
    Graph(graph::Args),
    /// Register saga files
    Deploy(deploy::Args),
    /// List registered definitions
    Definitions(definitions::Args),
    /// List participants
    Participants(participants::Args),
    /// Try a live participant with what may go wrong around it
    VerifyParticipant(verify_participant::Args),
    /// List circuit breakers, and open or close them by hand
    Breakers(breakers::Args),
    /// Measure how fast sagas run here, and prove that none is lost
    Bench(bench::Args),
    /// Run four sagas with everything they need, one of them through a crash
    Demo(demo::Args),
    /// Print the JSON Schema of saga files, for editors
    Schema(schema::Args),
    /// Show what stands on a RabbitMQ broker, and who may do what there
    Topology(topology::Args),
    /// Tell what a code means
    Explain(explain::Args),
    /// Print the script with which a shell completes this command
    Completion(completion::Args),
    /// Print the version
    Version(version::Args),
    /// The participants of `saga bench`
    #[command(hide = true)]
    BenchParticipants(bench::participants::Args),
    /// A participant of `saga demo`
    #[command(hide = true)]
    DemoParticipant(demo::participant::Args),
}

/// What verbs share.
#[derive(Debug)]
pub struct Context {
    /// As written: participants share the variable, and what they may write there is no reason to refuse `lint`.
    endpoint: String,
    /// The endpoint stands on the command line; it is neither the default nor from the environment.
    endpoint_written: bool,
}

impl Context {
    /// The server named on the command line.
    async fn server(&self) -> Result<Server, Failure> {
        Server::connect(&self.endpoint()?).await
    }

    /// The endpoint, if it stands on the command line: for verbs that start a server of their own otherwise.
    ///
    /// # Errors
    /// When what stands there is no endpoint.
    fn written_endpoint(&self) -> Result<Option<Endpoint>, Failure> {
        if self.endpoint_written {
            self.endpoint().map(Some)
        } else {
            Ok(None)
        }
    }

    fn endpoint(&self) -> Result<Endpoint, Failure> {
        self.endpoint.parse().map_err(|error| {
            let message = format!("endpoint `{}`: {error}", output::printable(&self.endpoint));
            Failure::new(Exit::Usage, message).help("set --endpoint or SAGA_ENDPOINT")
        })
    }
}

/// Reads the command line, does what it says, and tells the shell how it ended.
fn main() -> ExitCode {
    child::obey_leash();
    let matches = Cli::command().try_get_matches();
    let written =
        |matches: &ArgMatches| matches.value_source("endpoint") == Some(ValueSource::CommandLine);
    let parsed =
        matches.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, written(&matches))));
    let (cli, endpoint_written) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help that nobody reads any more is no failure.
            let _ = error.print();
            let usage = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            };
            return usage.into();
        }
    };
    let context = Context {
        endpoint: cli.global.endpoint,
        endpoint_written,
    };
    match dispatch(cli.command, &context) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output::failure(&failure);
            failure.exit().into()
        }
    }
}

fn dispatch(command: Command, context: &Context) -> Result<Exit, Failure> {
    match command {
        Command::Serve(args) => server(serve::run(args)),
        Command::Dev(args) => server(dev::run(args)),
        Command::Start(args) => client(start::run(args, context)),
        Command::List(args) => client(list::run(args, context)),
        Command::Describe(args) => client(describe::run(args, context)),
        Command::Watch(args) => client(watch::run(args, context)),
        Command::History(args) => client(history::run(args, context)),
        Command::Wait(args) => client(wait::run(args, context)),
        Command::Cancel(args) => client(cancel::run(args, context)),
        Command::Retry(args) => client(retry::run(args, context)),
        Command::Skip(args) => client(skip::run(args, context)),
        Command::Resolve(args) => client(resolve::run(args, context)),
        Command::Abandon(args) => client(abandon::run(args, context)),
        Command::Acknowledge(args) => client(acknowledge::run(args, context)),
        Command::Audit(args) => client(audit::run(args, context)),
        Command::New(args) => new::run(args),
        Command::Lint(args) => lint::run(args),
        Command::Fmt(args) => fmt::run(args),
        Command::Test(args) => client(test::run(args)),
        Command::Graph(args) => client(graph::run(args, context)),
        Command::Deploy(args) => client(deploy::run(args, context)),
        Command::Definitions(args) => client(definitions::run(args, context)),
        Command::Participants(args) => client(participants::run(args, context)),
        Command::VerifyParticipant(args) => client(verify_participant::run(args, context)),
        Command::Breakers(args) => client(breakers::run(args, context)),
        Command::Bench(args) => client(bench::run(args, context)),
        Command::Demo(args) => client(demo::run(args)),
        Command::Schema(args) => schema::run(args),
        Command::Topology(args) => client(topology::run(args)),
        Command::Explain(args) => explain::run(args),
        Command::Completion(args) => completion::run(args),
        Command::Version(args) => version::run(args),
        Command::BenchParticipants(args) => server(bench::participants::run(args)),
        Command::DemoParticipant(args) => server(demo::participant::run(args)),
    }
}

/// Runs a verb that asks a server: one thread is enough.
fn client(verb: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    run_on(tokio::runtime::Builder::new_current_thread(), verb)
}

/// Runs a verb that is or holds a server or a participant: as many threads as there are processors, as a user's
/// `#[tokio::main]` has.
fn server(verb: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    run_on(tokio::runtime::Builder::new_multi_thread(), verb)
}

fn run_on(
    mut builder: tokio::runtime::Builder,
    verb: impl Future<Output = Result<Exit, Failure>>,
) -> Result<Exit, Failure> {
    let runtime = builder.enable_all().build();
    runtime
        .map_err(|error| Failure::error(format!("cannot start: {error}")))?
        .block_on(verb)
}
