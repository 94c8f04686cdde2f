//! Processes that a verb starts beside itself: this executable again, under another verb.
//!
//! None of them outlives its parent, whichever way that ends. When the parent lets go of a child it is killed; when
//! the parent itself is killed, the pipe to the child's stdin closes, and the child ends: [`obey_leash`] for verbs
//! that know nothing of it, [`parent_gone`] for those that end in order.

use std::{
    ffi::OsStr,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use saga_proto::v1::{ListParticipantsRequest, SagaFile};
use saga_server::config::Written;
use saga_wire::refusal::Code;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{sleep, timeout},
};

use super::serve::misconfigured;
use crate::{
    author::deploy,
    client::{Endpoint, Server},
    exit::Failure,
    show::{output, pages},
};

/// Set for children that do not read their stdin themselves.
const LEASH: &str = "SAGA_LEASH";
/// A child that was asked to end may take this long; participants drain for less.
const END_LIMIT: Duration = Duration::from_secs(10);
/// How long a killed process may take to be gone.
const DEATH_LIMIT: Duration = Duration::from_secs(1);
const DEATH_POLL: Duration = Duration::from_millis(1);
/// How long a server on this machine may take until it answers.
const READY_LIMIT: Duration = Duration::from_secs(15);
const READY_POLL: Duration = Duration::from_millis(10);
/// Bytes from the end of a log that an error shows.
const LOG_TAIL: usize = 2_000;

/// Ends this process as soon as its parent is gone, if it was started by [`Process::start_leashed`]. To be called
/// first in `main`.
pub fn obey_leash() {
    if std::env::var_os(LEASH).is_none() {
        return;
    }
    std::thread::spawn(|| {
        let mut scrap = [0; 64];
        while std::io::stdin()
            .read(&mut scrap)
            .is_ok_and(|bytes| bytes > 0)
        {}
        // What is promised is on disk already, so there is nothing left to put in order.
        std::process::exit(0);
    });
}

/// Completes when the parent closes our stdin, or is gone.
pub async fn parent_gone() {
    let mut stdin = tokio::io::stdin();
    let mut scrap = [0; 64];
    while stdin.read(&mut scrap).await.is_ok_and(|bytes| bytes > 0) {}
}

/// A process that ends with this one.
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Option<Lines<BufReader<ChildStdout>>>,
    log: PathBuf,
}

impl Process {
    /// Starts `saga <args>` whose stdin we close to end it and whose stdout we read line by line. Its stderr goes to
    /// `<dir>/<name>.log`.
    ///
    /// # Errors
    /// When the log cannot be written or the process not started.
    pub fn start<A: AsRef<OsStr>>(name: &str, args: &[A], dir: &Path) -> Result<Self, Failure> {
        Self::spawn(name, args, dir, false)
    }

    /// Starts `saga <args>` for a verb that knows nothing of parents: it is killed in the end.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_leashed<A: AsRef<OsStr>>(
        name: &str,
        args: &[A],
        dir: &Path,
    ) -> Result<Self, Failure> {
        Self::spawn(name, args, dir, true)
    }

    fn spawn<A: AsRef<OsStr>>(
        name: &str,
        args: &[A],
        dir: &Path,
        leashed: bool,
    ) -> Result<Self, Failure> {
        let failed =
            |error: std::io::Error| Failure::error(format!("cannot start {name}: {error}"));
        let path = dir.join(name).with_extension("log");
        let log = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(failed)?;
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C in the terminal is for the parent, who ends its children in order.
            .process_group(0)
            .kill_on_drop(true);
        if leashed {
            command.env(LEASH, "1");
        }
        let mut child = command.spawn().map_err(failed)?;
        let stdin = child.stdin.take();
        let lines = child
            .stdout
            .take()
            .map(|stdout| BufReader::new(stdout).lines());
        Ok(Self {
            name: name.to_owned(),
            child,
            stdin,
            lines,
            log: path,
        })
    }

    /// Its process id; `None` once it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// The next line it says.
    ///
    /// # Errors
    /// When it has ended instead.
    pub async fn line(&mut self) -> Result<String, Failure> {
        let line = match &mut self.lines {
            Some(lines) => lines.next_line().await.ok().flatten(),
            None => None,
        };
        line.ok_or_else(|| self.ended())
    }

    /// Says a line to it.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn say(&mut self, line: &str) -> Result<(), Failure> {
        let said = match &mut self.stdin {
            Some(stdin) => stdin
                .write_all(format!("{line}\n").as_bytes())
                .await
                .is_ok(),
            None => false,
        };
        if said { Ok(()) } else { Err(self.ended()) }
    }

    /// Kills it, as a crash or an impatient operator would, and waits until it is gone.
    ///
    /// # Errors
    /// When the system does not let us.
    pub async fn kill(&mut self) -> Result<(), Failure> {
        self.child
            .kill()
            .await
            .map_err(|error| Failure::error(format!("cannot kill {}: {error}", self.name)))
    }

    /// Asks it to end by closing its stdin, hands back what it still says, and waits until it is gone.
    ///
    /// # Errors
    /// When it does not end in time; it is killed then.
    pub async fn finish(mut self) -> Result<Vec<String>, Failure> {
        drop(self.stdin.take());
        let lines = self.lines.take();
        let (name, log) = (self.name.clone(), self.log.clone());
        let end = async {
            let mut said = Vec::new();
            if let Some(mut lines) = lines {
                while let Ok(Some(line)) = lines.next_line().await {
                    said.push(line);
                }
            }
            let _ = self.child.wait().await;
            said
        };
        let late = || {
            Failure::error(format!("{name} did not end in time"))
                .help(format!("see {}", log.display()))
        };
        timeout(END_LIMIT, end).await.map_err(|_| late())
    }

    /// Fails with the end of its log if it has ended.
    ///
    /// # Errors
    /// When it has ended.
    pub fn check(&mut self) -> Result<(), Failure> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(_)) | Err(_) => Err(self.ended()),
        }
    }

    fn ended(&self) -> Failure {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let tail = String::from_utf8_lossy(&text[text.len().saturating_sub(LOG_TAIL)..]);
        last_words(&self.name, &tail, &self.log)
    }
}

/// What a process said in the end: its error with its help, else its last line and where there are more.
fn last_words(name: &str, tail: &str, log: &Path) -> Failure {
    let mut lines = tail.trim().lines().rev();
    let last = lines.next().unwrap_or("it said nothing");
    let help = last.trim_start().strip_prefix("= help: ");
    let words = if help.is_some() {
        lines.next().unwrap_or_default()
    } else {
        last
    };
    let said = words.strip_prefix("error: ");
    let failure = Failure::error(format!("{name} has ended: {}", said.unwrap_or(words)));
    match (help, said) {
        (Some(help), _) => failure.help(help),
        (None, Some(_)) => failure,
        (None, None) => failure.help(format!("see {}", log.display())),
    }
}

impl Drop for Process {
    /// Kills it and waits until it is gone, so that whoever removes its files next finds them at rest. It dies within
    /// a moment; one that the system cannot kill is left to it.
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.start_kill();
        let begun = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && begun.elapsed() < DEATH_LIMIT {
            std::thread::sleep(DEATH_POLL);
        }
    }
}

/// What a server of our own stands on.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// Path of an SQLite file, or URL of a PostgreSQL database.
    pub store: &'a OsStr,
    /// URL of a RabbitMQ broker; without it, participants dial the server.
    pub broker: Option<&'a str>,
}

/// A server of our own: `saga serve` on a free port of this machine.
pub struct OwnServer {
    /// The process.
    pub process: Process,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// A connection to it.
    pub server: Server,
    /// What its participants connect to: the server, or the broker.
    pub road: String,
}

impl OwnServer {
    /// Starts it and waits until it answers; its log is `<dir>/server.log`. At a broker it makes ready for `participants`.
    ///
    /// # Errors
    /// When store or broker cannot be meant, when it ends instead, or does not answer in time.
    pub async fn start(dir: &Path, on: Ground<'_>, participants: &[&str]) -> Result<Self, Failure> {
        let written = Written {
            store: on.store.to_string_lossy().into_owned(),
            broker: on.broker.map(str::to_owned),
            ..Written::default()
        };
        written.read().map_err(|error| misconfigured(&error))?;
        let mut args = ["serve", "--listen", "127.0.0.1:0", "--store"]
            .map(OsStr::new)
            .to_vec();
        args.push(on.store);
        let participants = participants.join(",");
        if let Some(broker) = on.broker {
            args.extend(["--broker", broker, "--participants", &participants].map(OsStr::new));
        }
        let mut process = Process::start_leashed("server", &args, dir)?;
        let late = |_: tokio::time::error::Elapsed| {
            Failure::error(format!(
                "the server did not come up within {} s",
                READY_LIMIT.as_secs()
            ))
        };
        let endpoint = timeout(READY_LIMIT, listening(&mut process))
            .await
            .map_err(late)??;
        let server = Server::connect(&endpoint).await?;
        timeout(READY_LIMIT, owning(&server))
            .await
            .map_err(late)??;
        let road = on
            .broker
            .map_or_else(|| endpoint.to_string(), str::to_owned);
        Ok(Self {
            process,
            endpoint,
            server,
            road,
        })
    }
}

/// Waits until the server says where it listens.
async fn listening(process: &mut Process) -> Result<Endpoint, Failure> {
    loop {
        let line = process.line().await?;
        if let Some(endpoint) = line.strip_prefix("listening on ") {
            return endpoint
                .parse()
                .map_err(|error| Failure::error(format!("{endpoint}: {error}")));
        }
    }
}

/// Waits until the server owns its store: one that was killed before it may have left its lease to run out.
async fn owning(server: &Server) -> Result<(), Failure> {
    loop {
        match server
            .participants()
            .list_participants(ListParticipantsRequest::default())
            .await
        {
            Ok(_) => return Ok(()),
            Err(status) => match server.failure(status) {
                Failure::Told {
                    code: Some(code), ..
                } if code == Code::StandingBy.text() => sleep(READY_POLL).await,
                failure => return Err(failure),
            },
        }
    }
}

/// Waits until the participants have registered with the server.
///
/// # Errors
/// When one of `processes` ends, the server refuses to tell, or it takes too long.
pub async fn registered(
    server: &Server,
    names: &[&str],
    processes: &mut [&mut Process],
) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        let known = pages::participants(server).await?.participants;
        let live = |name: &&str| {
            known
                .iter()
                .any(|known| known.name == **name && !known.instances.is_empty())
        };
        if names.iter().all(live) {
            return Ok(());
        }
        if begun.elapsed() > READY_LIMIT {
            let missing: Vec<&str> = names.iter().filter(|name| !live(name)).copied().collect();
            return Err(Failure::error(format!(
                "participant {} did not register in time",
                missing.join(", ")
            )));
        }
        for process in &mut *processes {
            process.check()?;
        }
        sleep(READY_POLL).await;
    }
}

/// Deploys a saga file that is known to be good, once its participants have registered.
///
/// # Errors
/// When the server does not answer or finds fault with it; the faults stand on stderr then.
pub async fn deployed(server: &Server, name: &str, yaml: &str) -> Result<(), Failure> {
    let file = SagaFile {
        path: format!("{name}.saga.yaml"),
        content: yaml.as_bytes().to_vec().into(),
    };
    let answer = deploy::deploy(server, vec![file], false).await?;
    if answer.accepted {
        return Ok(());
    }
    for diagnostic in &answer.diagnostics {
        output::note(&deploy::shown(diagnostic));
    }
    Err(Failure::error(format!(
        "the server refused the definition {name}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_ends_with_an_error_is_quoted_with_its_help() {
        let told = |tail: &str| {
            let Failure::Told { message, help, .. } = last_words("server", tail, Path::new("/l"))
            else {
                panic!("told")
            };
            (message, help.unwrap_or_default())
        };
        let both = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            told("noise\nerror: no\n  = help: do\n"),
            both("server has ended: no", "do")
        );
        assert_eq!(told("noise\nerror: no\n"), both("server has ended: no", ""));
        assert_eq!(told("noise\n"), both("server has ended: noise", "see /l"));
        assert_eq!(
            told(""),
            both("server has ended: it said nothing", "see /l")
        );
    }
}
