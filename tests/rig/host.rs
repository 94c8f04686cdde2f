//! A runtime of its own for something that may be killed.

use std::future::Future;

use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
};

/// Worker threads of a runtime: several, as `#[tokio::main]` gives a service, for one alone hides races between tasks.
const THREADS: usize = 4;

/// A runtime with several worker threads. Dropping it drops every task on it where it stands.
#[derive(Debug)]
pub struct Host {
    runtime: Option<Runtime>,
}

impl Host {
    /// Starts a runtime.
    ///
    /// # Panics
    /// When the system gives no threads.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name(name)
            .enable_all()
            .build();
        Self {
            runtime: Some(runtime.expect("a runtime")),
        }
    }

    /// Runs a task there.
    ///
    /// # Panics
    /// Never: the runtime lives as long as `self`.
    pub fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime.as_ref().expect("lives").spawn(future)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Runtimes must not be waited for where tests run, which is on another runtime.
            runtime.shutdown_background();
        }
    }
}
