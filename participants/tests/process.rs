//! A participant as a process of its own: what it says without any set-up, and that it ends. The process is this test
//! program again, with an environment that makes one of its tests serve.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod scripted;

use std::{process::Stdio, time::Duration};

use saga_participant::{Ctx, Participant, Sqlite, SqliteInbox};
use saga_proto::v1::{self, Op};
use scripted::{Orchestrator, command, soon};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStderr, Command},
    time::Instant,
};

/// Names the folder of the participant's database, and makes [`participant`] serve.
const FOLDER: &str = "SAGA_TEST_PARTICIPANT";
const DRAIN: Duration = Duration::from_secs(2);

/// No test by itself: the participant that the others start.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn participant() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let inbox = SqliteInbox::open(std::path::Path::new(&folder).join("stock.db"))
        .await
        .unwrap();
    let stock = Participant::<Sqlite>::new("stock")
        .action("wait", async |_: Ctx<Sqlite>, (): ()| {
            eprintln!("at work");
            std::future::pending::<()>().await;
            Ok(())
        })
        .action("block", async |ctx: Ctx<Sqlite>, (): ()| {
            let _tx = ctx.tx().await?;
            eprintln!("at work");
            std::thread::sleep(Duration::from_secs(600));
            Ok(())
        })
        .inbox(inbox)
        .drain_within(DRAIN);
    stock.serve_from_env().await.unwrap();
}

struct Process {
    child: Child,
    said: Lines<BufReader<ChildStderr>>,
    folder: tempfile::TempDir,
}

impl Process {
    fn start(endpoint: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "participant", "--nocapture"])
            .env(FOLDER, folder.path())
            .env("SAGA_ENDPOINT", endpoint)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stderr.take().unwrap()).lines();
        Self {
            child,
            said,
            folder,
        }
    }

    /// What it says until a line has these words.
    async fn says(&mut self, words: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = soon(self.said.next_line()).await.unwrap() {
            lines.push(line);
            if lines.last().is_some_and(|line| line.contains(words)) {
                return lines;
            }
        }
        panic!("it ended without a word of `{words}`: {lines:?}")
    }

    fn terminate(&self) {
        let told = std::process::Command::new("kill")
            .arg(self.child.id().unwrap().to_string())
            .status();
        assert!(told.unwrap().success());
    }
}

#[tokio::test]
async fn a_participant_without_set_up_says_once_that_and_why_it_is_not_connected() {
    let address = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let mut process = Process::start(&format!("grpc://{address}"));
    let first = process.says("not connected").await.pop().unwrap();
    assert!(
        first.starts_with(&format!("stock: not connected to {address}: ")),
        "{first}"
    );
    assert!(
        first.contains("refused") && first.contains("; trying again in "),
        "{first}"
    );
    // Several attempts later.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut orchestrator = Orchestrator::on(TcpListener::bind(address).await.unwrap());
    let _conversation = orchestrator.welcome().await;
    let then = process.says("connected to").await;
    assert_eq!(then, [format!("stock: connected to {address}")]);
}

#[tokio::test]
async fn a_hanging_handler_does_not_keep_a_process_from_its_end() {
    for action in ["wait", "block"] {
        let mut orchestrator = Orchestrator::start().await;
        let mut process = Process::start(&format!("grpc://{}", orchestrator.address));
        let (conversation, _) = orchestrator.welcome().await;
        let hour = v1::Command {
            timeout_ms: 3_600_000,
            ..command("s", Op::Action, action, "null")
        };
        conversation.command(vec![hour]).await;
        process.says("at work").await;
        let began = Instant::now();
        process.terminate();
        soon(process.child.wait()).await.unwrap();
        // The drain, the end of the stream, and the moment that `main` has; the drain was waited for twice once.
        let took = began.elapsed();
        assert!(
            took >= DRAIN && took < DRAIN * 2 + Duration::from_secs(3),
            "{action}: {took:?}"
        );
        // Whoever comes next finds nothing done, and the file free.
        SqliteInbox::open(process.folder.path().join("stock.db"))
            .await
            .unwrap();
    }
}
