//! The processes of the demonstration: a server and four participants, in one temporary folder.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    time::Duration,
};

use saga_lab::demo::{BOOK_TRIP, PARTICIPANTS};

use super::{
    participant::{COMMITTED, HANG, WILL_HANG},
    within,
};
use crate::{
    client::{Endpoint, Server},
    exit::Failure,
    server::child::{Ground, OwnServer, Process, deployed, registered},
    show::output,
};

/// How long a child may take to answer an order.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Everything that runs. Dropping it ends the processes.
pub struct Stage {
    dir: PathBuf,
    own: OwnServer,
    /// What it stands on, in words.
    ground: String,
    flights: Process,
    /// Held so that they run.
    _others: Vec<Process>,
}

impl Stage {
    /// Starts the server, with its SQLite file in `dir` unless another store is named, then the participants, and
    /// deploys the saga.
    ///
    /// # Errors
    /// When one of them does not come up.
    pub async fn set(
        dir: &Path,
        store: Option<&str>,
        broker: Option<&str>,
    ) -> Result<Self, Failure> {
        let own_store = dir.join("saga.db");
        let ground = Ground {
            store: store.map_or(own_store.as_os_str(), OsStr::new),
            broker,
        };
        let own = OwnServer::start(dir, ground, &PARTICIPANTS).await?;
        let kept = match store {
            None => "SQLite",
            Some(url) if url.starts_with("postgres") => "PostgreSQL",
            Some(_) => "the store that was named",
        };
        let ground = format!(
            "{kept}{}",
            if broker.is_some() {
                ", commands over RabbitMQ"
            } else {
                ""
            }
        );
        let [flights, others @ ..] = PARTICIPANTS;
        let mut flights = participant(flights, dir, &own.road)?;
        let others = others.map(|name| participant(name, dir, &own.road));
        let mut others = others.into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut all: Vec<&mut Process> = others.iter_mut().chain([&mut flights]).collect();
        registered(&own.server, &PARTICIPANTS, &mut all).await?;
        deployed(&own.server, "book_trip", BOOK_TRIP).await?;
        Ok(Self {
            dir: dir.to_owned(),
            own,
            ground,
            flights,
            _others: others,
        })
    }

    /// Do commands travel over a broker?
    pub fn over_broker(&self) -> bool {
        self.own.road != self.own.endpoint.to_string()
    }

    /// Connection to the server.
    pub fn server(&self) -> &Server {
        &self.own.server
    }

    /// Where the server listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.own.endpoint
    }

    /// Folder of databases and logs.
    pub fn data(&self) -> &Path {
        &self.dir
    }

    /// What runs where.
    pub fn description(&self) -> String {
        format!(
            "server at {} on {}; participants {}, each a process with a database of its own\n\
             files and logs in {}\n",
            self.own.endpoint,
            self.ground,
            PARTICIPANTS.join(", "),
            self.dir.display()
        )
    }

    /// From now on flights commits its next seat and never answers.
    ///
    /// # Errors
    /// When the process has ended.
    pub async fn flights_will_hang(&mut self) -> Result<(), Failure> {
        self.flights.say(HANG).await?;
        said(&mut self.flights, WILL_HANG, ANSWER_LIMIT).await
    }

    /// Waits until flights has committed, and kills it. Answers the process that it was.
    ///
    /// # Errors
    /// When it does not commit in time.
    pub async fn kill_flights(&mut self, limit: Duration) -> Result<u32, Failure> {
        said(&mut self.flights, COMMITTED, limit).await?;
        let killed = self.flights.id().unwrap_or_default();
        self.flights.kill().await?;
        Ok(killed)
    }

    /// Starts flights again. Answers the process that it is now.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_flights(&mut self) -> Result<u32, Failure> {
        self.flights = participant("flights", &self.dir, &self.own.road)?;
        Ok(self.flights.id().unwrap_or_default())
    }
}

/// Waits for a line that begins with `word`.
async fn said(process: &mut Process, word: &str, limit: Duration) -> Result<(), Failure> {
    let listen = async {
        while !process.line().await?.starts_with(word) {}
        Ok(())
    };
    within(limit, &format!("waiting for `{}`", word.trim()), listen).await
}

fn participant(name: &str, dir: &Path, road: &str) -> Result<Process, Failure> {
    // A live picture needs something to show; lines in a file do not.
    let pace = if output::is_live() { "250" } else { "0" };
    let args = [
        OsStr::new("demo-participant"),
        OsStr::new(name),
        OsStr::new("--dir"),
        dir.as_os_str(),
        OsStr::new("--road"),
        OsStr::new(road),
        OsStr::new("--pace"),
        OsStr::new(pace),
    ];
    Process::start(name, &args, dir)
}
