//! Where calls arrive: whoever owns the store answers them, whoever stands by says so at once.
//!
//! The services belong to one claim and go away with it; the front stays as long as the process listens. A call that
//! waits when the claim ends is answered then, not when its own deadline comes.

use std::{
    convert::Infallible,
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tonic::{
    Status,
    body::Body,
    codegen::{Service, http},
    server::NamedService,
    service::Routes,
};

use saga_engine::store::tenure::Tenure;
use saga_wire::refusal::{self, Code, Refusal};

/// What this process is to its store.
#[derive(Clone)]
pub(crate) enum Standing {
    /// It stands by, and why.
    By(Arc<str>),
    /// It owns the store.
    Owner {
        /// The services of this claim.
        routes: Routes,
        /// How long it holds.
        tenure: Tenure,
    },
}

impl Standing {
    /// True while calls are answered.
    pub(crate) fn is_owner(&self) -> bool {
        match self {
            Self::By(_) => false,
            Self::Owner { tenure, .. } => tenure.holds(),
        }
    }
}

/// Stands for the service `S` of whichever claim is in force.
pub(crate) struct Front<S> {
    standing: watch::Receiver<Standing>,
    service: PhantomData<fn() -> S>,
}

impl<S> Front<S> {
    pub(crate) fn new(standing: watch::Receiver<Standing>) -> Self {
        Self {
            standing,
            service: PhantomData,
        }
    }
}

// Derived, it would ask that of `S`.
impl<S> Clone for Front<S> {
    fn clone(&self) -> Self {
        Self::new(self.standing.clone())
    }
}

impl<S: NamedService> NamedService for Front<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Front<S> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let standing = self.standing.borrow().clone();
        match standing {
            Standing::By(why) => refused(Refusal::standing_by(&why)),
            // The claim has run out, and nobody has noticed yet: as after a stop of the process.
            Standing::Owner { tenure, .. } if !tenure.holds() => {
                refused(Refusal::standing_by("the claim on the store has run out"))
            }
            Standing::Owner { mut routes, tenure } => Box::pin(async move {
                let response = tokio::select! {
                    biased;
                    response = routes.call(request) => response?,
                    () = tenure.ended() => return Ok(answer(Refusal::closed(&tenure))),
                };
                // A lane that was dropped with its claim looks to a call like one that was asked to stop.
                if is_shutting_down(&response) && !tenure.holds() {
                    return Ok(answer(Refusal::closed(&tenure)));
                }
                Ok(response.map(Body::new))
            }),
        }
    }
}

fn refused(refusal: Refusal) -> BoxFuture<'static, Result<http::Response<Body>, Infallible>> {
    Box::pin(std::future::ready(Ok(answer(refusal))))
}

fn answer(refusal: Refusal) -> http::Response<Body> {
    Status::from(refusal).into_http()
}

fn is_shutting_down<T>(response: &http::Response<T>) -> bool {
    let code = response.headers().get(refusal::METADATA_KEY);
    code.is_some_and(|code| code.as_bytes() == Code::Unavailable.text().as_bytes())
}

#[cfg(test)]
mod tests {
    use saga_proto::v1::saga_service_server::SagaServiceServer;

    use super::*;
    use crate::api::Api;

    async fn call(standing: Standing) -> String {
        let (_keep, standing) = watch::channel(standing);
        let mut front: Front<SagaServiceServer<Api>> = Front::new(standing);
        let response = front
            .call(http::Request::new(Body::empty()))
            .await
            .expect("an answer");
        let code = response.headers().get(refusal::METADATA_KEY);
        code.map(|code| code.to_str().expect("ASCII").to_owned())
            .unwrap_or_default()
    }

    #[tokio::test]
    async fn calls_are_refused_at_once_while_standing_by() {
        assert_eq!(
            call(Standing::By("somebody else owns it".into())).await,
            "A0507"
        );
        let tenure = Tenure::unlimited();
        tenure.end("taken over");
        assert_eq!(
            call(Standing::Owner {
                routes: Routes::default(),
                tenure
            })
            .await,
            "A0507"
        );
        let tenure = Tenure::until(std::time::Duration::ZERO);
        assert_eq!(
            call(Standing::Owner {
                routes: Routes::default(),
                tenure
            })
            .await,
            "A0507",
            "run out"
        );
        // No such service: the routes were asked.
        let tenure = Tenure::unlimited();
        assert_eq!(
            call(Standing::Owner {
                routes: Routes::default(),
                tenure
            })
            .await,
            ""
        );
    }
}
