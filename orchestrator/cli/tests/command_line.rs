//! The `saga` binary as a shell sees it: exit codes, stdout and stderr, against a real server.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on may as well say so"
)]

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    thread::JoinHandle,
};

use saga_examples::book_trip;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;

const TRIP: &str = r#"{"trip_id": "t1", "customer_id": "c", "amount_cents": 19900,
    "flight": {"from": "FRA", "to": "LIS", "date": "2027-01-01"}, "hotel": {"city": "Lisbon", "nights": 3}}"#;
const BROKEN: &str = "saga: broken\nversion: one\n";

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_saga"));
    for variable in [
        "SAGA_ENDPOINT",
        "SAGA_LISTEN",
        "SAGA_STORE",
        "SAGA_LOG",
        "RUST_LOG",
        "CLICOLOR_FORCE",
    ] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
    command
}

fn saga(args: &[&str]) -> Output {
    command().args(args).output().unwrap()
}

fn out(output: &Output) -> &str {
    str::from_utf8(&output.stdout).unwrap()
}

fn err(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

#[track_caller]
fn exits(output: &Output, code: i32) {
    assert_eq!(
        output.status.code(),
        Some(code),
        "stdout: {}\nstderr: {}",
        out(output),
        err(output)
    );
}

/// `saga dev` on a free port, and a folder for everything it keeps.
struct Dev {
    child: Child,
    stdout: BufReader<ChildStdout>,
    endpoint: String,
    /// What it said first.
    welcome: String,
    folder: TempDir,
}

impl Dev {
    fn start(files: &[(&str, &str)]) -> Self {
        Self::start_with(files, &[])
    }

    fn start_with(files: &[(&str, &str)], options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sagas = folder.path().join("sagas");
        std::fs::create_dir(&sagas).unwrap();
        for (name, content) in files {
            std::fs::write(sagas.join(name), content).unwrap();
        }
        let store = folder.path().join("saga.db");
        let mut child = command()
            .arg("dev")
            .arg(&sagas)
            .args(["--listen", "127.0.0.1:0", "--store"])
            .arg(store)
            .args(options)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut welcome = String::new();
        while !welcome.contains("Ctrl-C") {
            assert_ne!(
                stdout.read_line(&mut welcome).unwrap(),
                0,
                "ended early: {welcome}"
            );
        }
        let endpoint = welcome
            .lines()
            .find_map(|line| line.trim().strip_prefix("export SAGA_ENDPOINT="));
        let endpoint = endpoint.unwrap().to_owned();
        Self {
            child,
            stdout,
            endpoint,
            welcome,
            folder,
        }
    }

    fn saga(&self, args: &[&str]) -> Output {
        command()
            .env("SAGA_ENDPOINT", &self.endpoint)
            .args(args)
            .output()
            .unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// Asks it to go down, and waits until it has.
    fn stop(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        self.child.wait().unwrap().code()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The participants of the trip, in this process.
struct Participants {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Participants {
    fn start(dir: &Path, endpoint: &str) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let (dir, endpoint) = (dir.to_owned(), endpoint.to_owned());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let stopped = async move {
                let _ = stopped.await;
            };
            runtime
                .block_on(book_trip::run(
                    &book_trip::PARTICIPANTS,
                    &dir,
                    &endpoint,
                    None,
                    stopped,
                ))
                .unwrap();
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Participants {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn a_trip_is_booked_and_another_is_undone() {
    let dev = Dev::start(&[("book_trip.saga.yaml", book_trip::BOOK_TRIP)]);
    assert!(
        dev.welcome.contains("✔ book_trip@1 registered"),
        "{}",
        dev.welcome
    );
    let input = dev.write("trip.json", TRIP);
    let participants = Participants::start(&dev.path("participants"), &dev.endpoint);
    let start =
        |more: &[&str]| dev.saga(&[["start", "book_trip", "-i", &input].as_slice(), more].concat());

    let booked = start(&["--wait", "--timeout", "60s"]);
    exits(&booked, 0);
    let id = out(&booked).trim();
    assert_eq!(id.len(), 26, "{id}");
    assert!(err(&booked).contains("✔ completed"), "{}", err(&booked));

    let again = start(&["-o", "id"]);
    exits(&again, 0);
    assert_eq!(out(&again).trim(), id, "the same key is the same saga");
    exits(&start(&["-f", "amount_cents=1"]), 6);
    exits(&start(&["-f", "amount_cents=three"]), 1);

    let undone = start(&[
        "-f",
        "trip_id=t2",
        "-f",
        "customer_id=customer-broke",
        "--watch",
        "--timeout",
        "60s",
    ]);
    exits(&undone, 10);
    let lines = out(&undone);
    assert!(
        lines.contains("charge_card  ✗ refused") && lines.contains("book_trip@1  ↩ compensated"),
        "{lines}"
    );
    assert!(
        !lines.contains('\u{1b}'),
        "nothing moves in a pipe: {lines:?}"
    );

    let detail: Value =
        serde_json::from_slice(&dev.saga(&["describe", "book_trip/t2", "-o", "json"]).stdout)
            .unwrap();
    assert_eq!(detail["failure"]["code"], "card_declined");
    let graph = dev.saga(&["graph", "book_trip/t2"]);
    exits(&graph, 0);
    assert!(
        out(&graph).starts_with("start ─┬─ reserve_flight ↩"),
        "{}",
        out(&graph)
    );
    assert!(
        out(&graph).contains("charge_card        ✗ refused"),
        "{}",
        out(&graph)
    );
    exits(&dev.saga(&["graph", "nobody/t2"]), 5);
    exits(&dev.saga(&["watch", &id[18..]]), 0);
    exits(&dev.saga(&["cancel", id]), 6);
    let history = dev.saga(&["history", id, "--follow", "-o", "json"]);
    exits(&history, 0);
    let last: Value = serde_json::from_str(out(&history).lines().last().unwrap()).unwrap();
    assert_eq!(last["kind"], "completed");

    let list = dev.saga(&["list", "--all", "-o", "id"]);
    assert_eq!(out(&list).lines().count(), 2);
    let list = dev.saga(&["list"]);
    assert_eq!(
        (out(&list), err(&list).trim()),
        ("", "0 of 0 active (2 finished: --all)")
    );
    drop(participants);
    assert_eq!(dev.stop(), Some(0));
}

#[test]
fn a_wait_ends_while_the_saga_goes_on() {
    let dev = Dev::start(&[("book_trip.saga.yaml", book_trip::BOOK_TRIP)]);
    let input = dev.write("trip.json", TRIP);
    // Nobody takes part: the saga waits, and so do we, until we do not.
    let started = dev.saga(&[
        "start",
        "book_trip",
        "-i",
        &input,
        "--wait",
        "--timeout",
        "200ms",
    ]);
    exits(&started, 12);
    let id = out(&started).trim();
    exits(&dev.saga(&["cancel", id, "--reason", "changed plans"]), 0);
    exits(
        &dev.saga(&["watch", id, "--timeout", "60s", "-o", "json"]),
        10,
    );
    let described = dev.saga(&["describe", id]);
    assert!(
        out(&described).contains("changed plans"),
        "{}",
        out(&described)
    );
}

#[test]
fn a_broken_file_is_shown_and_skipped_and_a_changed_one_is_read_again() {
    let mut dev = Dev::start(&[("broken.saga.yaml", BROKEN)]);
    assert!(
        dev.welcome.contains("broken.saga.yaml skipped: 2 faults"),
        "{}",
        dev.welcome
    );
    dev.write("sagas/book_trip.saga.yaml", book_trip::BOOK_TRIP);
    let mut line = String::new();
    dev.stdout.read_line(&mut line).unwrap();
    assert!(line.starts_with("✔ book_trip@1 registered"), "{line}");

    let broken = dev.saga(&[
        "deploy",
        &dev.path("sagas/broken.saga.yaml").display().to_string(),
    ]);
    exits(&broken, 1);
    assert!(err(&broken).contains("error[S0108]"), "{}", err(&broken));
    let other = book_trip::BOOK_TRIP.replace("saga: book_trip", "saga: book_tour");
    let other = dev.write("tour.saga.yaml", &other);
    exits(&dev.saga(&["deploy", &other, "--dry-run"]), 2);
    exits(&dev.saga(&["deploy", &other]), 0);
    exits(&dev.saga(&["deploy", &other, "--dry-run"]), 0);
    let definitions = dev.saga(&["definitions", "-o", "id"]);
    assert_eq!(out(&definitions), "book_tour@1\nbook_trip@1\n");

    exits(&dev.saga(&["describe", "ZZZZZZZZ"]), 5);
    let slip = dev.saga(&["start", "book_tripp", "--dry-run"]);
    exits(&slip, 5);
    assert!(
        err(&slip).contains("did you mean `book_trip`?"),
        "{}",
        err(&slip)
    );
}

#[test]
fn a_file_that_breaks_or_goes_leaves_what_was_registered() {
    let mut dev = Dev::start(&[("trip.saga.yaml", book_trip::BOOK_TRIP)]);
    let mut said = |change: &dyn Fn(&Path), wanted: &str| {
        change(&dev.path("sagas/trip.saga.yaml"));
        let mut line = String::new();
        dev.stdout.read_line(&mut line).unwrap();
        assert!(line.contains(wanted), "{line}");
    };
    // Set in its place at once, as editors do.
    let rewritten = |from: &'static str, to: &'static str| {
        move |path: &Path| {
            let text = std::fs::read_to_string(path).unwrap();
            let new = path.with_extension("new");
            std::fs::write(&new, text.replace(from, to)).unwrap();
            std::fs::rename(&new, path).unwrap();
        }
    };
    said(
        &rewritten("kind: pivot", "kind: pivto"),
        "skipped: 1 fault; book_trip@1 stays as it was",
    );
    said(
        &rewritten("kind: pivto", "kind: pivot"),
        "= book_trip@1 unchanged",
    );
    said(
        &rewritten("timeout: 30s", "timeout: 31s"),
        "skipped: 1 fault; book_trip@1 stays as it was",
    );
    said(
        &|_| (),
        "raise `version` in it, or try things out with `saga dev --ephemeral`",
    );
    said(
        &rewritten("version: 1", "version: 2"),
        "✔ book_trip@2 registered",
    );
    said(
        &|path| std::fs::remove_file(path).unwrap(),
        "is gone; book_trip@2 stays registered",
    );
    assert_eq!(
        out(&dev.saga(&["definitions", "-o", "id"])),
        "book_trip@2\nbook_trip@1\n"
    );
}

#[test]
fn fmt_is_a_filter_and_a_question() {
    let filtered = |args: &[&str], text: &str| {
        let mut child = command()
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        child.wait_with_output().unwrap()
    };
    let pretty = filtered(&["fmt", "-"], "version:   1\nsaga: trip\n");
    exits(&pretty, 0);
    assert_eq!(
        (out(&pretty), err(&pretty)),
        ("saga: trip\nversion: 1\n", "")
    );
    exits(&filtered(&["fmt", "--check", "-"], out(&pretty)), 0);
    let asked = filtered(&["fmt", "--check", "-"], "version:   1\nsaga: trip\n");
    exits(&asked, 1);
    assert_eq!(out(&asked), "<stdin>\n");
    let broken = filtered(&["fmt", "-"], "saga: [\n");
    exits(&broken, 1);
    assert!(
        out(&broken).is_empty() && err(&broken).contains("error[S0003]"),
        "{}",
        err(&broken)
    );
}

#[test]
fn without_a_server_there_is_a_remedy() {
    let list = saga(&["--endpoint", "grpc://127.0.0.1:1", "list"]);
    exits(&list, 3);
    assert!(err(&list).contains("saga dev"), "{}", err(&list));
    exits(&saga(&["list", "--endpoint", "nowhere"]), 2);
    exits(&saga(&["nonsense"]), 2);
    exits(&saga(&[]), 2);
    exits(&saga(&["--help"]), 0);
    exits(&saga(&["dev", "/no/such/folder"]), 1);
}

#[test]
fn lint_needs_no_server_and_looks_at_every_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("good.saga.yaml"), book_trip::BOOK_TRIP).unwrap();
    std::fs::write(path("bad.saga.yaml"), BROKEN).unwrap();
    exits(&saga(&["lint", &path("good.saga.yaml")]), 0);
    // What participants write there is no reason to refuse.
    let elsewhere = command()
        .env("SAGA_ENDPOINT", "amqp://broker")
        .args(["lint", &path("good.saga.yaml")])
        .output();
    exits(&elsewhere.unwrap(), 0);
    let all = saga(&[
        "lint",
        &path("none.saga.yaml"),
        &path("bad.saga.yaml"),
        "-o",
        "json",
    ]);
    exits(&all, 1);
    assert!(err(&all).contains("there is no such file"), "{}", err(&all));
    let found: Vec<Value> = serde_json::from_slice(&all.stdout).unwrap();
    assert!(
        found
            .iter()
            .any(|fault| fault["code"] == "S0108" && fault["line"] == 2),
        "{found:?}"
    );
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let mut child = command()
        .arg("explain")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    exits(&output, 0);
    assert_eq!(err(&output), "");
}

#[test]
fn mocks_bring_a_trip_to_its_end_and_say_what_they_were_asked() {
    let mut dev = Dev::start_with(
        &[("trip.saga.yaml", book_trip::BOOK_TRIP)],
        &["--mock", "all"],
    );
    assert!(
        dev.welcome
            .contains("made-up answers for       flights, hotels, notifications, payments")
    );
    let input = dev.folder.path().join("trip.json");
    std::fs::write(&input, TRIP).unwrap();
    let started = dev.saga(&[
        "start",
        "book_trip",
        "-i",
        input.to_str().unwrap(),
        "--wait",
        "--timeout",
        "60s",
    ]);
    exits(&started, 0);
    let mut said = String::new();
    while !said.contains("mock notifications/send") {
        assert_ne!(
            dev.stdout.read_line(&mut said).unwrap(),
            0,
            "ended early: {said}"
        );
    }
    assert!(
        said.contains(r#"hotels/reserve"#)
            && said.contains(r#"→ {"confirmation":"confirmation-1"}"#),
        "{said}"
    );
}

#[test]
fn trials_need_no_server_and_fail_with_the_shell_in_mind() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trip.saga.yaml");
    std::fs::write(&file, book_trip::BOOK_TRIP).unwrap();
    let file = file.to_str().unwrap();
    let passed = saga(&["test", file]);
    exits(&passed, 0);
    assert!(
        out(&passed).contains("✔ charge_card: refused")
            && out(&passed).contains("all passed  seed 1")
    );
    let listed = saga(&["test", file, "--list"]);
    assert_eq!(
        out(&listed)
            .lines()
            .filter(|line| *line == "charge_card: refused")
            .count(),
        1
    );
    let broken = book_trip::BOOK_TRIP.replacen(
        "compensation: hotels/cancel",
        "compensation: {action: hotels/cancel, input: {id: \"${has(self.output) ? 1 : int(self.key)}\"}}",
        1,
    );
    let case = "reserve_hotel: never answers, effect happened";
    std::fs::write(file, broken).unwrap();
    let failed = saga(&["test", file, "--case", case, "--seed", "7"]);
    exits(&failed, 1);
    assert!(
        out(&failed).contains(&format!("✗ {case}")) && out(&failed).contains("--seed 7"),
        "{}",
        out(&failed)
    );
    let json = saga(&["test", file, "--case", case, "-o", "json"]);
    let first: Value = serde_json::from_str(out(&json).lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["passed"], &first["end"]),
        (&Value::from(false), &Value::from("incident"))
    );
    std::fs::write(file, BROKEN).unwrap();
    exits(&saga(&["test", file]), 1);
}
