//! What happens once a batch is committed: commands go out, callers are answered, ends are announced.

use std::sync::Arc;

use saga_core::{
    Effect, ErrorBody, SagaId, Status,
    command::addressee,
    effect::Command,
    input::{Input, Lost},
    limits,
    rules::Rule,
};

use super::{
    batch::{Job, Pending, Release},
    intake::{End, Ended, Started},
    links::Outbox,
    slot::Route,
    starting::{Owner, Starter},
    worker::Worker,
};
use crate::link::{Link, Outgoing};

impl Worker {
    /// Carries out a committed batch, in the order of its decisions.
    pub(super) fn release(&mut self, batch: Pending) {
        let Pending {
            mut jobs,
            releases,
            start_jobs,
            start_statuses,
            ..
        } = batch;
        let mut outbox = Outbox::default();
        for release in releases {
            self.note_committed(&release);
            if let Some(job) = jobs.get_mut(release.job) {
                self.answer(&release, job);
            }
            let id = release.id;
            self.carry_out(release, &mut outbox);
            self.dismiss(id);
        }
        outbox.send();
        for (at, status) in start_jobs.into_iter().zip(start_statuses) {
            if let Some(Job::Start(starter)) = jobs.get(at) {
                self.names_taken(starter, status);
            }
        }
    }

    /// A start is committed: its key and its id are its saga's for good.
    fn names_taken(&mut self, starter: &Starter, status: Status) {
        let owner = Owner::begun(&starter.job, status);
        self.starting
            .finish(starter, Some(&owner), Some(&owner), &mut self.queue);
    }

    /// Carries out effects that need no commit, since nothing was decided that must be remembered.
    pub(super) fn carry_out_now(&mut self, release: Release) {
        let mut outbox = Outbox::default();
        self.carry_out(release, &mut outbox);
        outbox.send();
    }

    /// Does before the commit what a rule forbids; nothing, unless one is left out.
    pub(super) fn release_early(&mut self, batch: &mut Pending) {
        let rules = self.settings.rules;
        if !rules.keep(Rule::AnswerAfterCommit) {
            for job in &mut batch.jobs {
                if let Job::Start(starter) = job
                    && let Some(answer) = starter.job.started.take()
                {
                    answer.send(Started::Created).ok();
                }
            }
        }
        if !rules.keep(Rule::SendAfterCommit) {
            let mut outbox = Outbox::default();
            for effect in batch.releases.iter().flat_map(|release| &release.effects) {
                if let Effect::Send(command) = effect {
                    self.send(command.clone(), &mut outbox);
                }
            }
            outbox.send();
        }
    }

    fn note_committed(&mut self, release: &Release) {
        let Some(slot) = self.sagas.get_mut(&release.id) else {
            return;
        };
        if release.seq <= slot.committed {
            return;
        }
        slot.committed = release.seq;
        if let Some(watch) = &slot.watch {
            watch.send_replace(release.seq);
        }
    }

    fn answer(&mut self, release: &Release, job: &mut Job) {
        match job {
            Job::Start(starter) => {
                let job = &mut starter.job;
                if let Some(slot) = self.sagas.get_mut(&release.id) {
                    slot.listener = job.ended.take();
                }
                if let Some(answer) = job.started.take() {
                    // Whoever asked may have gone.
                    answer.send(Started::Created).ok();
                }
            }
            Job::Input { answer, .. } => {
                if let (Some(answer), Some(cancelled)) = (answer.take(), release.cancelled) {
                    answer.taken(cancelled);
                }
            }
        }
    }

    fn carry_out(&mut self, release: Release, outbox: &mut Outbox) {
        for effect in release.effects {
            match effect {
                Effect::Send(command) => self.send(command, outbox),
                Effect::Await { participant } => {
                    self.links.await_participant(participant, release.id);
                    if release.connects != self.links.connects() {
                        // Somebody connected while this was being committed, and found nobody waiting.
                        self.queue.push_back(Job::Input {
                            id: release.id,
                            input: Input::Wake,
                            answer: None,
                        });
                    }
                }
                Effect::Extend { step, due } => {
                    if let Some(slot) = self.sagas.get_mut(&release.id)
                        && let Some(op) = slot
                            .state
                            .steps
                            .get(step.at())
                            .and_then(saga_core::state::StepState::outstanding)
                    {
                        slot.state.set_limit(step, op, due);
                    }
                }
                Effect::Announce => self.announce(release.id),
            }
        }
    }

    /// Puts a command on a link to its participant; one that has none by now was not sent.
    pub(super) fn send(&mut self, command: Command, outbox: &mut Outbox) {
        let Some(slot) = self.sagas.get(&command.saga_id) else {
            return;
        };
        let Some((participant, action)) = addressee(&slot.plan, command.step, command.op) else {
            return;
        };
        match self.links.pick(participant, action, command.op) {
            Some(link) => {
                if !self.send_in_turn(&command) {
                    self.send_over(&link, command, outbox);
                }
            }
            None => {
                let error = ErrorBody::new(
                    "no_participant",
                    format!("no live instance of `{participant}`"),
                );
                let lost = Lost {
                    step: command.step,
                    round: command.round,
                    op: command.op,
                    attempt: command.attempt,
                    unsent: true,
                    error,
                };
                self.queue.push_back(Job::Input {
                    id: command.saga_id,
                    input: Input::Lost(lost),
                    answer: None,
                });
            }
        }
    }

    /// Puts a command on a link, and remembers which one.
    pub(super) fn send_over(
        &mut self,
        link: &Arc<dyn Link>,
        command: Command,
        outbox: &mut Outbox,
    ) {
        let since = self.clock.now();
        let Some(slot) = self.sagas.get_mut(&command.saga_id) else {
            return;
        };
        let Command {
            step,
            round,
            op,
            attempt,
            ..
        } = command;
        if let Some(error) = limits::unsendable(&command.input) {
            // It may have been sent by the release that recorded it.
            let lost = Lost {
                step,
                round,
                op,
                attempt,
                unsent: false,
                error,
            };
            self.queue.push_back(Job::Input {
                id: command.saga_id,
                input: Input::Lost(lost),
                answer: None,
            });
            return;
        }
        slot.route(Route {
            link: link.number(),
            step,
            round,
            op,
            attempt,
            since,
            alone: false,
            deaths: 0,
        });
        outbox.push(
            link,
            Outgoing {
                plan: slot.plan.clone(),
                command,
                alone: false,
            },
        );
    }

    /// The saga has ended: it leaves memory, and whoever waits for it is told.
    pub(super) fn announce(&mut self, id: SagaId) {
        let Some(mut slot) = self.sagas.remove(&id) else {
            return;
        };
        self.timers.disarm(id, &mut slot.armed);
        let Some(listener) = slot.listener else {
            return;
        };
        let failure = slot.state.failure.clone();
        let failed_step = failure
            .as_ref()
            .and_then(|f| f.step)
            .and_then(|ix| slot.plan.step(ix))
            .map(|s| s.id.clone());
        let (status, output, output_error) = (
            slot.state.status,
            slot.state.output,
            slot.state.output_error,
        );
        let end = End::Over {
            status,
            output,
            output_error,
            failure,
            failed_step,
        };
        // Whoever asked may have gone.
        listener
            .sink
            .send(Ended {
                tag: listener.tag,
                id,
                end,
            })
            .ok();
    }
}
