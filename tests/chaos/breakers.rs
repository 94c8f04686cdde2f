//! A participant that fails for a while, under load, behind a real server: its breaker keeps it from being asked, nothing
//! is lost to retries, others go on, and its recovery is no storm.
//!
//! In the suite it is told in a few seconds and judged by counts. The long form lasts a minute and prints the curve:
//!
//! ```text
//! SAGA_BREAKERS=long cargo test --release -p saga-tests --test chaos a_participant_that_fails -- --nocapture
//! ```

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use saga_participant::{Ctx, Memory, MemoryInbox, Participant, Result as Handled, Retry, Undo};
use saga_proto::v1::{
    Breaker, BreakerState, ListBreakersRequest, ListSagasRequest, StartSagaRequest,
    operator_service_client::OperatorServiceClient, saga_service_client::SagaServiceClient,
};
use saga_tests::Instance;
use serde_json::{Value, json};
use tonic::transport::Channel;

use crate::processes::{Server, until};

/// How long a test waits for what must come.
const LIMIT: Duration = Duration::from_secs(120);
/// What a call takes.
const SERVICE: Duration = Duration::from_millis(5);
/// Probes in a row that close the breaker, and the first cohort after that.
const PROBES: usize = 3;

/// Five attempts are used up within a second, where somebody spends them; the breaker must have opened before that.
fn file(saga: &str, participant: &str, open_for: &str) -> String {
    format!(
        "saga: {saga}
version: 1
input: {{n: int}}
participants:
  payments:
    circuit_breaker: {{failure_rate: 50%, window: 1s, min_calls: 10, open_for: {open_for}, half_open_calls: {PROBES}}}
defaults:
  timeout: 50s
  retry: {{initial_delay: 200ms, backoff: fixed, jitter: none, max_attempts: 5}}
steps:
  - {{step: first, action: {participant}/act, input: [n], compensation: {participant}/undo, at_least_once: true}}
"
    )
}

/// What a participant saw, in its order.
#[derive(Default)]
struct Book {
    begun: Option<Instant>,
    calls: Vec<Call>,
    running: usize,
    /// Answered well since it recovered.
    well: usize,
}

#[derive(Clone, Copy)]
struct Call {
    at: Duration,
    ill: bool,
    /// Others at work when it began.
    beside: usize,
    /// Answered well before it, since the participant recovered.
    well: usize,
}

#[derive(Clone, Default)]
struct Service {
    ill: Arc<AtomicBool>,
    book: Arc<Mutex<Book>>,
}

impl Service {
    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn calls(&self) -> Vec<Call> {
        self.book().calls.clone()
    }

    async fn act(self) -> Handled<Value> {
        let ill = self.ill.load(Ordering::SeqCst);
        {
            let mut book = self.book();
            let at = book.begun.get_or_insert_with(Instant::now).elapsed();
            let (beside, well) = (book.running, book.well);
            book.calls.push(Call {
                at,
                ill,
                beside,
                well,
            });
            book.running += 1;
        }
        tokio::time::sleep(SERVICE).await;
        let mut book = self.book();
        book.running -= 1;
        if ill {
            return Err(Retry::new("down", "as the test says").into());
        }
        book.well += 1;
        Ok(json!({}))
    }

    fn falls_ill(&self) {
        self.ill.store(true, Ordering::SeqCst);
    }

    fn recovers(&self) {
        self.book().well = 0;
        self.ill.store(false, Ordering::SeqCst);
    }

    fn serve(&self, name: &'static str, endpoint: &str) -> Instance {
        let service = self.clone();
        Instance::start(endpoint, async move {
            Participant::<Memory>::new(name)
                .action("act", move |_: Ctx<Memory>, _: Value| service.clone().act())
                .compensation("undo", |_: Ctx<Memory>, _: Undo<Value, Value>| {
                    std::future::ready(Handled::Ok(()))
                })
                .inbox(MemoryInbox::new())
                .concurrency(4_096, 4_096)
        })
    }
}

struct Stage {
    payments: Service,
    hotels: Service,
    channel: Channel,
    _instances: [Instance; 2],
    _server: Server,
}

impl Stage {
    async fn set(dir: &std::path::Path, open_for: &str) -> Self {
        let server = Server::start(dir).await;
        let (payments, hotels) = (Service::default(), Service::default());
        let _instances = [
            payments.serve("payments", &server.endpoint()),
            hotels.serve("hotels", &server.endpoint()),
        ];
        for (saga, participant) in [("pay", "payments"), ("stay", "hotels")] {
            let path = format!("{saga}.saga.yaml");
            let file = file(saga, participant, open_for);
            server.deploy(&["payments", "hotels"], &path, &file).await;
        }
        Self {
            payments,
            hotels,
            channel: server.channel().await,
            _instances,
            _server: server,
        }
    }

    async fn start(&self, saga: &str, count: usize) {
        let starts = (0..count).map(|n| start_one(self.channel.clone(), saga, n));
        futures_util::future::join_all(starts).await;
    }

    async fn breaker(&self) -> Option<Breaker> {
        let mut operators = OperatorServiceClient::new(self.channel.clone());
        let list = operators
            .list_breakers(ListBreakersRequest::default())
            .await
            .expect("an answer")
            .into_inner();
        list.breakers
            .into_iter()
            .find(|breaker| breaker.participant == "payments" && breaker.action == "act")
    }

    /// Sagas of that name that are open, and that ended compensated.
    async fn open_and_compensated(&self, saga: &str) -> (usize, usize) {
        let mut sagas = SagaServiceClient::new(self.channel.clone());
        let mut count = async |request: ListSagasRequest| {
            let request = ListSagasRequest {
                name: saga.to_owned(),
                page_size: 1_000,
                ..request
            };
            sagas
                .list_sagas(request)
                .await
                .expect("an answer")
                .into_inner()
                .sagas
                .len()
        };
        let open = count(ListSagasRequest {
            open_only: true,
            ..Default::default()
        })
        .await;
        let back = ListSagasRequest {
            statuses: vec!["compensated".to_owned()],
            ..Default::default()
        };
        (open, count(back).await)
    }

    async fn all_end(&self, saga: &str) {
        until(&format!("every {saga} to end"), LIMIT, async || {
            (self.open_and_compensated(saga).await.0 == 0).then_some(())
        })
        .await;
    }
}

async fn start_one(channel: Channel, saga: &str, n: usize) {
    let input = json!({ "n": n }).to_string().into();
    let request = StartSagaRequest {
        name: saga.to_owned(),
        input,
        ..Default::default()
    };
    SagaServiceClient::new(channel)
        .start_saga(request)
        .await
        .expect("a start");
}

/// After a recovery, whoever begins finds at most as many at work as were answered well, and the first cohort more.
fn no_storm(calls: &[Call]) {
    for call in calls {
        assert!(
            call.beside <= call.well + PROBES,
            "{} at work when only {} had been answered",
            call.beside,
            call.well
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_participant_that_fails_is_left_alone_and_comes_back_without_a_storm() {
    if std::env::var("SAGA_BREAKERS").is_ok_and(|mode| mode == "long") {
        return for_half_a_minute_under_load().await;
    }
    const FIRST: usize = 100;
    const MORE: usize = 300;
    let dir = tempfile::tempdir().expect("a folder");
    let stage = Stage::set(dir.path(), "150ms").await;
    stage.payments.falls_ill();
    stage.start("pay", FIRST).await;
    until("the breaker to open", LIMIT, async || {
        stage
            .breaker()
            .await
            .filter(|breaker| breaker.state() != BreakerState::Closed)
    })
    .await;
    // What was on its way before is answered; from now on only probes are sent.
    until("the first attempts", LIMIT, async || {
        (stage.payments.book().running == 0).then_some(())
    })
    .await;
    stage.start("pay", MORE).await;
    stage.start("stay", MORE).await;
    stage.all_end("stay").await;
    assert_eq!(
        stage.open_and_compensated("stay").await.1,
        0,
        "who does not ask payments goes on"
    );
    let opened = until("some probes to fail", LIMIT, async || {
        stage
            .breaker()
            .await
            .filter(|breaker| breaker.generation >= 6)
    })
    .await;
    let seen = stage.payments.calls().len();
    // Each opening but the first is a probe that failed, and one more may be on its way.
    let probes = usize::try_from(opened.generation - 2).expect("a count") + 1;
    // Nine calls may have failed twice before there were enough of them.
    assert!(
        seen <= FIRST + 9 + probes,
        "{seen} calls, {} openings",
        opened.generation - 1
    );
    stage.payments.recovers();
    let before = stage.payments.calls().len();
    stage.all_end("pay").await;
    assert_eq!(
        stage.open_and_compensated("pay").await.1,
        0,
        "nothing is lost to exhausted retries"
    );
    let calls = stage.payments.calls();
    let after: Vec<Call> = calls[before..]
        .iter()
        .copied()
        .filter(|call| !call.ill)
        .collect();
    assert_eq!(
        after.len(),
        FIRST + MORE,
        "each is asked once more, and then it is done"
    );
    no_storm(&after);
    let closed = until("the breaker to close", LIMIT, async || {
        stage
            .breaker()
            .await
            .filter(|breaker| breaker.state() == BreakerState::Closed)
    })
    .await;
    assert_eq!((closed.waiting, closed.reason.as_str()), (0, "recovered"));
}

/// Calls in each second, and the most that were at work at once.
fn per_second(calls: &[Call], from: Duration) -> BTreeMap<u64, (usize, usize)> {
    let mut seconds = BTreeMap::new();
    for call in calls.iter().filter(|call| call.at >= from) {
        let (count, most): &mut (usize, usize) =
            seconds.entry((call.at - from).as_secs()).or_default();
        (*count, *most) = (*count + 1, (*most).max(call.beside + 1));
    }
    seconds
}

/// 100 sagas a second that ask payments and 100 that do not; payments fails for 30 seconds.
async fn for_half_a_minute_under_load() {
    const EACH_MS: u64 = 10;
    const WELL_S: u64 = 10;
    const ILL_S: u64 = 30;
    let dir = tempfile::tempdir().expect("a folder");
    let stage = Arc::new(Stage::set(dir.path(), "2s").await);
    let loading = Arc::new(AtomicBool::new(true));
    let load = {
        let (stage, loading) = (Arc::clone(&stage), Arc::clone(&loading));
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(EACH_MS));
            let mut n = 0;
            while loading.load(Ordering::SeqCst) {
                tick.tick().await;
                n += 1;
                for saga in ["pay", "stay"] {
                    tokio::spawn(start_one(stage.channel.clone(), saga, n));
                }
            }
            n
        })
    };
    let begun = Instant::now();
    let pass = async |seconds: u64| {
        tokio::time::sleep_until((begun + Duration::from_secs(seconds)).into()).await;
    };
    pass(WELL_S).await;
    stage.payments.falls_ill();
    pass(WELL_S + ILL_S).await;
    stage.payments.recovers();
    let recovered = stage
        .payments
        .book()
        .begun
        .map_or(Duration::ZERO, |begun| begun.elapsed());
    pass(WELL_S + ILL_S + 20).await;
    loading.store(false, Ordering::SeqCst);
    let started = load.await.expect("the load ends");
    stage.all_end("pay").await;
    stage.all_end("stay").await;
    let payments = stage.payments.calls();
    let hotels = per_second(&stage.hotels.calls(), Duration::ZERO);
    println!("second  payments calls (of them failed, most at once)   hotels calls");
    for (second, (count, most)) in per_second(&payments, Duration::ZERO) {
        let ill = payments
            .iter()
            .filter(|call| call.ill && call.at.as_secs() == second)
            .count();
        let others = hotels.get(&second).map_or(0, |(count, _)| *count);
        println!("{second:>6}  {count:>5} ({ill:>4}, {most:>4})   {others:>5}");
    }
    println!("tenths of a second after the participant recovered: calls, most at once");
    let first: Vec<Call> = payments
        .iter()
        .copied()
        .filter(|call| call.at >= recovered)
        .collect();
    let mut fine: BTreeMap<u128, (usize, usize)> = BTreeMap::new();
    for call in &first {
        let (count, most) = fine
            .entry((call.at - recovered).as_millis() / 100)
            .or_default();
        (*count, *most) = (*count + 1, (*most).max(call.beside + 1));
    }
    for (tenth, (count, most)) in fine.into_iter().take(40) {
        println!("{:>5} ms {count:>5} {most:>5}", tenth * 100);
    }
    let mean = |from: u64, to: u64| {
        let count: usize = (from..to)
            .map(|s| hotels.get(&s).map_or(0, |(count, _)| *count))
            .sum();
        count as f64 / (to - from) as f64
    };
    let (well, ill) = (mean(1, WELL_S), mean(WELL_S, WELL_S + ILL_S));
    println!(
        "hotels: {well:.0}/s while payments was well, {ill:.0}/s while it was not: {:.2}",
        ill / well
    );
    println!(
        "{started} of each were started; compensated: {:?}",
        stage.open_and_compensated("pay").await.1
    );
    assert_eq!(stage.open_and_compensated("pay").await, (0, 0));
    assert_eq!(payments.iter().filter(|call| !call.ill).count(), started);
}
