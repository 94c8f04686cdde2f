//! Keeps the runtime's clock going while a handler blocks a thread.
//!
//! One thread of the runtime at a time waits for sockets and timers for all of them. If it is woken by a single task and that
//! task blocks, the others sleep on: no timer fires any more, the handler's own limit among them. So a thread that is none of
//! the runtime's gives it something to do now and then, which wakes another of its threads, and that one looks after the
//! timers. Only while handlers run, and too rarely to cost anything.

use std::{
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

use tokio::runtime::Handle;

/// Between two beats while a handler runs: by so much a limit may come late.
const BEAT_EVERY: Duration = Duration::from_millis(100);
/// Between two looks whether anybody may still run a handler.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Counts the handlers that run.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    running: AtomicUsize,
    asleep: AtomicBool,
    thread: OnceLock<Option<Thread>>,
}

/// A handler runs.
#[derive(Debug)]
pub(super) struct Running(Arc<Pulse>);

impl Pulse {
    /// Beats until what it returns is dropped. To be called on the runtime.
    pub(super) fn begin(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::SeqCst);
        let thread = self
            .thread
            .get_or_init(|| start(Arc::downgrade(self), Handle::current()));
        if self.asleep.load(Ordering::SeqCst)
            && self.asleep.swap(false, Ordering::SeqCst)
            && let Some(thread) = thread
        {
            thread.unpark();
        }
        Running(self.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

fn start(pulse: Weak<Pulse>, runtime: Handle) -> Option<Thread> {
    let beat = move || {
        while let Some(pulse) = pulse.upgrade() {
            pulse.asleep.store(true, Ordering::SeqCst);
            if pulse.running.load(Ordering::SeqCst) == 0 {
                drop(pulse);
                thread::park_timeout(LOOK_EVERY);
                continue;
            }
            pulse.asleep.store(false, Ordering::SeqCst);
            drop(pulse);
            thread::sleep(BEAT_EVERY);
            runtime.spawn(std::future::ready(()));
        }
    };
    match thread::Builder::new()
        .name("saga-pulse".to_owned())
        .spawn(beat)
    {
        Ok(started) => Some(started.thread().clone()),
        Err(error) => {
            tracing::warn!(%error, "no thread to keep the clock going while a handler blocks");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the only other thread blocked by a task that had just been woken, whoever looks after the timers may sleep.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn timers_fire_although_a_task_blocks_the_thread_that_waits_for_them() {
        let pulse = Arc::new(Pulse::default());
        for _ in 0..20 {
            let _running = pulse.begin();
            let (release, released) = std::sync::mpsc::channel::<()>();
            let blocking = tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let _ = released.recv();
            });
            let timer = tokio::spawn(tokio::time::sleep(Duration::from_millis(20)));
            timer.await.expect("the timer fires");
            drop(release);
            blocking.await.expect("released");
        }
    }
}
